//! Where the model lies on its machine: flash and RAM, to the byte but for the program.

use super::Report;
use super::page::{note, thousands};
use crate::chart::{Bar, bars, escape};
use crate::checkpoint::Info;
use crate::device::ModelFile;
use crate::export::Target;
use crate::export::quantize::mantissa_and_exponent;
use crate::inspect::Inspection;
use crate::model::Model;
use anyhow::{Context, Result};
use boards::{Memory, PROGRAM_FLASH, PROGRAM_RAM};
use thumbformer::format::{Dtype, Emitter, InputWidth, TensorKind, TensorPlan};

pub fn section(report: &Report<'_>, model: &Model) -> Result<String> {
    let board = report.board;
    let target = Target::of(board).unwrap_or_default();
    let info = report.model.map(|(_, info)| info).context("no model")?;
    let file = outline(model, report.tokenizer.unwrap_or_default(), info, target)?;
    let inspection = Inspection::new(&file.model()?)?;
    let program = |bytes: u64| (format!("program, at most {} KiB", bytes / 1024), bytes);
    let mut flash = flash(&inspection);
    flash.push(program(PROGRAM_FLASH));
    let parts = inspection.workspace_parts.iter();
    let mut ram: Vec<(String, u64)> = parts.map(|&(name, bytes)| (name.to_owned(), bytes as u64)).collect();
    ram.push(("stack, variables, at most 4 KiB".to_owned(), PROGRAM_RAM));
    let mut html = note(&format!(
        "On {} ({}), with int8 weights packed for {}. A model file of {} bytes and a workspace of {} bytes are exact; what a \
         program takes around them is an estimate.",
        board.name,
        board.core,
        board.pack,
        thousands(inspection.bytes as u64),
        thousands(inspection.workspace as u64)
    ));
    html += "<div class=\"bars\">\n";
    html += &map("Flash", board.flash, &flash);
    html += &map("RAM", board.ram, &ram);
    Ok(html + "</div>\n")
}

/// A model file of the size and with the parts that an export would have, without weights.
fn outline(model: &Model, tokenizer: &[u8], info: &Info, target: Target) -> Result<ModelFile> {
    let config = model.config().config;
    let plan = |kind: TensorKind| {
        let embedding = matches!(kind, TensorKind::Embedding | TensorKind::PositionEmbedding);
        let dtype = if kind.is_matrix() || embedding { Dtype::I8 } else { Dtype::I16 };
        let bias = config.biases && kind.is_matrix() && kind != TensorKind::Head;
        TensorPlan { dtype, layout: target.layout(&config, kind), input: InputWidth::A16, exponent: 0, bias }
    };
    let plans: Vec<TensorPlan> = config.tensors().map(|spec| plan(spec.kind)).collect();
    let labels: String = info.labels.iter().map(|label| format!("label = {label}\n")).collect();
    let metadata =
        format!("name = {}\nlicence = {}\nsource = {}\n{labels}", info.name, info.licence, info.provenance);
    let mut file = vec![0; Emitter::file_len(&config, &plans, tokenizer.len(), metadata.len())];
    let epsilon = mantissa_and_exponent(model.config().norm_eps);
    let mut emitter = Emitter::new(&mut file, config, 16, epsilon, &plans, tokenizer.len(), metadata.len())
        .context("the model does not fit the format")?;
    emitter.tokenizer().copy_from_slice(tokenizer);
    emitter.metadata().copy_from_slice(metadata.as_bytes());
    emitter.finish();
    Ok(ModelFile::new(&file))
}

/// The parts of a model file.
fn flash(inspection: &Inspection) -> Vec<(String, u64)> {
    let sum = |kinds: &[&str]| -> u64 {
        let is = |name: &str| kinds.contains(&name.rsplit('.').next().unwrap_or(name));
        inspection.tensors.iter().filter(|row| is(&row.name)).map(|row| row.bytes as u64).sum()
    };
    let parts = [
        ("embedding and head", sum(&["Embedding", "PositionEmbedding", "Head"])),
        ("attention", sum(&["Wq", "Wk", "Wv", "Wo"])),
        ("MLP", sum(&["W1", "W2", "W3"])),
        ("rotary table and norms", sum(&["RopeTable", "AttentionNorm", "MlpNorm", "FinalNorm"])),
        ("tokenizer", inspection.tokenizer_bytes as u64),
    ];
    let rest = inspection.bytes as u64 - parts.iter().map(|part| part.1).sum::<u64>();
    let rest = ("header, directory, metadata", rest);
    parts.into_iter().chain([rest]).map(|(name, bytes)| (name.to_owned(), bytes)).collect()
}

/// The regions of a memory, and what is left of it.
fn map(name: &str, memory: Memory, regions: &[(String, u64)]) -> String {
    let (used, all) = (regions.iter().map(|region| region.1).sum::<u64>(), memory.len());
    let share = 100.0 * used as f64 / all as f64;
    let verdict = if used <= all {
        format!("{share:.0} % of {} KiB from {:#010x}", memory.kib, memory.origin)
    } else {
        format!(
            "too much: {} bytes more than the {} KiB from {:#010x}",
            thousands(used - all),
            memory.kib,
            memory.origin
        )
    };
    let mut rows: Vec<Bar> = regions.iter().map(|(name, bytes)| bar(name, *bytes)).collect();
    // What is free may be a hundred times the rest: a number, without a bar.
    rows.push(Bar { value: 0.0, ..bar("free", all.saturating_sub(used)) });
    let longest = regions.iter().map(|region| region.1).max().unwrap_or(1) as f64;
    format!(
        "<figure><h3>{}: {} bytes</h3><p class=\"muted\">{}</p>{}<figcaption>bytes</figcaption></figure>\n",
        escape(name),
        thousands(used),
        escape(&verdict),
        bars(&rows, longest)
    )
}

fn bar(name: &str, bytes: u64) -> Bar {
    Bar { name: name.to_owned(), value: bytes as f64, label: thousands(bytes) }
}
