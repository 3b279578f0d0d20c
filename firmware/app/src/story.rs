//! A prompt comes in over the serial port, its continuation goes out.

use embedded_io::{Read, Write};
use thumbformer::{Model, Sampler, Session, Text, Token, Utf8Stream};

use crate::{Digest, Error, read_line};

/// The longest prompt, in bytes.
const LINE: usize = 128;
/// The longest prompt, in tokens: it has no more tokens than bytes, and one that marks the start.
const TOKENS: usize = LINE + 1;

/// What was done and what it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Tokens of the prompt.
    pub prompt: u32,
    /// Tokens written.
    pub tokens: u32,
    /// The digest of the logits that each token was chosen by.
    pub digest: Digest,
    /// Instructions for a token of the prompt.
    pub prefill: u32,
    /// Instructions for a token of the continuation: feeding one and choosing the next.
    pub decode: u32,
    /// Bytes of the workspace.
    pub workspace: u32,
}

/// Reads a line from the serial port and continues it there, with at most `max_tokens` tokens and until the context is
/// full. `instructions` tells how many have been executed so far.
pub fn story<'m, S: Read + Write>(
    serial: &mut S,
    model: &Model<'m>,
    workspace: &'m mut [u8],
    sampler: &mut Sampler,
    max_tokens: u32,
    instructions: impl Fn() -> u64,
) -> Result<Report, Error<S::Error>> {
    let mut line = [0; LINE];
    let mut tokens = [Token::BOS; TOKENS];
    let tokenizer = model.tokenizer();
    let line = read_line(serial, &mut line).map_err(Error::Serial)?;
    let prompt = tokenizer.encode_bytes(line, &mut tokens)?;
    let mut text = Utf8Stream::new(&tokenizer);
    for &token in prompt {
        write(serial, &text.push(token))?;
    }

    let mut session = Session::new(model, workspace)?;
    let start = instructions();
    session.prefill(prompt)?;
    let prefill = instructions() - start;

    // The first token only has to be chosen: the prompt is fed already.
    let (mut digest, mut decode, mut steps) = (Digest::new(), 0, 0);
    let room = (model.config().seq_len - prompt.len()) as u32;
    while steps < max_tokens.min(room) {
        let start = instructions();
        let token = session.generate(sampler).next().transpose()?;
        if steps > 0 {
            decode += instructions() - start;
        }
        digest.update(session.logits().map_or(&[], |logits| logits.values()));
        let Some(token) = token else { break };
        write(serial, &text.push(token))?;
        steps += 1;
    }
    serial.write_all(text.finish().as_bytes()).map_err(Error::Serial)?;
    serial.write_all(b"\n").map_err(Error::Serial)?;
    Ok(Report {
        prompt: prompt.len() as u32,
        tokens: steps,
        digest,
        prefill: per(prefill, prompt.len() as u32),
        decode: per(decode, steps.saturating_sub(1)),
        workspace: model.workspace_len() as u32,
    })
}

fn write<S: Write>(serial: &mut S, text: &Text<'_>) -> Result<(), Error<S::Error>> {
    text.parts().try_for_each(|part| serial.write_all(part.as_bytes())).map_err(Error::Serial)
}

/// The share of each of `n`.
fn per(total: u64, n: u32) -> u32 {
    (total / u64::from(n.max(1))) as u32
}
