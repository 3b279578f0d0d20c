//! One training step after the other, without files and without a terminal.

use super::average::Average;
use super::config::{Budget, TrainConfig};
use super::distill::{self, Teacher};
use super::samples::{Samples, counted};
use super::turns::{Sum, sum_in_turns};
use crate::checkpoint::State;
use crate::glob;
use crate::lora::Adapters;
use crate::model::Model;
use crate::nn::batch_norm;
use crate::nn::graph::{Given, Memory, Network, Training};
use crate::nn::random::Random;
use crate::optimizer::{Optimizer, Rule, Settings, clip_norm, rules};
use crate::schedule::Schedule;
use anyhow::{Result, ensure};
use std::time::Instant;

/// Keep the random choices of a step apart from each other.
const BATCH_STREAM: u64 = 0xba7c;
const DROPOUT_STREAM: u64 = 0xd409;

/// Says what of `[finetune]` does not suit a model.
pub fn check_finetune(config: &TrainConfig, model: &Model) -> Result<()> {
    what_learns(config, model).map(drop)
}

/// The adapters, if there are any, and the rules for them or for the parameters.
fn what_learns(config: &TrainConfig, model: &Model) -> Result<(Option<Adapters>, Vec<Rule>)> {
    let (t, finetune, params) = (&config.training, &config.finetune, model.params());
    let new = |lora| Adapters::new(lora, params.tensors(), params.values.clone(), t.seed);
    let adapters = finetune.lora.as_ref().map(new).transpose()?;
    let tensors = adapters.as_ref().map_or(params.tensors().to_vec(), Adapters::tensors);
    let rules = rules(&tensors, config.model.config.n_layers, t.optimizer, finetune)?;
    Ok((adapters, rules))
}

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
    /// What learns in the place of the model's parameters, which follow.
    adapters: Option<Adapters>,
    average: Option<Average>,
    optimizer: Optimizer,
    network: Network<Training, f32>,
    teacher: Option<Teacher>,
    /// The parameters as networks read them, where they are rounded.
    rounded: Vec<f32>,
    workers: Vec<(Memories, Sum)>,
    total: Sum,
    step: u64,
    seconds_before: f64,
    started: Instant,
}

/// A thread's memory for the network, and for the teacher.
type Memories = (Memory<f32>, Option<Memory<f32>>);

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
        let model = Model::init(config.model, config.training.seed)?;
        Self::from(config, model)
    }

    /// A new run that begins with a model, whose shape must be the configuration's.
    pub fn from(config: TrainConfig, model: Model) -> Result<Self> {
        config.validate()?;
        ensure!(*model.config() == config.model, "[model]: found another shape than the model's");
        let model = model.with_quantization(config.quantization.clone());
        let teacher = config.distillation.as_ref().map(|d| Teacher::read(&d.teacher, &config)).transpose()?;
        let len = model.params().values.len();
        let (adapters, rules) = what_learns(&config, &model)?;
        let t = &config.training;
        let settings =
            Settings { beta1: t.beta1, beta2: t.beta2, momentum: t.momentum, weight_decay: t.weight_decay };
        let learns = adapters.as_ref().map_or(len, |adapters| adapters.values.len());
        let threads = t.threads.clamp(1, t.batch * t.accumulate);
        let network = distill::network(&config);
        let memories = || (Memory::new(&network), teacher.as_ref().map(Teacher::memory));
        Ok(Self {
            budget: config.budget()?,
            schedule: Schedule {
                peak: t.learning_rate,
                last: t.learning_rate * t.final_rate,
                warmup: t.warmup,
                decay: t.schedule,
                cooldown: t.cooldown,
            },
            optimizer: Optimizer::new(learns, settings, rules),
            average: (t.ema > 0.0).then(|| Average::new(&model, t.ema)),
            adapters,
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
        let (found, wanted) = (state.optimizer.as_str(), self.config.training.optimizer.name());
        ensure!(
            found == wanted,
            "optimizer: found {found} in the state, wanted {wanted} as in the configuration"
        );
        let (found, wanted) = (state.params.len(), self.model.params().values.len());
        ensure!(found == wanted, "parameters: found {found}, wanted {wanted}");
        let found = state.adapters.as_ref().map_or(0, Vec::len);
        let wanted = self.adapters.as_ref().map_or(0, |adapters| adapters.values.len());
        ensure!(found == wanted, "lora: found adapters of {found} values in the state, wanted {wanted}");
        match (&mut self.adapters, state.adapters) {
            (Some(adapters), Some(values)) => {
                (adapters.base, adapters.values) = (state.params, values);
                adapters.merge(&mut self.model.params_mut().values);
            }
            _ => self.model.params_mut().values = state.params,
        }
        self.optimizer.m = state.m;
        self.optimizer.v = state.v;
        if let Some(average) = &mut self.average {
            // A state of before there was one: it begins here.
            average.restore(state.average.unwrap_or_else(|| self.model.params().values.clone()));
        }
        self.step = state.step;
        self.seconds_before = state.seconds;
        self.started = Instant::now();
        Ok(())
    }

    /// All that [`restore`](Self::restore) needs.
    pub fn state(&self, best_loss: f64, stale: u64) -> State {
        let adapters = self.adapters.as_ref();
        let params = adapters.map_or(&self.model.params().values, |adapters| &adapters.base);
        State {
            step: self.step,
            seed: self.config.training.seed,
            seconds: self.seconds(),
            best_loss,
            stale,
            optimizer: self.config.training.optimizer.name().to_owned(),
            params: params.clone(),
            adapters: adapters.map(|adapters| adapters.values.clone()),
            m: self.optimizer.m.clone(),
            v: self.optimizer.v.clone(),
            average: self.average().map(|model| model.params().values.clone()),
        }
    }

    /// The model as it is.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The average of the model over the steps, if the configuration wants one.
    pub fn average(&self) -> Option<&Model> {
        self.average.as_ref().map(Average::model)
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

    /// Tokens that a step reads.
    pub fn tokens_per_step(&self) -> usize {
        self.config.training.batch * self.config.training.accumulate * self.config.sequence()
    }

    /// Draws a batch from a stream of more than `seq_len` tokens, all of the vocabulary, and takes
    /// one step along its gradient.
    pub fn advance(&mut self, tokens: &[u16]) -> Result<StepReport> {
        self.learn(Samples::Text(tokens))
    }

    /// Draws a batch of samples, which must suit the configuration, and takes one step along its gradient.
    pub fn learn(&mut self, samples: Samples<'_>) -> Result<StepReport> {
        let t = &self.config.training;
        let (batch, len) = (t.batch * t.accumulate, self.config.sequence());
        let mut random = Random::keyed(&[t.seed, BATCH_STREAM, self.step]);
        let count = samples.count(len);
        let drawn: Vec<_> = (0..batch).map(|_| samples.get(random.below(count), len)).collect();

        // A batch without a target that counts teaches nothing.
        let targets = drawn.iter().map(|(_, targets)| counted(targets)).sum::<usize>().max(1);
        let scale = 1.0 / targets as f32;
        let params = match &self.config.quantization {
            None => &self.model.params().values,
            Some(quantization) => {
                quantization.round(&self.config.model.config, self.model.params(), &mut self.rounded);
                &self.rounded
            }
        };
        let (network, teacher, step) = (&self.network, &self.teacher, self.step);
        sum_in_turns(&mut self.workers, batch, &mut self.total, |i, (memory, asked), sum| {
            let key = Random::keyed(&[t.seed, DROPOUT_STREAM, step, i as u64]).next_u64();
            let (tokens, targets) = drawn[i];
            let values = match (teacher, asked) {
                (Some(teacher), Some(memory)) => teacher.logits(tokens, memory),
                _ => &[],
            };
            let given = Given { tokens, targets, values, scale, key };
            sum.loss += network.forward(params, &given, memory);
            network.backward(params, &given, memory, &mut sum.grad);
        });

        let loss = self.total.loss / targets as f64;
        ensure!(
            loss.is_finite(),
            "step {}: found a loss of {loss}, wanted a number; a lower learning_rate may help",
            self.step
        );
        let params = &mut self.model.params_mut().values;
        let freeze = &self.config.finetune.freeze;
        let moves = |name: &str| !freeze.iter().any(|pattern| glob::matches(pattern, name));
        batch_norm::follow(&self.network, params, &mut self.total.grad, batch, batch_norm::MOMENTUM, moves);
        let seconds = self.seconds();
        let grad = match &mut self.adapters {
            Some(adapters) => {
                adapters.follow(&self.total.grad);
                &mut adapters.grad
            }
            None => &mut self.total.grad,
        };
        self.optimizer.mask(grad);
        let grad_norm = clip_norm(grad, t.clip);
        // A budget of steps counts this one, so that the first is not lost to a rate of zero.
        let fraction = self.budget.fraction(self.step + 1, seconds);
        let rate = self.schedule.rate(fraction as f32);
        self.step += 1;
        let params = &mut self.model.params_mut().values;
        match &mut self.adapters {
            Some(adapters) => {
                self.optimizer.update(&mut adapters.values, &adapters.grad, rate, self.step);
                adapters.merge(params);
            }
            None => self.optimizer.update(params, &self.total.grad, rate, self.step),
        }
        if let Some(average) = &mut self.average {
            average.follow(params, self.step);
        }
        Ok(StepReport { loss, rate, grad_norm })
    }
}
