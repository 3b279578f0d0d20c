//! Documents to a stream of tokens: in parallel, with the same result on any number of threads.

use crate::corpus::{Corpus, Piece};
use crate::tokenizer::TextEncoder;
use anyhow::Result;
use std::thread;
use thumbformer::Tokenizer;

/// Bytes of text that a thread takes at a time.
const BATCH: usize = 1 << 20;

/// What is encoded at once: a document, or a part of a long one.
struct Portion {
    piece: Piece,
    begins: bool,
}

/// Gives `take` the tokens of documents one after the other, each behind [`Token::BOS`](thumbformer::Token::BOS). `progress`
/// is told the bytes of text that are done.
pub fn tokenize(
    corpus: &Corpus,
    pieces: &[Piece],
    tokenizer: Tokenizer<'_>,
    threads: usize,
    mut take: impl FnMut(&[u16]) -> Result<()>,
    mut progress: impl FnMut(u64),
) -> Result<()> {
    let mut encoders: Vec<_> = (0..threads.max(1)).map(|_| TextEncoder::new(tokenizer)).collect();
    let batches = batches(corpus, pieces, &encoders[0]);
    let mut done = 0;
    // A round of one batch for each thread bounds the memory, and the order is that of the text.
    for round in batches.chunks(encoders.len()) {
        let parts: Vec<Result<Vec<u16>>> = thread::scope(|scope| {
            let pairs = round.iter().zip(&mut encoders);
            let workers: Vec<_> =
                pairs.map(|(batch, encoder)| scope.spawn(move || encode(corpus, batch, encoder))).collect();
            workers.into_iter().map(|worker| worker.join().expect("a worker does not panic")).collect()
        });
        for part in parts {
            take(&part?)?;
        }
        done += round.iter().flatten().map(|portion| portion.piece.len() as u64).sum::<u64>();
        progress(done);
    }
    Ok(())
}

fn encode(corpus: &Corpus, batch: &[Portion], encoder: &mut TextEncoder<'_>) -> Result<Vec<u16>> {
    let mut tokens = Vec::new();
    for portion in batch {
        let text = corpus.text(&portion.piece)?;
        let part = match portion.begins {
            true => encoder.encode(text.as_bytes()),
            false => encoder.encode_part(text.as_bytes()),
        };
        tokens.extend(part.iter().map(|token| token.0));
    }
    Ok(tokens)
}

/// Portions in batches; long documents are cut where no token reaches across, which changes no token.
fn batches(corpus: &Corpus, pieces: &[Piece], encoder: &TextEncoder<'_>) -> Vec<Vec<Portion>> {
    let mut batches = vec![Vec::new()];
    let mut bytes = 0;
    for whole in pieces {
        let portions = corpus.portions(whole, BATCH, |text, at| encoder.cut(text, at));
        for (i, piece) in portions.into_iter().enumerate() {
            if bytes > 0 && bytes + piece.len() > BATCH {
                batches.push(Vec::new());
                bytes = 0;
            }
            bytes += piece.len();
            batches.last_mut().expect("there is one").push(Portion { piece, begins: i == 0 });
        }
    }
    batches
}
