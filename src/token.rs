//! Token ids.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The id of a token: an index into the vocabulary, `0..vocab_size`.
///
/// ```
/// use thumbformer::Token;
/// assert_eq!(Token::BOS, Token(1));
/// ```
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
#[repr(transparent)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Token(pub u16);

impl Token {
    /// What stands for a character that a [`Tokenizer`](crate::Tokenizer) of characters does not have.
    pub const UNKNOWN: Token = Token(0);
    /// Begin of sequence: the first token of every prompt.
    pub const BOS: Token = Token(1);
    /// End of sequence.
    pub const EOS: Token = Token(2);
}
