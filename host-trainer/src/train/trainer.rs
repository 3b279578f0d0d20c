//! One training step after the other, without files and without a terminal.

use super::config::{Budget, TrainConfig};
use super::distill::{self, Teacher};
use super::turns::{Sum, sum_in_turns};
use crate::checkpoint::{self, State};
use crate::model::Model;
use crate::nn::batch_norm;
use crate::nn::graph::{Given, Memory, Network, Training};
use crate::nn::random::Random;
use crate::optimizer::{AdamW, clip_norm};
use crate::schedule::Schedule;
use anyhow::{Context, Result, ensure};
use std::time::Instant;

/// Keep the random choices of a step apart from each other.
const BATCH_STREAM: u64 = 0xba7c;
const DROPOUT_STREAM: u64 = 0xd409;

/// A run between two steps.
///
/// Threads take whole sequences, and their gradients are added in the order of the batch: the same configuration gives
/// the same weights, bit for bit, on any number of threads.
#[derive(Debug)]
pub struct Trainer {
    config: TrainConfig,
    budget: Budget,
    schedule: Schedule,
    model: Model,
    optimizer: AdamW,
    network: Network<Training, f32>,
    teacher: Option<Teacher>,
    /// The parameters as networks read them, where they are rounded.
    rounded: Vec<f32>,
    /// For each thread its memory, and that of the teacher.
    workers: Vec<((Memory<f32>, Option<Memory<f32>>), Sum)>,
    total: Sum,
    step: u64,
    seconds_before: f64,
    started: Instant,
}

/// What a step tells.
#[derive(Debug, Clone, Copy)]
pub struct StepReport {
    /// Mean loss of the batch in nats per token, before the step.
    pub loss: f64,
    /// Learning rate.
    pub rate: f32,
    /// Norm of the gradient before clipping.
    pub grad_norm: f32,
}

impl Trainer {
    /// A new run. Zero threads count as one here; [`train`](super::train) counts the cores.
    pub fn new(config: TrainConfig) -> Result<Self> {
        config.validate()?;
        let model = match &config.from {
            None => Model::init(config.model, config.training.seed)?,
            Some(path) => {
                let model = checkpoint::load(path)?.model;
                ensure!(*model.config() == config.model, "{}: found another shape than [model]", path.display());
                model
            }
        };
        let model = model.with_quantization(config.quantization);
        let teacher = config.distillation.as_ref().map(|d| -> Result<_> {
            Teacher::new(checkpoint::load(&d.teacher)?.model, &config)
                .with_context(|| d.teacher.display().to_string())
        });
        let teacher = teacher.transpose()?;
        let len = model.params().values.len();
        let t = &config.training;
        let threads = t.threads.clamp(1, t.batch);
        let network = distill::network(&config);
        let memories = || (Memory::new(&network), teacher.as_ref().map(Teacher::memory));
        Ok(Self {
            budget: config.budget()?,
            schedule: Schedule {
                peak: t.learning_rate,
                last: t.learning_rate * t.final_rate,
                warmup: t.warmup,
            },
            optimizer: AdamW::new(len, t.weight_decay),
            workers: (0..threads).map(|_| (memories(), Sum::zeros(len))).collect(),
            teacher,
            rounded: Vec::new(),
            total: Sum::zeros(len),
            network,
            model,
            config,
            step: 0,
            seconds_before: 0.0,
            started: Instant::now(),
        })
    }

    /// Goes on where a state was taken. The configuration may have another budget, but must have
    /// the same seed and shape.
    pub fn restore(&mut self, state: State) -> Result<()> {
        let seed = self.config.training.seed;
        ensure!(
            state.seed == seed,
            "seed: found {} in the state, wanted {seed} as in the configuration",
            state.seed
        );
        let (found, wanted) = (state.params.len(), self.optimizer.m.len());
        ensure!(found == wanted, "parameters: found {found}, wanted {wanted}");
        self.model.params_mut().values = state.params;
        self.optimizer.m = state.m;
        self.optimizer.v = state.v;
        self.step = state.step;
        self.seconds_before = state.seconds;
        self.started = Instant::now();
        Ok(())
    }

    /// All that [`restore`](Self::restore) needs.
    pub fn state(&self, best_loss: f64) -> State {
        State {
            step: self.step,
            seed: self.config.training.seed,
            seconds: self.seconds(),
            best_loss,
            params: self.model.params().values.clone(),
            m: self.optimizer.m.clone(),
            v: self.optimizer.v.clone(),
        }
    }

    /// The model as it is.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Steps done, those before an interruption included.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Seconds of training, those before an interruption included.
    pub fn seconds(&self) -> f64 {
        self.seconds_before + self.started.elapsed().as_secs_f64()
    }

    /// The fraction of the budget that is used.
    pub fn fraction(&self) -> f64 {
        self.budget.fraction(self.step, self.seconds())
    }

    /// Tokens that a step learns from.
    pub fn tokens_per_step(&self) -> usize {
        self.config.training.batch * self.config.model.config.seq_len
    }

    /// Draws a batch from a stream of more than `seq_len` tokens, all of the vocabulary, and takes
    /// one step along its gradient.
    pub fn advance(&mut self, tokens: &[u16]) -> Result<StepReport> {
        let t = &self.config.training;
        let (batch, seq_len) = (t.batch, self.config.model.config.seq_len);
        let mut random = Random::keyed(&[t.seed, BATCH_STREAM, self.step]);
        let starts: Vec<usize> = (0..batch).map(|_| random.below(tokens.len() - seq_len)).collect();

        let scale = 1.0 / (batch * seq_len) as f32;
        let params = match self.config.quantization {
            None => &self.model.params().values,
            Some(quantization) => {
                quantization.round(&self.config.model.config, self.model.params(), &mut self.rounded);
                &self.rounded
            }
        };
        let (network, teacher, step) = (&self.network, &self.teacher, self.step);
        sum_in_turns(&mut self.workers, batch, &mut self.total, |i, (memory, asked), sum| {
            let key = Random::keyed(&[t.seed, DROPOUT_STREAM, step, i as u64]).next_u64();
            let inputs = &tokens[starts[i]..][..seq_len];
            let targets = &tokens[starts[i] + 1..][..seq_len];
            let values = match (teacher, asked) {
                (Some(teacher), Some(memory)) => teacher.logits(inputs, memory),
                _ => &[],
            };
            let given = Given { tokens: inputs, targets, values, scale, key };
            sum.loss += network.forward(params, &given, memory);
            network.backward(params, &given, memory, &mut sum.grad);
        });

        let loss = self.total.loss / (batch * seq_len) as f64;
        ensure!(
            loss.is_finite(),
            "step {}: found a loss of {loss}, wanted a number; a lower learning_rate may help",
            self.step
        );
        let params = &mut self.model.params_mut().values;
        batch_norm::follow(&self.network, params, &mut self.total.grad, batch, batch_norm::MOMENTUM);
        let grad_norm = clip_norm(&mut self.total.grad, t.clip);
        // A budget of steps counts this one, so that the first is not lost to a rate of zero.
        let fraction = self.budget.fraction(self.step + 1, self.seconds());
        let rate = self.schedule.rate(fraction as f32);
        self.step += 1;
        self.optimizer.update(self.model.params_mut(), &self.total.grad, rate, self.step);
        Ok(StepReport { loss, rate, grad_norm })
    }
}
