//! Products that pass over the columns whose inputs are 0, as most are after a ReLU.
//!
//! In place of the usual operand stands a list of the groups of four columns that are not all 0: how many, what the sums
//! start with, the bytes of tiles behind the last one; then for each group the bytes of tiles between the one before and
//! it, and the words that its tile meets. A list of more than three quarters of all groups does not pay: then its first
//! word is 0, and the usual operand follows. This is the one place in which the way through the code depends on the
//! numbers of a vector; the sums do not.

/// What a list begins with.
const HEAD: usize = 3;
/// Bytes of a tile of four rows and four columns.
pub const TILE: u32 = 16;

/// Lists the groups of `x`, in its natural order, at the beginning of `operand`: for each `N` words, of which the first is
/// for the list itself, and a part of what the sums start with. Whether that pays; if not, the first word is 0.
#[inline(always)]
pub fn list<const N: usize>(
    x: &[i16],
    operand: &mut [u32],
    words: impl Fn([i16; 4]) -> ([u32; N], i32),
) -> bool {
    let (groups, rest) = x.as_chunks::<4>();
    let Some((head, entries)) = operand.split_first_chunk_mut::<HEAD>() else {
        return false;
    };
    head[0] = 0;
    let mut entries = entries.as_chunks_mut::<N>().0.iter_mut().take(groups.len() * 3 / 4);
    let (mut listed, mut start, mut skipped) = (0, 0i32, 0);
    for &group in groups {
        if group == [0; 4] {
            skipped += TILE;
            continue;
        }
        let Some(entry) = entries.next() else {
            return false;
        };
        let (words, part) = words(group);
        *entry = words;
        entry[0] = skipped;
        start = start.wrapping_add(part);
        (listed, skipped) = (listed + 1, 0);
    }
    if !rest.is_empty() {
        return false;
    }
    *head = [listed, start as u32, skipped];
    listed > 0
}

/// A list that leads through all columns of a matrix, and not beyond.
#[derive(Debug, Clone, Copy)]
pub struct List<'a, const N: usize> {
    /// All but the number of groups: the sums' start, the bytes behind the last tile, the groups.
    pub operand: &'a [u32],
    /// Groups; not 0.
    pub groups: usize,
}

impl<'a, const N: usize> List<'a, N> {
    /// Checks what is in `operand`, for addresses follow from it. None where it is no list.
    pub fn read(operand: &'a [u32], columns: usize) -> Option<Self> {
        let (&listed, operand) = operand.split_first()?;
        let groups = listed as usize;
        let entries = operand.get(HEAD - 1..)?.as_chunks::<N>().0.get(..groups)?;
        let tail = *operand.get(1)?;
        let (sum, bits) = entries
            .iter()
            .fold((tail, tail), |(sum, bits), entry| (sum.saturating_add(entry[0]), bits | entry[0]));
        // No more groups than a vector has words, so that this does not overflow.
        let whole =
            columns < 1 << 24 && sum.saturating_add(listed * TILE) == columns.div_ceil(4) as u32 * TILE;
        (groups > 0 && whole && bits.is_multiple_of(TILE)).then_some(Self { operand, groups })
    }

    /// The groups.
    #[cfg(any(thumbformer_kernel = "portable", test, feature = "selftest"))]
    pub fn entries(&self) -> &'a [[u32; N]] {
        self.operand.get(HEAD - 1..).unwrap_or_default().as_chunks().0.get(..self.groups).unwrap_or_default()
    }
}

/// Has `product` compute whole blocks of four rows, as many as `y` wants and `tiles` has. A block that reaches beyond the
/// end of `y` is computed beside it.
#[cfg(any(thumbformer_kernel = "armv6m", thumbformer_kernel = "armv7m", thumbformer_kernel = "dsp"))]
pub fn in_blocks(tiles: &[u32], columns: usize, y: &mut [i32], product: impl Fn(&[u32], &mut [[i32; 4]])) {
    // A tile is as many words as columns.
    let words = columns.next_multiple_of(4);
    if words == 0 {
        return y.fill(0);
    }
    let (whole, rest) = y.as_chunks_mut();
    let wanted = whole.len() + usize::from(!rest.is_empty());
    // Not every core divides.
    let small = wanted < 1 << 16 && words < 1 << 16;
    let blocks = if small && wanted * words <= tiles.len() { wanted } else { tiles.len() / words };
    let last = tiles.get(whole.len().wrapping_mul(words)..).filter(|_| blocks > whole.len());
    if let Some(sums) = whole.get_mut(..blocks.min(whole.len())).filter(|sums| !sums.is_empty()) {
        product(tiles, sums);
    }
    if let Some(tiles) = last.filter(|_| !rest.is_empty()) {
        let mut sums = [[0; 4]];
        product(tiles, &mut sums);
        for (y, sum) in rest.iter_mut().zip(sums.as_flattened()) {
            *y = *sum;
        }
    }
}
