//! Hidden units of an MLP that are 0 together become neighbours.
//!
//! After a ReLU, kernels pass over groups of four columns of `W2` whose inputs are all 0. The order of the hidden units is
//! free: rows of `W1` and `W3` and columns of `W2` move together, and nothing else knows of it. So the units are
//! grouped by the tokens of a text for which they are not 0 (docs/decisions/012).

use super::calibrate::windows;
use crate::model::Model;
use anyhow::Result;
use std::fmt;

/// Columns that kernels pass over together.
const GROUP: usize = 4;
/// Of a vector's largest element, what becomes 0 when it is rounded to 8 bits.
const ZERO: f32 = 1.0 / 254.0;
/// Passes over all pairs of units; each that goes on has found better groups.
const PASSES: usize = 10;

/// How much of the hidden vectors is 0, as parts of one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Zeros {
    /// Elements.
    pub elements: f64,
    /// Groups of four, in the order of training.
    pub before: f64,
    /// Groups of four, in the new order.
    pub after: f64,
}

impl fmt::Display for Zeros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [elements, before, after] = [self.elements, self.before, self.after].map(|share| 100.0 * share);
        write!(
            f,
            "hidden units: {elements:.1} % are 0; of groups of four {before:.1} %, in a new order {after:.1} %"
        )
    }
}

/// Orders the hidden units of every block by a text.
pub fn group(model: &mut Model, text: &[u16]) -> Result<Zeros> {
    let layers = model.config().config.n_layers;
    let [mut elements, mut before, mut after, mut groups] = [0; 4];
    for layer in 0..layers {
        let units = observe(model, text, layer)?;
        let order = order(&units);
        let reordered: Vec<Set> = order.iter().map(|&unit| units[unit].clone()).collect();
        elements += units.iter().map(Set::len).sum::<usize>();
        before += cost(&units);
        after += cost(&reordered);
        groups += units.len().div_ceil(GROUP);
        apply(model, layer, &order);
    }
    let units = layers * model.config().config.hidden_dim;
    let share = |active: usize, of: usize| 1.0 - active as f64 / (of * text.len()).max(1) as f64;
    Ok(Zeros { elements: share(elements, units), before: share(before, groups), after: share(after, groups) })
}

/// The tokens of a text for which a unit, or one of some units, is not 0.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Set(Vec<u64>);

impl Set {
    fn new(tokens: usize) -> Self {
        Self(vec![0; tokens.div_ceil(64)])
    }

    fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    fn insert(&mut self, token: usize) {
        self.0[token / 64] |= 1 << (token % 64);
    }

    fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word |= other);
    }

    /// The size of both together.
    fn len_with(&self, other: &Self) -> usize {
        self.0.iter().zip(&other.0).map(|(a, b)| (a | b).count_ones() as usize).sum()
    }
}

/// The sum of the groups' tokens: how many groups are multiplied by.
fn cost(units: &[Set]) -> usize {
    units.chunks(GROUP).map(|group| union(group.iter()).len()).sum()
}

fn union<'s>(mut units: impl Iterator<Item = &'s Set>) -> Set {
    let mut all = units.next().map_or_else(|| Set::new(0), Set::clone);
    units.for_each(|unit| all.add(unit));
    all
}

/// The tokens of each unit of a block.
fn observe(model: &Model, text: &[u16], layer: usize) -> Result<Vec<Set>> {
    let hidden_dim = model.config().config.hidden_dim;
    let mut units = vec![Set::new(text.len()); hidden_dim];
    let place = format!("layers.{layer}.feed_forward.hidden");
    let mut token = 0;
    for window in windows(model, text) {
        model.forward_observed(window, &mut |site, values| {
            if site == place {
                for row in values.chunks(hidden_dim) {
                    let largest = row.iter().fold(0f32, |m, v| m.max(v.abs()));
                    for (unit, v) in units.iter_mut().zip(row) {
                        if v.abs() > ZERO * largest {
                            unit.insert(token);
                        }
                    }
                    token += 1;
                }
            }
        })?;
    }
    Ok(units)
}

/// An order of the units in which groups have few tokens: the rarest unit left takes those with it that add the least, and
/// then units change places as long as that helps.
fn order(units: &[Set]) -> Vec<usize> {
    let mut left: Vec<usize> = (0..units.len()).collect();
    left.sort_by_key(|&unit| units[unit].len());
    let mut order = Vec::new();
    while !left.is_empty() {
        let mut all = units[left[0]].clone();
        order.push(left.remove(0));
        for _ in 1..GROUP {
            let Some(next) = (0..left.len()).min_by_key(|&i| all.len_with(&units[left[i]])) else {
                break;
            };
            all.add(&units[left[next]]);
            order.push(left.remove(next));
        }
    }
    let mut best = cost_of(units, &order);
    for _ in 0..PASSES {
        exchange(units, &mut order);
        let found = cost_of(units, &order);
        if found == best {
            break;
        }
        best = found;
    }
    order
}

fn cost_of(units: &[Set], order: &[usize]) -> usize {
    order.chunks(GROUP).map(|group| union(group.iter().map(|&unit| &units[unit])).len()).sum()
}

/// Exchanges units of two groups wherever that makes them smaller.
fn exchange(units: &[Set], order: &mut [usize]) {
    // What a group has without the unit at a place.
    let others = |order: &[usize], place: usize| {
        let start = place / GROUP * GROUP;
        let places = (start..(start + GROUP).min(order.len())).filter(|&other| other != place);
        let mut set = Set::new(64 * units[0].0.len());
        places.for_each(|other| set.add(&units[order[other]]));
        set
    };
    let mut without: Vec<Set> = (0..order.len()).map(|place| others(order, place)).collect();
    for a in 0..order.len() {
        for b in a / GROUP * GROUP + GROUP..order.len() {
            let (x, y) = (&units[order[a]], &units[order[b]]);
            let now = without[a].len_with(x) + without[b].len_with(y);
            if without[a].len_with(y) + without[b].len_with(x) < now {
                order.swap(a, b);
                for start in [a / GROUP * GROUP, b / GROUP * GROUP] {
                    for (place, set) in without.iter_mut().enumerate().skip(start).take(GROUP) {
                        *set = others(order, place);
                    }
                }
            }
        }
    }
}

/// Puts the hidden units of a block into an order.
fn apply(model: &mut Model, layer: usize, order: &[usize]) {
    let dim = model.config().config.dim;
    let params = model.params_mut();
    for (matrix, part, cols) in
        [("w1", "weight", dim), ("w1", "bias", 1), ("w3", "weight", dim), ("w3", "bias", 1)]
    {
        if let Some(values) = params.get_mut(&format!("layers.{layer}.feed_forward.{matrix}.{part}")) {
            let old = values.to_vec();
            for (row, &unit) in values.chunks_mut(cols).zip(order) {
                row.copy_from_slice(&old[unit * cols..][..cols]);
            }
        }
    }
    if let Some(values) = params.get_mut(&format!("layers.{layer}.feed_forward.w2.weight")) {
        for row in values.chunks_mut(order.len()) {
            let old = row.to_vec();
            row.iter_mut().zip(order).for_each(|(w, &unit)| *w = old[unit]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::calibrate::write_text;

    #[test]
    fn units_that_belong_together_are_found() {
        // Unit i is not 0 for the tokens of its family i % 3, and three units never are.
        let units: Vec<Set> = (0..15)
            .map(|unit| {
                let mut set = Set::new(300);
                (0..300).filter(|t| unit < 12 && t % 3 == unit % 3).for_each(|t| set.insert(t));
                set
            })
            .collect();
        assert_eq!(cost(&units), 4 * 300 - 300, "every group but the last meets every token");
        let mut order = order(&units);
        assert_eq!(cost_of(&units, &order), 300 + 100, "three whole families, and one that is split");
        order.sort_unstable();
        assert_eq!(order, (0..15).collect::<Vec<_>>());
    }

    #[test]
    fn the_model_stays_what_it_is() {
        let shape = "dim = 16\nhidden_dim = 38\nn_layers = 2\nn_heads = 4\nn_kv_heads = 2\nvocab_size = 40\n\
            seq_len = 32\n";
        for more in [
            "activation = 'relu'\ngated = false\nbiases = true\n",
            "activation = 'relu_squared'\n",
            "activation = 'relu_squared'\nbiases = true\n",
        ] {
            let mut model = Model::init(toml::from_str(&format!("{shape}{more}")).unwrap(), 3).unwrap();
            let tensors = model.params().tensors().to_vec();
            for tensor in tensors.iter().filter(|tensor| !tensor.is_matrix()) {
                let values = model.params_mut().get_mut(&tensor.name).unwrap();
                values.iter_mut().enumerate().for_each(|(i, v)| *v += (i * 7 % 11) as f32 / 16.0);
            }
            let before = model.clone();
            let text = write_text(&model).unwrap();
            let zeros = group(&mut model, &text).unwrap();
            assert!(zeros.after > zeros.before && zeros.elements > 0.2, "{more:?}: {zeros}");
            assert_ne!(before.params().values, model.params().values);
            // Sums of the same products in another order.
            let logits = before.forward(&text).unwrap().into_iter().zip(model.forward(&text).unwrap());
            let worst = logits.fold(0f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(worst < 1e-5, "{more:?}: a logit changed by {worst}");
            for name in ["w1", "w2", "w3"] {
                let sorted = |model: &Model| {
                    let name = format!("layers.1.feed_forward.{name}.weight");
                    let mut values = model.params().get(&name).unwrap_or_default().to_vec();
                    values.sort_by(f32::total_cmp);
                    values
                };
                assert_eq!(sorted(&before), sorted(&model), "{more:?}: {name}");
            }
        }
    }
}
