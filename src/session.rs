//! A session: one conversation with a model, in memory that the caller lends.

use crate::block;
use crate::error::Error;
use crate::logits::Logits;
use crate::model::Model;
use crate::sampler::Sampler;
use crate::token::Token;
use crate::workspace::Memory;

/// A conversation with a model: the KV cache, the tokens in the context window, and the newest logits.
///
/// Several sessions can share a model; each has its own workspace.
#[derive(Debug)]
pub struct Session<'a> {
    model: Model<'a>,
    memory: Memory<'a>,
    /// Tokens in the cache.
    position: usize,
    /// Whether the scratch memory holds the logits of the newest token.
    has_logits: bool,
    /// A token that was generated but not yet fed back.
    pending: Option<Token>,
    saturations: u32,
}

impl<'a> Session<'a> {
    /// A session in `workspace`, which must have [`Model::workspace_len`] bytes or more: a
    /// [`Workspace`](crate::Workspace), or any memory whose address is a multiple of four. With
    /// [`Model::workspace_len_for`] more positions than one it reads as many at once, faster; see [`Session::block`].
    ///
    /// # Errors
    /// [`Error::WorkspaceTooSmall`] or [`Error::WorkspaceMisaligned`]; [`Error::Format`] if the model's file
    /// does not lie at an address that is a multiple of four.
    pub fn new<W: AsMut<[u8]> + ?Sized>(model: &Model<'a>, workspace: &'a mut W) -> Result<Self, Error> {
        model.check_alignment()?;
        let mut memory = Memory::new(model.config(), workspace.as_mut())?;
        memory.cache.clear();
        Ok(Self { model: *model, memory, position: 0, has_logits: false, pending: None, saturations: 0 })
    }

    /// Forgets everything: the next token stands at position 0.
    pub fn reset(&mut self) {
        self.memory.cache.clear();
        self.position = 0;
        self.has_logits = false;
        self.pending = None;
    }

    /// The model.
    pub fn model(&self) -> &Model<'a> {
        &self.model
    }

    /// The tokens that are fed at once, as many as the workspace has room for.
    pub fn block(&self) -> usize {
        self.memory.block
    }

    /// The number of tokens in the context window.
    pub fn position(&self) -> usize {
        self.position
    }

    /// The tokens in the context window, oldest first.
    pub fn history(&self) -> &[Token] {
        self.memory.history.get(..self.position).unwrap_or_default()
    }

    /// How often a block left an element of the residual stream in the outer half of its range since the session
    /// began, where the next block may saturate it. More than 0 means that the model was exported with too few bits of
    /// headroom (`--headroom`) for what it now reads.
    pub fn saturations(&self) -> u32 {
        self.saturations
    }

    /// The logits of the newest token, if they were computed: after [`Session::step`] and
    /// [`Session::prefill`]. Those of a [`Classifier`](crate::Classifier) have a class in the place of a token.
    pub fn logits(&self) -> Option<Logits<'_>> {
        let values = self.memory.scratch.get(..self.model.config().n_outputs())?;
        self.has_logits.then(|| Logits::new(values, self.model.frac() as u32))
    }

    /// Feeds a token and computes the logits of the next one.
    ///
    /// # Errors
    /// [`Error::ContextFull`] or [`Error::TokenOutOfRange`]; the session is as before.
    pub fn step(&mut self, token: Token) -> Result<Logits<'_>, Error> {
        self.prefill(&[token])
    }

    /// Feeds tokens and computes the logits after the last one; the same, bit for bit, as a
    /// [`Session::step`] for each of them, but the head runs only once.
    ///
    /// # Errors
    /// [`Error::NoTokens`], [`Error::ContextFull`] or [`Error::TokenOutOfRange`]; the session is as before.
    pub fn prefill(&mut self, tokens: &[Token]) -> Result<Logits<'_>, Error> {
        for _slice in self.prefill_slices(tokens)? {}
        self.logits().ok_or(Error::NoTokens)
    }

    /// [`Session::prefill`] in slices of bounded work: each `next()` is half a transformer block or an
    /// embedding, for [`Session::block`] tokens at most, or the head, for one. The session is ready when the iterator has
    /// ended; if it is dropped before, the tokens that are not finished are forgotten, but for one that the session
    /// generated itself, which the next call feeds.
    ///
    /// ```
    /// # use thumbformer::{Error, Session, Token};
    /// fn read(session: &mut Session, prompt: &[Token], mut feed_watchdog: impl FnMut()) -> Result<(), Error> {
    ///     for _slice in session.prefill_slices(prompt)? {
    ///         feed_watchdog();
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// As for [`Session::prefill`].
    pub fn prefill_slices<'s, 't>(&'s mut self, tokens: &'t [Token]) -> Result<Slices<'s, 'a, 't>, Error> {
        let config = self.model.config();
        let vocab_size = config.vocab_size;
        if tokens.is_empty() {
            return Err(Error::NoTokens);
        }
        let pending = self.pending;
        if let Some(token) = pending.iter().chain(tokens).find(|t| usize::from(t.0) >= vocab_size) {
            return Err(Error::TokenOutOfRange { token: token.0, vocab_size });
        }
        if self.position + tokens.len() + usize::from(pending.is_some()) > config.seq_len {
            return Err(Error::ContextFull { seq_len: config.seq_len });
        }
        Ok(Slices { session: self, tokens, now: None })
    }

    /// Generates tokens from the newest logits, feeding each back before the next: an iterator that ends
    /// at a stop token (begin or end of sequence unless [`Generate::stop_at`] says otherwise; it is not
    /// yielded). The last token is fed when more is asked for, now or later.
    ///
    /// The iterator yields [`Error::ContextFull`] once when the window is full, unless
    /// [`Generate::keep_going`] slides it; [`Error::NoTokens`] if nothing was fed yet; [`Error::IsClassifier`] if the
    /// model is one.
    pub fn generate<'s, 'p>(&'s mut self, sampler: &'p mut Sampler) -> Generate<'s, 'a, 'p> {
        Generate { session: self, sampler, stop: &[Token::BOS, Token::EOS], keep: None, done: false }
    }

    /// Makes room in a full window: keeps the first `first` tokens and the last half of the window, and
    /// feeds them again (rotated keys cannot be moved). The logits are those of the newest token again; where nothing is kept,
    /// there are none.
    ///
    /// # Errors
    /// [`Error::NoTokens`] if the window is empty; [`Error::ContextFull`] if what is to be kept fills it.
    pub fn slide(&mut self, first: usize) -> Result<(), Error> {
        let seq_len = self.model.config().seq_len;
        let first = first.min(self.position);
        let last = (seq_len / 2).min(self.position - first);
        if self.position == 0 {
            return Err(Error::NoTokens);
        }
        if first + last >= seq_len {
            return Err(Error::ContextFull { seq_len });
        }
        let skipped = self.position - first - last;
        let kept = first + last;
        self.memory.cache.clear();
        self.position = 0;
        // A window of one position keeps nothing.
        self.has_logits = false;
        while self.position < kept {
            let count = self.memory.block.min(kept - self.position);
            for i in self.position..self.position + count {
                // The history is written at i, which is never beyond what is read.
                let from = if i < first { i } else { i + skipped };
                let token = self.memory.history.get(from).copied().unwrap_or_default();
                self.write(i, token);
            }
            self.feed(count, self.position + count == kept);
        }
        Ok(())
    }

    /// Puts a token into the history. It is part of the text when the position has gone beyond it.
    fn write(&mut self, position: usize, token: Token) {
        if let Some(place) = self.memory.history.get_mut(position) {
            *place = token;
        }
    }

    /// Feeds `count` tokens that are in the history, and known to fit.
    fn feed(&mut self, count: usize, wants_logits: bool) {
        let mut slice = Some(Slice::Embed);
        while let Some(now) = slice {
            slice = self.run(count, now, wants_logits);
        }
    }

    /// Runs a slice of the way of `count` tokens through the model; returns the one that follows.
    fn run(&mut self, count: usize, slice: Slice, wants_logits: bool) -> Option<Slice> {
        let (model, memory) = (&self.model, &mut self.memory);
        let positions = self.position..self.position + count;
        match slice {
            Slice::Embed => {
                self.has_logits = false;
                block::embed(model, positions, memory);
                return Some(Slice::Attention(0));
            }
            Slice::Attention(layer) => {
                block::attention(model, layer, positions, memory);
                return Some(Slice::Mlp(layer));
            }
            Slice::Mlp(layer) => {
                block::mlp(model, layer, count, memory);
                self.saturations = self.saturations.saturating_add(block::near_saturation(count, memory));
                if layer + 1 < model.config().n_layers {
                    return Some(Slice::Attention(layer + 1));
                }
                if wants_logits {
                    return Some(Slice::Head);
                }
            }
            Slice::Head => {
                block::head(model, count, memory);
                self.has_logits = true;
            }
        }
        memory.cache.finish(self.position, count);
        self.position += count;
        None
    }
}

/// A part of the way of some tokens through the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slice {
    Embed,
    Attention(usize),
    Mlp(usize),
    Head,
}

/// Feeds tokens slice by slice; see [`Session::prefill_slices`].
#[derive(Debug)]
#[must_use = "nothing is fed before the iterator is driven"]
pub struct Slices<'s, 'a, 't> {
    session: &'s mut Session<'a>,
    /// The tokens that are not on their way.
    tokens: &'t [Token],
    /// How many are, and the slice that comes next.
    now: Option<(usize, Slice)>,
}

impl Slices<'_, '_, '_> {
    /// Puts the next tokens, as many as are fed at once, into the history; returns their number, if there are any.
    fn start(&mut self) -> Option<usize> {
        let session = &mut *self.session;
        let written = usize::from(session.pending.is_some());
        let count = session.memory.block.min(written + self.tokens.len());
        let (tokens, rest) = self.tokens.split_at_checked(count.checked_sub(written)?)?;
        self.tokens = rest;
        let pending = session.pending;
        for (i, &token) in pending.iter().chain(tokens).enumerate() {
            session.write(session.position + i, token);
        }
        (count > 0).then_some(count)
    }
}

impl Iterator for Slices<'_, '_, '_> {
    type Item = ();

    fn next(&mut self) -> Option<()> {
        let (count, slice) = match self.now {
            Some(now) => now,
            None => (self.start()?, Slice::Embed),
        };
        let is_last = self.tokens.is_empty();
        self.now = self.session.run(count, slice, is_last).map(|next| (count, next));
        if self.now.is_none() {
            self.session.pending = None;
        }
        Some(())
    }
}

/// Generates tokens; see [`Session::generate`].
#[derive(Debug)]
#[must_use = "nothing is generated before the iterator is driven"]
pub struct Generate<'s, 'a, 'p> {
    session: &'s mut Session<'a>,
    sampler: &'p mut Sampler,
    stop: &'p [Token],
    keep: Option<usize>,
    done: bool,
}

impl<'p> Generate<'_, '_, 'p> {
    /// Ends at one of these tokens instead of begin and end of sequence.
    pub fn stop_at(self, stop: &'p [Token]) -> Self {
        Self { stop, ..self }
    }

    /// Slides the window when it is full, see [`Session::slide`]: the first `first` tokens stay.
    pub fn keep_going(self, first: usize) -> Self {
        Self { keep: Some(first), ..self }
    }

    /// Makes the logits those of the newest token.
    fn feed_pending(&mut self) -> Result<(), Error> {
        let session = &mut *self.session;
        let n_classes = session.model.config().n_classes;
        if n_classes > 0 {
            return Err(Error::IsClassifier { n_classes });
        }
        let Some(token) = session.pending else {
            return Ok(());
        };
        if session.position >= session.model.config().seq_len {
            match self.keep {
                Some(first) => session.slide(first)?,
                None => return Err(Error::ContextFull { seq_len: session.model.config().seq_len }),
            }
        }
        session.pending = None;
        session.write(session.position, token);
        session.feed(1, true);
        Ok(())
    }
}

impl Iterator for Generate<'_, '_, '_> {
    type Item = Result<Token, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        if let Err(e) = self.feed_pending() {
            self.done = true;
            return Some(Err(e));
        }
        let session = &mut *self.session;
        let Some(logits) = session.logits() else {
            self.done = true;
            return Some(Err(Error::NoTokens));
        };
        let token = self.sampler.sample(logits, session.history());
        session.pending = Some(token);
        if self.stop.contains(&token) {
            self.done = true;
            return None;
        }
        Some(Ok(token))
    }
}
