//! A classifier: tokens to one of the classes that training gave the model.

use crate::error::Error;
use crate::logits::Logits;
use crate::model::Model;
use crate::session::Session;
use crate::token::Token;

/// A model that tells classes apart, in memory that the caller lends: a decoder whose head reads the last token.
///
/// ```
/// # use thumbformer::{Classifier, Error, Model, Token};
/// fn is_spam(model: &Model, memory: &mut [u8], text: &str) -> Result<bool, Error> {
///     let mut tokens = [Token::BOS; 64];
///     let tokens = model.tokenizer().encode(text, &mut tokens)?;
///     let mut classifier = Classifier::new(model, memory)?;
///     let prediction = classifier.classify(tokens)?;
///     Ok(prediction.label() == "spam" && prediction.probability() > 60_000) // of 65536
/// }
/// ```
#[derive(Debug)]
pub struct Classifier<'a> {
    session: Session<'a>,
}

impl<'a> Classifier<'a> {
    /// A classifier in `workspace`, which must have [`Model::workspace_len`] bytes or more, as for
    /// [`Session::new`].
    ///
    /// # Errors
    /// [`Error::NoClassifier`] if the model writes tokens instead; what [`Session::new`] says.
    pub fn new<W: AsMut<[u8]> + ?Sized>(model: &Model<'a>, workspace: &'a mut W) -> Result<Self, Error> {
        let config = model.config();
        if config.n_classes == 0 {
            return Err(Error::NoClassifier { vocab_size: config.vocab_size });
        }
        Ok(Self { session: Session::new(model, workspace)? })
    }

    /// The class of a text, from its tokens. What was read before is forgotten.
    ///
    /// # Errors
    /// [`Error::NoTokens`], [`Error::ContextFull`] or [`Error::TokenOutOfRange`].
    pub fn classify(&mut self, tokens: &[Token]) -> Result<Prediction<'_>, Error> {
        self.session.reset();
        self.session.prefill(tokens)?;
        self.prediction().ok_or(Error::NoTokens)
    }

    /// The session, to feed a text in parts or in [slices](Session::prefill_slices) of bounded work.
    pub fn session(&mut self) -> &mut Session<'a> {
        &mut self.session
    }

    /// The class of what the session has read so far; none if that is nothing.
    pub fn prediction(&self) -> Option<Prediction<'_>> {
        Some(Prediction { model: self.session.model(), logits: self.session.logits()? })
    }
}

/// What a [`Classifier`] says of a text.
#[derive(Debug, Clone, Copy)]
pub struct Prediction<'a> {
    model: &'a Model<'a>,
    logits: Logits<'a>,
}

impl<'a> Prediction<'a> {
    /// The number of the likeliest class, the lowest of equals.
    pub fn index(&self) -> usize {
        usize::from(self.logits.argmax().0)
    }

    /// Its name.
    pub fn label(&self) -> &'a str {
        self.model.labels().nth(self.index()).unwrap_or_default()
    }

    /// Its probability in Q16: 65536 is certain.
    pub fn probability(&self) -> u32 {
        self.logits.probability(self.logits.argmax())
    }

    /// Every class with its probability in Q16, in the order of classes.
    pub fn classes(&self) -> impl Iterator<Item = (&'a str, u32)> {
        let logits = self.logits;
        (0..u16::MAX)
            .map(Token)
            .zip(self.model.labels())
            .map(move |(i, label)| (label, logits.probability(i)))
    }

    /// The scores of all classes, where [`Logits`] says tokens.
    pub fn logits(&self) -> Logits<'a> {
        self.logits
    }
}
