//! The laws of sessions: whichever way tokens get in, the same bits come out.

mod common;

use common::{Bytes, GPT2, LLAMA, model_file, workspace, workspace_for};
use proptest::prelude::*;
use thumbformer::workspace::MAX_BLOCK;
use thumbformer::{Config, Error, Model, Sampler, Session, Token, Workspace};

const SEQ_LEN: usize = LLAMA.seq_len;

fn tokens(ids: &[u16]) -> Vec<Token> {
    ids.iter().copied().map(Token).collect()
}

/// A prompt of `n` tokens.
fn prompt(n: usize) -> Vec<Token> {
    (0..n).map(|i| Token((i * 37 % LLAMA.vocab_size) as u16)).collect()
}

/// The logits after each of some tokens, fed one by one to a fresh session.
fn steps(model: &Model<'_>, tokens: &[Token]) -> Vec<Vec<i32>> {
    let mut memory = workspace(model);
    let mut session = memory.session(model);
    tokens.iter().map(|&token| session.step(token).unwrap().values().to_vec()).collect()
}

fn last(model: &Model<'_>, tokens: &[Token]) -> Vec<i32> {
    steps(model, tokens).pop().unwrap()
}

fn values(session: &Session<'_>) -> Vec<i32> {
    session.logits().unwrap().values().to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn prefill_in_any_parts_equals_steps(
        ids in prop::collection::vec(0..LLAMA.vocab_size as u16, 1..=SEQ_LEN),
        cut in any::<prop::sample::Index>(),
        gpt2: bool,
    ) {
        let file = model_file(if gpt2 { GPT2 } else { LLAMA }, 1);
        let model = file.model();
        let ids = tokens(&ids);
        let wanted = steps(&model, &ids);
        let mut memory = workspace(&model);
        let mut session = memory.session(&model);
        let (first, second) = ids.split_at(cut.index(ids.len()));
        if !first.is_empty() {
            prop_assert_eq!(session.prefill(first).unwrap().values(), &wanted[first.len() - 1]);
        }
        // An embedding, two halves of each block, and one head in all.
        let slices = session.prefill_slices(second).unwrap().count();
        prop_assert_eq!(slices, second.len() * (1 + 2 * model.config().n_layers) + 1);
        prop_assert_eq!(&values(&session), &wanted[ids.len() - 1]);
        prop_assert_eq!((session.position(), session.history()), (ids.len(), &ids[..]));

        session.reset();
        prop_assert!(session.logits().is_none() && session.history().is_empty());
        prop_assert_eq!(session.prefill(&ids).unwrap().values(), &wanted[ids.len() - 1]);
        prop_assert_eq!(session.saturations(), 0);
    }
}

/// Small shapes of every kind: heads of any width, groups of any size, one to three blocks (each with its own layout and
/// width of inputs).
fn configs() -> impl Strategy<Value = Config> {
    let heads = (1..=4usize, 1..=2usize, 1..=5usize);
    let rest = (1..=40usize, 1..=3usize, 12..=40usize, any::<bool>());
    (heads, rest).prop_map(|((n_kv_heads, group, pairs), (hidden_dim, n_layers, seq_len, gpt2))| Config {
        dim: n_kv_heads * group * 2 * pairs,
        n_heads: n_kv_heads * group,
        n_kv_heads,
        hidden_dim,
        n_layers,
        seq_len,
        ..if gpt2 { GPT2 } else { LLAMA }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn blocks_of_any_size_equal_steps(
        config in configs(),
        ids in prop::collection::vec(0..LLAMA.vocab_size as u16, 40),
        block in 1..=MAX_BLOCK,
        cut in any::<prop::sample::Index>(),
        dropped in 0..60usize,
        seed in 1..1000u32,
    ) {
        let file = model_file(config, seed);
        let model = file.model();
        let ids = tokens(&ids[..config.seq_len - 1]);
        let mut memory = workspace(&model);
        let mut one = memory.session(&model);
        let mut memory = workspace_for(&model, block);
        memory.as_mut().fill(0x5a);
        let mut several = memory.session(&model);
        prop_assert_eq!((one.block(), several.block()), (1, block));
        let (first, second) = ids.split_at(1 + cut.index(ids.len() - 1));

        for &token in first {
            one.step(token).unwrap();
        }
        // Slices that are dropped leave whole blocks behind, and nothing of the one on its way.
        let per_block = 1 + 2 * config.n_layers;
        let driven = several.prefill_slices(first).unwrap().take(dropped).count();
        let whole = if driven < dropped { first.len() } else { first.len().min(driven / per_block * block) };
        // The head is the last slice of the last block.
        let whole = if whole == first.len() && several.logits().is_none() {
            whole.saturating_sub(1) / block * block
        } else {
            whole
        };
        prop_assert_eq!(several.history(), &first[..whole]);
        if whole < first.len() {
            several.prefill(&first[whole..]).unwrap();
        }
        prop_assert_eq!(values(&several), values(&one));

        for &token in second {
            one.step(token).unwrap();
        }
        let slices = several.prefill_slices(second).unwrap().count();
        prop_assert_eq!(slices, second.len().div_ceil(block) * per_block + usize::from(!second.is_empty()));
        prop_assert_eq!(values(&several), values(&one));
        prop_assert_eq!((several.history(), several.saturations()), (one.history(), one.saturations()));

        // What both write from here on, across a full window, is the same only if the caches are.
        let (mut sampler, mut same) = (Sampler::new(seed.into()), Sampler::new(seed.into()));
        let wanted: Vec<_> =
            one.generate(&mut sampler).stop_at(&[]).keep_going(2).take(config.seq_len).collect();
        let written: Vec<_> =
            several.generate(&mut same).stop_at(&[]).keep_going(2).take(config.seq_len).collect();
        prop_assert_eq!(wanted, written);
        prop_assert_eq!(values(&several), values(&one));
        prop_assert_eq!(several.history(), one.history());
    }
}

#[test]
fn a_block_is_as_large_as_the_workspace_allows() {
    for config in [LLAMA, GPT2] {
        let file = model_file(config, 4);
        let model = file.model();
        assert_eq!(model.workspace_len_for(1), model.workspace_len());
        assert_eq!(model.workspace_len_for(0), model.workspace_len());
        assert_eq!(model.workspace_len_for(usize::MAX), model.workspace_len_for(MAX_BLOCK));
        for block in 1..=MAX_BLOCK {
            let need = model.workspace_len_for(block);
            let mut memory = Bytes::zeros(need + 8);
            let memory = memory.as_mut();
            assert_eq!(Session::new(&model, &mut memory[..need]).unwrap().block(), block);
            if block > 1 {
                assert!(need > model.workspace_len_for(block - 1));
                assert_eq!(Session::new(&model, &mut memory[..need - 1]).unwrap().block(), block - 1);
            }
        }
    }
}

#[test]
fn saturations_are_counted_for_every_position_of_a_block() {
    let file = common::loud_model_file();
    let model = file.model();
    let mut memory = workspace(&model);
    let mut one = memory.session(&model);
    for token in prompt(11) {
        one.step(token).unwrap();
    }
    assert!((11..=22).contains(&one.saturations()), "{}", one.saturations());
    let mut memory = workspace_for(&model, 4);
    let mut several = memory.session(&model);
    several.prefill(&prompt(11)).unwrap();
    assert_eq!((several.saturations(), values(&several)), (one.saturations(), values(&one)));
}

#[test]
fn the_model_listens() {
    // What the other tests compare is not constant: each token and each place counts.
    for config in [LLAMA, GPT2] {
        let file = model_file(config, 1);
        let model = file.model();
        let first = last(&model, &tokens(&[5, 6, 7]));
        for other in [&[9, 6, 7][..], &[5, 9, 7], &[5, 6, 9], &[6, 5, 7], &[6, 7]] {
            assert_ne!(last(&model, &tokens(other)), first, "{other:?}");
        }
        let spread = first.iter().max().unwrap() - first.iter().min().unwrap();
        assert!(spread > 2 << 16, "logits are flat: {spread}");
    }
}

#[test]
fn two_sessions_share_a_model() {
    let file = model_file(LLAMA, 2);
    let model = file.model();
    let (one, two) = (prompt(10), tokens(&[3, 1, 4, 1, 5, 9, 2, 6, 5, 3]));
    let (wanted_one, wanted_two) = (steps(&model, &one), steps(&model, &two));
    let (mut memory_one, mut memory_two) = (workspace(&model), workspace(&model));
    let (mut first, mut second) = (memory_one.session(&model), memory_two.session(&model));
    for i in 0..one.len() {
        assert_eq!(first.step(one[i]).unwrap().values(), wanted_one[i]);
        assert_eq!(second.step(two[i]).unwrap().values(), wanted_two[i]);
    }
}

#[test]
fn a_used_workspace_is_as_good_as_a_new_one() {
    let file = model_file(LLAMA, 2);
    let model = file.model();
    let mut memory = workspace(&model);
    memory.as_mut().fill(0xa5);
    let mut session = memory.session(&model);
    assert_eq!(session.prefill(&prompt(9)).unwrap().values(), last(&model, &prompt(9)));
}

#[test]
fn refusals_leave_the_session_as_it_was() {
    let file = model_file(LLAMA, 3);
    let model = file.model();
    let mut memory = workspace(&model);
    let mut session = memory.session(&model);
    assert_eq!(session.prefill(&[]), Err(Error::NoTokens));
    let stranger = Error::TokenOutOfRange { token: 262, vocab_size: 262 };
    assert_eq!(session.step(Token(262)), Err(stranger));
    assert_eq!(session.position(), 0);
    session.prefill(&prompt(SEQ_LEN - 2)).unwrap();
    let before = values(&session);
    let full = Error::ContextFull { seq_len: SEQ_LEN };
    assert_eq!(session.prefill(&prompt(3)), Err(full));
    assert_eq!(
        session.prefill(&tokens(&[1, 300])),
        Err(Error::TokenOutOfRange { token: 300, vocab_size: 262 })
    );
    assert_eq!(session.prefill(&[]), Err(Error::NoTokens));
    assert_eq!((session.position(), values(&session)), (SEQ_LEN - 2, before));
    let all = prompt(SEQ_LEN);
    assert_eq!(session.prefill(&all[SEQ_LEN - 2..]).unwrap().values(), last(&model, &all));
    assert_eq!(session.step(Token(1)), Err(full));
    assert_eq!(values(&session), last(&model, &all));
}

#[test]
fn workspaces_are_exact_to_the_byte() {
    for config in [LLAMA, GPT2] {
        let file = model_file(config, 4);
        let model = file.model();
        let need = model.workspace_len();
        let mut memory = Bytes::zeros(need + 8);
        let refused = |bytes: &mut [u8]| Session::new(&model, bytes).map(|_| ()).unwrap_err();
        let memory = memory.as_mut();
        assert_eq!(refused(&mut memory[..need - 1]), Error::WorkspaceTooSmall { need, have: need - 1 });
        assert_eq!(refused(&mut memory[..0]), Error::WorkspaceTooSmall { need, have: 0 });
        for offset in [1, 2, 3] {
            assert_eq!(refused(&mut memory[offset..offset + need]), Error::WorkspaceMisaligned);
        }
        assert!(Session::new(&model, &mut memory[4..4 + need]).is_ok());
        assert!(Session::new(&model, memory).is_ok());
    }
    // dim 12, hidden_dim 10, two blocks, one KV head of width 6, vocabulary 262, context 16
    let cache = 2 * 2 * (16 * (6 + 1) + 1);
    let rest = 4 * (12 + 262 + 12 + 5) + 2 * (12 + 2 * 16 + 16);
    assert_eq!(model_file(LLAMA, 4).model().workspace_len(), cache + rest);
    let mut small = Workspace::<100>::new();
    let need = cache + rest;
    let refused = Session::new(&model_file(LLAMA, 4).model(), &mut small).map(|_| ()).unwrap_err();
    assert_eq!(refused, Error::WorkspaceTooSmall { need, have: 100 });
}

/// What a greedy session writes, computed with steps alone.
fn greedy(model: &Model<'_>, prompt: &[Token], n: usize) -> Vec<Token> {
    let mut all = prompt.to_vec();
    for _ in 0..n {
        let logits = last(model, &all);
        let best = (0..logits.len()).rev().max_by_key(|&i| logits[i]).unwrap();
        all.push(Token(best as u16));
    }
    all.split_off(prompt.len())
}

#[test]
fn generating_is_stepping() {
    let file = model_file(LLAMA, 5);
    let model = file.model();
    let wanted = greedy(&model, &prompt(4), 8);
    let mut memory = workspace(&model);
    let mut session = memory.session(&model);
    let mut sampler = Sampler::greedy();
    assert_eq!(session.generate(&mut sampler).next(), Some(Err(Error::NoTokens)));
    session.prefill(&prompt(4)).unwrap();
    // In two goes, and at last a token that was written and not yet read comes before the user's.
    let mut written: Vec<_> =
        session.generate(&mut sampler).stop_at(&[]).take(3).map(Result::unwrap).collect();
    written.extend(session.generate(&mut sampler).stop_at(&[]).take(5).map(Result::unwrap));
    assert_eq!(written, wanted);
    let all = [&prompt(4)[..], &wanted, &tokens(&[77])].concat();
    assert_eq!(session.step(Token(77)).unwrap().values(), last(&model, &all));
    assert_eq!(session.history(), all);
}

#[test]
fn stop_tokens_end_the_text() {
    let file = model_file(LLAMA, 5);
    let model = file.model();
    let wanted = greedy(&model, &prompt(4), 8);
    let stop = wanted[5];
    let end = wanted.iter().position(|&t| t == stop).unwrap();
    let mut memory = workspace(&model);
    let mut session = memory.session(&model);
    session.prefill(&prompt(4)).unwrap();
    let mut sampler = Sampler::greedy();
    let stops = [Token(0), stop];
    let mut generate = session.generate(&mut sampler).stop_at(&stops);
    let written: Vec<_> = generate.by_ref().take(SEQ_LEN).map(Result::unwrap).collect();
    assert_eq!(written, wanted[..end]);
    assert_eq!(generate.next(), None);
    // The stop token is part of the text that a next turn follows.
    session.step(Token(9)).unwrap();
    assert_eq!(session.history(), [&prompt(4)[..], &wanted[..=end], &tokens(&[9])].concat());
}

#[test]
fn a_full_window_ends_the_text_with_an_error() {
    let file = model_file(LLAMA, 5);
    let model = file.model();
    let mut memory = workspace(&model);
    let mut session = memory.session(&model);
    session.prefill(&prompt(SEQ_LEN - 2)).unwrap();
    let mut sampler = Sampler::greedy();
    let mut generate = session.generate(&mut sampler).stop_at(&[]);
    let written: Vec<_> = generate.by_ref().take(SEQ_LEN).map_while(Result::ok).collect();
    assert_eq!(written, greedy(&model, &prompt(SEQ_LEN - 2), 3));
    assert_eq!(generate.next(), None);
    let full = Error::ContextFull { seq_len: SEQ_LEN };
    assert_eq!(session.generate(&mut sampler).next(), Some(Err(full)));
    assert_eq!(session.position(), SEQ_LEN);
}

#[test]
fn keep_going_equals_a_fresh_session_with_what_was_kept() {
    for first in [0, 1, 3] {
        let file = model_file(LLAMA, 6);
        let model = file.model();
        let mut memory = workspace(&model);
        let mut session = memory.session(&model);
        session.prefill(&prompt(SEQ_LEN)).unwrap();
        let mut sampler = Sampler::greedy();
        let mut written: Vec<Token> = Vec::new();
        while written.len() < 3 * SEQ_LEN {
            let before = session.history().to_vec();
            let mut generate = session.generate(&mut sampler).stop_at(&[]).keep_going(first);
            let token = generate.next().unwrap().unwrap();
            if session.position() < before.len() {
                let newest = *written.last().unwrap();
                let kept = [&before[..first], &before[SEQ_LEN / 2..], &[newest]].concat();
                assert_eq!(session.history(), kept);
            }
            assert_eq!(values(&session), last(&model, session.history()));
            written.push(token);
        }
        assert!(session.history().starts_with(&prompt(first)));
    }
}

#[test]
fn sliding_has_limits() {
    let file = model_file(LLAMA, 6);
    let model = file.model();
    let mut memory = workspace(&model);
    let mut session = memory.session(&model);
    assert_eq!(session.slide(0), Err(Error::NoTokens));
    session.prefill(&prompt(SEQ_LEN)).unwrap();
    let full = Error::ContextFull { seq_len: SEQ_LEN };
    for first in [SEQ_LEN / 2, SEQ_LEN, usize::MAX] {
        assert_eq!(session.slide(first), Err(full));
        assert_eq!(session.history(), prompt(SEQ_LEN));
    }
    assert_eq!(session.slide(SEQ_LEN / 2 - 1), Ok(()));
    assert_eq!(session.position(), SEQ_LEN - 1);
}

#[test]
fn a_window_of_one_token_slides_to_nothing() {
    let file = model_file(Config { seq_len: 1, ..LLAMA }, 7);
    let model = file.model();
    let mut memory = workspace(&model);
    let mut session = memory.session(&model);
    session.step(Token(5)).unwrap();
    session.slide(0).unwrap();
    assert!(session.position() == 0 && session.logits().is_none());
    session.step(Token(5)).unwrap();
}

/// A session that has read four tokens and written one, which it has not read yet.
fn with_pending(session: &mut Session<'_>) -> Token {
    session.prefill(&prompt(4)).unwrap();
    session.generate(&mut Sampler::greedy()).stop_at(&[]).next().unwrap().unwrap()
}

#[test]
fn what_the_session_wrote_needs_a_place_too() {
    let file = model_file(LLAMA, 7);
    let model = file.model();
    let mut memory = workspace(&model);
    let mut session = memory.session(&model);
    let pending = with_pending(&mut session);
    let full = Error::ContextFull { seq_len: SEQ_LEN };
    assert_eq!(session.prefill(&prompt(SEQ_LEN - 4)), Err(full));
    session.prefill(&prompt(SEQ_LEN - 5)).unwrap();
    assert_eq!(session.history(), [&prompt(4)[..], &[pending], &prompt(SEQ_LEN - 5)].concat());
}

#[test]
fn slices_may_be_dropped_anywhere() {
    let file = model_file(LLAMA, 7);
    let model = file.model();
    let mut memory = workspace(&model);
    let mut session = memory.session(&model);
    let pending = with_pending(&mut session);
    let per_token = 1 + 2 * LLAMA.n_layers;
    let more = tokens(&[8, 9]);
    let all = [&prompt(4)[..], &[pending], &more].concat();
    for slices in 0..=3 * per_token {
        session.reset();
        with_pending(&mut session);
        let driven = session.prefill_slices(&more).unwrap().take(slices).count();
        assert_eq!(driven, slices);
        // Whole tokens are kept, the one on its way is not.
        let whole = 4 + (slices / per_token).min(2);
        assert_eq!(session.history(), &all[..whole], "after {slices} slices");
        assert_eq!(session.logits().is_some(), slices == 0, "after {slices} slices");
        // A token that the session wrote is neither lost nor read twice.
        let rest = &all[whole.max(5)..];
        let rest = if rest.is_empty() { &tokens(&[10])[..] } else { rest };
        let got = session.prefill(rest).unwrap().values().to_vec();
        assert_eq!(got, last(&model, &[&all[..whole.max(5)], rest].concat()), "after {slices} slices");
    }
}

#[test]
fn slices_of_blocks_may_be_dropped_anywhere() {
    let file = model_file(LLAMA, 7);
    let model = file.model();
    let mut memory = workspace_for(&model, 3);
    let mut session = memory.session(&model);
    let pending = with_pending(&mut session);
    let more = tokens(&[8, 9, 10, 11]);
    let all = [&prompt(4)[..], &[pending], &more].concat();
    let per_block = 1 + 2 * LLAMA.n_layers;
    for slices in 0..=2 * per_block + 1 {
        // A block of three, and one of two with the head.
        let whole = match slices {
            _ if slices < per_block => 4,
            _ if slices <= 2 * per_block => 7,
            _ => 9,
        };
        session.reset();
        with_pending(&mut session);
        assert_eq!(session.prefill_slices(&more).unwrap().take(slices).count(), slices);
        assert_eq!(session.history(), &all[..whole], "after {slices} slices");
        let read = whole.max(5);
        let rest = if read == 9 { &tokens(&[12])[..] } else { &all[read..] };
        let got = session.prefill(rest).unwrap().values().to_vec();
        assert_eq!(got, last(&model, &[&all[..read], rest].concat()), "after {slices} slices");
    }
}
