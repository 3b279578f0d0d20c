//! Token embeddings and learned positions.

use super::math::add;

/// Row `i` of `x` `[t, dim]` becomes row `tokens[i]` of `tokens_weight` `[vocab_size, dim]`, plus
/// row `i` of `positions_weight` `[seq_len, dim]` where there is one.
pub fn forward(
    dim: usize,
    tokens_weight: &[f32],
    positions_weight: Option<&[f32]>,
    tokens: &[u16],
    x: &mut [f32],
) {
    for (x, &token) in x.chunks_exact_mut(dim).zip(tokens) {
        x.copy_from_slice(&tokens_weight[usize::from(token) * dim..][..dim]);
    }
    if let Some(positions) = positions_weight {
        add(x, positions);
    }
}

/// Adds `dx` `[t, dim]` to the rows of `dtokens_weight` that the tokens took.
pub fn backward_tokens(dim: usize, tokens: &[u16], dx: &[f32], dtokens_weight: &mut [f32]) {
    for (dx, &token) in dx.chunks_exact(dim).zip(tokens) {
        add(&mut dtokens_weight[usize::from(token) * dim..][..dim], dx);
    }
}

/// Adds `dx` `[t, dim]` to the first `t` rows of `dpositions_weight`.
pub fn backward_positions(dx: &[f32], dpositions_weight: &mut [f32]) {
    add(dpositions_weight, dx);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::finite_difference::{agree, noise};

    #[test]
    fn gradients() {
        let (dim, tokens) = (3, [2, 0, 2]);
        let (weight, positions) = (noise(1, 4 * dim), noise(2, 5 * dim));
        let dx = noise(3, tokens.len() * dim);
        let run = |weight: &[f32], positions: &[f32]| {
            let mut x = vec![0.0; tokens.len() * dim];
            forward(dim, weight, Some(positions), &tokens, &mut x);
            x
        };
        let mut dweight = vec![0.0; weight.len()];
        backward_tokens(dim, &tokens, &dx, &mut dweight);
        agree(&weight, &dx, &dweight, |w| run(w, &positions));
        let mut dpositions = vec![0.0; positions.len()];
        backward_positions(&dx, &mut dpositions);
        agree(&positions, &dx, &dpositions, |p| run(&weight, p));
    }
}
