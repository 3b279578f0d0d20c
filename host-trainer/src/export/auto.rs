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

    /// Products per token, to which the instructions that 16 bits take more are in proportion.
    fn products(self, config: &Config) -> usize {
        let own = config.tensors().filter(|spec| Self::of(spec.kind) == Some(self));
        own.map(|spec| spec.rows * spec.cols).sum()
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
    /// The divergence with one group alone at 16 bits, and its share of the products.
    alone: Vec<(Group, f64, f64)>,
}

/// Chooses by what the runtime makes of a text. `file` writes the model with the given groups at 16 bits.
///
/// From 8 bits everywhere, 16 go to the group that gains the most for its products, over and over until the
/// divergence is within its limit; what has turned out unnecessary by then is taken back.
pub fn choose(
    config: &Config,
    measure: &Measure<'_>,
    file: &dyn Fn(&[Group]) -> Result<Vec<u8>>,
) -> Result<Widths> {
    let all_products: usize = Group::ALL.iter().map(|group| group.products(config)).sum();
    let kl = |wide: &[Group]| -> Result<f64> { Ok(measure.file(&file(wide)?)?.kl) };
    let all_wide = kl(&Group::ALL)?;
    let limit = (RATIO * all_wide).max(all_wide + NOTHING);
    let all_narrow = kl(&[])?;
    let (mut wide, mut chosen, mut alone) = (Vec::new(), all_narrow, Vec::new());
    while (chosen > limit || alone.is_empty()) && wide.len() < Group::ALL.len() {
        let mut found = Vec::new();
        for group in Group::ALL.into_iter().filter(|group| !wide.contains(group)) {
            let kl = kl(&[&wide[..], &[group]].concat())?;
            found.push((group, kl, group.products(config) as f64 / all_products as f64));
        }
        if alone.is_empty() {
            alone.clone_from(&found);
        }
        let gain = |&(_, kl, share): &(Group, f64, f64)| (chosen - kl) / share;
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
        for (group, kl, share) in &self.alone {
            let name = format!("  16 for {}", group.name());
            writeln!(f, "  {name:<22}{kl:.6}  ({:.0} % of the products)", 100.0 * share)?;
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
