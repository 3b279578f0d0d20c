//! A model with batch statistics: learned in training, folded into the matrices at export.

mod common;

use common::{Folder, refused, text, thumbformer};
use host_trainer::checkpoint;
use host_trainer::device::ModelFile;
use serde_json::Value;
use std::fs;
use thumbformer::NormKind;
use thumbformer::format::{Dtype, TensorKind};

#[test]
fn statistics_are_learned_and_vanish_at_export() {
    let place = Folder::new("batch-norm");
    let arg = |name: &str| text(&place.join(name)).to_owned();
    let words = ["the", "cat", "sat", "on", "a", "mat", "and", "saw", "its", "hat"];
    let sentence =
        |i: usize| -> String { (0..6).map(|j| format!("{} ", words[(i * 7 + j * j * 3) % 10])).collect() };
    fs::write(place.join("text.txt"), (0..400).map(|i| sentence(i) + "\n").collect::<String>()).unwrap();
    fs::write(
        place.join("batch.toml"),
        "[model]\ndim = 32\nhidden_dim = 48\nn_layers = 2\nn_heads = 2\nn_kv_heads = 1\nvocab_size = 280\n\
         seq_len = 32\nnorm = \"batch\"\n",
    )
    .unwrap();
    let (config, corpus, run) = (arg("batch.toml"), arg("text.txt"), arg("run"));
    let train = ["train", "--config", &config, "--corpus", &corpus, "-o", &run, "--held-out", "0.2"];
    let said = thumbformer(&[&train[..], &["--steps", "80"]].concat());
    let said: Value = serde_json::from_str(&said).unwrap();
    // The frozen network goes by the running statistics.
    assert!(said["valid_loss"].as_f64().unwrap() < 2.0, "{said}");
    let trained = checkpoint::load(&place.join("run/model.safetensors")).unwrap().model;
    let var = trained.params().get("layers.1.attention_norm.running_var").unwrap();
    assert!(var.iter().all(|&var| var > 0.0 && var != 1.0), "{var:?}");

    let (model, tokens) = (arg("run/model.safetensors"), arg("run/valid.u16"));
    let eval = |file: &str| -> Value {
        serde_json::from_str(&thumbformer(&["eval", file, "--tokens", &tokens, "--json"])).unwrap()
    };
    let f32 = eval(&model)["loss"].as_f64().unwrap();
    // A run on a device has what is folded, and a head that shares its weights a gain. Trained for its integers, a model
    // keeps all gains, as they were when it was rounded.
    let (tuned, fine) = (arg("tuned"), arg("tuned/model.safetensors"));
    let tune = ["finetune", &model, "--corpus", &corpus, "-o", &tuned, "--steps", "5", "--quantize", "int8"];
    thumbformer(&tune);
    for (checkpoint, folded) in [(&model, true), (&fine, false)] {
        let file = arg("model.thumb");
        thumbformer(&["export", checkpoint, "-o", &file]);
        let bytes = ModelFile::read(&place.join("model.thumb")).unwrap();
        let runtime = bytes.model().unwrap();
        assert_eq!(runtime.config().norm, NormKind::Batch);
        for (i, spec) in runtime.config().tensors().enumerate() {
            let tensor = runtime.tensor(i).unwrap();
            match spec.kind {
                TensorKind::AttentionNorm | TensorKind::MlpNorm => {
                    assert_eq!(tensor.dtype == Dtype::Folded, folded, "{spec:?}");
                }
                TensorKind::FinalNorm => assert_eq!(tensor.dtype, Dtype::I16),
                TensorKind::Wq | TensorKind::Wk | TensorKind::W1 | TensorKind::W3 | TensorKind::Head => {
                    assert_ne!(tensor.bias, 0, "{spec:?}");
                }
                _ => {}
            }
        }
        let found = eval(&file);
        let wanted = if folded { f32 } else { eval(checkpoint)["loss"].as_f64().unwrap() };
        let loss = found["loss"].as_f64().unwrap();
        assert!((loss - wanted).abs() < 0.02, "{loss}, wanted {wanted}");
        assert_eq!(found["saturations"], 0);
    }

    // What is frozen keeps its statistics, too; what is not follows.
    let frozen = arg("frozen");
    let freeze =
        ["finetune", &model, "--corpus", &corpus, "-o", &frozen, "--steps", "2", "--freeze", "layers.0.*"];
    thumbformer(&freeze);
    let after = checkpoint::load(&place.join("frozen/model.safetensors")).unwrap().model;
    for (name, same) in [("layers.0.ffn_norm.running_mean", true), ("layers.1.ffn_norm.running_mean", false)]
    {
        assert_eq!(after.params().get(name) == trained.params().get(name), same, "{name}");
    }

    let short = place.join("short.toml");
    fs::write(&short, fs::read_to_string(&config).unwrap().replace("seq_len = 32", "seq_len = 1")).unwrap();
    let error =
        refused(&["train", "--config", text(&short), "--corpus", &corpus, "-o", &arg("x"), "--steps", "1"]);
    assert!(error.contains("norm: found batch with sequences of one token, wanted two or more"), "{error}");
}
