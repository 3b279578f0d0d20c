//! The tables of docs/format.md come from the code: this test compares them, or writes them anew where the
//! environment has `THUMBFORMER_BLESS`. The words between the tables are the document's own.

use super::config::{MAX_CACHE, MAX_HEAD_DIM, MAX_OUTPUTS};
use super::{Activation, Config, FormatError, NormKind, Positions, Tensor, TensorKind, header, tensor};
use std::fmt::Write;
use std::ops::Range;
use std::path::Path;

/// A shape in which every number says which one it is.
const SHAPE: Config = Config {
    dim: 48,
    hidden_dim: 100,
    n_layers: 1,
    n_heads: 4,
    n_kv_heads: 2,
    vocab_size: 300,
    seq_len: 64,
    norm: NormKind::Rms,
    activation: Activation::Silu,
    gated: true,
    positions: Positions::Rope,
    tied: false,
    biases: false,
    n_classes: 0,
};

/// The name of a number of [`SHAPE`], or the number.
fn symbol(n: usize) -> String {
    let names = [
        (SHAPE.dim, "dim"),
        (SHAPE.hidden_dim, "hidden_dim"),
        (SHAPE.n_heads, "n_heads"),
        (SHAPE.vocab_size, "vocab_size"),
        (SHAPE.seq_len, "seq_len"),
        (SHAPE.head_dim(), "head_dim"),
        (SHAPE.kv_dim(), "kv_dim"),
    ];
    names.iter().find(|(value, _)| *value == n).map_or(n.to_string(), |(_, name)| format!("`{name}`"))
}

fn fields(all: &[(&str, &str, Range<usize>, &str)], len: usize) -> String {
    let mut table = String::from("| offset | type | field | meaning |\n|---|---|---|---|\n");
    let mut end = 0;
    for (name, kind, at, meaning) in all {
        if at.start > end {
            writeln!(table, "| {end} | | | unused, 0 |").unwrap();
        }
        writeln!(table, "| {} | {kind} | `{}` |{meaning} |", at.start, name.to_lowercase()).unwrap();
        end = at.end;
    }
    if len > end {
        writeln!(table, "| {end} | | | unused, 0 |").unwrap();
    }
    table
}

fn limits() -> String {
    let mut table = String::from("| field | range |\n|---|---|\n");
    for (field, _, max) in SHAPE.limits() {
        writeln!(table, "| `{field}` | 1 to {} |", symbol(max)).unwrap();
    }
    writeln!(table, "| `n_classes` | 0 to {MAX_OUTPUTS} |").unwrap();
    let (low, high) = (header::FRAC.start(), header::FRAC.end());
    writeln!(table, "| `frac` | {low} to {high} |").unwrap();
    writeln!(table, "| `head_dim` = `dim / n_heads` | 1 to {MAX_HEAD_DIM} |").unwrap();
    let cache = "`2 * n_layers * n_kv_heads * seq_len * (head_dim + 1)`, bytes of the KV cache";
    writeln!(table, "| {cache} | up to {MAX_CACHE} |").unwrap();
    table
}

fn kinds() -> String {
    let mut table = String::from("| kind | tensor | rows | columns |\n|---|---|---|---|\n");
    let learned = Config { positions: Positions::Learned, ..SHAPE };
    let mut specs: Vec<_> = SHAPE.tensors().chain([learned.tensor(1)]).collect();
    specs.sort_by_key(|spec| spec.kind as u8);
    for spec in specs {
        let (rows, cols) = (symbol(spec.rows), symbol(spec.cols));
        let rows = if spec.rows == SHAPE.n_layers { "1".into() } else { rows };
        writeln!(table, "| {} | {:?} | {rows} | {cols} |", spec.kind as u8, spec.kind).unwrap();
    }
    table
}

fn order() -> String {
    let ungated = Config { gated: false, ..SHAPE };
    let names = |config: Config| -> Vec<String> {
        config.tensors().skip(2).take(config.n_tensors() - 4).map(|spec| format!("{:?}", spec.kind)).collect()
    };
    let (gated, plain) = (names(SHAPE), names(ungated));
    assert_eq!(gated[..plain.len()], plain);
    let last = gated[plain.len()..].join(", ");
    format!(
        "{:?}; RopeTable or PositionEmbedding; for each block {}, and where the MLP is gated {last}; {:?}; {:?}.\n",
        TensorKind::Embedding,
        plain.join(", "),
        TensorKind::FinalNorm,
        TensorKind::Head
    )
}

fn refusals() -> String {
    let (kind, layer) = (TensorKind::Wq, 3);
    let all = [
        FormatError::Truncated { need: 96, have: 12 },
        FormatError::BadMagic { found: *b"GGUF" },
        FormatError::UnsupportedVersion { found: 1, wanted: super::VERSION },
        FormatError::UnsupportedNumerics { found: 1, wanted: super::NUMERICS },
        FormatError::UnsupportedFeatures { bits: 2 },
        FormatError::TrailingBytes { expected: 4096, have: 4100 },
        FormatError::BadConfig { field: "dim", found: 0 },
        FormatError::BadTensor { kind, layer, field: "rows" },
        FormatError::UnknownTokenizer { kind: 7 },
        FormatError::BadTokenizer,
        FormatError::Misaligned,
        FormatError::BadChecksum { stated: 1, computed: 2 },
        FormatError::BadScale { kind, layer, row: 5 },
    ];
    let mut table = String::from("| error | an example of its message |\n|---|---|\n");
    for error in all {
        let name = format!("{error:?}");
        let name = name.split([' ', '{']).next().unwrap_or_default();
        writeln!(table, "| `{name}` | {error} |").unwrap();
    }
    table
}

/// The table that the documentation of the tokenizer section shows, too.
fn tokenizer() -> String {
    let lines = include_str!("tokenizer.rs").lines().filter_map(|line| line.strip_prefix("//! |"));
    lines.map(|row| format!("|{row}\n")).collect()
}

#[test]
fn the_document_has_the_tables_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/format.md");
    // The published crate comes without docs/.
    let Ok(committed) = std::fs::read_to_string(&path) else { return };
    let mut document = committed.clone();
    for (name, table) in [
        ("header", fields(header::field::ALL, header::LEN)),
        ("limits", limits()),
        ("entry", fields(tensor::field::ALL, Tensor::ENTRY)),
        ("kinds", kinds()),
        ("order", order()),
        ("tokenizer", tokenizer()),
        ("refusals", refusals()),
    ] {
        let (before, rest) = document.split_once(&format!("<!-- {name} -->\n")).unwrap();
        let (_, after) = rest.split_once("<!-- end -->").unwrap();
        document = format!("{before}<!-- {name} -->\n{table}<!-- end -->{after}");
    }
    if std::env::var_os("THUMBFORMER_BLESS").is_some() {
        std::fs::write(&path, &document).unwrap();
    } else {
        assert_eq!(committed, document, "docs/format.md is not the code's; `cargo xtask bless` writes it");
    }
}
