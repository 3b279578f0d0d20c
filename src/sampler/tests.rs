use std::vec::Vec;

use proptest::prelude::*;

use super::*;

/// The rules of [`Sampler`] by sorting.
fn oracle(sampler: &mut Sampler, logits: Logits<'_>, history: &[Token]) -> Token {
    let mut scores: Vec<(u16, i32)> = logits.iter().map(|(t, v)| (t.0, v)).collect();
    let window = &history[history.len().saturating_sub(PENALTY_WINDOW)..];
    for (token, value) in &mut scores {
        if window.contains(&Token(*token)) && sampler.penalty != ONE {
            *value = penalise(*value, [sampler.penalty, sampler.reciprocal]);
        }
    }
    let Some(max) = scores.iter().map(|s| s.1).max() else { return Token(0) };
    let Some(base_2) = sampler.base_2 else {
        return Token(scores.iter().find(|s| s.1 == max).unwrap().0);
    };
    let scale = Scale::new(base_2, max, logits.frac());
    let mut order: Vec<(u32, u16)> = scores
        .iter()
        .filter_map(|(t, v)| Some((scale.distance(*v)?, *t)))
        .filter(|(d, _)| *d < 16 << 16)
        .collect();
    order.sort();
    if sampler.top_k > 0 {
        order.truncate(sampler.top_k);
    }
    order.retain(|(d, _)| exp2_neg(*d) >= sampler.min_p);
    let total: u64 = order.iter().map(|(d, _)| u64::from(exp2_neg(*d))).sum();
    if sampler.top_p < ONE {
        let mut sum = 0;
        let enough = order.iter().position(|(d, _)| {
            sum += u64::from(exp2_neg(*d)) << 16;
            sum >= total * u64::from(sampler.top_p)
        });
        order.truncate(enough.unwrap() + 1);
    }
    order.sort_by_key(|(_, token)| *token);
    let total: u32 = order.iter().map(|(d, _)| exp2_neg(*d)).sum();
    let mut left = sampler.random.below(total);
    for (d, token) in order {
        let weight = exp2_neg(d);
        if left < weight {
            return Token(token);
        }
        left -= weight;
    }
    unreachable!()
}

fn draws(sampler: Sampler, logits: Logits<'_>, n: usize) -> Vec<u16> {
    let mut sampler = sampler;
    (0..n).map(|_| sampler.sample(logits, &[]).0).collect()
}

const VALUES: [i32; 8] = [0, 65_536, 131_072, -65_536, 100_000, 131_072, 20_000, -900_000];

#[test]
fn draws_are_pinned() {
    // the same numbers come from a second implementation in Python
    let logits = Logits::new(&VALUES, 16);
    assert_eq!(draws(Sampler::new(42), logits, 16), [2, 3, 2, 6, 2, 2, 4, 2, 4, 5, 4, 4, 4, 5, 2, 5]);
    let sampler = Sampler::new(42).temperature(0.8).top_k(5).top_p(0.9).min_p(0.05);
    assert_eq!(draws(sampler, logits, 16), [2, 2, 2, 5, 2, 2, 4, 2, 4, 5, 4, 4, 4, 5, 2, 5]);
}

#[test]
fn draws_follow_the_probabilities() {
    // Pearson's chi-squared with 7 degrees of freedom: above 24.3 with a chance of 0.001
    let n = 100_000;
    for (temperature, frac) in [(1.0f32, 16), (0.7, 16), (1.8, 12), (1.0, 20)] {
        let values = VALUES.map(|v| v >> 16u32.saturating_sub(frac) << frac.saturating_sub(16));
        let logits = Logits::new(&values, frac);
        let mut counts = [0f64; 8];
        for token in draws(Sampler::new(1).temperature(temperature), logits, n) {
            counts[usize::from(token)] += 1.0;
        }
        let scale = f64::from(1 << frac) * f64::from(temperature);
        let weights = values.map(|v| libm::exp(f64::from(v) / scale));
        let sum: f64 = weights.iter().sum();
        let mut chi_squared = 0.0;
        for (count, weight) in counts.iter().zip(weights) {
            let want = weight / sum * n as f64;
            chi_squared += (count - want) * (count - want) / want.max(1.0);
        }
        assert!(chi_squared < 24.3, "temperature {temperature}: {chi_squared}");
    }
}

#[test]
fn floats_become_integers() {
    for x in [0.0f32, 1e-9, 7.6e-6, 0.1, 0.5, 0.8, 0.9, 1.0, 1.5, 63.99, 255.5, 65_535.0, 1e9] {
        let want = libm::floor(f64::from(x) * 65_536.0 + 0.5).min(f64::from(u32::MAX)) as u32;
        assert_eq!(q16(x), Some(want), "{x}");
    }
    assert_eq!(q16(-1.0), Some(0));
    assert_eq!(q16(-0.0), Some(0));
    assert_eq!(q16(f32::INFINITY), Some(u32::MAX));
    assert_eq!(q16(f32::NEG_INFINITY), Some(0));
    assert_eq!(q16(f32::NAN), None);
}

#[test]
fn nan_is_off_and_the_rest_is_clamped() {
    let nan = f32::NAN;
    let off = Sampler::new(3).temperature(nan).top_p(nan).min_p(nan).repetition_penalty(nan);
    assert_eq!(off, Sampler::new(3));
    assert_eq!(Sampler::new(0).temperature(-1.0), Sampler::greedy());
    assert_eq!(Sampler::new(3).temperature(1e-3), Sampler::new(3).temperature(1.0 / 64.0));
    assert_eq!(Sampler::new(3).temperature(1e9), Sampler::new(3).temperature(64.0));
    assert_eq!(Sampler::new(3).top_p(7.0).min_p(-7.0), Sampler::new(3));
    assert_eq!(Sampler::new(3).repetition_penalty(0.0), Sampler::new(3).repetition_penalty(1.0 / 16.0));
}

#[test]
fn the_penalty_divides_above_zero_and_multiplies_below() {
    assert_eq!(penalise(3000, [2 * ONE, ONE / 2]), 1500);
    assert_eq!(penalise(-3000, [2 * ONE, ONE / 2]), -6000);
    assert_eq!(penalise(0, [2 * ONE, ONE / 2]), 0);
    assert_eq!(penalise(i32::MIN, [16 * ONE, ONE / 16]), i32::MIN);
    assert_eq!(penalise(i32::MAX, [ONE / 16, 16 * ONE]), i32::MAX);

    let logits = Logits::new(&[300, 200, -10], 8);
    let mut sampler = Sampler::greedy().repetition_penalty(2.0);
    assert_eq!(sampler.sample(logits, &[]), Token(0));
    assert_eq!(sampler.sample(logits, &[Token(0)]), Token(1));
    assert_eq!(sampler.sample(logits, &[Token(0), Token(0), Token(99)]), Token(1));
    assert_eq!(sampler.sample(logits, &[Token(0), Token(1)]), Token(0));
    let mut long_ago = [Token(2); PENALTY_WINDOW + 1];
    long_ago[0] = Token(0);
    assert_eq!(sampler.sample(logits, &long_ago), Token(0));
}

#[test]
fn no_logits_and_extreme_logits_are_no_trouble() {
    let mut sampler = Sampler::new(9).top_k(3).top_p(0.5).min_p(0.1).repetition_penalty(1.1);
    assert_eq!(sampler.sample(Logits::new(&[], 16), &[Token(4)]), Token(0));
    for frac in [0, 1, 7, 8, 31] {
        for temperature in [1e-9, 0.01, 1.0, 64.0] {
            let logits = Logits::new(&[i32::MIN, i32::MAX, 0, i32::MIN], frac);
            let token = sampler.clone().temperature(temperature).sample(logits, &[]);
            // at 31 fraction bits the values are -1, 1, 0 and -1
            assert!(token == Token(1) || frac == 31);
        }
    }
    let wide = std::vec![5; 70_000];
    let mut sampler = Sampler::new(9).top_p(0.9);
    for _ in 0..10 {
        assert!(sampler.sample(Logits::new(&wide, 16), &[]).0 < 58_982); // the first nine tenths
    }
}

fn any_values() -> impl Strategy<Value = Vec<i32>> {
    let near = prop::collection::vec(-400_000..400_000i32, 1..60);
    let tied = prop::collection::vec((-6..6i32).prop_map(|v| v << 15), 1..60);
    prop_oneof![near, tied, prop::collection::vec(any::<i32>(), 1..20)]
}

fn any_sampler() -> impl Strategy<Value = Sampler> {
    let filters = (0..12usize, 0.0..1.2f32, prop_oneof![Just(0.0), 0.0..1.0f32]);
    (any::<u64>(), -0.1..3.0f32, filters, prop_oneof![Just(1.0), 0.5..2.0f32]).prop_map(
        |(seed, temperature, (k, top_p, min_p), penalty)| {
            Sampler::new(seed)
                .temperature(temperature)
                .top_k(k)
                .top_p(top_p)
                .min_p(min_p)
                .repetition_penalty(penalty)
        },
    )
}

proptest! {
    #[test]
    fn the_rules_are_followed(
        mut sampler in any_sampler(),
        values in any_values(),
        frac in 10..20u32,
        history in prop::collection::vec((0..80u16).prop_map(Token), 0..80),
    ) {
        let logits = Logits::new(&values, frac);
        let mut other = sampler.clone();
        for _ in 0..5 {
            prop_assert_eq!(sampler.sample(logits, &history), oracle(&mut other, logits, &history));
        }
    }

    #[test]
    fn the_narrowest_filter_is_greedy(seed: u64, values in any_values(), frac in 0..=31u32, t in 0.01..60.0f32) {
        let logits = Logits::new(&values, frac);
        let sampler = Sampler::new(seed).temperature(t);
        for mut narrow in [sampler.clone().top_k(1), sampler.clone().top_p(0.0), sampler.clone().top_p(1e-5)] {
            prop_assert_eq!(narrow.sample(logits, &[]), logits.argmax());
        }
        let best = logits.get(logits.argmax());
        let near = sampler.min_p(1.0).sample(logits, &[]);
        prop_assert!(exp2_neg(Scale::new(Base2::new(q16(t).unwrap()), best.unwrap(), frac)
            .distance(logits.get(near).unwrap()).unwrap()) == ONE);
    }
}
