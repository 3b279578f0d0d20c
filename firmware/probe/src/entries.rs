//! Every call of the runtime that a firmware makes, as a function of a known name that nothing is inlined into.
//!
//! SAFETY of the names: nothing else in a program begins with `probe_`.

use thumbformer::{
    Classifier, Error, FormatError, Model, Prediction, Sampler, Session, Token, Tokenizer, Utf8Stream,
};

/// Reads header, directory and tokenizer.
#[unsafe(no_mangle)]
#[inline(never)]
pub fn probe_load(file: &'static [u8]) -> Result<Model<'static>, FormatError> {
    Model::from_bytes(file)
}

/// Reads the whole file.
#[unsafe(no_mangle)]
#[inline(never)]
pub fn probe_verify(model: &Model<'_>) -> Result<(), FormatError> {
    model.verify()
}

/// Text to tokens.
#[unsafe(no_mangle)]
#[inline(never)]
pub fn probe_encode<'b>(
    tokenizer: &Tokenizer<'_>,
    text: &str,
    tokens: &'b mut [Token],
) -> Result<&'b [Token], Error> {
    tokenizer.encode(text, tokens)
}

/// A token to text, whole characters at a time: how many bytes that are.
#[unsafe(no_mangle)]
#[inline(never)]
pub fn probe_decode(stream: &mut Utf8Stream<'_>, token: Token) -> usize {
    stream.push(token).parts().map(str::len).sum()
}

/// A session in memory.
#[unsafe(no_mangle)]
#[inline(never)]
pub fn probe_session<'a>(model: &Model<'a>, memory: &'a mut [u8]) -> Result<Session<'a>, Error> {
    Session::new(model, memory)
}

/// Several tokens.
#[unsafe(no_mangle)]
#[inline(never)]
pub fn probe_prefill(session: &mut Session<'_>, tokens: &[Token]) -> Result<(), Error> {
    session.prefill(tokens).map(drop)
}

/// One token.
#[unsafe(no_mangle)]
#[inline(never)]
pub fn probe_step(session: &mut Session<'_>, token: Token) -> Result<(), Error> {
    session.step(token).map(drop)
}

/// Draws a token from the logits.
#[unsafe(no_mangle)]
#[inline(never)]
pub fn probe_sample(sampler: &mut Sampler, session: &Session<'_>) -> Option<Token> {
    Some(sampler.sample(session.logits()?, session.history()))
}

/// Feeds the last token and draws the next, sliding the window where it is full.
#[unsafe(no_mangle)]
#[inline(never)]
pub fn probe_generate(session: &mut Session<'_>, sampler: &mut Sampler) -> Option<Result<Token, Error>> {
    session.generate(sampler).stop_at(&[]).keep_going(1).next()
}

/// The class of a text.
#[unsafe(no_mangle)]
#[inline(never)]
pub fn probe_classify(classifier: &mut Classifier<'_>, tokens: &[Token]) -> Result<u32, Error> {
    let prediction: Prediction<'_> = classifier.classify(tokens)?;
    Ok(prediction.probability() + prediction.label().len() as u32)
}
