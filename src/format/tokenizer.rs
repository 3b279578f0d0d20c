//! The tokenizer section of the model file.
//!
//! Little-endian, unaligned reads only, all offsets relative to the section's start. With `n` pieces, the
//! tokens from id [`TokenizerKind::first_piece`] on:
//!
//! | offset      | type        | field                                                                   |
//! |-------------|-------------|-------------------------------------------------------------------------|
//! | 0           | u8          | kind: 0 `LlamaBpe`, 1 `ByteBpe`, 2 `Characters`                         |
//! | 1           | u8          | 0                                                                       |
//! | 2           | u16         | number of tokens, `259 + n`; of kind 2, `3 + n`                         |
//! | 4           | u32 `[n+1]` | ends: piece `i` is `pool[ends[i]..ends[i+1]]`; the first is 0, the last the length of the pool |
//! | 8 + 4n      | u16 `[n]`   | ranks: the merge that makes the smallest rank goes first                |
//! | 8 + 6n      | u16 `[n]`   | sorted: piece numbers (0 is the first piece) by bytes, then by number   |
//! | 8 + 8n      | u8          | pool: the bytes of all pieces                                           |
//!
//! Ids 0, 1 and 2 are unknown, begin and end of sequence; but in kind 2, which has no bytes, 3 to 258 are the 256 bytes:
//! they need no entry.

use super::{FormatError, part, read_u16};

/// The id of byte 0; byte `b` has the id `FIRST_BYTE + b`.
pub const FIRST_BYTE: u16 = 3;

/// The id of the first piece, after 3 special tokens and 256 bytes; [`TokenizerKind::Characters`] has no bytes.
pub const FIRST_PIECE: u16 = 259;

/// How text becomes tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum TokenizerKind {
    /// llama2.c's: a space before the text, characters that are pieces, bytes for all others.
    LlamaBpe = 0,
    /// Byte-level BPE: the text's bytes, nothing added.
    ByteBpe = 1,
    /// The text's characters, each a token; what is no piece is the unknown token.
    Characters = 2,
}

impl TokenizerKind {
    /// The id of the first piece.
    pub const fn first_piece(self) -> u16 {
        match self {
            Self::LlamaBpe | Self::ByteBpe => FIRST_PIECE,
            Self::Characters => FIRST_BYTE,
        }
    }
}

/// Where the tables of a section begin. The reader and the emitter both ask it, nothing else knows.
#[derive(Debug, Clone, Copy)]
struct Offsets {
    ends: usize,
    ranks: usize,
    sorted: usize,
    pool: usize,
}

impl Offsets {
    const fn new(n_pieces: usize) -> Self {
        let ends = 4;
        let ranks = ends + 4 * (n_pieces + 1);
        let sorted = ranks + 2 * n_pieces;
        let pool = sorted + 2 * n_pieces;
        Offsets { ends, ranks, sorted, pool }
    }

    /// Cuts a buffer into head, ends, ranks, sorted and pool; none if it is shorter than `len`.
    fn tables(self, out: &mut [u8], len: usize) -> Option<TablesMut<'_>> {
        let (section, _) = out.split_at_mut_checked(len)?;
        let (tables, pool) = section.split_at_mut_checked(self.pool)?;
        let (tables, sorted) = tables.split_at_mut_checked(self.sorted)?;
        let (tables, ranks) = tables.split_at_mut_checked(self.ranks)?;
        let (head, ends) = tables.split_at_mut_checked(self.ends)?;
        let [ranks, sorted] = [ranks, sorted].map(|table| table.as_chunks_mut().0);
        Some((head.first_chunk_mut()?, ends.as_chunks_mut().0, ranks, sorted, pool))
    }
}

type TablesMut<'a> = (&'a mut [u8; 4], &'a mut [[u8; 4]], &'a mut [[u8; 2]], &'a mut [[u8; 2]], &'a mut [u8]);

/// The length in bytes of a section with this many pieces of together `pool_len` bytes.
///
/// ```
/// assert_eq!(thumbformer::format::tokenizer::section_len(253, 1000), 8 + 253 * 8 + 1000);
/// ```
pub const fn section_len(n_pieces: usize, pool_len: usize) -> usize {
    Offsets::new(n_pieces).pool.saturating_add(pool_len)
}

/// The pieces of a tokenizer section that has been checked, read in place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pieces<'m> {
    pub kind: TokenizerKind,
    ends: &'m [[u8; 4]],
    ranks: &'m [[u8; 2]],
    sorted: &'m [[u8; 2]],
    pool: &'m [u8],
}

impl<'m> Pieces<'m> {
    /// Reads and checks a section. The time is linear in its length.
    pub const fn from_bytes(bytes: &'m [u8]) -> Result<Self, FormatError> {
        let ([kind, reserved, ..], Some(vocab_size)) = (bytes, read_u16(bytes, 2)) else {
            return Err(FormatError::Truncated { need: section_len(0, 0), have: bytes.len() });
        };
        let kind = match *kind {
            0 => TokenizerKind::LlamaBpe,
            1 => TokenizerKind::ByteBpe,
            2 => TokenizerKind::Characters,
            other => return Err(FormatError::UnknownTokenizer { kind: other }),
        };
        let first = kind.first_piece();
        if *reserved != 0 || vocab_size < first {
            return Err(FormatError::BadTokenizer);
        }
        let n = (vocab_size - first) as usize;
        let at = Offsets::new(n);
        let Some((tables, pool)) = bytes.split_at_checked(at.pool) else {
            return Err(FormatError::Truncated { need: at.pool, have: bytes.len() });
        };
        let section = Pieces {
            kind,
            ends: part(tables, at.ends, at.ranks - at.ends).as_chunks().0,
            ranks: part(tables, at.ranks, at.sorted - at.ranks).as_chunks().0,
            sorted: part(tables, at.sorted, at.pool - at.sorted).as_chunks().0,
            pool,
        };
        match section.check() {
            Ok(()) => Ok(section),
            Err(e) => Err(e),
        }
    }

    /// Pieces lie in the pool one after the other and fill it; `sorted` is a permutation in order.
    const fn check(&self) -> Result<(), FormatError> {
        let mut end = 0;
        let mut ends = self.ends;
        let mut first = true;
        while let [next, rest @ ..] = ends {
            let next = u32::from_le_bytes(*next) as usize;
            if next < end || (first && next != 0) {
                return Err(FormatError::BadTokenizer);
            }
            first = false;
            end = next;
            ends = rest;
        }
        if end > self.pool.len() {
            return Err(FormatError::Truncated {
                need: section_len(self.len(), end),
                have: section_len(self.len(), self.pool.len()),
            });
        }
        if end < self.pool.len() {
            return Err(FormatError::BadTokenizer);
        }
        let mut sorted = self.sorted;
        let mut last: Option<(&[u8], u16)> = None;
        while let [number, rest @ ..] = sorted {
            let number = u16::from_le_bytes(*number);
            if number as usize >= self.len() {
                return Err(FormatError::BadTokenizer);
            }
            let piece = self.get(number);
            if let Some((last_piece, last_number)) = last {
                match compare(last_piece, piece) {
                    -1 => {}
                    0 if last_number < number => {}
                    _ => return Err(FormatError::BadTokenizer),
                }
            }
            last = Some((piece, number));
            sorted = rest;
        }
        Ok(())
    }

    /// The number of pieces.
    pub const fn len(&self) -> usize {
        self.ranks.len()
    }

    /// The bytes of a piece; none for a number out of range.
    pub const fn get(&self, number: u16) -> &'m [u8] {
        let (Some(from), Some(to)) =
            (entry(self.ends, number as usize), entry(self.ends, number as usize + 1))
        else {
            return &[];
        };
        let (from, to) = (u32::from_le_bytes(from) as usize, u32::from_le_bytes(to) as usize);
        part(self.pool, from, to.saturating_sub(from))
    }

    /// The merge rank of a piece; the last of all for a number out of range.
    pub fn rank(&self, number: u16) -> u16 {
        entry(self.ranks, usize::from(number)).map_or(u16::MAX, u16::from_le_bytes)
    }

    /// The number of the piece whose bytes are `left` and `right` joined, the lowest if there are several.
    pub fn find(&self, left: &[u8], right: &[u8]) -> Option<u16> {
        let len = left.len() + right.len();
        let wanted = || left.iter().chain(right);
        let at = self.sorted.partition_point(|number| {
            let piece = self.get(u16::from_le_bytes(*number));
            piece.iter().lt(wanted())
        });
        let number = entry(self.sorted, at).map(u16::from_le_bytes)?;
        let piece = self.get(number);
        (piece.len() == len && piece.iter().eq(wanted())).then_some(number)
    }
}

/// An entry of a table.
const fn entry<const N: usize>(table: &[[u8; N]], index: usize) -> Option<[u8; N]> {
    match table.split_at_checked(index) {
        Some((_, [entry, ..])) => Some(*entry),
        _ => None,
    }
}

/// -1, 0 or 1 as `a` is before, equal to or after `b` in the order of bytes.
const fn compare(mut a: &[u8], mut b: &[u8]) -> i32 {
    loop {
        match (a, b) {
            ([], []) => return 0,
            ([], _) => return -1,
            (_, []) => return 1,
            ([x, a_rest @ ..], [y, b_rest @ ..]) => {
                if *x != *y {
                    return if *x < *y { -1 } else { 1 };
                }
                a = a_rest;
                b = b_rest;
            }
        }
    }
}

/// A piece to be written: its bytes and its merge rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// The merge that makes the smallest rank goes first, the leftmost of equals.
    pub rank: u16,
}

/// Writes a tokenizer section to the start of `out` and returns its length, [`section_len`].
///
/// `pieces` are the tokens from [`TokenizerKind::first_piece`] on.
///
/// # Errors
///
/// [`FormatError::BufferTooSmall`] where `out` is shorter than the section, [`FormatError::BadTokenizer`]
/// where there are more pieces than ids or their bytes do not fit 32-bit offsets.
///
/// ```
/// use thumbformer::format::tokenizer::{Piece, TokenizerKind, emit};
/// use thumbformer::{Token, Tokenizer};
///
/// let mut section = [0; 64];
/// let pieces = [Piece { bytes: b"he", rank: 0 }, Piece { bytes: b"hey", rank: 1 }];
/// let len = emit(TokenizerKind::ByteBpe, &pieces, &mut section)?;
/// let tokenizer = Tokenizer::from_bytes(&section[..len])?;
/// let mut buffer = [Token::BOS; 8];
/// assert_eq!(tokenizer.encode("hey", &mut buffer), Ok(&[Token::BOS, Token(260)][..]));
/// # Ok::<(), thumbformer::FormatError>(())
/// ```
pub fn emit(kind: TokenizerKind, pieces: &[Piece<'_>], out: &mut [u8]) -> Result<usize, FormatError> {
    let n = pieces.len();
    let pool_len = pieces.iter().map(|p| p.bytes.len()).sum();
    let need = section_len(n, pool_len);
    let have = out.len();
    if n > usize::from(u16::MAX - kind.first_piece()) || u32::try_from(pool_len).is_err() {
        return Err(FormatError::BadTokenizer);
    }
    let at = Offsets::new(n);
    let Some((head, ends, ranks, sorted, pool)) = at.tables(out, need) else {
        return Err(FormatError::BufferTooSmall { need, have });
    };

    let [low, high] = (kind.first_piece() + n as u16).to_le_bytes();
    *head = [kind as u8, 0, low, high];
    let mut end = 0u32;
    for (slot, piece) in ends.iter_mut().zip(core::iter::once(None).chain(pieces.iter().map(Some))) {
        end += piece.map_or(0, |p| p.bytes.len() as u32);
        *slot = end.to_le_bytes();
    }
    for (slot, piece) in ranks.iter_mut().zip(pieces) {
        *slot = piece.rank.to_le_bytes();
    }
    for (slot, number) in sorted.iter_mut().zip(0u16..) {
        *slot = number.to_le_bytes();
    }
    sorted.sort_unstable_by_key(|number| {
        let number = u16::from_le_bytes(*number);
        (pieces.get(usize::from(number)).map(|p| p.bytes), number)
    });
    for (slot, byte) in pool.iter_mut().zip(pieces.iter().flat_map(|p| p.bytes)) {
        *slot = *byte;
    }
    Ok(need)
}
