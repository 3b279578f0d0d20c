//! The widths that an export chooses: 16 bits where 8 would lose something, 8 elsewhere.

mod common;

use host_trainer::device::ModelFile;
use host_trainer::export::{Group, Input, Options, export};
use host_trainer::model::{Model, ModelConfig};
use host_trainer::tokenizer::section;
use thumbformer::format::{InputWidth, TensorKind, tokenizer::TokenizerKind};

const SHAPE: &str =
    "dim = 32\nhidden_dim = 48\nn_layers = 2\nn_heads = 4\nn_kv_heads = 2\nvocab_size = 260\nseq_len = 64\n";

fn config() -> ModelConfig {
    toml::from_str(SHAPE).unwrap()
}

/// The kinds of matrices that read 16 bits, after the groups that the export names.
fn wide(model: &Model, options: &Options) -> (Vec<Group>, Vec<TensorKind>) {
    let tokenizer = section(TokenizerKind::ByteBpe, &[]).unwrap();
    let exported = export(model, &tokenizer, &[], &[], options).unwrap();
    if let Some(widths) = &exported.widths {
        println!("{widths}");
    }
    let file = ModelFile::new(&exported.file);
    let device = file.model().unwrap();
    let tensors = (0..device.config().n_tensors()).map(|i| device.tensor(i).unwrap());
    let matrices = tensors.filter(|t| t.spec.kind.is_matrix() && t.input == InputWidth::A16);
    (exported.widths.map(|w| w.wide).unwrap_or_default(), matrices.map(|t| t.spec.kind).collect())
}

#[test]
fn eight_bits_where_nothing_is_lost() {
    // Logits as flat as those before training.
    let model = Model::init(config(), 5).unwrap();
    assert_eq!(wide(&model, &Options::default()), (vec![], vec![]));
}

#[test]
fn sixteen_bits_where_a_channel_stands_out() {
    let mut model = Model::init(config(), 5).unwrap();
    // What the head reads has one large channel, which means nothing, since the head's column for it is zero.
    let params = model.params_mut();
    for row in params.get_mut("tok_embeddings.weight").unwrap().chunks_mut(32) {
        row.iter_mut().for_each(|w| *w *= 2.0);
        row[7] = 0.0;
    }
    params.get_mut("norm.weight").unwrap()[7] = 200.0;
    let (groups, kinds) = wide(&model, &Options::default());
    assert_eq!((groups, kinds), (vec![Group::Head], vec![TensorKind::Head]));
}

#[test]
fn one_width_for_all_where_it_is_asked_for() {
    let model = Model::init(config(), 5).unwrap();
    for (width, matrices) in [(InputWidth::A8, 0), (InputWidth::A16, 2 * 7 + 1)] {
        let options = Options { input: Input::All(width), ..Options::default() };
        let (groups, kinds) = wide(&model, &options);
        assert_eq!((groups.len(), kinds.len()), (0, matrices));
    }
}

#[test]
fn the_same_bytes_every_time() {
    let model = Model::init(config(), 5).unwrap();
    let tokenizer = section(TokenizerKind::ByteBpe, &[]).unwrap();
    let file = || export(&model, &tokenizer, &[], &[], &Options::default()).unwrap().file;
    assert_eq!(file(), file());
}

#[test]
fn the_shortest_context_can_be_measured() {
    let config = toml::from_str(&SHAPE.replace("seq_len = 64", "seq_len = 1")).unwrap();
    let model = Model::init(config, 5).unwrap();
    assert_eq!(wide(&model, &Options::default()), (vec![], vec![]));
}
