//! Windows of signals with a label each, for classification: from CSV, `.ts` (UEA) and `.npy` files.

mod csv;
mod npy;
mod ts;

use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};

/// Labelled windows, which may differ in length.
#[derive(Debug, Clone, PartialEq)]
pub struct Windows {
    /// Values of each step.
    pub channels: usize,
    /// Steps a second, where it is known.
    pub rate: Option<f64>,
    /// The names of the classes.
    pub classes: Vec<String>,
    /// The class of each window.
    pub labels: Vec<u16>,
    /// Steps that fill no window and were left out.
    pub left_out: usize,
    /// Where each window ends, in steps.
    ends: Vec<usize>,
    data: Vec<f32>,
}

/// How files are read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    /// CSV: the column of the label, by its name or its number from 1; without one, the file's name is the label.
    pub label: Option<String>,
    /// CSV: what a row is.
    pub rows: Rows,
    /// CSV whose rows are steps: steps of a window.
    pub window: Option<usize>,
    /// CSV whose rows are steps: steps from one window to the next; without it, windows do not overlap.
    pub hop: Option<usize>,
    /// CSV whose rows are windows: values of each step; without it, one.
    pub channels: Option<usize>,
    /// `.npy`: the file of the labels.
    pub labels: Option<PathBuf>,
    /// Steps a second.
    pub rate: Option<f64>,
}

/// What a row of a CSV file is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Rows {
    /// A step: a value for each channel. Rows of one label that follow each other are cut into windows.
    #[default]
    Steps,
    /// A window: all its values, step after step.
    Windows,
}

/// Labels by name and windows, while they are read.
#[derive(Debug, Default)]
struct Builder {
    channels: usize,
    /// Known from a header, in its order; else those that occur, sorted.
    classes: Option<Vec<String>>,
    labels: Vec<String>,
    ends: Vec<usize>,
    data: Vec<f32>,
    left_out: usize,
}

impl Builder {
    /// All files must have as many channels as the first.
    fn set_channels(&mut self, channels: usize) -> Result<()> {
        ensure!(channels > 0, "channels: found 0, wanted at least 1");
        ensure!(
            self.channels == 0 || self.channels == channels,
            "channels: found {channels}, wanted {} as before",
            self.channels
        );
        self.channels = channels;
        Ok(())
    }

    /// Adds a window of whole steps.
    fn push(&mut self, label: &str, values: &[f32]) {
        self.labels.push(label.to_owned());
        self.data.extend_from_slice(values);
        self.ends.push(self.data.len() / self.channels);
    }

    fn finish(self, rate: Option<f64>) -> Result<Windows> {
        ensure!(!self.labels.is_empty(), "found no window, wanted one at least");
        let classes = self.classes.unwrap_or_else(|| sorted(&self.labels));
        ensure!(classes.len() <= 1 << 15, "found {} classes, wanted at most {}", classes.len(), 1 << 15);
        let class = |label: &String| -> Result<u16> {
            let at = classes.iter().position(|class| class == label);
            Ok(at.with_context(|| format!("label {label:?}: found no such class"))? as u16)
        };
        Ok(Windows {
            labels: self.labels.iter().map(class).collect::<Result<_>>()?,
            channels: self.channels,
            rate,
            classes,
            left_out: self.left_out,
            ends: self.ends,
            data: self.data,
        })
    }
}

/// The different names: by value if all are numbers.
fn sorted(labels: &[String]) -> Vec<String> {
    let mut classes: Vec<String> = labels.to_vec();
    classes.sort();
    classes.dedup();
    let number = |class: &String| class.parse::<f64>().ok().filter(|value| value.is_finite());
    if classes.iter().all(|class| number(class).is_some()) {
        classes.sort_by(|a, b| number(a).partial_cmp(&number(b)).expect("finite numbers"));
    }
    classes
}

impl Windows {
    /// Reads files of one kind, which their ending tells.
    ///
    /// # Errors
    /// A file cannot be read or is not as its kind wants; the message names file, line, column and value.
    pub fn read(paths: &[PathBuf], options: &Options) -> Result<Self> {
        if let Some(rate) = options.rate {
            ensure!(rate > 0.0 && rate.is_finite(), "rate: found {rate}, wanted a positive number");
        }
        let mut builder = Builder::default();
        for path in paths {
            let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            let name = || path.display().to_string();
            match ending(path).as_str() {
                "csv" => {
                    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
                    csv::read(&bytes, &stem, options, &mut builder).with_context(name)?;
                }
                "ts" => ts::read(&bytes, &mut builder).with_context(name)?,
                "npy" => {
                    let labels = options.labels.as_ref().with_context(|| {
                        format!("{}: found no labels, wanted a second .npy file with them", path.display())
                    })?;
                    let label_bytes =
                        std::fs::read(labels).with_context(|| format!("cannot read {}", labels.display()))?;
                    let classes = npy::labels(&label_bytes).with_context(|| labels.display().to_string())?;
                    npy::read(&bytes, &classes, &mut builder).with_context(name)?;
                }
                "gz" => bail!("{}: found a compressed file, wanted it unpacked (gunzip)", path.display()),
                _ => bail!("{}: found an unknown kind, wanted .csv, .ts or .npy", path.display()),
            }
        }
        let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        builder.finish(options.rate).with_context(|| names.join(", "))
    }

    /// How many windows there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Never: there is one at least.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The values of a window, `[steps, channels]`.
    pub fn window(&self, index: usize) -> &[f32] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.data[start * self.channels..self.ends[index] * self.channels]
    }

    /// How many steps a window has.
    pub fn steps(&self, index: usize) -> usize {
        self.window(index).len() / self.channels
    }
}

/// The ending of a file's name in lower case.
pub fn ending(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase()
}

/// A finite number, or what was found.
fn number(text: &str) -> Result<f32> {
    let value = text.trim().parse::<f32>().ok().filter(|value| value.is_finite());
    value.with_context(|| format!("found {:?}, wanted a finite number", shortened(text)))
}

/// The beginning of a text, for a message.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(40) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}
