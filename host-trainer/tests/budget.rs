//! Exports that must fit a budget, and exports that must not lose too much.

mod common;

use common::{Folder, text, thumbformer};
use host_trainer::checkpoint::{self, Info};
use host_trainer::device::ModelFile;
use host_trainer::eval::compare;
use host_trainer::export::{Exported, Input, Options, Sensitivity, Weights, export};
use host_trainer::model::Model;
use host_trainer::tokenizer::section;
use std::process::Command;
use thumbformer::format::{Dtype, InputWidth, TensorKind, tokenizer::TokenizerKind};

const SHAPE: &str =
    "dim = 32\nhidden_dim = 64\nn_layers = 2\nn_heads = 4\nn_kv_heads = 2\nvocab_size = 260\nseq_len = 64\n";

/// Weights of twice the size that training starts with, so that logits tell tokens apart.
fn model(more: &str) -> Model {
    let mut model = Model::init(toml::from_str(&format!("{SHAPE}{more}")).unwrap(), 5).unwrap();
    for tensor in model.params().tensors().to_vec().iter().filter(|tensor| tensor.is_matrix()) {
        model.params_mut().get_mut(&tensor.name).unwrap().iter_mut().for_each(|w| *w *= 2.0);
    }
    model
}

/// The tensor that [`spoiled`] spoils.
const SPOILED: &str = "layers.1.feed_forward.w3.weight";

/// A weight a thousand times as large as others takes the precision of its row, and reads nothing.
fn spoiled() -> Model {
    let mut model = model("");
    model.params_mut().get_mut(SPOILED).unwrap().chunks_mut(32).for_each(|row| row[7] = 1000.0 * row[3]);
    model.params_mut().get_mut("layers.1.ffn_norm.weight").unwrap()[7] = 0.0;
    model
}

fn tokenizer() -> Vec<u8> {
    section(TokenizerKind::ByteBpe, &[]).unwrap()
}

fn exported(model: &Model, options: &Options) -> Exported {
    export(model, &tokenizer(), &[], &[], options).unwrap()
}

const A16: Input = Input::All(InputWidth::A16);

/// The divergence from f32 on a text that no export has seen.
fn kl(model: &Model, exported: &Exported) -> f64 {
    let stream: Vec<u16> = (0..1025u32).map(|i| (i * i * 31 % 260) as u16).collect();
    let file = ModelFile::new(&exported.file);
    file.model().unwrap().verify().unwrap();
    compare(&file.model().unwrap(), model, &stream, 64).unwrap().1.kl
}

#[test]
fn files_are_below_their_budgets_and_lose_more_the_less_they_may_take() {
    for more in ["", "tied = false\nnorm = 'layer'\ngated = false\npositions = 'learned'\nbiases = true\n"] {
        let model = model(more);
        let plain = |weights| exported(&model, &Options { weights, input: A16, ..Options::default() });
        let (eight, four) = (plain(Weights::Int8), plain(Weights::Int4));
        let (most, least) = (eight.file.len(), four.file.len());
        assert!(least < most);
        let mut last = kl(&model, &eight);
        // All at eight bits, then less and less; the last needs four bits outside of the blocks, too.
        for budget in [most, (most + least) / 2, least - 2000] {
            let weights = Weights::Mixed;
            let options = Options { weights, flash_budget: Some(budget), input: A16, ..Options::default() };
            let mixed = exported(&model, &options);
            let found = kl(&model, &mixed);
            println!(
                "{more:?}, budget {budget}: {} bytes, KL {found:.6}, before {last:.6}",
                mixed.file.len()
            );
            assert!(mixed.file.len() <= budget);
            if budget == most {
                assert!(mixed.file == eight.file, "what fits at eight bits has eight bits");
            } else {
                assert!(found > last, "{found}, after {last} with more bytes");
            }
            last = found;
        }
    }
}

#[test]
fn a_budget_gives_the_same_bytes_every_time() {
    let model = model("");
    let options =
        Options { weights: Weights::Mixed, flash_budget: Some(23_000), input: A16, ..Options::default() };
    assert!(exported(&model, &options).file == exported(&model, &options).file);
}

#[test]
fn four_bits_go_where_they_cost_least() {
    let mut model = model("");
    // The second block's MLP adds next to nothing, whatever its weights.
    model.params_mut().get_mut("layers.1.ffn_norm.weight").unwrap().iter_mut().for_each(|g| *g *= 0.01);
    let eight = exported(&model, &Options { input: A16, ..Options::default() }).file.len();
    let options = Options {
        weights: Weights::Mixed,
        flash_budget: Some(eight - 2500),
        input: A16,
        sensitivity: true,
        ..Options::default()
    };
    let exported = exported(&model, &options);
    let file = ModelFile::new(&exported.file);
    let device = file.model().unwrap();
    let tensors = (0..device.config().n_tensors()).map(|i| device.tensor(i).unwrap());
    let mut four =
        tensors.filter(|t| t.dtype == Dtype::I4).map(|t| (t.spec.layer, t.spec.kind)).collect::<Vec<_>>();
    four.sort_by_key(|(_, kind)| *kind as u8);
    assert_eq!(four, [(1, TensorKind::W1), (1, TensorKind::W2), (1, TensorKind::W3)]);
    // The report has the same tensors, with the bytes that the file has.
    let Sensitivity { tensors, .. } = exported.sensitivity.unwrap();
    assert_eq!(tensors.len(), 1 + 2 * 7);
    for row in &tensors {
        let four = row.tensor.starts_with("layers.1.feed_forward");
        assert_eq!(row.bits, if four { 4 } else { 8 }, "{}", row.tensor);
        assert!(row.kl_alone > -1e-6 && row.mean_squared_error > 0.0, "{row:?}");
    }
    let w2 = tensors.iter().find(|row| row.tensor == "layers.1.feed_forward.w2.weight").unwrap();
    let place = device.config().index_of(TensorKind::W2, 1);
    let tensor = device.tensor(place).unwrap();
    assert_eq!(w2.bytes, tensor.data_len() + 2 * 32);
}

#[test]
fn the_tensor_that_costs_most_is_the_one_that_was_spoiled() {
    let model = spoiled();
    let sensitive = exported(&model, &Options { sensitivity: true, input: A16, ..Options::default() });
    let sensitivity = sensitive.sensitivity.unwrap();
    println!("{sensitivity}");
    assert_eq!(sensitivity.worst().unwrap().tensor, SPOILED);
    let error = export(
        &model,
        &tokenizer(),
        &[],
        &[],
        &Options { max_loss_increase: Some(1e-3), ..Options::default() },
    );
    let error = format!("{:#}", error.unwrap_err());
    println!("{error}");
    assert!(error.contains("wanted at most +0.001") && error.contains(SPOILED), "{error}");
}

#[test]
fn the_command_refuses_what_does_not_fit_and_writes_nothing() {
    let folder = Folder::new("budget");
    let (checkpoint, model_file, report) =
        (folder.join("m.safetensors"), folder.join("m.thumb"), folder.join("m.json"));
    checkpoint::save(&checkpoint, &spoiled(), &Info::default(), Some(&tokenizer())).unwrap();
    let command = |more: &[&'static str]| -> Vec<String> {
        let fixed = ["export", text(&checkpoint), "-o", text(&model_file), "--report", text(&report)];
        fixed.iter().chain(more).map(|s| (*s).to_owned()).collect()
    };
    // The last line of standard error; what was done before may be told in others.
    let refuses = |more: &[&'static str], parts: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_thumbformer")).args(command(more)).output().unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{more:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        let error = error.lines().last().unwrap();
        assert!(error.starts_with("error: "), "{error}");
        for part in parts {
            assert!(error.contains(part), "{error}, wanted {part}");
        }
        assert!(!model_file.exists() && !report.exists());
    };
    refuses(
        &["--flash-budget", "5K"],
        &["wanted at most 5120", "tok_embeddings.weight", "(4 bits)", "--context"],
    );
    refuses(&["--bits", "8", "--flash-budget", "5K"], &["wanted at most 5120", "(8 bits)", "--bits mixed"]);
    refuses(&["--bits", "mixed"], &["found no flash budget"]);
    refuses(
        &["--bits", "4", "--max-loss-increase", "0"],
        &["loss over f32: found", "wanted at most +0", &format!("{SPOILED} costs most (4 bits"), "--bits 8"],
    );
    let args = command(&["--flash-budget", "20K", "--max-loss-increase", "100"]);
    let printed = thumbformer(&args.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(std::fs::metadata(&model_file).unwrap().len() <= 20 * 1024);
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    let rows = json["tensors"].as_array().unwrap();
    assert_eq!(rows.len(), 15);
    assert!(rows.iter().any(|row| row["bits"] == 4));
    assert!(rows.iter().all(|row| printed.contains(row["tensor"].as_str().unwrap())));
}
