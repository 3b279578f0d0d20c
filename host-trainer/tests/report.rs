//! The report of a run: all sections, one file, and no text that becomes markup.

mod common;

use common::{Folder, refused, text, thumbformer, tiny_config};
use host_trainer::checkpoint::Info;
use host_trainer::tokenizer::section;
use host_trainer::train::{TrainConfig, TrainingConfig, train};
use std::fs;
use std::path::{Path, PathBuf};
use thumbformer::format::tokenizer::TokenizerKind;

const SECTIONS: [&str; 8] =
    ["curves", "samples", "attention", "weights", "activations", "rounding", "memory", "configuration"];

/// A run of a few steps on a text of bytes.
fn run(folder: &Folder) -> PathBuf {
    let mut model = tiny_config();
    model.config.vocab_size = 259;
    let training = TrainingConfig {
        steps: Some(6),
        batch: 2,
        threads: 1,
        eval_interval: 2,
        ..TrainingConfig::default()
    };
    let config = TrainConfig { model, training, ..TrainConfig::default() };
    let tokens: Vec<u16> =
        "<b>the cat</b> & the hat. ".repeat(20).bytes().map(|byte| 3 + u16::from(byte)).collect();
    let info = Info {
        name: "<cat>".into(),
        licence: "none & all".into(),
        provenance: "a \"test\"".into(),
        ..Info::default()
    };
    let tokenizer = section(TokenizerKind::ByteBpe, &[]).unwrap();
    let path = folder.join("run");
    train(&path, config, info, &tokens, &tokens, Some(tokenizer), false).unwrap();
    path
}

/// The page, which must be whole, and open without any other file.
fn page(path: &Path) -> String {
    let page = fs::read_to_string(path).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
    for id in SECTIONS {
        assert_eq!(page.matches(&format!("<section id=\"{id}\">")).count(), 1, "{id}");
    }
    for outside in ["http", "//", "src=", "href=", "url(", "@import", "<script", "<link"] {
        assert!(!page.contains(outside), "{outside}: {:?}", &page[page.find(outside).unwrap()..][..80]);
    }
    for nonsense in ["NaN", "\"inf", "-inf"] {
        assert!(!page.contains(nonsense), "{:?}", &page[page.find(nonsense).unwrap()..][..80]);
    }
    let odd = page.chars().find(|c| c.is_control() && *c != '\n');
    assert_eq!(odd, None);
    for (open, close) in
        [("<section", "</section>"), ("<figure>", "</figure>"), ("<svg", "</svg>"), ("<pre", "</pre>")]
    {
        assert_eq!(page.matches(open).count(), page.matches(close).count(), "{open}");
    }
    page
}

#[test]
fn a_run_leaves_a_report_with_all_sections() {
    let folder = Folder::new("report-run");
    let run = run(&folder);
    let written = page(&run.join("report.html"));
    assert!(written.contains("&lt;cat&gt;") && !written.contains("<cat>"));
    assert!(written.contains("<b>&lt;b&gt;the c</b>"), "the prompt of a sample");
    assert_eq!(written.matches("class=\"sample\"").count(), 3);
    // 2 layers of 4 heads; 14 matrices in the blocks and the embedding.
    assert_eq!(written.matches("<figcaption>head ").count(), 2 * 4);
    assert_eq!(written.matches("<h3>block ").count(), 2 + 2);
    for part in [
        "0.wq: rms",
        "1.hidden: rms",
        "output: rms",
        "loss, nats per token",
        "mps2-an386",
        "eval_interval = 2",
    ] {
        assert!(written.contains(part), "{part:?} is missing");
    }
    assert!(!written.contains("no values yet") && !written.contains("Not shown"));

    // The command makes the same of the folder, and one for another machine elsewhere.
    thumbformer(&["report", text(&run)]);
    assert_eq!(page(&run.join("report.html")), written);
    let other = folder.join("other.html");
    thumbformer(&["report", text(&run), "-o", text(&other), "--board", "microbit"]);
    assert!(page(&other).contains("On microbit (Cortex-M0)"));
}

#[test]
fn the_memory_map_has_the_size_of_the_exported_file() {
    let folder = Folder::new("report-memory");
    let run = run(&folder);
    let file = folder.join("model.thumb");
    let checkpoint = run.join("model.safetensors");
    let args = ["export", text(&checkpoint), "-o", text(&file), "--activations", "8", "--target", "m4"];
    thumbformer(&args);
    let json: serde_json::Value =
        serde_json::from_str(&thumbformer(&["inspect", text(&file), "--json"])).unwrap();
    let page = page(&run.join("report.html"));
    for bytes in [fs::metadata(&file).unwrap().len(), json["workspace"].as_u64().unwrap()] {
        let number = format!("{},{:03} bytes", bytes / 1000, bytes % 1000);
        assert!((1000..1_000_000).contains(&bytes) && page.contains(&number), "{number} is missing");
    }
}

#[test]
fn odd_metrics_do_no_harm() {
    let folder = Folder::new("report-odd");
    let run = run(&folder);
    let report = |metrics: &[u8]| {
        fs::write(run.join("metrics.jsonl"), metrics).unwrap();
        thumbformer(&["report", text(&run)]);
        page(&run.join("report.html"))
    };
    let empty = report(b"");
    assert!(empty.contains("no values yet") && empty.contains("There are none"));
    let odd = report(
        b"{\"step\":1,\"loss\":null,\"learning_rate\":NaN}\n{\"step\":1,\"loss\":null}\n{\"step\":1,\"valid_loss\":null}\n\
          {\"step\":2,\"loss\":1e308,\"tokens_per_second\":-5}\n{\"step\":3,\"loss\":-1e308,\"seconds\":\"x\"}\n\
          {\"step\":2,\"prompt\":\"</pre><script>\",\"sample\":\"\\u0000\\u001b[2J\\u202e\\r\\u0085\"}\n\xff\xfe\n{\"step\":4,\"lo",
    );
    assert!(odd.contains("3 lines of metrics.jsonl made no sense"), "{}", &odd[..4000]);
    assert!(odd.contains("&lt;/pre&gt;&lt;script&gt;</b>\u{2400}\u{241b}[2J"));
    fs::remove_file(run.join("metrics.jsonl")).unwrap();
    fs::remove_file(run.join("valid.u16")).unwrap();
    thumbformer(&["report", text(&run)]);
    assert_eq!(page(&run.join("report.html")).matches("no held-out tokens").count(), 2);
    fs::remove_file(run.join("model.safetensors")).unwrap();
    thumbformer(&["report", text(&run)]);
    assert_eq!(page(&run.join("report.html")).matches("no checkpoint yet").count(), 5);
}

#[test]
fn what_is_no_run_is_refused() {
    let folder = Folder::new("report-refused");
    let nowhere = folder.join("nowhere");
    assert!(
        refused(&["report", text(&nowhere)]).contains("nowhere: found no config.toml, wanted a run folder")
    );
    let run = run(&folder);
    let error = refused(&["report", text(&run), "--board", "an386"]);
    assert!(error.contains("there is no board \"an386\"; boards.toml has microbit"), "{error}");
    for name in ["model.safetensors", "best.safetensors", "config.toml", "valid.u16"] {
        let error = refused(&["report", text(&run), "-o", text(&run.join(name))]);
        assert!(error.contains("found an input, wanted another file"), "{error}");
    }
    let model = run.join("model.safetensors");
    fs::write(&model, b"odd").unwrap();
    assert!(refused(&["report", text(&run)]).contains("model.safetensors: not a checkpoint"));
}
