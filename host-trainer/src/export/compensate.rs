//! Errors of rounding that cancel in a matrix's products.
//!
//! A weight's error can be made up for by weights that are not rounded yet, as far as their inputs go together
//! (GPTQ: Frantar et al. 2022). With `H` the second moments of the inputs over a text, the error of a row's
//! products is `e H e`. Of `H = (I + U) D (I + U)^T`, `U` strictly upper triangular, that is the sum of
//! `D[k] (e[k] + sum over j < k of e[j] U[j][k])^2`, so that column after column is rounded to what makes its
//! own term least (the form of Chee et al. 2023). All of it is plain f64 arithmetic in a fixed
//! order (docs/decisions/008).

use super::calibrate::windows;
use super::fold::Norms;
use super::int4;
use super::parts::tensor_name;
use super::quantize::{Matrix, round_by};
use super::scores::Scores;
use crate::model::Model;
use anyhow::Result;
use std::collections::BTreeMap;
use thumbformer::format::{TensorKind, TensorSpec};

/// Part of the mean of `H`'s diagonal that is added to it: a text tells only so much of what goes together.
const DAMPING: f64 = 0.01;

/// The second moments of what each matrix reads, by the name of the place, and of what queries and keys meet.
pub struct Inputs {
    moments: BTreeMap<String, Moments>,
    scores: Scores,
    /// Where the model has another form for four bits.
    scores_int4: Option<Scores>,
}

impl Inputs {
    /// Reads a text. `four` is the form of the model that is rounded to four bits, if that is another.
    pub fn observe(model: &Model, norms: &Norms<'_>, four: Option<&Model>, text: &[u16]) -> Result<Self> {
        let specs = || model.config().config.tensors();
        let places = specs().filter_map(|spec| Some((place(model, spec)?, Moments::new(spec.cols))));
        let mut inputs: BTreeMap<String, Moments> = places.collect();
        let norm_of = |spec: TensorSpec| (tensor_name(spec).replace(".weight", ""), norms.parts(spec));
        let norms: BTreeMap<_, _> = specs().filter(|spec| spec.kind.is_norm()).map(norm_of).collect();
        for window in windows(model, text) {
            model.forward_observed(window, &mut |site, values| {
                if let Some(moments) = inputs.get_mut(site) {
                    let (shift, folded) = norms.get(site).copied().unwrap_or_default();
                    moments.add(values, shift, folded);
                }
            })?;
        }
        let scores_int4 = four.map(|four| Scores::observe(four, text)).transpose()?;
        Ok(Self { moments: inputs, scores: Scores::observe(model, text)?, scores_int4 })
    }

    /// Rounds a tensor's weights to int8; those that no product reads to the nearest.
    pub fn round(&self, model: &Model, spec: TensorSpec, weights: &[f32]) -> Matrix {
        match self.factors(model, spec) {
            Some(factors) => factors.round(weights, self.scores.of(spec)),
            None => Matrix::round(weights, spec.cols),
        }
    }

    /// Rounds a tensor's weights to int4; returns the factors of their groups, too.
    pub fn round_int4(&self, model: &Model, spec: TensorSpec, weights: &[f32]) -> (Matrix, Vec<u8>) {
        match self.factors(model, spec) {
            Some(factors) => {
                factors.round_int4(weights, self.scores_int4.as_ref().unwrap_or(&self.scores).of(spec))
            }
            None => int4::round(weights, spec.cols),
        }
    }

    /// The mean square of what errors of a tensor's weights do to its products, and of the products of `weights`; of a
    /// tensor that nothing is multiplied by, of the errors and the weights themselves.
    pub fn mean_squares(
        &self,
        model: &Model,
        spec: TensorSpec,
        errors: &[f64],
        weights: &[f32],
    ) -> (f64, f64) {
        let weights: Vec<f64> = weights.iter().map(|&w| f64::from(w)).collect();
        let moments = place(model, spec).and_then(|place| self.moments.get(&place));
        let mean = |values: &[f64]| match moments {
            Some(moments) => {
                values.chunks(spec.cols).map(|row| moments.of_row(row)).sum::<f64>() / spec.rows as f64
            }
            None => values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64,
        };
        (mean(errors), mean(&weights))
    }

    fn factors(&self, model: &Model, spec: TensorSpec) -> Option<Factors> {
        Some(self.moments.get(&place(model, spec)?)?.factors())
    }
}

/// Where a matrix finds its inputs, among the places that the forward pass shows. A tied embedding's products
/// are the head's: the same integers serve both.
fn place(model: &Model, spec: TensorSpec) -> Option<String> {
    let layer = |part: &str| Some(format!("layers.{}.{part}", spec.layer));
    match spec.kind {
        TensorKind::Wq | TensorKind::Wk | TensorKind::Wv => layer("attention_norm"),
        TensorKind::Wo => layer("attention.heads"),
        TensorKind::W1 | TensorKind::W3 => layer("ffn_norm"),
        TensorKind::W2 => layer("feed_forward.hidden"),
        TensorKind::Head => Some("norm".to_owned()),
        TensorKind::Embedding if model.config().config.tied => Some("norm".to_owned()),
        _ => None,
    }
}

/// The sums of the products of all pairs of inputs.
pub struct Moments {
    cols: usize,
    count: usize,
    sums: Vec<f64>,
}

impl Moments {
    /// Of nothing so far.
    pub fn new(cols: usize) -> Self {
        Self { cols, count: 0, sums: vec![0.0; cols * cols] }
    }

    /// Adds sums of products.
    pub fn add_moments(&mut self, sums: &[f64]) {
        self.sums.iter_mut().zip(sums).for_each(|(sum, s)| *sum += s);
    }

    /// Adds vectors. Of a norm's result, the shift goes into a bias, and a folded gain into the weights.
    fn add(&mut self, vectors: &[f32], shift: Option<&[f32]>, folded: Option<&[f32]>) {
        let mut inputs = vec![0.0; self.cols];
        self.count += vectors.len() / self.cols;
        for vector in vectors.chunks(self.cols) {
            for (i, (input, &v)) in inputs.iter_mut().zip(vector).enumerate() {
                let own = f64::from(v) - shift.map_or(0.0, |shift| f64::from(shift[i]));
                let gain = folded.map_or(1.0, |folded| f64::from(folded[i]));
                // Without a gain the column is 0, whatever it reads.
                *input = if gain == 0.0 { 0.0 } else { own / gain };
            }
            for (sums, a) in self.sums.chunks_mut(self.cols).zip(&inputs) {
                sums.iter_mut().zip(&inputs).for_each(|(sum, b)| *sum += a * b);
            }
        }
    }

    /// The mean square of a row's products with the inputs.
    fn of_row(&self, row: &[f64]) -> f64 {
        let products =
            self.sums.chunks(self.cols).map(|sums| row.iter().zip(sums).map(|(w, s)| w * s).sum::<f64>());
        row.iter().zip(products).map(|(w, p)| w * p).sum::<f64>() / self.count.max(1) as f64
    }

    /// The factors of the damped moments, the columns of the largest inputs first: their errors are then the
    /// ones that most others can still make up for.
    fn factors(&self) -> Factors {
        let n = self.cols;
        let diagonal = |i: usize| self.sums[i * n + i];
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|&a, &b| diagonal(b).total_cmp(&diagonal(a)));
        self.factors_of(order)
    }

    /// The factors of the damped moments, in the order that there is.
    pub fn factors_in_order(&self) -> Factors {
        self.factors_of((0..self.cols).collect())
    }

    fn factors_of(&self, order: Vec<usize>) -> Factors {
        let n = self.cols;
        let diagonal = |i: usize| self.sums[i * n + i];
        let mean = (0..n).map(diagonal).sum::<f64>() / n as f64;
        if !mean.is_normal() {
            // Nothing is known: every column for itself.
            return Factors { order, back: vec![0.0; n * n], diagonal: vec![1.0; n], sizes: vec![1.0; n] };
        }
        // Row k of `back` is column k of U, of which entries from k on are 0.
        let (mut back, mut d) = (vec![0.0; n * n], vec![0.0; n]);
        for k in (0..n).rev() {
            let later = k + 1..n;
            let known = |back: &[f64], i: usize| {
                later.clone().map(|j| back[j * n + i] * d[j] * back[j * n + k]).sum::<f64>()
            };
            let own = diagonal(order[k]) + DAMPING * mean - known(&back, k);
            for i in 0..k {
                back[k * n + i] = (self.sums[order[i] * n + order[k]] - known(&back, i)) / own;
            }
            d[k] = own;
        }
        let sizes = (0..n).map(|i| diagonal(i) + DAMPING * mean).collect();
        Factors { order, back, diagonal: d, sizes }
    }
}

/// `(I + U) D (I + U)^T`, columns in an order of their own.
pub struct Factors {
    order: Vec<usize>,
    /// U, transposed.
    back: Vec<f64>,
    /// D
    diagonal: Vec<f64>,
    /// The mean squares of the inputs, as far as they go.
    sizes: Vec<f64>,
}

impl Factors {
    /// `heads` are the factors of what the rows of each head meet, if there is any such thing.
    fn round(&self, weights: &[f32], heads: &[Self]) -> Matrix {
        let n = self.order.len();
        let mut errors = vec![0.0; n];
        let mut rows = Rows::new(weights, n, heads);
        Matrix::round_with(weights, n, &mut |last| rows.next(last), &mut |row, step, rounded| {
            self.round_row(row, &|_| step, &round_by, &mut errors, rounded)
        })
    }

    fn round_int4(&self, weights: &[f32], heads: &[Self]) -> (Matrix, Vec<u8>) {
        let n = self.order.len();
        let mut errors = vec![0.0; n];
        let mut rows = Rows::new(weights, n, heads);
        int4::round_with(weights, n, &self.sizes, &mut |last| rows.next(last), &mut |row, step, rounded| {
            self.round_row(row, step, &int4::nearest, &mut errors, rounded)
        })
    }

    /// Rounds a row whose columns have these steps, each weight by `round`; returns the error of the products.
    fn round_row(
        &self,
        row: &[f32],
        step: &dyn Fn(usize) -> f64,
        round: &dyn Fn(f64, f64) -> f64,
        errors: &mut [f64],
        rounded: &mut [i8],
    ) -> f64 {
        let n = self.order.len();
        let mut total = 0.0;
        for (k, &column) in self.order.iter().enumerate() {
            let earlier = self.back[k * n..][..k].iter().zip(&*errors);
            let (weight, step) = (f64::from(row[column]), step(column));
            let wanted = weight + earlier.map(|(u, e)| u * e).sum::<f64>();
            let found = round(wanted, step);
            rounded[column] = found as i8;
            errors[k] = weight - found * step;
            total += self.diagonal[k] * (wanted - found * step).powi(2);
        }
        total
    }
}

/// Rows one after the other, each with what is left to it by those of its head that are rounded already.
struct Rows<'a> {
    weights: &'a [f32],
    cols: usize,
    heads: &'a [Factors],
    /// The errors of the rows so far.
    errors: Vec<f64>,
}

impl<'a> Rows<'a> {
    fn new(weights: &'a [f32], cols: usize, heads: &'a [Factors]) -> Self {
        Self { weights, cols, heads, errors: Vec::new() }
    }

    /// The next row. `last` is the one before as it was rounded, empty at the start.
    fn next(&mut self, last: &[f64]) -> Vec<f32> {
        let done = self.errors.len();
        self.errors.extend(self.weights[done..].iter().zip(last).map(|(&w, l)| f64::from(w) - l));
        let row = self.errors.len() / self.cols;
        let mut next = self.weights[row * self.cols..][..self.cols].to_vec();
        let head_dim = self.heads.first().map_or(1, |head| head.order.len());
        if let Some(head) = self.heads.get(row / head_dim) {
            let (k, first) = (row % head_dim, row - row % head_dim);
            let earlier = self.errors[first * self.cols..].chunks(self.cols);
            for (u, errors) in head.back[k * head_dim..][..k].iter().zip(earlier) {
                next.iter_mut().zip(errors).for_each(|(w, e)| *w = (f64::from(*w) + u * e) as f32);
            }
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLS: usize = 12;

    fn noise(len: usize, seed: usize) -> Vec<f32> {
        let hash = |i: usize| (i + seed).wrapping_mul(2_654_435_761) % 1_000_003;
        (0..len).map(|i| hash(i * i + 7 * i) as f32 / 500_000.0 - 1.0).collect()
    }

    /// Vectors whose channels go together.
    fn inputs() -> Vec<f32> {
        let own = noise(200 * COLS, 1);
        let common = noise(200, 5);
        own.iter().enumerate().map(|(i, v)| 0.2 * v + common[i / COLS] * (i % COLS) as f32).collect()
    }

    fn moments() -> Moments {
        let mut moments = Moments::new(COLS);
        moments.add(&inputs(), None, None);
        moments
    }

    /// The squared error of all products.
    fn error(inputs: &[f32], weights: &[f32], matrix: &Matrix) -> f64 {
        let unit = libm::exp2(f64::from(matrix.exponent));
        let rows = weights.chunks(COLS).zip(matrix.weights.chunks(COLS)).zip(&matrix.scales);
        rows.map(|((row, rounded), &scale)| {
            let errors =
                row.iter().zip(rounded).map(|(&w, &r)| f64::from(w) - f64::from(r) * f64::from(scale) * unit);
            let errors: Vec<f64> = errors.collect();
            let product = |x: &[f32]| x.iter().zip(&errors).map(|(&x, e)| f64::from(x) * e).sum::<f64>();
            inputs.chunks(COLS).map(|x| product(x).powi(2)).sum::<f64>()
        })
        .sum()
    }

    #[test]
    fn those_of_int4_cancel_too() {
        let weights = noise(20 * COLS, 9);
        let (matrix, groups) = int4::round(&weights, COLS);
        // Inputs of one size: with few bits, large ones must not stand in the way of what makes up for them.
        let common = noise(200, 5);
        let inputs: Vec<f32> =
            noise(200 * COLS, 1).iter().enumerate().map(|(i, v)| 0.3 * v + common[i / COLS]).collect();
        let mut moments = Moments::new(COLS);
        moments.add(&inputs, None, None);
        // There is one group: its factor is a part of the scale, whose last four bits are nothing here.
        let scaled = |(matrix, groups): (Matrix, Vec<u8>)| {
            let scale = |(&scale, &factor): (&i16, &u8)| ((i32::from(scale) * i32::from(factor)) >> 4) as i16;
            let scales = matrix.scales.iter().zip(&groups).map(scale).collect();
            Matrix { weights: matrix.weights.clone(), scales, exponent: matrix.exponent + 4 }
        };
        let plain = error(&inputs, &weights, &scaled((matrix, groups)));
        let found = moments.factors().round_int4(&weights, &[]);
        assert!(found.0.weights.iter().all(|w| (-8..=7).contains(w)));
        let compensated = error(&inputs, &weights, &scaled(found));
        assert!(compensated < plain / 2.0, "{compensated}, {plain}");
    }

    #[test]
    fn errors_of_inputs_that_go_together_cancel() {
        let weights = noise(20 * COLS, 9);
        let plain = error(&inputs(), &weights, &Matrix::round(&weights, COLS));
        let compensated = error(&inputs(), &weights, &moments().factors().round(&weights, &[]));
        println!("plain {plain}, compensated {compensated}");
        assert!(compensated < plain / 2.0, "{compensated}, {plain}");
    }

    #[test]
    fn factors_multiply_to_the_moments() {
        let moments = moments();
        let factors = moments.factors();
        let mean = (0..COLS).map(|i| moments.sums[i * COLS + i]).sum::<f64>() / COLS as f64;
        let upper = |i: usize, k: usize| if i == k { 1.0 } else { factors.back[k * COLS + i] };
        for i in 0..COLS {
            for j in 0..COLS {
                let found: f64 = (0..COLS).map(|k| upper(i, k) * factors.diagonal[k] * upper(j, k)).sum();
                let damping = if i == j { DAMPING * mean } else { 0.0 };
                let wanted = moments.sums[factors.order[i] * COLS + factors.order[j]] + damping;
                assert!((found - wanted).abs() < 1e-9 * mean, "({i}, {j}): {found}, wanted {wanted}");
            }
        }
    }

    #[test]
    fn without_inputs_every_weight_goes_to_the_nearest() {
        let weights = noise(4 * COLS, 3);
        let (plain, found) =
            (Matrix::round(&weights, COLS), Moments::new(COLS).factors().round(&weights, &[]));
        assert_eq!((found.weights, found.scales), (plain.weights, plain.scales));
    }

    #[test]
    fn a_gain_in_the_weights_and_a_shift_in_the_bias_are_no_inputs() {
        let (gain, shift) = (vec![3.0; COLS], vec![0.5; COLS]);
        let seen: Vec<f32> = inputs().iter().map(|v| v * 3.0 + 0.5).collect();
        let mut found = Moments::new(COLS);
        found.add(&seen, Some(&shift), Some(&gain));
        let wanted = moments();
        let worst = found.sums.iter().zip(&wanted.sums).map(|(f, w)| (f - w).abs()).fold(0.0, f64::max);
        assert!(worst < 1e-3 * wanted.sums[COLS * COLS - 1], "{worst}");
    }

    #[test]
    fn errors_of_rows_that_meet_one_vector_cancel_in_its_scores() {
        let (n, rows) = (4, 12);
        // Two heads, each of which meets vectors that nearly lie on a line.
        let met = |head: usize| -> Vec<Vec<f64>> {
            let vectors = noise(80 * n, 3 + head);
            let line = |i: usize| f64::from(vectors[i * n]) * 3.0;
            (0..80)
                .map(|i| {
                    (0..n).map(|c| f64::from(vectors[i * n + c]) * 0.2 + line(i) * (1 + c) as f64).collect()
                })
                .collect()
        };
        let heads = [0, 1, 2].map(|head| {
            let mut moments = Moments::new(n);
            for v in met(head) {
                moments.add_moments(&(0..n * n).map(|i| v[i / n] * v[i % n]).collect::<Vec<_>>());
            }
            moments.factors_in_order()
        });
        let (weights, inputs) = (noise(rows * COLS, 9), inputs());
        let of_scores = |matrix: &Matrix| -> f64 {
            let unit = libm::exp2(f64::from(matrix.exponent));
            let errors: Vec<f64> = (0..rows * COLS)
                .map(|i| {
                    f64::from(matrix.weights[i]) * f64::from(matrix.scales[i / COLS]) * unit
                        - f64::from(weights[i])
                })
                .collect();
            let products = inputs.chunks(COLS).flat_map(|x| {
                errors
                    .chunks(COLS)
                    .map(|e| e.iter().zip(x).map(|(e, &x)| e * f64::from(x)).sum::<f64>())
                    .collect::<Vec<_>>()
            });
            let products: Vec<f64> = products.collect();
            (0..rows / n)
                .flat_map(|head| met(head).into_iter().map(move |v| (head, v)))
                .map(|(head, v)| {
                    let of_head = products.chunks(rows).map(|p| &p[head * n..][..n]);
                    of_head.map(|p| p.iter().zip(&v).map(|(p, v)| p * v).sum::<f64>().powi(2)).sum::<f64>()
                })
                .sum()
        };
        let factors = moments().factors();
        let [apart, together] = [&[][..], &heads].map(|heads| of_scores(&factors.round(&weights, heads)));
        println!("rows apart {apart:.4}, together {together:.4}");
        assert!(together < apart / 2.0, "{together}, {apart}");
    }
}
