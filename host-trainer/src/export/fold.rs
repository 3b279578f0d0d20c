//! Norms into the matrices that read them.
//!
//! A matrix reads `gain * x + shift` of a norm. The shift (LayerNorm's bias) always becomes a bias of the
//! matrix: `W (gain x + shift) = W gain x + W shift`. The gain can become a part of the weights too, which
//! is exact unless the same weights are also the embedding.

use crate::model::Model;
use std::borrow::Cow;
use thumbformer::format::{TensorKind, TensorSpec};

/// log2(e), which takes attention scores to base two.
const LOG2_E: f64 = std::f64::consts::LOG2_E;

/// The norms of a model.
pub struct Norms<'m> {
    model: &'m Model,
    fold_gains: bool,
}

impl<'m> Norms<'m> {
    /// The norms of `model`; whether their gains are to be folded.
    pub fn new(model: &'m Model, fold_gains: bool) -> Self {
        Self { model, fold_gains }
    }

    /// The gain that the file stores for a norm; none if it is folded.
    pub fn gain(&self, norm: TensorSpec) -> Option<&'m [f32]> {
        let head = norm.kind == TensorKind::FinalNorm && self.model.config().config.tied;
        if self.fold_gains && !head {
            return None;
        }
        self.model.params().get(&super::parts::tensor_name(norm))
    }

    /// What of a norm the matrices behind it take over: its shift, and its gain if that is folded.
    pub fn parts(&self, norm: TensorSpec) -> (Option<&'m [f32]>, Option<&'m [f32]>) {
        let name = super::parts::tensor_name(norm);
        let params = self.model.params();
        let folded = if self.gain(norm).is_none() { params.get(&name) } else { None };
        (params.get(&name.replace(".weight", ".bias")), folded)
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

/// The norm whose result a matrix reads.
fn norm_before(kind: TensorKind) -> Option<TensorKind> {
    match kind {
        TensorKind::Wq | TensorKind::Wk | TensorKind::Wv => Some(TensorKind::AttentionNorm),
        TensorKind::W1 | TensorKind::W3 => Some(TensorKind::MlpNorm),
        TensorKind::Head => Some(TensorKind::FinalNorm),
        _ => None,
    }
}
