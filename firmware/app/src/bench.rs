//! What a token takes: written one after the other, read as a prompt, and written at chosen positions.

use thumbformer::{Digest, Error, Model, Sampler, Session, Token};

/// Tokens of the prompt.
const PROMPT: usize = 64;
/// Where tokens are written for the sake of the position, as far as the context reaches.
const POSITIONS: [usize; 5] = [0, 50, 100, 250, 500];

/// What counts instructions.
pub trait Meter {
    /// Does the work and tells how many instructions that took, with a constant number of its own.
    fn measure<T>(&mut self, work: impl FnOnce() -> T) -> (T, u64);
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Nothing: what the meter itself takes.
    Nothing,
    /// Feeding a token and choosing the next, from the begin token on.
    Token,
    /// Reading a prompt, one token at a time.
    Prompt,
    /// Reading it again, as many tokens at a time as the workspace has room for.
    Block,
    /// Feeding a token and choosing the next, at a chosen position.
    Position,
}

impl Work {
    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Token => "token",
            Self::Prompt => "prompt",
            Self::Block => "block",
            Self::Position => "position",
        }
    }
}

/// One measured region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// What was measured.
    pub work: Work,
    /// The position of the first token.
    pub position: u32,
    /// How many tokens were fed.
    pub tokens: u32,
    /// What the meter told.
    pub instructions: u64,
}

/// Measures nothing, then `tokens` greedy tokens from the begin token on (fewer where the context is shorter), a prompt, and
/// tokens at chosen positions, with the least memory that the model takes; at last the prompt again, with all of
/// `workspace`. Returns the digest of the logits after each, by which two machines compare.
pub fn bench(
    model: &Model<'_>,
    workspace: &mut [u8],
    tokens: u32,
    meter: &mut impl Meter,
    mut report: impl FnMut(Region),
) -> Result<Digest, Error> {
    let all = workspace.len();
    let need = model.workspace_len();
    let least = workspace.get_mut(..need).ok_or(Error::WorkspaceTooSmall { need, have: all })?;
    let mut session = Session::new(model, least)?;
    let mut sampler = Sampler::greedy();
    let mut digest = Digest::new();
    let seq_len = model.config().seq_len;
    let mut note = |session: &Session<'_>, work, first: usize, instructions| {
        let tokens = (session.position() - first) as u32;
        digest.update(session.logits().map_or(&[], |logits| logits.values()));
        report(Region { work, position: first as u32, tokens, instructions });
    };

    let ((), instructions) = meter.measure(|| ());
    note(&session, Work::Nothing, 0, instructions);

    let mut token = Token::BOS;
    for position in 0..seq_len.min(tokens as usize) {
        let (next, instructions) = meter.measure(|| decode(&mut session, &mut sampler, token));
        token = next?;
        note(&session, Work::Token, position, instructions);
    }

    session.reset();
    let prompt: [Token; PROMPT] = core::array::from_fn(|i| filler(model, i));
    let prompt = prompt.get(..seq_len).unwrap_or(&prompt);
    let (done, instructions) = meter.measure(|| read(&mut session, prompt));
    done?;
    note(&session, Work::Prompt, 0, instructions);

    session.reset();
    for position in POSITIONS.into_iter().filter(|&position| position < seq_len) {
        while session.position() < position {
            session.step(filler(model, session.position()))?;
        }
        let token = filler(model, position);
        let (next, instructions) = meter.measure(|| decode(&mut session, &mut sampler, token));
        next?;
        note(&session, Work::Position, position, instructions);
    }

    let mut session = Session::new(model, workspace)?;
    let (done, instructions) = meter.measure(|| read(&mut session, prompt));
    done?;
    note(&session, Work::Block, 0, instructions);
    Ok(digest)
}

/// Feeds a token and chooses the next. One function, so that every token is measured with the same machine code.
#[inline(never)]
fn decode(session: &mut Session<'_>, sampler: &mut Sampler, token: Token) -> Result<Token, Error> {
    session.step(token)?;
    let logits = session.logits().ok_or(Error::NoTokens)?;
    Ok(sampler.sample(logits, session.history()))
}

#[inline(never)]
fn read(session: &mut Session<'_>, prompt: &[Token]) -> Result<(), Error> {
    session.prefill(prompt).map(|_| ())
}

/// Tokens that stand for a text where only its length matters.
fn filler(model: &Model<'_>, position: usize) -> Token {
    Token(((position * 31 + 7) % model.config().vocab_size) as u16)
}
