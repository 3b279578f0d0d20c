//! Figures for people.

use std::fmt::Write;

use crate::size::thousands;

use super::summary::{Row, Summary};

/// What one machine takes.
pub fn machine(summary: &Summary) -> String {
    let mut text = String::new();
    let _ = print(&mut text, summary);
    text
}

fn print(out: &mut String, summary: &Summary) -> std::fmt::Result {
    let figures = &summary.figures;
    let figure = |name: &str| figures.get(name).map_or("-".to_owned(), thousands);
    writeln!(out, "{}, {} kernels, {} tokens", summary.label, figures.kernel, figures.tokens)?;
    match (&summary.fallback, summary.counter_deviation) {
        (Some(why), _) => writeln!(out, "  counted by the processor's counter, totals only: {why}")?,
        (None, off) => writeln!(
            out,
            "  counted by the plugin, every executed instruction; the processor's counter is off by at most {}",
            off.unwrap_or_default()
        )?,
    }
    writeln!(out, "  instructions per token")?;
    let (first, last) = (figure("decode-first"), figure("decode-last"));
    writeln!(out, "    decode {:>17}   first {first}, last {last}", figure("decode"))?;
    writeln!(out, "    prefill {:>16}", figure("prefill"))?;
    for (name, &n) in &figures.values {
        if let Some(block) = name.strip_prefix("prefill-by-") {
            writeln!(out, "    prefill by {block:<4} {:>9}", thousands(n))?;
        }
    }
    let positions =
        figures.values.iter().filter_map(|(name, &n)| Some((name.strip_prefix("decode-at-")?, n)));
    let mut positions: Vec<(u64, u64)> =
        positions.filter_map(|(at, n)| Some((at.parse().ok()?, n))).collect();
    positions.sort_unstable();
    for (position, n) in positions {
        writeln!(out, "    decode at {position:<4} {:>9}", thousands(n))?;
    }
    if let (Some(line), Some(layer)) = (summary.line, summary.slope_per_layer) {
        writeln!(
            out,
            "    line: {:.0} + {:.1} per position ({layer:.1} per position and layer), off by at most {:.0}",
            line.at_0, line.slope, line.deviation
        )?;
    }
    if !summary.parts.is_empty() {
        rows(out, "part of decode", &summary.parts)?;
        let cycles = figures.get("decode-estimated-cycles");
        let cycles = cycles.map_or("- (no table in its manual)".to_owned(), thousands);
        writeln!(out, "  estimated cycles per token, from the core's manual: {cycles}")?;
        if !summary.in_tiles {
            writeln!(out, "  matrices are rows: products of attention by their kernel count as matvec")?;
        }
        writeln!(out, "  bytes read from flash per token: {}", figure("decode-flash-bytes"))?;
    }
    let [workspace, stack, variables] = ["workspace", "stack", "variables"].map(figure);
    writeln!(out, "  RAM in bytes: workspace {workspace}, stack {stack}, other variables {variables}")?;
    write!(out, "  flash in bytes: program {} (without the model), of which code", figure("program"))?;
    for (i, (part, bytes)) in summary.code.iter().enumerate() {
        write!(out, "{} {part} {}", if i > 0 { "," } else { "" }, thousands(*bytes))?;
    }
    writeln!(out)?;
    if !summary.functions.is_empty() {
        rows(out, "function", &summary.functions)?;
    }
    Ok(())
}

fn rows(out: &mut String, head: &str, rows: &[Row]) -> std::fmt::Result {
    let all: f64 = rows.iter().map(|row| row.instructions).sum();
    writeln!(
        out,
        "  {:>12} {:>7} {:>10} {:>12} {:>12}  {head}",
        "instructions", "share", "calls", "est. cycles", "flash bytes"
    )?;
    for row in rows {
        let calls = if row.calls > 0.0 { format!("{:.1}", row.calls) } else { "-".to_owned() };
        let cycles = row.estimated_cycles.map_or("-".to_owned(), |cycles| thousands(cycles.round() as u64));
        writeln!(
            out,
            "  {:>12} {:>5.1} % {calls:>10} {cycles:>12} {:>12}  {}",
            thousands(row.instructions.round() as u64),
            100.0 * row.instructions / all,
            thousands(row.flash_bytes.round() as u64),
            row.name
        )?;
    }
    Ok(())
}

/// A line for each machine.
pub fn overview(summaries: &[Summary]) -> String {
    let mut text = format!(
        "{:32} {:>12} {:>12} {:>12} {:>12} {:>12}\n",
        "instructions per token", "decode", "first", "last", "prefill", "est. cycles"
    );
    for summary in summaries {
        let figure = |name: &str| summary.figures.get(name).map_or("-".to_owned(), thousands);
        let [mean, first, last, prefill, cycles] =
            ["decode", "decode-first", "decode-last", "prefill", "decode-estimated-cycles"].map(figure);
        let _ = writeln!(
            text,
            "{:32} {mean:>12} {first:>12} {last:>12} {prefill:>12} {cycles:>12}",
            summary.label
        );
    }
    text
}
