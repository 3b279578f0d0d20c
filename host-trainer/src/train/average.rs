//! An exponential moving average of the parameters over the steps.

use crate::model::Model;

/// The average, as a model of its own.
#[derive(Debug, Clone)]
pub struct Average {
    model: Model,
    decay: f32,
}

impl Average {
    /// Starts as the model is.
    pub fn new(model: &Model, decay: f32) -> Self {
        Self { model: model.clone(), decay }
    }

    /// Goes towards the parameters as they are after step number `step`. The first steps go further, so that the start
    /// is soon forgotten.
    pub fn follow(&mut self, params: &[f32], step: u64) {
        let keep = self.decay.min((1 + step) as f32 / (10 + step) as f32);
        for (average, &value) in self.model.params_mut().values.iter_mut().zip(params) {
            *average += (1.0 - keep) * (value - *average);
        }
    }

    /// The average.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Takes the parameters of a state.
    pub fn restore(&mut self, params: Vec<f32>) {
        self.model.params_mut().values = params;
    }
}
