//! What a sweep file asks for: a grid, or points at random.

use crate::nn::random::Random;
use crate::train::TrainConfig;
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Keeps the points of a random search apart from any other stream of the same seed.
const POINT_STREAM: u64 = 0x5eeb;
const MAX_POINTS: usize = 10_000;

/// The runs of a sweep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Each run; those of one point that differ in the seed stand together.
    pub points: Vec<Point>,
}

/// A run of a sweep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Its name, which is that of its files.
    pub name: String,
    /// The seed of everything random in it.
    pub seed: u64,
    /// What it has of its own, such as `training.learning_rate`.
    pub values: BTreeMap<String, Value>,
    /// All that it is told.
    #[serde(skip)]
    pub config: TrainConfig,
}

/// A sweep file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// What the runs share: a file as of `train --config`, its path relative to the sweep file.
    config: Option<PathBuf>,
    /// Each point is run once with each [default: the configuration's].
    #[serde(default)]
    seeds: Vec<u64>,
    /// Points to draw at random; without it, the whole grid.
    points: Option<usize>,
    /// Seed of the points that are drawn.
    #[serde(default)]
    seed: u64,
    /// By table and setting: a list of values or, where points are drawn, `{ low, high, log }`.
    vary: BTreeMap<String, BTreeMap<String, Value>>,
}

/// The values of a setting.
enum Axis {
    List(Vec<Value>),
    Whole { low: i64, high: i64, log: bool },
    Real { low: f64, high: f64, log: bool },
}

impl Plan {
    /// Reads a sweep file and checks the configuration of each run.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let file: File = toml::from_str(&text).map_err(|error| {
            let line = text[..error.span().map_or(0, |span| span.start)].matches('\n').count() + 1;
            anyhow::anyhow!("{}, line {line}: {}", path.display(), error.message().replace('\n', ", "))
        })?;
        let base = match &file.config {
            Some(config) => TrainConfig::read(&path.parent().unwrap_or(Path::new(".")).join(config))?,
            None => TrainConfig::default(),
        };
        Self::new(file, &base).with_context(|| path.display().to_string())
    }

    fn new(file: File, base: &TrainConfig) -> Result<Self> {
        let axes = axes(&file)?;
        let all = match file.points {
            Some(points) => {
                ensure!(
                    (1..=MAX_POINTS).contains(&points),
                    "points: found {points}, wanted 1 to {MAX_POINTS}"
                );
                (0..points).map(|point| draw(&axes, file.seed, point)).collect()
            }
            None => grid(&axes)?,
        };
        let seeds = if file.seeds.is_empty() { vec![base.training.seed] } else { file.seeds };
        for (i, seed) in seeds.iter().enumerate() {
            ensure!(!seeds[..i].contains(seed), "seeds: found {seed} twice");
        }
        let digits = (all.len() - 1).to_string().len();
        let mut points = Vec::new();
        for (i, values) in all.into_iter().enumerate() {
            for &seed in &seeds {
                let name = match seeds.len() {
                    1 => format!("{i:0digits$}"),
                    _ => format!("{i:0digits$}-seed{seed}"),
                };
                let config = configure(base, &values, seed)
                    .with_context(|| format!("run {name} ({})", show(&values)))?;
                points.push(Point { name, seed, values: values.clone(), config });
            }
        }
        Ok(Self { points })
    }
}

/// Settings and their values, such as `dim 64, learning_rate 0.004`.
pub(super) fn show(values: &BTreeMap<String, Value>) -> String {
    let one = |(key, value): (&String, &Value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
        format!("{} {text}", key.rsplit('.').next().unwrap_or_default())
    };
    values.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn axes(file: &File) -> Result<BTreeMap<String, Axis>> {
    let mut axes = BTreeMap::new();
    for (table, settings) in &file.vary {
        for (setting, values) in settings {
            let key = format!("{table}.{setting}");
            ensure!(key != "training.seed", "vary.{key}: found a list, wanted it as `seeds` of the sweep");
            let axis = axis(values, file.points.is_some()).with_context(|| format!("vary.{key}"))?;
            axes.insert(key, axis);
        }
    }
    ensure!(!axes.is_empty(), "vary: found no setting, wanted one");
    Ok(axes)
}

fn axis(values: &Value, at_random: bool) -> Result<Axis> {
    match values {
        Value::Array(list) if !list.is_empty() => Ok(Axis::List(list.clone())),
        Value::Table(range) if at_random => {
            let known = ["low", "high", "log"];
            if let Some(key) = range.keys().find(|key| !known.contains(&key.as_str())) {
                bail!("found {key}, wanted low, high and perhaps log");
            }
            let log = match range.get("log") {
                None => false,
                Some(value) => value.as_bool().context("log: wanted true or false")?,
            };
            let (low, high) =
                (range.get("low").context("found no low")?, range.get("high").context("found no high")?);
            let real = |value: &Value| value.as_float().or(value.as_integer().map(|v| v as f64));
            let (Some(from), Some(to)) = (real(low), real(high)) else {
                bail!("low and high: wanted numbers")
            };
            ensure!(from < to && to.is_finite(), "found {from} to {to}, wanted low below high");
            ensure!(!log || from > 0.0, "low: found {from}, wanted more than 0 where log = true");
            Ok(match (low.as_integer(), high.as_integer()) {
                (Some(low), Some(high)) => Axis::Whole { low, high, log },
                _ => Axis::Real { low: from, high: to, log },
            })
        }
        Value::Table(_) => {
            bail!("found a range, wanted a list, or `points` of the sweep to draw from the range")
        }
        _ => bail!("found {values}, wanted a list of values or {{ low, high }}"),
    }
}

/// Every combination; the last setting changes fastest.
fn grid(axes: &BTreeMap<String, Axis>) -> Result<Vec<BTreeMap<String, Value>>> {
    let mut points = vec![BTreeMap::new()];
    for (key, axis) in axes {
        let Axis::List(list) = axis else { bail!("vary.{key}: found a range, wanted a list") };
        let wanted = points.len() * list.len();
        ensure!(
            wanted <= MAX_POINTS,
            "the grid: found {wanted} points and more, wanted at most {MAX_POINTS}"
        );
        let extended = |point: &BTreeMap<String, Value>, value: &Value| {
            let mut point = point.clone();
            point.insert(key.clone(), value.clone());
            point
        };
        points =
            points.iter().flat_map(|point| list.iter().map(move |value| extended(point, value))).collect();
    }
    Ok(points)
}

/// A point of a random search, which does not depend on how many there are.
fn draw(axes: &BTreeMap<String, Axis>, seed: u64, point: usize) -> BTreeMap<String, Value> {
    let one = |(i, (key, axis)): (usize, (&String, &Axis))| {
        let mut random = Random::keyed(&[seed, POINT_STREAM, point as u64, i as u64]);
        let mut between = |low: f64, high: f64, log: bool| {
            let share = f64::from(random.uniform());
            if log { low * (high / low).powf(share) } else { low + (high - low) * share }
        };
        let value = match axis {
            Axis::List(list) => list[random.below(list.len())].clone(),
            Axis::Whole { low, high, log } => {
                Value::Integer((between(*low as f64, *high as f64 + 1.0, *log) as i64).min(*high))
            }
            // Four digits are enough for a person to compare.
            Axis::Real { low, high, log } => {
                let value = between(*low, *high, *log);
                Value::Float(format!("{value:.3e}").parse().unwrap_or(value))
            }
        };
        (key.clone(), value)
    };
    axes.iter().enumerate().map(one).collect()
}

/// The configuration of a run.
fn configure(base: &TrainConfig, values: &BTreeMap<String, Value>, seed: u64) -> Result<TrainConfig> {
    let mut all = Table::try_from(base)?;
    for (key, value) in values {
        let (table, setting) = key.split_once('.').context("a key without a table")?;
        let table = all.entry(table).or_insert_with(|| Value::Table(Table::new()));
        table
            .as_table_mut()
            .context("found a value, wanted a table")?
            .insert(setting.to_owned(), value.clone());
    }
    let mut config: TrainConfig = all
        .try_into()
        .map_err(|error: toml::de::Error| anyhow::anyhow!("{}", error.message().replace('\n', ", ")))?;
    config.training.seed = seed;
    for corpus in &mut config.data.corpus {
        *corpus = std::path::absolute(&corpus)?;
    }
    config.validate()?;
    config.model.config.check().context("no model file can hold this shape")?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str) -> Result<Plan> {
        let mut base = TrainConfig::default();
        base.training.steps = Some(9);
        Plan::new(toml::from_str(text)?, &base)
    }

    #[test]
    fn a_grid_has_every_combination_and_seed() {
        let plan = plan(
            "seeds = [1, 2]\n[vary.model]\ndim = [32, 64]\n[vary.training]\nlearning_rate = [0.01, 0.001, 0.002]\n",
        )
        .unwrap();
        assert_eq!(plan.points.len(), 12);
        let point = &plan.points[3];
        assert_eq!((point.name.as_str(), point.seed), ("1-seed2", 2));
        assert_eq!((point.config.model.config.dim, point.config.training.learning_rate), (32, 0.001));
        assert_eq!((point.config.training.seed, point.config.training.steps), (2, Some(9)));
        assert_eq!(show(&point.values), "dim 32, learning_rate 0.001");
    }

    #[test]
    fn random_points_stay_in_range_and_do_not_depend_on_their_number() {
        let text = "[vary.model]\nn_layers = { low = 1, high = 3 }\n[vary.training]\n\
                    learning_rate = { low = 1e-4, high = 1e-2, log = true }\nbatch = [2, 4]\n";
        let many = plan(&format!("points = 200\nseed = 5\n{text}")).unwrap().points;
        let few = plan(&format!("points = 3\nseed = 5\n{text}")).unwrap().points;
        for (few, many) in few.iter().zip(&many) {
            assert_eq!(few.values, many.values);
        }
        let rates: Vec<f32> = many.iter().map(|point| point.config.training.learning_rate).collect();
        assert!(rates.iter().all(|rate| (1e-4..=1e-2).contains(rate)));
        // Half of them below the middle of the logarithms.
        assert!((70..130).contains(&rates.iter().filter(|rate| **rate < 1e-3).count()));
        for layers in 1..=3 {
            assert!(many.iter().filter(|point| point.config.model.config.n_layers == layers).count() > 40);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, message) in [
            (
                "[vary.model]\ndim = [30, 31]\n",
                "run 0 (dim 30): dim: found 30, wanted a multiple of n_heads (8)",
            ),
            ("[vary.model]\ndims = [8]\n", "unknown field `dims`"),
            ("[vary.training]\nseed = [8]\n", "vary.training.seed: found a list, wanted it as `seeds`"),
            ("[vary.training]\nclip = { low = 1.0, high = 2.0 }\n", "vary.training.clip: found a range"),
            (
                "points = 1\n[vary.training]\nclip = { low = 2.0, high = 1.0 }\n",
                "found 2 to 1, wanted low below high",
            ),
            ("points = 1\n[vary.training]\nclip = { low = 1.0, hihg = 2.0 }\n", "found hihg, wanted low"),
            ("points = 0\n[vary.model]\ndim = [8]\n", "points: found 0"),
            ("seeds = [3, 3]\n[vary.model]\ndim = [8]\n", "seeds: found 3 twice"),
            ("[vary]\n", "vary: found no setting"),
            ("[vary.model]\ndim = 8\n", "vary.model.dim: found 8, wanted a list"),
        ] {
            let error = format!("{:#}", plan(text).unwrap_err());
            assert!(error.contains(message), "{error}");
        }
    }
}
