//! Windows from the `.ts` files of the UEA and UCR archives.
//!
//! Lines that begin with `@` describe the data; after `@data` each line is a case: its channels separated by colons, the
//! values of each by commas, and the label last.

use super::{Builder, number, shortened};
use anyhow::{Context, Result, bail, ensure};

/// Reads a file.
pub fn read(bytes: &[u8], builder: &mut Builder) -> Result<()> {
    let (mut classes, mut in_data, mut dimensions) = (None::<Vec<String>>, false, None::<usize>);
    for (i, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let at = || format!("line {}", i + 1);
        let line = std::str::from_utf8(line)
            .map_err(|error| anyhow::anyhow!("not UTF-8 at its byte {}", error.valid_up_to()))
            .with_context(at)?
            .trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if in_data {
            let classes = classes.as_ref().context("@classLabel: found none, wanted true and the classes")?;
            case(line, classes, dimensions, builder).with_context(at)?;
            continue;
        }
        let mut words = line.split_ascii_whitespace();
        let key = words.next().unwrap_or_default().to_ascii_lowercase();
        let values: Vec<&str> = words.collect();
        match (key.as_str(), &values[..]) {
            ("@data", _) => in_data = true,
            ("@timestamps" | "@missing", [value]) if !value.eq_ignore_ascii_case("false") => {
                bail!("{}: {key}: found {value}, wanted false", at());
            }
            ("@dimensions", values) => {
                let value = values.first().copied().unwrap_or_default();
                let number = value.parse::<usize>().ok().filter(|number| *number > 0);
                let context = || format!("{}: @dimensions: found {value:?}, wanted a number", at());
                dimensions = Some(number.with_context(context)?);
            }
            ("@univariate", [value]) if value.eq_ignore_ascii_case("true") => dimensions = Some(1),
            ("@classlabel", [truth, names @ ..])
                if truth.eq_ignore_ascii_case("true") && !names.is_empty() =>
            {
                classes = Some(names.iter().map(|name| (*name).to_owned()).collect());
            }
            ("@classlabel", values) => {
                bail!("{}: @classLabel: found {:?}, wanted true and the classes", at(), values.join(" "))
            }
            (key, _) if key.starts_with('@') => {}
            _ => bail!("{}: found {:?}, wanted @data before it", at(), shortened(line)),
        }
    }
    ensure!(in_data, "@data: found none, wanted cases behind it");
    let classes = classes.context("@classLabel: found none, wanted true and the classes")?;
    if let Some(before) = &builder.classes {
        ensure!(*before == classes, "@classLabel: found other classes than in the file before");
    }
    builder.classes = Some(classes);
    Ok(())
}

fn case(line: &str, classes: &[String], dimensions: Option<usize>, builder: &mut Builder) -> Result<()> {
    let (values, label) = line.rsplit_once(':').context("found no colon, wanted one before the label")?;
    let label = label.trim();
    ensure!(
        classes.iter().any(|class| class == label),
        "label: found {:?}, wanted one of {}",
        shortened(label),
        classes.join(", ")
    );
    let mut channels: Vec<Vec<f32>> = Vec::new();
    for (i, channel) in values.split(':').enumerate() {
        let value = |(j, text): (usize, &str)| {
            number(text).with_context(|| format!("channel {}, value {}", i + 1, j + 1))
        };
        channels.push(channel.split(',').enumerate().map(value).collect::<Result<_>>()?);
    }
    if let Some(wanted) = dimensions {
        ensure!(channels.len() == wanted, "found {} channels, wanted {wanted}", channels.len());
    }
    builder.set_channels(channels.len())?;
    let steps = channels[0].len();
    for (i, channel) in channels.iter().enumerate() {
        let found = channel.len();
        ensure!(found == steps, "channel {}: found {found} values, wanted {steps} as in the first", i + 1);
    }
    let case: Vec<f32> = (0..steps).flat_map(|step| channels.iter().map(move |c| c[step])).collect();
    builder.push(label, &case);
    Ok(())
}
