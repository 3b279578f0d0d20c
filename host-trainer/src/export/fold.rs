//! Norms into the matrices that read them.
//!
//! A matrix reads `gain * x + shift` of a norm. The shift (LayerNorm's bias) always becomes a bias of the
//! matrix: `W (gain x + shift) = W gain x + W shift`. The gain can become a part of the weights too, which
//! is exact unless the same weights are also the embedding. Of a BatchNorm, running statistics make a gain and a shift, so
//! that nothing is left of it.

use super::parts::tensor_name;
use crate::model::Model;
use std::borrow::Cow;
use std::collections::BTreeMap;
use thumbformer::NormKind;
use thumbformer::format::{TensorKind, TensorSpec};

/// log2(e), which takes attention scores to base two.
const LOG2_E: f64 = std::f64::consts::LOG2_E;

/// The norms of a model.
pub struct Norms<'m> {
    model: &'m Model,
    fold_gains: bool,
    /// Gains and shifts of BatchNorms by the names of their gains.
    batch: BTreeMap<String, (Vec<f32>, Vec<f32>)>,
}

impl<'m> Norms<'m> {
    /// The norms of `model`; whether their gains are to be folded.
    pub fn new(model: &'m Model, fold_gains: bool) -> Self {
        let mut batch = BTreeMap::new();
        if model.config().config.norm == NormKind::Batch {
            let norms = model.config().config.tensors().filter(|spec| spec.kind.is_norm());
            batch.extend(norms.filter_map(|spec| {
                let name = tensor_name(spec);
                let part = |what| model.params().get(&name.replace(".weight", what));
                let [weight, bias] = [part(".weight")?, part(".bias")?];
                let statistics = [part(".running_mean")?, part(".running_var")?];
                let folded = of_statistics(weight, bias, statistics, model.config().norm_eps);
                Some((name, folded))
            }));
        }
        Self { model, fold_gains, batch }
    }

    /// The gain that the file stores for a norm; none if it is folded.
    pub fn gain(&self, norm: TensorSpec) -> Option<&[f32]> {
        let head = norm.kind == TensorKind::FinalNorm && self.model.config().config.tied;
        if self.fold_gains && !head {
            return None;
        }
        self.whole(norm).0
    }

    /// What of a norm the matrices behind it take over: its shift, and its gain if that is folded.
    pub fn parts(&self, norm: TensorSpec) -> (Option<&[f32]>, Option<&[f32]>) {
        let (gain, shift) = self.whole(norm);
        (shift, if self.gain(norm).is_none() { gain } else { None })
    }

    /// The gain and the shift of a norm.
    fn whole(&self, norm: TensorSpec) -> (Option<&[f32]>, Option<&[f32]>) {
        let name = tensor_name(norm);
        if let Some((gain, shift)) = self.batch.get(&name) {
            return (Some(gain), Some(shift));
        }
        let params = self.model.params();
        (params.get(&name), params.get(&name.replace(".weight", ".bias")))
    }

    /// The weights `[rows, cols]` and biases of a matrix after the norm that it reads went into it; queries
    /// are scaled to scores of base two.
    pub fn apply<'w>(
        &self,
        spec: TensorSpec,
        weights: &'w [f32],
        bias: Option<&[f32]>,
    ) -> (Cow<'w, [f32]>, Option<Vec<f32>>) {
        let config = &self.model.config().config;
        let mut weights = Cow::Borrowed(weights);
        let mut bias = bias.map(<[f32]>::to_vec);
        if let Some(norm) = norm_before(spec.kind) {
            let (shift, folded) = self.parts(config.spec(norm, spec.layer));
            if let Some(shift) = shift {
                let bias = bias.get_or_insert_with(|| vec![0.0; spec.rows]);
                for (b, row) in bias.iter_mut().zip(weights.chunks(spec.cols)) {
                    *b += row.iter().zip(shift).map(|(w, s)| w * s).sum::<f32>();
                }
            }
            if let Some(gain) = folded {
                for row in weights.to_mut().chunks_mut(spec.cols) {
                    row.iter_mut().zip(gain).for_each(|(w, g)| *w *= g);
                }
            }
        }
        if spec.kind == TensorKind::Wq {
            let factor = self.query_factor() as f32;
            weights.to_mut().iter_mut().for_each(|w| *w *= factor);
            bias.iter_mut().flatten().for_each(|b| *b *= factor);
        }
        (weights, bias)
    }

    /// What errors of the weights that [`apply`](Self::apply) gives are as errors of the model's own weights.
    pub fn undo(&self, spec: TensorSpec, errors: &mut [f64]) {
        let config = &self.model.config().config;
        let folded = norm_before(spec.kind).and_then(|norm| self.parts(config.spec(norm, spec.layer)).1);
        if let Some(gain) = folded {
            for row in errors.chunks_mut(spec.cols) {
                // Behind a gain of 0 nothing is read.
                row.iter_mut()
                    .zip(gain)
                    .for_each(|(e, &g)| *e = if g == 0.0 { 0.0 } else { *e / f64::from(g) });
            }
        }
        if spec.kind == TensorKind::Wq {
            errors.iter_mut().for_each(|e| *e /= self.query_factor());
        }
    }

    /// Queries are scaled to scores of base two.
    fn query_factor(&self) -> f64 {
        LOG2_E / libm::sqrt(self.model.config().config.head_dim() as f64)
    }
}

/// What is left of a BatchNorm in use: `(x - mean) / sqrt(var + eps) * weight + bias` as `gain * x + shift`.
fn of_statistics(weight: &[f32], bias: &[f32], [mean, var]: [&[f32]; 2], eps: f32) -> (Vec<f32>, Vec<f32>) {
    let gain =
        |(&weight, &var): (&f32, &f32)| f64::from(weight) / libm::sqrt(f64::from(var) + f64::from(eps));
    let gains: Vec<f64> = weight.iter().zip(var).map(gain).collect();
    let shift =
        |((&bias, &mean), gain): ((&f32, &f32), f64)| (f64::from(bias) - f64::from(mean) * gain) as f32;
    let shifts = bias.iter().zip(mean).zip(gains.iter().copied()).map(shift).collect();
    (gains.iter().map(|&gain| gain as f32).collect(), shifts)
}

/// The norm whose result a matrix reads.
fn norm_before(kind: TensorKind) -> Option<TensorKind> {
    match kind {
        TensorKind::Wq | TensorKind::Wk | TensorKind::Wv => Some(TensorKind::AttentionNorm),
        TensorKind::W1 | TensorKind::W3 => Some(TensorKind::MlpNorm),
        TensorKind::Head => Some(TensorKind::FinalNorm),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ModelConfig;
    use crate::nn::random::Random;

    /// A model whose running statistics are those of no text.
    fn model(tied: bool) -> Model {
        let shape = "dim = 12\nhidden_dim = 20\nn_layers = 2\nn_heads = 2\nn_kv_heads = 1\nvocab_size = 30\n\
                     seq_len = 8\nnorm = \"batch\"\n";
        let config: ModelConfig = toml::from_str(&format!("{shape}tied = {tied}\n")).unwrap();
        let mut model = Model::init(config, 3).unwrap();
        let mut random = Random::new(5);
        let tensors = model.params().tensors().to_vec();
        for tensor in tensors.iter().filter(|tensor| tensor.shape.len() == 1) {
            let deviation = tensor.name.ends_with(".running_var");
            for value in &mut model.params_mut().values[tensor.range.clone()] {
                *value =
                    if deviation { 0.1 + 4.0 * random.uniform() } else { *value + 0.5 * random.normal() };
            }
        }
        model
    }

    /// What each matrix behind a norm makes of it, from the norm's output, and from what the norm read.
    #[test]
    fn folded_and_unfolded_agree_on_any_statistics() {
        for (tied, fold) in [(false, true), (true, true), (false, false)] {
            let model = model(tied);
            let config = model.config().config;
            let norms = Norms::new(&model, fold);
            let mut seen = BTreeMap::new();
            let tokens: Vec<u16> = (0..8).map(|i| i * 11 % 30).collect();
            let mut keep = |site: &str, values: &[f32]| drop(seen.insert(site.to_owned(), values.to_vec()));
            model.forward_observed(&tokens, &mut keep).unwrap();
            let mut compared = 0;
            for spec in config.tensors().filter(|spec| spec.kind.is_matrix()) {
                let Some(norm) = norm_before(spec.kind) else { continue };
                let norm = config.spec(norm, spec.layer);
                let read = match (norm.kind, spec.layer) {
                    (TensorKind::AttentionNorm, 0) => "tok_embeddings".to_owned(),
                    (TensorKind::AttentionNorm, layer) => {
                        format!("layers.{}.feed_forward.residual", layer - 1)
                    }
                    (TensorKind::MlpNorm, layer) => format!("layers.{layer}.attention.residual"),
                    _ => format!("layers.{}.feed_forward.residual", config.n_layers - 1),
                };
                let source = super::super::parts::source_name(&model, spec);
                let (weights, bias) = norms.apply(spec, model.params().get(&source).unwrap(), None);
                let bias = bias.unwrap();
                // A gain that stays is applied to what is read.
                let gain = norms.gain(norm).map_or(vec![1.0; spec.cols], <[f32]>::to_vec);
                assert_eq!(norms.gain(norm).is_none(), fold && !(tied && spec.kind == TensorKind::Head));
                let factor = if spec.kind == TensorKind::Wq { norms.query_factor() } else { 1.0 };
                let site = tensor_name(spec).replace(".weight", "");
                for (x, wanted) in seen[&read].chunks(spec.cols).zip(seen[&site].chunks(spec.rows)) {
                    for (r, row) in weights.chunks(spec.cols).enumerate() {
                        let product =
                            |((w, x), g): ((&f32, &f32), &f32)| f64::from(*w) * f64::from(*x) * f64::from(*g);
                        let found =
                            row.iter().zip(x).zip(&gain).map(product).sum::<f64>() + f64::from(bias[r]);
                        let wanted = f64::from(wanted[r]) * factor;
                        assert!(
                            (found - wanted).abs() < 1e-5 * (1.0 + wanted.abs()),
                            "{site}: {found}, wanted {wanted}"
                        );
                        compared += 1;
                    }
                }
            }
            assert_eq!(compared, 8 * (2 * (12 + 6 + 6 + 20 + 20) + 30));
        }
    }
}
