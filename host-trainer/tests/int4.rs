//! Exports with weights of four bits.

use host_trainer::device::{Memory, ModelFile};
use host_trainer::export::{Input, Options, Weights, export};
use host_trainer::model::Model;
use host_trainer::tokenizer::section;
use thumbformer::Token;
use thumbformer::format::{Dtype, InputWidth, TensorKind, tokenizer::TokenizerKind};

/// 48 and 84 columns: with short first groups, of an odd number of tiles and of one that pads.
const SHAPE: &str =
    "dim = 48\nhidden_dim = 84\nn_layers = 2\nn_heads = 4\nn_kv_heads = 2\nvocab_size = 260\nseq_len = 32\n";

fn exported(model: &Model, weights: Weights, input: Input) -> ModelFile {
    let tokenizer = section(TokenizerKind::ByteBpe, &[]).unwrap();
    let options = Options { weights, input, ..Options::default() };
    ModelFile::new(&export(model, &tokenizer, &[], &[], &options).unwrap().file)
}

/// The logits after a few tokens.
fn logits(file: &ModelFile) -> Vec<f64> {
    let model = file.model().unwrap();
    model.verify().unwrap();
    let mut memory = Memory::new(&model);
    let mut session = memory.session(&model).unwrap();
    let logits = session.prefill(&[1, 70, 80, 90, 100].map(Token)).unwrap();
    logits.values().iter().map(|&v| f64::from(v)).collect()
}

/// The root of the mean square.
fn size(v: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = v.len() as f64;
    (v.map(|v| v * v).sum::<f64>() / n).sqrt()
}

#[test]
fn four_bits_in_the_blocks_and_logits_near_those_of_eight() {
    let model = Model::init(toml::from_str(SHAPE).unwrap(), 5).unwrap();
    for width in [InputWidth::A8, InputWidth::A16] {
        let [eight, four] =
            [Weights::Int8, Weights::Int4].map(|weights| exported(&model, weights, Input::All(width)));
        let device = four.model().unwrap();
        for index in 0..device.config().n_tensors() {
            let tensor = device.tensor(index).unwrap();
            let in_block = tensor.spec.kind.is_block_part() && tensor.spec.kind.is_matrix();
            assert_eq!(tensor.dtype == Dtype::I4, in_block, "{:?}", tensor.spec.kind);
        }
        let (eight, four) = (logits(&eight), logits(&four));
        let difference = size(eight.iter().zip(&four).map(|(a, b)| a - b));
        let share = difference / size(eight.iter().copied());
        // Each matrix adds about a tenth; a weight or a factor at a wrong place would make it about 1.
        assert!(share > 0.0 && share < 0.25, "{width:?}: off by {share} of the logits' size");
    }
}

#[test]
fn blocks_take_little_more_than_half() {
    let model = Model::init(toml::from_str(SHAPE).unwrap(), 5).unwrap();
    let bytes = |weights| -> usize {
        let file = exported(&model, weights, Input::All(InputWidth::A8));
        let device = file.model().unwrap();
        let tensors = (0..device.config().n_tensors()).map(|i| device.tensor(i).unwrap());
        tensors.filter(|t| t.spec.kind == TensorKind::W1).map(|t| t.data_len()).sum()
    };
    // 84 rows of 48 columns in two blocks: 6 tiles and 2 factors for four rows.
    assert_eq!(bytes(Weights::Int8), 2 * 84 * 48);
    assert_eq!(bytes(Weights::Int4), 2 * 21 * (6 * 16 + 2 * 2));
}
