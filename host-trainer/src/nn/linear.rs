//! Linear layers: `y = x W^T + b` with `W` `[outputs, inputs]`.

use super::math::add;
use super::matrix::{Matrix, MatrixMut, Multiply, Write, matmul};

/// A weight and its optional bias, borrowed from the parameters.
#[derive(Debug, Clone, Copy)]
pub struct Linear<'a> {
    /// `[outputs, inputs]`
    pub weight: &'a [f32],
    /// `[outputs]`
    pub bias: Option<&'a [f32]>,
    /// Columns of the weight.
    pub inputs: usize,
}

impl Linear<'_> {
    /// Rows of the weight.
    pub fn outputs(&self) -> usize {
        self.weight.len() / self.inputs
    }
}

/// `x` `[rows, inputs]` to `y` `[rows, outputs]`.
pub fn forward(multiply: Multiply, linear: Linear<'_>, x: &[f32], y: &mut [f32]) {
    let (inputs, outputs) = (linear.inputs, linear.outputs());
    let rows = x.len() / inputs;
    multiply(
        MatrixMut::new(y, rows, outputs),
        Write::Set,
        Matrix::new(x, rows, inputs),
        Matrix::new(linear.weight, outputs, inputs).transposed(),
    );
    if let Some(bias) = linear.bias {
        for y in y.chunks_exact_mut(outputs) {
            add(y, bias);
        }
    }
}

/// `dy` `[rows, outputs]` to `dx` `[rows, inputs]`.
pub fn backward_input(linear: Linear<'_>, dy: &[f32], dx: &mut [f32]) {
    let (inputs, outputs) = (linear.inputs, linear.outputs());
    let rows = dy.len() / outputs;
    matmul(
        MatrixMut::new(dx, rows, inputs),
        Write::Set,
        Matrix::new(dy, rows, outputs),
        Matrix::new(linear.weight, outputs, inputs),
    );
}

/// Adds the gradient of the weight to `dweight`.
pub fn backward_weight(inputs: usize, x: &[f32], dy: &[f32], dweight: &mut [f32]) {
    let rows = x.len() / inputs;
    let outputs = dweight.len() / inputs;
    matmul(
        MatrixMut::new(dweight, outputs, inputs),
        Write::Add,
        Matrix::new(dy, rows, outputs).transposed(),
        Matrix::new(x, rows, inputs),
    );
}

/// Adds the gradient of the bias to `dbias` `[outputs]`.
pub fn backward_bias(dy: &[f32], dbias: &mut [f32]) {
    for dy in dy.chunks_exact(dbias.len()) {
        add(dbias, dy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::finite_difference::{agree, noise};

    #[test]
    fn gradients() {
        let (rows, inputs, outputs) = (3, 5, 4);
        let x = noise(1, rows * inputs);
        let weight = noise(2, outputs * inputs);
        let bias = noise(3, outputs);
        let dy = noise(4, rows * outputs);
        let run = |x: &[f32], weight: &[f32], bias: &[f32]| {
            let mut y = vec![0.0; rows * outputs];
            let linear = Linear { weight, bias: Some(bias), inputs };
            forward(matmul, linear, x, &mut y);
            y
        };
        let linear = Linear { weight: &weight, bias: None, inputs };
        let mut dx = vec![0.0; x.len()];
        backward_input(linear, &dy, &mut dx);
        agree(&x, &dy, &dx, |x| run(x, &weight, &bias));
        let mut dweight = vec![0.0; weight.len()];
        backward_weight(inputs, &x, &dy, &mut dweight);
        agree(&weight, &dy, &dweight, |w| run(&x, w, &bias));
        let mut dbias = vec![0.0; outputs];
        backward_bias(&dy, &mut dbias);
        agree(&bias, &dy, &dbias, |b| run(&x, &weight, b));
    }
}
