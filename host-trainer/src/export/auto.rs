//! Which matrices read 16 bits: those where 8 would cost the most for the instructions that they save.

use super::measure::Measure;
use anyhow::Result;
use std::fmt::{Display, Formatter, Result as FmtResult};
use thumbformer::Config;
use thumbformer::format::{InputWidth, TensorKind};

/// The divergence from f32 may be this much larger than with 16 bits everywhere..
const RATIO: f64 = 3.0 / 2.0;
/// .. or this, in nats per token, which is a tenth of what int8 weights and keys cost a small model.
const NOTHING: f64 = 2e-4;

/// With 16 bits, so many products take an instruction more ..
const PRODUCTS_PER_INSTRUCTION: usize = 5;
/// .. and an input takes so many fewer, since it need not be rounded to 8.
const INSTRUCTIONS_PER_INPUT: usize = 6;

/// Matrices whose widths are chosen together, in all blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// `Wq`, `Wk` and `Wv`, which read one vector.
    Attention,
    /// `Wo`.
    Wo,
    /// `W1` and `W3`, which read one vector.
    Up,
    /// `W2`.
    W2,
    /// The head.
    Head,
}

impl Group {
    const ALL: [Self; 5] = [Self::Attention, Self::Wo, Self::Up, Self::W2, Self::Head];

    fn of(kind: TensorKind) -> Option<Self> {
        match kind {
            TensorKind::Wq | TensorKind::Wk | TensorKind::Wv => Some(Self::Attention),
            TensorKind::Wo => Some(Self::Wo),
            TensorKind::W1 | TensorKind::W3 => Some(Self::Up),
            TensorKind::W2 => Some(Self::W2),
            TensorKind::Head => Some(Self::Head),
            _ => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Attention => "Wq Wk Wv",
            Self::Wo => "Wo",
            Self::Up => "W1 W3",
            Self::W2 => "W2",
            Self::Head => "head",
        }
    }

    /// Instructions per token that 16 bits take more than 8, or 1 where they take none; about those of a Cortex-M4
    /// (decision 007).
    fn cost(self, config: &Config) -> usize {
        let own = || config.tensors().filter(move |spec| Self::of(spec.kind) == Some(self));
        let products: usize = own().map(|spec| spec.rows * spec.cols).sum();
        // One vector is rounded for all the matrices that read it.
        let reads = |kind| !matches!(kind, TensorKind::Wk | TensorKind::Wv | TensorKind::W3);
        let inputs: usize = own().filter(|spec| reads(spec.kind)).map(|spec| spec.cols).sum();
        (products / PRODUCTS_PER_INSTRUCTION).saturating_sub(inputs * INSTRUCTIONS_PER_INPUT).max(1)
    }
}

/// The width of a kind of matrix where `wide` groups have 16 bits.
pub fn width(wide: &[Group], kind: TensorKind) -> InputWidth {
    if Group::of(kind).is_none_or(|group| wide.contains(&group)) { InputWidth::A16 } else { InputWidth::A8 }
}

/// What was measured, and what was chosen.
#[derive(Debug, Clone)]
pub struct Widths {
    /// The groups that read 16 bits.
    pub wide: Vec<Group>,
    /// Tokens measured.
    tokens: usize,
    /// Mean divergences from f32 in nats per token: 16 bits everywhere, 8 bits everywhere, chosen.
    all_wide: f64,
    all_narrow: f64,
    chosen: f64,
    /// The divergence with one group alone at 16 bits, and the instructions that it takes more.
    alone: Vec<(Group, f64, usize)>,
}

/// Chooses by what the runtime makes of a text. `file` writes the model with the given groups at 16 bits.
///
/// From 8 bits everywhere, 16 go to the group that gains the most for its instructions, over and over until the
/// divergence is within its limit; what has turned out unnecessary by then is taken back.
pub fn choose(
    config: &Config,
    measure: &Measure<'_>,
    file: &dyn Fn(&[Group]) -> Result<Vec<u8>>,
) -> Result<Widths> {
    let kl = |wide: &[Group]| -> Result<f64> { Ok(measure.file(&file(wide)?)?.kl) };
    let all_wide = kl(&Group::ALL)?;
    let limit = (RATIO * all_wide).max(all_wide + NOTHING);
    let all_narrow = kl(&[])?;
    let (mut wide, mut chosen, mut alone) = (Vec::new(), all_narrow, Vec::new());
    while (chosen > limit || alone.is_empty()) && wide.len() < Group::ALL.len() {
        let mut found = Vec::new();
        for group in Group::ALL.into_iter().filter(|group| !wide.contains(group)) {
            let kl = kl(&[&wide[..], &[group]].concat())?;
            found.push((group, kl, group.cost(config)));
        }
        if alone.is_empty() {
            alone.clone_from(&found);
        }
        let gain = |&(_, kl, cost): &(Group, f64, usize)| (chosen - kl) / cost as f64;
        let best = found.iter().max_by(|a, b| gain(a).total_cmp(&gain(b)));
        if let Some(&(group, kl, _)) = best.filter(|_| chosen > limit) {
            wide.push(group);
            chosen = kl;
        }
    }
    for group in wide.clone() {
        let rest: Vec<Group> = wide.iter().copied().filter(|&g| g != group).collect();
        let kl = if rest.is_empty() { all_narrow } else { kl(&rest)? };
        if kl <= limit {
            (wide, chosen) = (rest, kl);
        }
    }
    Ok(Widths { wide, tokens: measure.tokens(), all_wide, all_narrow, chosen, alone })
}

impl Display for Widths {
    fn fmt(&self, f: &mut Formatter<'_>) -> FmtResult {
        writeln!(f, "activations: KL(f32 || integers) in nats per token, over {} tokens", self.tokens)?;
        writeln!(f, "  {:<22}{:.6}", "16 bits everywhere", self.all_wide)?;
        writeln!(f, "  {:<22}{:.6}", "8 bits everywhere", self.all_narrow)?;
        for (group, kl, cost) in &self.alone {
            let name = format!("  16 for {}", group.name());
            writeln!(f, "  {name:<22}{kl:.6}  (some {cost} instructions more)")?;
        }
        let wide: Vec<&str> = self.wide.iter().map(|group| group.name()).collect();
        let chosen = match wide.len() {
            0 => "8 bits everywhere".to_owned(),
            5 => "16 bits everywhere".to_owned(),
            _ => format!("16 bits for {}, 8 for the others", wide.join(", ")),
        };
        write!(f, "chosen: {chosen}, {:.6}", self.chosen)
    }
}
