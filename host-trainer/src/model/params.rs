//! All parameters of a model in one vector, with the name and shape of each tensor.

use super::{ModelConfig, decoder};
use crate::nn::graph::{Recorder, Tensor};
use crate::nn::random::Random;

/// The parameters of a model.
#[derive(Debug, Clone)]
pub struct Params {
    /// Every tensor, row-major, in the order of [`tensors`](Self::tensors).
    pub values: Vec<f32>,
    tensors: Vec<Tensor>,
}

/// The number of values in tensors that lie behind one another.
pub fn len(tensors: &[Tensor]) -> usize {
    tensors.last().map_or(0, |tensor| tensor.range.end)
}

/// Keeps the initial parameters' random streams apart from any other of the same seed.
const INIT_STREAM: u64 = 0x1a17;

impl Params {
    /// Parameters of a valid config, all zero.
    pub fn zeros(config: &ModelConfig) -> Self {
        let tensors = Self::tensors_of(config);
        Self { values: vec![0.0; len(&tensors)], tensors }
    }

    /// The tensors that a valid config asks for, in their order in memory.
    pub fn tensors_of(config: &ModelConfig) -> Vec<Tensor> {
        let mut net = Recorder::<_, f32>::new(1, 1);
        let logits = decoder(&mut net, config, 0.0);
        net.finish(logits).tensors().to_vec()
    }

    /// GPT-2's initialisation, carried to any width: matrices are normal with a deviation of 0.02
    /// at 768 columns and in inverse proportion to the root of the columns, those that write to
    /// the residual stream (`wo`, `w2`) divided by the root of their number; gains and
    /// variances are one, biases and means zero. A flat 0.02, as in llama2.c, starts a narrow model too weak: stories260K's shape
    /// reaches 1.31 nats per byte instead of 1.49 after 1.2 million bytes of TinyStories.
    pub fn init(config: &ModelConfig, seed: u64) -> Self {
        let mut params = Self::zeros(config);
        let branches = (2 * config.config.n_layers) as f32;
        for (index, tensor) in params.tensors.iter().enumerate() {
            let values = &mut params.values[tensor.range.clone()];
            if tensor.is_matrix() {
                let residual = [".wo.weight", ".w2.weight"].iter().any(|end| tensor.name.ends_with(end));
                let deviation = 0.02 * (768.0 / tensor.shape[1] as f32).sqrt();
                let deviation = deviation / if residual { branches.sqrt() } else { 1.0 };
                let mut random = Random::keyed(&[seed, INIT_STREAM, index as u64]);
                values.fill_with(|| random.normal() * deviation);
            } else if tensor.name.ends_with(".weight") || tensor.name.ends_with(".running_var") {
                values.fill(1.0);
            }
        }
        params
    }

    /// The tensors in their order in memory.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The values of a tensor.
    pub fn get(&self, name: &str) -> Option<&[f32]> {
        let tensor = self.tensors.iter().find(|tensor| tensor.name == name)?;
        Some(&self.values[tensor.range.clone()])
    }

    /// The values of a tensor, to change them.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut [f32]> {
        let tensor = self.tensors.iter().find(|tensor| tensor.name == name)?;
        Some(&mut self.values[tensor.range.clone()])
    }
}
