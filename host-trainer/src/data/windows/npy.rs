//! Windows from `.npy` files: an array `[windows, steps, channels]` or `[windows, steps]`, and one of labels.
//!
//! Little-endian numbers in C order; the format is NumPy's (NEP 1).

use super::{Builder, shortened};
use anyhow::{Context, Result, bail, ensure};

const MAGIC: &[u8] = b"\x93NUMPY";

/// Reads an array of windows.
pub fn read(bytes: &[u8], labels: &[String], builder: &mut Builder) -> Result<()> {
    let (shape, values) = array(bytes)?;
    let (count, steps, channels) = match shape[..] {
        [count, steps] => (count, steps, 1),
        [count, steps, channels] => (count, steps, channels),
        _ => bail!("shape: found {shape:?}, wanted [windows, steps] or [windows, steps, channels]"),
    };
    ensure!(count == labels.len(), "found {count} windows, wanted {} as there are labels", labels.len());
    ensure!(steps > 0, "shape: found {shape:?}, wanted at least one step");
    builder.set_channels(channels)?;
    let size = steps.checked_mul(channels);
    let size = size.with_context(|| format!("shape: found {shape:?}, wanted smaller windows"))?;
    for (i, (label, window)) in labels.iter().zip(values.chunks_exact(size)).enumerate() {
        if let Some(at) = window.iter().position(|value| !value.is_finite()) {
            bail!(
                "value {:?}: found {}, wanted a finite number",
                [i, at / channels, at % channels],
                window[at]
            );
        }
        builder.push(label, window);
    }
    Ok(())
}

/// Reads an array of labels, which are whole numbers.
pub fn labels(bytes: &[u8]) -> Result<Vec<String>> {
    let (shape, values) = array(bytes)?;
    ensure!(shape.len() == 1, "shape: found {shape:?}, wanted [windows]");
    let label = |(i, value): (usize, &f32)| {
        ensure!(
            value.fract() == 0.0 && value.abs() <= 32768.0,
            "label {i}: found {value}, wanted a whole number"
        );
        Ok(value.to_string())
    };
    values.iter().enumerate().map(label).collect()
}

/// The shape and the values.
fn array(bytes: &[u8]) -> Result<(Vec<usize>, Vec<f32>)> {
    let (header, data) = header(bytes)?;
    let descr = setting(header, "descr").and_then(|value| value.strip_prefix('\'')?.split('\'').next());
    let descr =
        descr.with_context(|| format!("header: found no kind of values in {:?}", shortened(header)))?;
    let order = setting(header, "fortran_order").context("header: found no fortran_order, wanted False")?;
    ensure!(order.starts_with("False"), "fortran_order: found {:?}, wanted False", shortened(order));
    let shape = setting(header, "shape").and_then(|value| value.strip_prefix('(')?.split_once(')'));
    let (shape, _) = shape.context("header: found no shape, wanted a tuple")?;
    let shape: Vec<usize> = shape
        .split(',')
        .map(str::trim)
        .filter(|number| !number.is_empty())
        .map(|number| number.parse().with_context(|| format!("shape: found {number:?}, wanted a number")))
        .collect::<Result<_>>()?;
    let (size, decode) = decoder(descr)?;
    let wanted = shape.iter().try_fold(size, |len, &n| len.checked_mul(n));
    let wanted = wanted.with_context(|| format!("shape: found {shape:?}, wanted less"))?;
    ensure!(data.len() == wanted, "found {} bytes of values, wanted {wanted} for {shape:?}", data.len());
    Ok((shape, data.chunks_exact(size).map(decode).collect()))
}

/// The header, a Python dictionary, and what follows it.
fn header(bytes: &[u8]) -> Result<(&str, &[u8])> {
    let found = &bytes[..bytes.len().min(MAGIC.len())];
    ensure!(found == MAGIC, "wrong magic: found \"{}\", wanted \"\\x93NUMPY\"", found.escape_ascii());
    let (version, rest) = bytes[MAGIC.len()..].split_first_chunk::<2>().context("the header is cut off")?;
    let (len, rest) = match version[0] {
        1 => rest.split_first_chunk::<2>().map(|(len, rest)| (usize::from(u16::from_le_bytes(*len)), rest)),
        2 | 3 => rest.split_first_chunk::<4>().map(|(len, rest)| (u32::from_le_bytes(*len) as usize, rest)),
        found => bail!("version: found {found}, wanted 1, 2 or 3"),
    }
    .context("the header is cut off")?;
    let (header, data) = rest.split_at_checked(len).context("the header is cut off")?;
    Ok((std::str::from_utf8(header).context("header")?, data))
}

/// What follows a key.
fn setting<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = header.split_once(&format!("'{key}'"))?;
    Some(rest.trim_start().strip_prefix(':')?.trim_start())
}

/// A value of its bytes.
type Decode = fn(&[u8]) -> f32;

/// The size of a kind of values, and how one is read.
fn decoder(descr: &str) -> Result<(usize, Decode)> {
    fn bytes<const N: usize>(value: &[u8]) -> [u8; N] {
        value.try_into().expect("chunks of this size")
    }
    Ok(match descr {
        "<f4" => (4, |value| f32::from_le_bytes(bytes(value))),
        "<f8" => (8, |value| f64::from_le_bytes(bytes(value)) as f32),
        "|i1" => (1, |value| f32::from(value[0].cast_signed())),
        "|u1" => (1, |value| f32::from(value[0])),
        "<i2" => (2, |value| f32::from(i16::from_le_bytes(bytes(value)))),
        "<u2" => (2, |value| f32::from(u16::from_le_bytes(bytes(value)))),
        "<i4" => (4, |value| i32::from_le_bytes(bytes(value)) as f32),
        "<i8" => (8, |value| i64::from_le_bytes(bytes(value)) as f32),
        _ => bail!("descr: found {:?}, wanted <f4, <f8, |i1, |u1, <i2, <u2, <i4 or <i8", shortened(descr)),
    })
}
