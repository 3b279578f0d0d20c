//! The command line refuses bad input in one line, with exit code 2, and leaves every file as it was.

mod common;

use common::{Folder, refused, text, thumbformer, tiny_config};
use host_trainer::checkpoint::{self, Checkpoint, Info};
use host_trainer::model::{Model, Quantization, WeightBits};
use host_trainer::tokenizer::section;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use thumbformer::format::tokenizer::TokenizerKind;

/// A folder with a checkpoint, a model file, tokens and texts.
struct Place(Folder);

impl Place {
    fn new(name: &str) -> Self {
        let place = Self(Folder::new(name));
        let mut config = tiny_config();
        config.config.vocab_size = 259;
        let model = Model::init(config, 1).unwrap();
        let tokenizer = section(TokenizerKind::ByteBpe, &[]).unwrap();
        checkpoint::save(&place.path("tiny.safetensors"), &model, &Info::default(), Some(&tokenizer))
            .unwrap();
        checkpoint::save(&place.path("mute.safetensors"), &model, &Info::default(), None).unwrap();
        checkpoint::save(&place.path("odd.safetensors"), &model, &Info::default(), Some(b"odd")).unwrap();
        thumbformer(&["export", &place.arg("tiny.safetensors"), "-o", &place.arg("tiny.thumb")]);
        place.cut("tiny.thumb", "cut.thumb");
        place.cut("tiny.safetensors", "cut.safetensors");
        let mut damaged = fs::read(place.path("tiny.thumb")).unwrap();
        *damaged.last_mut().unwrap() ^= 1;
        place.write("damaged.thumb", &damaged);
        place.write("stream.u16", &[5, 0].repeat(100));
        place.write("short.u16", &[5, 0].repeat(24));
        place.write("odd.u16", &[5, 0, 5]);
        place.write("strange.u16", &[3, 1].repeat(100));
        place.write("picture.png", b"\x89PNG and much more");
        place.write("void", b"");
        place.write("text.txt", "the cat sat on the mat. ".repeat(200).as_bytes());
        place.write("short.txt", b"not much to say");
        place.write("latin1.txt", b"caf\xe9 and more");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn arg(&self, name: &str) -> String {
        text(&self.path(name)).to_owned()
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    /// All but the last byte of a file.
    fn cut(&self, from: &str, to: &str) {
        let bytes = fs::read(self.path(from)).unwrap();
        self.write(to, &bytes[..bytes.len() - 1]);
    }

    /// Every file and what it holds.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        fn list(folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    files.insert(path.clone(), Vec::new());
                    list(&path, files);
                } else {
                    files.insert(path.clone(), fs::read(&path).unwrap());
                }
            }
        }
        let mut files = BTreeMap::new();
        list(self.0.path(), &mut files);
        files
    }

    /// Runs a command line, in which `@name` is a file here; its one line of refusal must have all `parts`.
    fn refuses(&self, line: &str, parts: &[&str]) {
        let before = self.files();
        let args: Vec<String> = line
            .split(' ')
            .map(|arg| arg.strip_prefix('@').map_or(arg.into(), |name| self.arg(name)))
            .collect();
        let error = refused(&args.iter().map(String::as_str).collect::<Vec<_>>());
        for part in parts {
            assert!(error.contains(part), "{line}: {error}, wanted {part:?}");
        }
        assert!(self.files() == before, "{line}: files have changed");
    }
}

#[test]
fn training_refuses_what_it_cannot_learn_from() {
    let place = Place::new("cli-corpus");
    let train = |corpus: &str, parts: &[&str]| {
        place.refuses(&format!("train --corpus @{corpus} -o @run --steps 1"), parts);
    };
    train("nowhere.txt", &["nowhere.txt: no such file or folder"]);
    train("void", &["void: the corpus is empty"]);
    train("latin1.txt", &["latin1.txt: not UTF-8 at byte 3"]);
    train("short.txt", &["short.txt: shorter than one context: found ", "wanted at least 257"]);
    place.refuses("train --corpus @text.txt -o @run --vocab 258", &["found 258", "wanted 259"]);

    // Nor does a folder stay behind that is named from where one is.
    let mut command = Command::new(env!("CARGO_BIN_EXE_thumbformer"));
    let args = ["train", "--corpus", "short.txt", "-o", "my", "--steps", "1"];
    let output = command.args(args).current_dir(place.0.path()).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("short.txt: shorter than one context"), "{error}");
    assert!(!place.path("my").exists());
}

#[test]
fn training_refuses_bad_choices_before_it_reads_the_text() {
    let place = Place::new("cli-choices");
    let train = |flags: &str, parts: &[&str]| {
        place.refuses(&format!("train --corpus @nowhere.txt -o @run {flags}"), parts);
    };
    train("--dim 65 --heads 8", &["dim: found 65, wanted a multiple of n_heads (8)"]);
    train("--heads 8 --kv-heads 3", &["n_heads: found 8, wanted a multiple of n_kv_heads (3)"]);
    train("--dim 1024 --heads 2 --kv-heads 2", &["no model file can hold this shape", "head_dim = 512"]);
    train("--steps 0", &["steps: found 0, wanted at least 1"]);
    train("--minutes -1", &["minutes: found -1, wanted a positive number"]);
    train("--learning-rate -1", &["learning_rate: found -1, wanted a positive number"]);
    train("--held-out -1", &["found -1, wanted more than 0 and less than 1"]);
    train("--minutes nan", &["minutes: found NaN, wanted a positive number"]);
    train("--held-out 1", &["held_out: found 1, wanted more than 0 and less than 1"]);
    train("--resume", &["run: found no run to resume"]);
    place.refuses("train --corpus @nowhere.txt -o @text.txt/run", &["text.txt/run: no place for a run"]);
    fs::create_dir(place.path("old")).unwrap();
    place.write("old/state.safetensors", b"dear");
    place.refuses("train --corpus @nowhere.txt -o @old", &["old: found a run"]);
    for (folder, file) in [("older", "model.safetensors"), ("oldest", "valid.u16")] {
        fs::create_dir(place.path(folder)).unwrap();
        place.write(&format!("{folder}/{file}"), b"dear");
        let parts = [folder, "found a run, wanted an empty folder or --resume"];
        place.refuses(&format!("train --corpus @nowhere.txt -o @{folder}"), &parts);
    }
    // What an early end leaves is no run.
    fs::create_dir(place.path("early")).unwrap();
    place.write("early/config.toml", b"");
    place.write("early/metrics.jsonl", b"");
    place.refuses("train --corpus @nowhere.txt -o @early", &["nowhere.txt: no such file"]);
}

#[test]
fn training_refuses_bad_configurations() {
    let place = Place::new("cli-config");
    let shape = "[model]\ndim = 8\nhidden_dim = 8\nn_layers = 1\nn_heads = 1\nn_kv_heads = 1\n\
                 vocab_size = 300\nseq_len = 8\n";
    for (extra, parts) in [
        ("colour = \"red\"\n", &["config.toml, line 9: unknown field `colour`", "`n_heads`"][..]),
        ("[training]\nstops = 9\n", &["config.toml, line 10: unknown field `stops`", "`steps`"]),
        ("[trainign]\n", &["config.toml, line 9: unknown field `trainign`"]),
        ("[training\n", &["config.toml, line 9: "]),
        ("activation = \"swish\"\n", &["config.toml, line 9: unknown variant `swish`", "`silu`"]),
        ("[training]\nsteps = \"many\"\n", &["config.toml, line 10: invalid type: string \"many\""]),
    ] {
        place.write("config.toml", format!("{shape}{extra}").as_bytes());
        place.refuses("train --config @config.toml --corpus @nowhere.txt -o @run", parts);
    }
    // Every table has a default.
    for text in ["[training]\nsteps = 9\n", "[data]\nheld_out = 0.1\n", ""] {
        place.write("config.toml", text.as_bytes());
        let parts = ["nowhere.txt: no such file or folder"];
        place.refuses("train --config @config.toml --corpus @nowhere.txt -o @run", &parts);
    }
    place.write("config.toml", b"[data]\npairs = \"pairs.jsonl\"\n");
    let parts = ["data: pairs: found pairs.jsonl, wanted a text; `finetune --pairs` learns answers"];
    place.refuses("train --config @config.toml -o @run", &parts);
    place.write("config.toml", b"[data]\nrow_len = 9\n");
    let parts = ["data: row_len: found 9, wanted none: sequences of a text fill the context (seq_len)"];
    place.refuses("train --config @config.toml --corpus @text.txt -o @run", &parts);
    place.refuses("train --config @nowhere.toml -o @run", &["cannot read ", "nowhere.toml"]);
}

#[test]
fn other_files_are_no_models() {
    let place = Place::new("cli-magic");
    let magic = ["picture.png: ", "bad magic: found \"\\x89PNG\", wanted \"THMB\""];
    place.refuses("run @picture.png", &magic);
    place.refuses("inspect @picture.png", &magic);
    for command in ["run", "inspect"] {
        let parts = ["tiny.safetensors: found a checkpoint, wanted a model file", "`thumbformer export`"];
        place.refuses(&format!("{command} @tiny.safetensors"), &parts);
    }
    place.refuses(
        "eval @picture.png --tokens @stream.u16",
        &["picture.png: wrong magic", "wanted a model file"],
    );
    place.refuses("eval @void --tokens @stream.u16", &["void: wrong magic: found \"\""]);
    place.refuses("export @picture.png -o @new.thumb", &["picture.png: not a checkpoint"]);
    place.refuses(
        "export @tiny.thumb -o @new.thumb",
        &["tiny.thumb: found a model file, wanted a checkpoint"],
    );
    for command in ["run @nowhere", "inspect @nowhere", "eval @nowhere --tokens @stream.u16"] {
        place.refuses(command, &["cannot read ", "nowhere"]);
    }
    place.refuses("export @nowhere -o @new.thumb", &["nowhere: "]);
}

#[test]
fn truncated_and_damaged_models_are_refused() {
    let place = Place::new("cli-cut");
    let len = fs::metadata(place.path("tiny.thumb")).unwrap().len();
    let truncated = format!("cut.thumb: truncated: needs {len} bytes, found {}", len - 1);
    for command in ["run", "inspect", "eval --tokens @stream.u16"] {
        place.refuses(&format!("{command} @cut.thumb"), &[&truncated]);
        place.refuses(&format!("{command} @damaged.thumb"), &["damaged.thumb: bad checksum: stated 0x"]);
    }
    let len = fs::metadata(place.path("tiny.safetensors")).unwrap().len();
    let truncated =
        format!("cut.safetensors: not a checkpoint: length: found {} bytes, wanted {len}", len - 1);
    place.refuses("eval @cut.safetensors --tokens @stream.u16", &[&truncated]);
    place.refuses("export @cut.safetensors -o @new.thumb", &[&truncated]);
}

#[test]
fn evaluation_refuses_bad_streams() {
    let place = Place::new("cli-stream");
    for model in ["@tiny.thumb", "@tiny.safetensors"] {
        let eval =
            |rest: &str, parts: &[&str]| place.refuses(&format!("eval {model} --tokens {rest}"), parts);
        eval("@nowhere.u16", &["cannot read ", "nowhere.u16"]);
        eval("@odd.u16", &["odd.u16: found 3 bytes, wanted an even number"]);
        eval("@short.u16", &["short.u16: tokens: found 24, wanted at least 25"]);
        eval("@void", &["void: tokens: found 0, wanted at least 25"]);
        eval("@strange.u16", &["strange.u16: token 0: found 259, wanted less than 259"]);
        eval("@stream.u16 --chunk 0", &["chunk: found 0, wanted 1 to 24"]);
        eval("@stream.u16 --chunk 25", &["chunk: found 25, wanted 1 to 24"]);
    }
}

#[test]
fn evaluation_against_f32() {
    let place = Place::new("cli-against");
    let eval =
        |rest: &str, parts: &[&str]| place.refuses(&format!("eval {rest} --tokens @stream.u16"), parts);
    eval("@tiny.safetensors --against @tiny.safetensors", &["--against: found a checkpoint as the model"]);
    eval("@tiny.thumb --against @tiny.thumb", &["tiny.thumb: found a model file, wanted a checkpoint"]);
    let mut other = tiny_config();
    other.config.vocab_size = 300;
    let model = Model::init(other, 1).unwrap();
    checkpoint::save(&place.path("other.safetensors"), &model, &Info::default(), None).unwrap();
    let parts = ["the f32 model: found vocab_size = 300, wanted 259 as in the model file"];
    eval("@tiny.thumb --against @other.safetensors", &parts);
    let [tiny, twin, stream] = ["tiny.thumb", "tiny.safetensors", "stream.u16"].map(|name| place.arg(name));
    let args = ["eval", &tiny, "--tokens", &stream, "--against", &twin];
    assert!(thumbformer(&args).contains("\nKL(f32 || integers) 0.0"));
    let json = thumbformer(&[&args[..], &["--json"]].concat());
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let (kl, agreement) = (json["kl"].as_f64().unwrap(), json["agreement"].as_f64().unwrap());
    assert!(kl > 0.0 && kl < 0.01 && agreement > 0.5 && agreement <= 1.0, "{json}");
}

#[test]
fn an_export_chooses_the_bits_of_vectors() {
    let place = Place::new("cli-widths");
    let export = |bits: &str| {
        let [tiny, new] = ["tiny.safetensors", "new.thumb"].map(|name| place.arg(name));
        let args = ["export", &tiny, "-o", &new, "--activations", bits];
        Command::new(env!("CARGO_BIN_EXE_thumbformer")).args(args).output().unwrap()
    };
    for (bits, wanted, told) in [("8", "a8", false), ("16", "a16", false), ("auto", "a8", true)] {
        let output = export(bits);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{error}");
        assert_eq!(error.contains("8 bits everywhere"), told, "{error}");
        let table = thumbformer(&["inspect", &place.arg("new.thumb")]);
        assert_eq!(table.matches(&format!(" {wanted} ")).count(), 2 * 7 + 1, "{table}");
    }
    let before = place.files();
    assert_eq!(export("12").status.code(), Some(2));
    assert!(place.files() == before);
}

#[test]
fn a_prompt_fits_the_context() {
    let place = Place::new("cli-prompt");
    let prompt = |len: usize| format!("run @tiny.thumb --max-tokens 1 --prompt {}", "x".repeat(len));
    place
        .refuses(&prompt(24), &["the prompt is longer than the context: found 25 tokens, wanted at most 24"]);
    place.refuses(&prompt(100_000), &["found 100001 tokens, wanted at most 24"]);
    let tiny = place.arg("tiny.thumb");
    thumbformer(&["run", &tiny, "--max-tokens", "1", "--prompt", &"x".repeat(23)]);
}

#[test]
fn generation_refuses_what_is_out_of_range() {
    let place = Place::new("cli-ranges");
    let run = |flags: &str, parts: &[&str]| place.refuses(&format!("run @tiny.thumb {flags}"), parts);
    run("--temperature -1", &["--temperature: found -1, wanted 0 or more"]);
    run("-t inf", &["--temperature: found inf, wanted 0 or more"]);
    run("--temperature nan", &["--temperature: found NaN"]);
    run("--top-p 1.5", &["--top-p: found 1.5, wanted 0 to 1"]);
    run("--top-p -0.5", &["--top-p: found -0.5, wanted 0 to 1"]);
    run("--min-p nan", &["--min-p: found NaN, wanted 0 to 1"]);
    run("--min-p 2", &["--min-p: found 2, wanted 0 to 1"]);
    run("--repetition-penalty 0", &["--repetition-penalty: found 0, wanted a positive number"]);
    run("--repetition-penalty -1", &["--repetition-penalty: found -1"]);
    run("--top-k 0", &["--top-k: found 0, wanted at least 1"]);
    run("--keep-going 12", &["--keep-going: found 12, wanted less than 12"]);
    let tiny = place.arg("tiny.thumb");
    thumbformer(&["run", &tiny, "--keep-going", "11", "-n", "40", "--top-p", "1", "--min-p", "0"]);
}

#[test]
fn a_reader_may_leave() {
    let place = Place::new("cli-reader");
    let args = ["run", &place.arg("tiny.thumb"), "--keep-going", "11", "-n", "1000000"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_thumbformer"));
    let piped = command.args(args).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = piped.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && !error.contains("error"), "{error}");
}

#[test]
fn headroom_moves_the_binary_point() {
    let place = Place::new("cli-headroom");
    let [tiny, new] = ["tiny.safetensors", "new.thumb"].map(|name| place.arg(name));
    let frac = |bits: &str| {
        thumbformer(&["export", &tiny, "-o", &new, "--headroom", bits]);
        let told = thumbformer(&["inspect", &new, "--json"]);
        serde_json::from_str::<serde_json::Value>(&told).unwrap()["frac"].as_u64().unwrap()
    };
    assert_eq!(frac("12"), frac("15") + 3);
}

#[test]
fn a_look_at_data_names_every_file() {
    let place = Place::new("cli-data");
    for name in ["a.jsonl", "b.jsonl"] {
        place.write(name, b"{\"prompt\": \"much too long\", \"answer\": \"as well\"}\n");
    }
    let parts = ["a.jsonl, ", "b.jsonl: ", "wanted at most 2"];
    place.refuses("data inspect @a.jsonl @b.jsonl --context 2", &parts);
}

#[test]
fn inspection_ends_with_its_last_line() {
    let place = Place::new("cli-inspect");
    let text = thumbformer(&["inspect", &place.arg("tiny.thumb")]);
    assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{text:?}");
}

#[test]
fn a_model_that_is_packed_for_another_core_says_so() {
    let place = Place::new("cli-packed");
    let [tiny, any, m4] = ["tiny.safetensors", "tiny.thumb", "m4.thumb"].map(|name| place.arg(name));
    thumbformer(&["export", &tiny, "-o", &m4, "--target", "m4"]);
    let said = |model: &str| {
        let run = Command::new(env!("CARGO_BIN_EXE_thumbformer")).args(["run", model, "-n", "1"]).output();
        String::from_utf8(run.unwrap().stderr).unwrap().contains("packed for another core: slower")
    };
    assert!(said(&m4) && !said(&any));
    let verdict = |model: &str, core: &str| {
        let text = thumbformer(&["inspect", model]);
        let line = text.lines().find(|line| line.contains(core)).unwrap();
        line.split_whitespace().skip(2).collect::<Vec<_>>().join(" ")
    };
    for (model, core, packed) in [
        (&any, "Cortex-M4F", false),
        (&any, "Cortex-M55", true),
        (&m4, "Cortex-M33", true),
        (&m4, "Cortex-M3 ", false),
    ] {
        let wanted = if packed { "yes" } else { "yes, but packed for another core: slower" };
        assert_eq!(verdict(model, core), wanted, "{model} on {core}");
    }
}

#[test]
fn exports_are_written_whole_or_not_at_all() {
    let place = Place::new("cli-export");
    fs::create_dir(place.path("folder")).unwrap();
    let export = |rest: &str, parts: &[&str]| place.refuses(&format!("export {rest}"), parts);
    export("@tiny.safetensors -o @text.txt/new.thumb", &["text.txt/new.thumb: cannot be written"]);
    export("@tiny.safetensors -o @nowhere/new.thumb", &["nowhere/new.thumb: cannot be written"]);
    export("@tiny.safetensors -o @folder", &["folder: found a folder, wanted a file"]);
    export("@mute.safetensors -o @new.thumb", &["mute.safetensors: found no tokenizer, wanted one"]);
    export("@odd.safetensors -o @new.thumb", &["no runtime would take the model: truncated"]);
    let input = "found an input, wanted another file to write";
    export("@tiny.safetensors -o @tiny.safetensors", &["tiny.safetensors: ", input]);
    export("@tiny.safetensors -o @folder/../tiny.safetensors", &[input]);
    export("@tiny.safetensors --calibration @stream.u16 -o @stream.u16", &["stream.u16: ", input]);
    let other = "found the name of another file to write, ";
    export("@tiny.safetensors -o @new.thumb --report @folder/../new.thumb", &["new.thumb: ", other]);
    export("@tiny.safetensors -o @new.thumb --report @new.thumb.partial", &["new.thumb.partial: ", other]);
    place.write("twin.thumb.partial", &fs::read(place.path("tiny.safetensors")).unwrap());
    export("@twin.thumb.partial -o @twin.thumb", &["twin.thumb: ", input]);
    export("@cut.safetensors -o @tiny.thumb", &["cut.safetensors: not a checkpoint"]);
    export("@tiny.safetensors -o @new.thumb --context 25", &["context: found 25 positions, wanted 1 to 24"]);
    export("@tiny.safetensors -o @new.thumb --calibration @odd.u16", &["odd.u16: found 3 bytes"]);
    export("@tiny.safetensors -o @new.thumb --calibration @strange.u16", &["strange.u16", "found 259"]);
}

#[test]
fn nobody_is_told_to_choose_other_bits_than_those_of_the_training() {
    let place = Place::new("cli-trained");
    let Checkpoint { model, info, tokenizer } = checkpoint::load(&place.path("tiny.safetensors")).unwrap();
    let model = model.with_quantization(Some(Quantization::all(WeightBits::Int4)));
    checkpoint::save(&place.path("trained.safetensors"), &model, &info, tokenizer.as_deref()).unwrap();
    let export = "export @trained.safetensors -o @new.thumb";
    place.refuses(
        &format!("{export} --flash-budget 1K"),
        &["wanted at most 1024", "the bits that it was trained to have, a smaller --context"],
    );
    place.refuses(&format!("{export} --bits 8"), &["found Int8, wanted Int4"]);
}

#[test]
fn an_export_may_name_a_licence() {
    let place = Place::new("cli-licence");
    let [tiny, new] = ["tiny.safetensors", "new.thumb"].map(|name| place.arg(name));
    thumbformer(&["export", &tiny, "-o", &new, "--licence", "CC0-1.0"]);
    assert!(thumbformer(&["inspect", &new]).contains("licence: CC0-1.0\n"));
}

#[test]
fn imports_are_written_whole_or_not_at_all() {
    let place = Place::new("cli-import");
    // dim 4, hidden_dim 4, one block, two heads, a vocabulary of 300, four positions
    let shape = [4, 4, 1, 2, 2, 300, 4i32].map(i32::to_le_bytes);
    let values = 300 * 4 + 4 + 4 * 16 + 4 + 3 * 16 + 4 + 4 * 2;
    let mut bin = shape.as_flattened().to_vec();
    bin.extend((0..values).flat_map(|i| ((i % 7) as f32 / 7.0).to_le_bytes()));
    place.write("model.bin", &bin);
    let mut tokenizer = vec![9, 0, 0, 0];
    let special = ["<unk>", "<s>", "</s>"].map(String::from).into_iter();
    for name in special.chain((0..=255u8).map(|byte| format!("<0x{byte:02X}>"))) {
        tokenizer.extend(0f32.to_le_bytes());
        tokenizer.extend((name.len() as i32).to_le_bytes());
        tokenizer.extend(name.bytes());
    }
    place.write("tok.bin", &tokenizer);
    place.cut("model.bin", "cut.bin");
    place.cut("tok.bin", "cut-tok.bin");
    let import = |rest: &str, parts: &[&str]| place.refuses(&format!("import llama2c {rest}"), parts);
    let lengths = format!("length: found {} bytes, wanted {}", bin.len() - 1, bin.len());
    import("@cut.bin --tokenizer @tok.bin -o @new.thumb", &["cut.bin: not a llama2.c checkpoint", &lengths]);
    import("@model.bin --tokenizer @cut-tok.bin -o @new.thumb", &["cut-tok.bin: not a llama2.c tokenizer"]);
    import("@nowhere --tokenizer @tok.bin -o @new.thumb", &["nowhere: "]);
    import("@model.bin --tokenizer @tok.bin -o @text.txt/new.thumb", &["cannot be written"]);
    import("@model.bin --tokenizer @tok.bin -o @new.safetensors", &["wanted another extension"]);
    let input = "found an input, wanted another file to write";
    import("@model.bin --tokenizer @tok.bin -o @model.bin", &["model.bin: ", input]);
    import("@model.bin --tokenizer @tok.bin -o @tok.bin", &["tok.bin: ", input]);
    let report = "@model.bin --tokenizer @tok.bin -o @new.thumb --report";
    let taken = "found the name of another file to write, ";
    import(&format!("{report} @new.thumb"), &["new.thumb: ", taken]);
    import(&format!("{report} @new.safetensors"), &["new.safetensors: ", taken]);
    place.write("same.safetensors", &bin);
    import("@same.safetensors --tokenizer @tok.bin -o @same.thumb", &["same.safetensors: ", input]);
    fs::create_dir(place.path("new.safetensors")).unwrap();
    import("@model.bin --tokenizer @tok.bin -o @new.thumb", &["new.safetensors: found a folder"]);
    fs::remove_dir(place.path("new.safetensors")).unwrap();
    let [model, tokenizer, new] = ["model.bin", "tok.bin", "new.thumb"].map(|name| place.arg(name));
    thumbformer(&["import", "llama2c", &model, "--tokenizer", &tokenizer, "-o", &new]);
    assert!(place.path("new.thumb").is_file() && place.path("new.safetensors").is_file());

    // The twin may be written again, but takes no other file's place.
    thumbformer(&["import", "llama2c", &model, "--tokenizer", &tokenizer, "-o", &new]);
    let other = "found another file, wanted none or the f32 twin of ";
    import("@model.bin --tokenizer @tok.bin -o @tiny.thumb", &["tiny.safetensors: ", other, "model.bin"]);
    place.write("picture.safetensors", b"no checkpoint");
    import("@model.bin --tokenizer @tok.bin -o @picture.thumb", &["picture.safetensors: ", other]);
}

#[test]
fn usage_is_explained() {
    for command in ["train", "eval", "export", "import", "run", "inspect"] {
        assert!(thumbformer(&["--help"]).contains(&format!("  {command}")), "{command}");
        assert!(thumbformer(&[command, "--help"]).contains("Usage: thumbformer"), "{command}");
    }
    let help = thumbformer(&["train", "--help"]);
    for part in ["--corpus <PATH>", "Sequences per batch [default: 8]", "Transformer blocks [default: 5]"] {
        assert!(help.contains(part), "{help}, wanted {part:?}");
    }
    for args in
        [&["run"][..], &["fly"], &["train", "--steps", "1", "--minutes", "1"], &["run", "x", "-n", "-3"], &[]]
    {
        let output = Command::new(env!("CARGO_BIN_EXE_thumbformer")).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{args:?}");
    }
}

#[test]
#[cfg(unix)]
fn an_interrupted_training_goes_on() {
    use std::time::{Duration, Instant};
    let place = Place::new("cli-interrupt");
    let run = place.arg("run");
    let corpus = place.arg("text.txt");
    let shape = [
        "--dim",
        "8",
        "--heads",
        "2",
        "--kv-heads",
        "1",
        "--layers",
        "1",
        "--hidden-dim",
        "8",
        "--context",
        "16",
    ];
    let small = ["--vocab", "270", "--threads", "1", "--held-out", "0.1", "--licence", "CC0-1.0"];
    let train = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_thumbformer"));
        command.args(["train", "-o", &run]).args(more);
        command
    };
    let steps = || -> Vec<u64> {
        let text = fs::read_to_string(place.path("run/metrics.jsonl")).unwrap_or_default();
        // The last line may be on its way.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let lines = whole.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.filter(|line| line["loss"].is_f64()).map(|line| line["step"].as_u64().unwrap()).collect()
    };

    let first = [&shape[..], &small, &["--corpus", &corpus, "--steps", "1000000"]].concat();
    let child = train(&first).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    while steps().len() < 3 {
        assert!(started.elapsed() < Duration::from_secs(60), "training does not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let done = steps().len() as u64;
    let told = String::from_utf8(output.stderr).unwrap();
    let goes_on = format!("interrupted after {done} steps; to go on: thumbformer train --resume -o {run}");
    assert!(told.ends_with(&format!("{goes_on}\n")) && told.matches("interrupted").count() == 1, "{told}");
    checkpoint::load(&place.path("run/model.safetensors")).unwrap();

    // Neither a new run nor another text may take its place.
    place.refuses("train --corpus @text.txt -o @run --steps 1", &["run: found a run"]);
    place.write("other.txt", "a quite different text altogether. ".repeat(200).as_bytes());
    let before = fs::read(place.path("run/state.safetensors")).unwrap();
    let other = ["train", "--corpus", &place.arg("other.txt"), "-o", &run, "--resume", "--steps", "1"];
    let output = Command::new(env!("CARGO_BIN_EXE_thumbformer")).args(other).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("other.txt: found another text (crc32 "));
    assert_eq!(fs::read(place.path("run/state.safetensors")).unwrap(), before);

    // What is refused leaves the run as it was.
    let refuses = |flags: &[&str], part: &str| {
        let before = place.files();
        let output = train(&[&["--resume"], flags].concat()).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.lines().last().unwrap().contains(part), "{error}, wanted {part:?}");
        assert!(place.files() == before, "{flags:?}: files have changed");
    };
    refuses(&["--seed", "7"], "seed: found 42 in the state, wanted 7");
    refuses(&["--held-out", "0.2"], "held_out: found 0.2, wanted 0.1 as in the run");
    refuses(&["--dim", "16"], "found another [model]");
    refuses(&["--steps", "1"], &format!("steps: found 1, wanted at least the {done} done"));

    // A run whose steps are done already only ends as it would have.
    let output = train(&["--resume", "--steps", &done.to_string()]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let output = train(&["--resume", "--steps", &(done + 5).to_string()]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let outcome: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(outcome["steps"], done + 5);
    let model = place.path("run/model.safetensors");
    let licence = || checkpoint::load(&model).unwrap().info.licence;
    assert_eq!(licence(), "CC0-1.0");
    assert_eq!(steps(), (1..=done + 5).collect::<Vec<_>>());

    // A licence may be named later; a text, too, from wherever one is.
    let more = ["--resume", "--steps", &(done + 6).to_string(), "--licence", "MIT", "--corpus", "text.txt"];
    let output = train(&more).current_dir(place.0.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(licence(), "MIT");
    let config = host_trainer::train::TrainConfig::read(&place.path("run/config.toml")).unwrap();
    assert!(config.data.licence.as_deref() == Some("MIT") && config.data.corpus[0].is_absolute());
}
