//! Tokens to text as they come, never half a character.

use core::fmt;
use core::str::from_utf8;

use crate::format::tokenizer::TokenizerKind;
use crate::{Token, Tokenizer};

const REPLACEMENT: &str = "\u{fffd}";

/// Turns tokens into text as they are generated, and holds back the bytes of a character until it is whole.
///
/// Bytes that are not UTF-8 become U+FFFD, as by `String::from_utf8_lossy` over the whole text. As in
/// llama2.c, a [`TokenizerKind::LlamaBpe`] text loses the space behind [`Token::BOS`]: push that, too.
///
/// ```
/// # use thumbformer::format::tokenizer::{Piece, TokenizerKind, emit};
/// use thumbformer::{Token, Tokenizer, Utf8Stream};
/// # let mut section = [0; 64];
/// # let len = emit(TokenizerKind::ByteBpe, &[], &mut section)?;
/// # let tokenizer = Tokenizer::from_bytes(&section[..len])?;
///
/// let mut stream = Utf8Stream::new(&tokenizer);
/// assert_eq!(stream.push(Token(3 + 0xc3)).to_string(), "");
/// assert_eq!(stream.push(Token(3 + 0xa9)).to_string(), "é");
/// assert_eq!(stream.finish(), "");
/// # Ok::<(), thumbformer::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Utf8Stream<'m> {
    tokenizer: Tokenizer<'m>,
    after_bos: bool,
    /// The bytes of a character that has begun: at most 3.
    begun: heapless::Vec<u8, 4>,
}

/// Text that a token completed: print it, or take its [`parts`](Text::parts).
#[derive(Debug, Clone, Default)]
pub struct Text<'m> {
    /// The character that had begun before this token.
    head: heapless::String<4>,
    /// What follows it in the token: whole characters and bytes that are not UTF-8.
    body: &'m [u8],
}

impl<'m> Utf8Stream<'m> {
    /// A stream at the start of a text.
    pub const fn new(tokenizer: &Tokenizer<'m>) -> Self {
        Utf8Stream { tokenizer: *tokenizer, after_bos: false, begun: heapless::Vec::new() }
    }

    /// The text that this token completes: possibly none, never half a character.
    pub fn push(&mut self, token: Token) -> Text<'m> {
        let mut bytes = self.tokenizer.decode(token);
        if self.after_bos && self.tokenizer.kind() == TokenizerKind::LlamaBpe {
            bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
        }
        self.after_bos = token == Token::BOS;

        let mut text = Text::default();
        while !self.begun.is_empty() {
            let Some((byte, rest)) = bytes.split_first() else { return text };
            // three bytes at most are held back, so that the fourth always fits
            let _ = self.begun.push(*byte);
            let (head, consumed) = match from_utf8(&self.begun) {
                Ok(character) => (character, true),
                Err(e) if e.error_len().is_some() => (REPLACEMENT, false),
                Err(_) => ("", true),
            };
            if consumed {
                bytes = rest;
            }
            if !head.is_empty() {
                let _ = text.head.push_str(head);
                self.begun.clear();
            }
        }
        let (body, tail) = bytes.split_at_checked(bytes.len() - unfinished(bytes)).unwrap_or((bytes, &[]));
        text.body = body;
        let _ = self.begun.extend_from_slice(tail);
        text
    }

    /// Ends the text: U+FFFD if it stopped within a character, else nothing.
    pub fn finish(&mut self) -> &'static str {
        let begun = !self.begun.is_empty();
        self.begun.clear();
        self.after_bos = false;
        if begun { REPLACEMENT } else { "" }
    }
}

impl Text<'_> {
    /// The text in one or more parts, to be written one after the other; some may be empty.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        let body = self.body.utf8_chunks().flat_map(|chunk| {
            let invalid = !chunk.invalid().is_empty();
            [chunk.valid(), if invalid { REPLACEMENT } else { "" }]
        });
        core::iter::once(self.head.as_str()).chain(body)
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts().try_for_each(|part| f.write_str(part))
    }
}

/// How many bytes at the end, 0 to 3, begin a character without ending it.
fn unfinished(bytes: &[u8]) -> usize {
    let begins = |len: &usize| {
        let tail = bytes.get(bytes.len() - len..).unwrap_or(&[]);
        from_utf8(tail).is_err_and(|e| e.valid_up_to() == 0 && e.error_len().is_none())
    };
    (1..=bytes.len().min(3)).find(begins).unwrap_or(0)
}
