//! Sound from WAV files: 16-bit PCM of one channel, little-endian, in RIFF chunks.

use anyhow::{Context, Result, bail, ensure};

/// Reads the samples of a file that must have this rate.
///
/// # Errors
/// It is no WAV file, is cut off, or holds something else than 16-bit PCM of one channel at this rate.
pub fn read(bytes: &[u8], rate: u32) -> Result<Vec<i16>> {
    let magic = bytes.get(..4).unwrap_or(bytes);
    ensure!(magic == b"RIFF", "wrong magic: found \"{}\", wanted \"RIFF\"", magic.escape_ascii());
    let kind = bytes.get(8..12).context("the header is cut off")?;
    ensure!(kind == b"WAVE", "kind: found \"{}\", wanted \"WAVE\"", kind.escape_ascii());
    let mut rest = &bytes[12..];
    let mut known = false;
    while !rest.is_empty() {
        let (header, body) = rest.split_at_checked(8).context("a chunk's header is cut off")?;
        let (name, len) = header.split_at(4);
        let len = u32::from_le_bytes([len[0], len[1], len[2], len[3]]) as usize;
        let name = name.escape_ascii();
        let (chunk, after) = body
            .split_at_checked(len)
            .with_context(|| format!("chunk \"{name}\": found {} bytes, wanted {len}", body.len()))?;
        match &header[..4] {
            b"fmt " => {
                check(chunk, rate)?;
                known = true;
            }
            b"data" => {
                ensure!(known, "found samples before the chunk \"fmt \", wanted them after it");
                let (samples, []) = chunk.as_chunks() else {
                    bail!("chunk \"data\": found {len} bytes, wanted an even number");
                };
                return Ok(samples.iter().map(|&sample| i16::from_le_bytes(sample)).collect());
            }
            _ => {}
        }
        // A byte pads chunks to an even length.
        rest = after.get(len % 2..).unwrap_or_default();
    }
    bail!("found no chunk \"data\"")
}

/// Checks the chunk that tells what the samples are.
fn check(chunk: &[u8], rate: u32) -> Result<()> {
    ensure!(chunk.len() >= 16, "chunk \"fmt \": found {} bytes, wanted at least 16", chunk.len());
    let half = |at| u16::from_le_bytes([chunk[at], chunk[at + 1]]);
    let found = u32::from(half(4)) | u32::from(half(6)) << 16;
    // Files of the extensible kind say what they are further behind.
    let encoding = if half(0) == 0xfffe && chunk.len() >= 26 { half(24) } else { half(0) };
    ensure!(encoding == 1, "encoding: found {encoding}, wanted 1 (PCM)");
    ensure!(half(2) == 1, "channels: found {}, wanted 1", half(2));
    ensure!(half(14) == 16, "bits of a sample: found {}, wanted 16", half(14));
    ensure!(found == rate, "rate: found {found} Hz, wanted {rate} Hz");
    Ok(())
}
