//! Windows from CSV files.

use super::{Builder, Options, Rows, number, shortened};
use anyhow::{Context, Result, ensure};
use csv::{ByteRecord, ReaderBuilder};

/// A table: the label of each row, and its values.
struct Table {
    labels: Vec<String>,
    values: Vec<f32>,
    columns: usize,
}

/// Reads a file, whose name labels what no column does.
pub fn read(bytes: &[u8], name: &str, options: &Options, builder: &mut Builder) -> Result<()> {
    let table = table(bytes, name, options)?;
    match options.rows {
        Rows::Steps => steps(&table, options, builder),
        Rows::Windows => {
            ensure!(
                options.window.is_none() && options.hop.is_none(),
                "window, hop: found one of them, wanted none where each row is a window"
            );
            let channels = options.channels.unwrap_or(1);
            builder.set_channels(channels)?;
            ensure!(
                table.columns.is_multiple_of(channels),
                "found {} values in a row, wanted a multiple of {channels} (channels)",
                table.columns
            );
            for (label, values) in table.labels.iter().zip(table.values.chunks_exact(table.columns)) {
                builder.push(label, values);
            }
            Ok(())
        }
    }
}

fn steps(table: &Table, options: &Options, builder: &mut Builder) -> Result<()> {
    let window = options.window.context("window: found none, wanted the steps of a window")?;
    let hop = options.hop.unwrap_or(window);
    ensure!(window > 0 && hop > 0, "window, hop: found {window} and {hop}, wanted at least 1");
    let columns = table.columns;
    builder.set_channels(columns)?;
    if let Some(wanted) = options.channels {
        ensure!(columns == wanted, "found {columns} values in a row, wanted {wanted} (channels)");
    }
    let mut start = 0;
    for run in table.labels.chunk_by(|a, b| a == b) {
        let mut used = 0;
        // A hop may reach far beyond the end.
        for at in (0..run.len()).step_by(hop).take_while(|at| window <= run.len() - at) {
            let from = (start + at) * columns;
            builder.push(&run[0], &table.values[from..from + window * columns]);
            used = at + window;
        }
        // What is behind the last window.
        builder.left_out += run.len() - used;
        start += run.len();
    }
    Ok(())
}

fn table(bytes: &[u8], name: &str, options: &Options) -> Result<Table> {
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes);
    let mut record = ByteRecord::new();
    let mut header: Option<Vec<String>> = None;
    let mut label_column = None;
    let mut width = 0;
    let mut table = Table { labels: Vec::new(), values: Vec::new(), columns: 0 };
    let mut first = true;
    while reader.read_byte_record(&mut record)? {
        let line = record.position().map_or(0, csv::Position::line);
        let fields: Vec<String> =
            record.iter().map(|field| String::from_utf8_lossy(field).into_owned()).collect();
        if first {
            first = false;
            width = fields.len();
            let names: Vec<String> = fields.iter().map(|field| field.trim().to_owned()).collect();
            label_column =
                column(options.label.as_deref(), &names).with_context(|| format!("line {line}"))?;
            let values = fields.iter().enumerate().filter(|(i, _)| Some(*i) != label_column);
            if values.clone().any(|(_, field)| field.trim().parse::<f32>().is_err()) {
                header = Some(names);
                continue;
            }
        }
        ensure!(fields.len() == width, "line {line}: found {} columns, wanted {width}", fields.len());
        for (i, field) in fields.iter().enumerate() {
            if Some(i) == label_column {
                ensure!(
                    !field.trim().is_empty(),
                    "line {line}, column {}: found an empty label, wanted a name",
                    i + 1
                );
                table.labels.push(field.trim().to_owned());
                continue;
            }
            table.values.push(number(field).with_context(|| {
                let column = header.as_ref().map_or_else(String::new, |names| format!(" ({})", names[i]));
                format!("line {line}, column {}{column}", i + 1)
            })?);
        }
        if label_column.is_none() {
            table.labels.push(name.to_owned());
        }
    }
    ensure!(!table.labels.is_empty(), "found no row of values, wanted one at least");
    table.columns = width - usize::from(label_column.is_some());
    ensure!(table.columns > 0, "found no column of values, wanted one at least");
    Ok(table)
}

/// The column of the label, from 0.
fn column(label: Option<&str>, names: &[String]) -> Result<Option<usize>> {
    let Some(label) = label else { return Ok(None) };
    if let Some(at) = names.iter().position(|name| name == label) {
        return Ok(Some(at));
    }
    let number = label.parse::<usize>().ok().filter(|number| (1..=names.len()).contains(number));
    let at = number.with_context(|| {
        let found: Vec<String> = names.iter().take(20).map(|name| shortened(name)).collect();
        format!(
            "label {label:?}: found the columns {}, wanted one of them, or its number from 1 to {}",
            found.join(", "),
            names.len()
        )
    })?;
    Ok(Some(at - 1))
}
