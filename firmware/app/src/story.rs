//! A prompt and its continuation.

use embedded_io::Write;
use thumbformer::{Digest, Model, Sampler, Session, Text, Token, Utf8Stream};

use crate::Error;

/// The longest prompt, in bytes.
pub const MAX_PROMPT: usize = 128;

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

/// Writes the prompt and continues it, with at most `max_tokens` tokens and until the context is full. `instructions` tells
/// how many have been executed so far.
pub fn story<'m, W: Write>(
    prompt: &[u8],
    output: &mut W,
    model: &Model<'m>,
    workspace: &'m mut [u8],
    sampler: &mut Sampler,
    max_tokens: u32,
    instructions: impl Fn() -> u64,
) -> Result<Report, Error<W::Error>> {
    // A text has at most as many tokens as bytes, and one that marks its start.
    let mut tokens = [Token::BOS; MAX_PROMPT + 1];
    let tokenizer = model.tokenizer();
    let prompt = tokenizer.encode_bytes(prompt, &mut tokens)?;
    let mut text = Utf8Stream::new(&tokenizer);
    for &token in prompt {
        write(output, &text.push(token))?;
    }

    let mut session = Session::new(model, workspace)?;
    let start = instructions();
    session.prefill(prompt)?;
    let prefill = instructions() - start;

    // The first token only has to be chosen: the prompt is fed already.
    let (mut digest, mut decode, mut steps) = (Digest::new(), 0, 0);
    while steps < max_tokens {
        let start = instructions();
        let token = match session.generate(sampler).next() {
            Some(Err(thumbformer::Error::ContextFull { .. })) => break,
            next => next.transpose()?,
        };
        if steps > 0 {
            decode += instructions() - start;
        }
        digest.update(session.logits().map_or(&[], |logits| logits.values()));
        let Some(token) = token else { break };
        write(output, &text.push(token))?;
        steps += 1;
    }
    output.write_all(text.finish().as_bytes()).map_err(Error::Output)?;
    output.write_all(b"\n").map_err(Error::Output)?;
    Ok(Report {
        prompt: prompt.len() as u32,
        tokens: steps,
        digest,
        prefill: per(prefill, prompt.len() as u32),
        decode: per(decode, steps.saturating_sub(1)),
        workspace: model.workspace_len() as u32,
    })
}

fn write<W: Write>(output: &mut W, text: &Text<'_>) -> Result<(), Error<W::Error>> {
    text.parts().try_for_each(|part| output.write_all(part.as_bytes())).map_err(Error::Output)
}

/// The share of each of `n`.
fn per(total: u64, n: u32) -> u32 {
    (total / u64::from(n.max(1))) as u32
}
