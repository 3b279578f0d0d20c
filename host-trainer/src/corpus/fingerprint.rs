//! What tells documents apart.

use crate::nn::random::Random;

/// A hash of 128 bits of a text, in which any white space counts as one space, and none at the ends. It is the same on every
/// machine and will stay so: which documents are held out depends on it.
///
/// Words of eight bytes, the first one highest, a last one of those left (or none) and the length are mixed in turn into two
/// states of SplitMix64 that begin with 1 and 2.
pub fn fingerprint(text: &[u8]) -> [u64; 2] {
    let mut state = [1, 2];
    let (mut word, mut filled, mut length) = (0u64, 0, 0u64);
    let mut push = |byte: u8| {
        word = word << 8 | u64::from(byte);
        filled += 1;
        length += 1;
        if filled == 8 {
            state = mixed(state, word);
            (word, filled) = (0, 0);
        }
    };
    let words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    for (i, bytes) in words.enumerate() {
        if i > 0 {
            push(b' ');
        }
        bytes.iter().copied().for_each(&mut push);
    }
    mixed(mixed(state, word), length)
}

fn mixed(state: [u64; 2], word: u64) -> [u64; 2] {
    // The second half sees the words in another form: what collides in one does not in the other.
    [Random::new(state[0] ^ word), Random::new(state[1] ^ word.rotate_left(29))].map(|mut r| r.next_u64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn white_space_does_not_count() {
        let hash = |text: &str| fingerprint(text.as_bytes());
        assert_eq!(hash("one two\nthree"), hash("  one\r\n\ttwo three \n"));
        assert_ne!(hash("one two"), hash("onetwo"));
        assert_eq!(hash(""), hash(" \n"));
        assert_ne!(hash("\0"), hash("\0\0"));
    }

    #[test]
    fn it_stays_the_same() {
        // Made by another program from the description above.
        let wanted = [6_919_748_094_132_493_723, 3_940_845_455_906_692_346];
        assert_eq!(fingerprint(b"the cat sat on the mat"), wanted);
    }

    proptest! {
        #[test]
        fn other_words_have_another_hash(a in "[ab ]{0,12}", b in "[ab ]{0,12}") {
            let words = |text: &str| text.split_ascii_whitespace().map(String::from).collect::<Vec<_>>();
            prop_assert_eq!(fingerprint(a.as_bytes()) == fingerprint(b.as_bytes()), words(&a) == words(&b));
        }
    }
}
