//! Text to tokens and back, read in place from the model file.

use crate::format::FormatError;
use crate::format::tokenizer::{FIRST_BYTE, Pieces, TokenizerKind};
use crate::{Error, Token};

/// A tokenizer in the model file: byte-pair encoding that knows every byte, so that no text is unknown, or a table of
/// characters.
///
/// Tokens 0, 1 and 2 are special (unknown, begin, end), 3 to 258 are the 256 bytes, the rest are pieces.
/// Two neighbours merge if their bytes together are a piece; the merge of the smallest rank goes first, the
/// leftmost of equals, until none is left. Text never yields a special token, whatever it spells.
///
/// [`TokenizerKind::ByteBpe`] starts from the bytes of the text. [`TokenizerKind::LlamaBpe`] does what
/// llama2.c does: it puts a space before a text that is not empty, starts from characters that are pieces,
/// writes all others as bytes, and never merges those. (llama2.c can also be made to yield a byte or special
/// token by text that spells its name, such as `<0x0A>`. That is an injection, and excluded here.)
///
/// [`TokenizerKind::Characters`] has no bytes and merges nothing: pieces begin at 3, a character is the piece that spells
/// it, or else [`Token::UNKNOWN`].
///
/// ```
/// # use thumbformer::format::tokenizer::{Piece, TokenizerKind, emit};
/// use thumbformer::{Token, Tokenizer};
/// # let mut section = [0; 64];
/// # let len = emit(TokenizerKind::ByteBpe, &[Piece { bytes: b"hi", rank: 0 }], &mut section)?;
/// # let section = &section[..len];
///
/// let tokenizer = Tokenizer::from_bytes(section)?;
/// let mut buffer = [Token::BOS; 16];
/// let tokens = tokenizer.encode("hi!", &mut buffer)?;
/// assert_eq!(tokens, [Token::BOS, Token(259), Token(3 + b'!' as u16)]);
/// assert_eq!(tokenizer.decode(Token(259)), b"hi");
/// # Ok::<(), thumbformer::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Tokenizer<'m> {
    pieces: Pieces<'m>,
}

impl<'m> Tokenizer<'m> {
    /// Reads the tokenizer section of a model file and checks all of it, in time linear in its length.
    ///
    /// # Errors
    ///
    /// [`FormatError::Truncated`], [`FormatError::UnknownTokenizer`] or [`FormatError::BadTokenizer`].
    pub const fn from_bytes(section: &'m [u8]) -> Result<Self, FormatError> {
        match Pieces::from_bytes(section) {
            Ok(pieces) => Ok(Tokenizer { pieces }),
            Err(e) => Err(e),
        }
    }

    /// How text becomes tokens.
    pub const fn kind(&self) -> TokenizerKind {
        self.pieces.kind
    }

    /// The number of tokens, at least 259; of [`TokenizerKind::Characters`], at least 3.
    pub const fn vocab_size(&self) -> usize {
        self.kind().first_piece() as usize + self.pieces.len()
    }

    /// Whether a token stands for no text: unknown, begin or end of sequence.
    pub const fn is_special(&self, token: Token) -> bool {
        token.0 < FIRST_BYTE
    }

    /// The bytes of a token, straight from flash; none for a special token or one out of range.
    ///
    /// They may be a part of a character: [`Utf8Stream`](crate::Utf8Stream) puts characters together.
    pub fn decode(&self, token: Token) -> &'m [u8] {
        static BYTES: [u8; 256] = {
            let mut bytes = [0; 256];
            let mut i = 0;
            while i < 256 {
                bytes[i] = i as u8;
                i += 1;
            }
            bytes
        };
        match (token.0.checked_sub(self.kind().first_piece()), token.0.checked_sub(FIRST_BYTE)) {
            (Some(number), _) => self.pieces.get(number),
            (None, Some(byte)) => BYTES.get(usize::from(byte)..=usize::from(byte)).unwrap_or(&[]),
            (None, None) => &[],
        }
    }

    /// The token that two neighbours merge into, and the rank of that merge; the smallest goes first.
    pub fn merge(&self, left: Token, right: Token) -> Option<(u16, Token)> {
        let first = match self.kind() {
            TokenizerKind::LlamaBpe => self.kind().first_piece(),
            TokenizerKind::ByteBpe => FIRST_BYTE,
            TokenizerKind::Characters => return None,
        };
        if left.0 < first || right.0 < first {
            return None;
        }
        let number = self.pieces.find(self.decode(left), self.decode(right))?;
        Some((self.pieces.rank(number), Token(self.kind().first_piece() + number)))
    }

    /// Tokens of a text that begins a sequence: [`Token::BOS`] first.
    ///
    /// Works in `buffer`, without other memory. While it works it needs room for one token per byte of the
    /// text (characters that are pieces need one in all) and two more: `text.len() + 2` always suffices. The
    /// time grows with the square of the text's length, which is meant for prompts of a few hundred bytes.
    ///
    /// # Errors
    ///
    /// [`Error::TokenBufferFull`] with the room that this text needs.
    pub fn encode<'b>(&self, text: &str, buffer: &'b mut [Token]) -> Result<&'b [Token], Error> {
        self.encode_bytes(text.as_bytes(), buffer)
    }

    /// [`Tokenizer::encode`] for bytes that need not be UTF-8.
    ///
    /// # Errors
    ///
    /// [`Error::TokenBufferFull`] with the room that these bytes need.
    pub fn encode_bytes<'b>(&self, bytes: &[u8], buffer: &'b mut [Token]) -> Result<&'b [Token], Error> {
        let space = self.kind() == TokenizerKind::LlamaBpe && !bytes.is_empty();
        self.encode_parts(Some(Token::BOS), if space { b" " } else { b"" }, bytes, buffer)
    }

    /// Tokens of bytes in the middle of a text: nothing is put before them.
    ///
    /// # Errors
    ///
    /// [`Error::TokenBufferFull`] with the room that these bytes need.
    pub fn encode_part<'b>(&self, bytes: &[u8], buffer: &'b mut [Token]) -> Result<&'b [Token], Error> {
        self.encode_parts(None, b"", bytes, buffer)
    }

    fn encode_parts<'b>(
        &self,
        begin: Option<Token>,
        before: &[u8],
        bytes: &[u8],
        buffer: &'b mut [Token],
    ) -> Result<&'b [Token], Error> {
        let have = buffer.len();
        let mut need = 0;
        let mut slots = buffer.iter_mut();
        let mut push = |token| {
            need += 1;
            if let Some(slot) = slots.next() {
                *slot = token;
            }
        };
        begin.into_iter().for_each(&mut push);
        for character in characters(before).chain(characters(bytes)) {
            let whole = match self.kind() {
                TokenizerKind::LlamaBpe | TokenizerKind::Characters => self.pieces.find(character, &[]),
                TokenizerKind::ByteBpe => None,
            };
            match whole {
                Some(number) => push(Token(self.kind().first_piece() + number)),
                None if self.kind() == TokenizerKind::Characters => push(Token::UNKNOWN),
                None => character.iter().for_each(|b| push(Token(FIRST_BYTE + u16::from(*b)))),
            }
        }
        let tokens = buffer.get_mut(..need).ok_or(Error::TokenBufferFull { need, have })?;
        let len = self.merge_all(tokens);
        Ok(tokens.get(..len).unwrap_or(&[]))
    }

    /// Merges at the front of `tokens` until nothing merges, and returns how many are left.
    fn merge_all(&self, tokens: &mut [Token]) -> usize {
        let mut len = tokens.len();
        loop {
            let mut best: Option<(u16, Token, usize)> = None;
            for (at, [left, right]) in tokens.array_windows().enumerate().take(len.saturating_sub(1)) {
                if let Some((rank, token)) = self.merge(*left, *right)
                    && best.is_none_or(|(smallest, ..)| rank < smallest)
                {
                    best = Some((rank, token, at));
                }
            }
            let Some((_, token, at)) = best else { return len };
            if let Some([first, rest @ ..]) = tokens.get_mut(at..len) {
                *first = token;
                for [to, from] in core::cell::Cell::from_mut(rest).as_slice_of_cells().array_windows() {
                    to.set(from.get());
                }
            }
            len -= 1;
        }
    }
}

/// Cuts bytes into the characters that llama2.c looks up: up to 4 bytes, a new one at every byte that does
/// not continue a character.
fn characters(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    core::iter::from_fn(move || {
        let (_, after) = bytes.split_first()?;
        let len = 1 + after.iter().take(3).take_while(|b| **b & 0xc0 == 0x80).count();
        let (character, rest) = bytes.split_at_checked(len)?;
        bytes = rest;
        Some(character)
    })
}

#[cfg(test)]
mod tests;
