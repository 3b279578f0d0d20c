//! llama2.c's stories260K: our f32 forward pass against references that llama2.c made.

mod common;

use common::{data, u16s};
use host_trainer::eval::loss_f32;
use host_trainer::import::llama2c;
use std::fs;
use std::path::Path;

/// The type, the shape and the values of a `.npy` file.
fn npy(path: &Path) -> (String, Vec<u8>) {
    let bytes = fs::read(path).unwrap();
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = String::from_utf8(bytes[10..start].to_vec()).unwrap();
    (header, bytes[start..].to_vec())
}

fn argmax(row: &[f32]) -> u16 {
    let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.unwrap().0 as u16
}

/// The bytes that each token of llama2.c's tokenizer file stands for.
fn piece_lens(tokenizer: &[u8]) -> Vec<usize> {
    let mut rest = &tokenizer[4..];
    let mut lens = Vec::new();
    while let Some((head, tail)) = rest.split_first_chunk::<8>() {
        let len = u32::from_le_bytes(head[4..].try_into().unwrap()) as usize;
        let is_byte = tail[..len].starts_with(b"<0x");
        lens.push(if is_byte { 1 } else { len });
        rest = &tail[len..];
    }
    lens
}

#[test]
fn greedy_text_token_for_token() {
    let Some(folder) = data("stories260k") else {
        return;
    };
    let model = llama2c::read(&folder.join("stories260K.bin")).unwrap();
    let pieces = piece_lens(&fs::read(folder.join("tok512.bin")).unwrap());
    let prompts = fs::read_to_string(folder.join("ref/prompts.txt")).unwrap();
    let references = fs::read_to_string(folder.join("ref/greedy.tokens.txt")).unwrap();
    assert_eq!(references.lines().count(), 5);
    for (reference, prompt) in references.lines().zip(prompts.lines()) {
        let tokens: Vec<u16> = reference.split(' ').map(|id| id.parse().unwrap()).collect();
        // The prompt's tokens after BOS spell a space and the prompt.
        let (mut prompt_len, mut spelled) = (1, 0);
        while !prompt.is_empty() && spelled < prompt.len() + 1 {
            spelled += pieces[usize::from(tokens[prompt_len])];
            prompt_len += 1;
        }
        let logits = model.forward(&tokens).unwrap();
        for (i, row) in logits.chunks(512).enumerate().take(tokens.len() - 1).skip(prompt_len - 1) {
            assert_eq!(argmax(row), tokens[i + 1], "{prompt:?}, position {i}");
        }
    }
}

#[test]
fn logits_of_two_sequences() {
    let Some(folder) = data("stories260k") else {
        return;
    };
    let model = llama2c::read(&folder.join("stories260K.bin")).unwrap();
    for name in ["seq1", "seq2"] {
        let (header, tokens) = npy(&folder.join(format!("ref/{name}_tokens.npy")));
        assert!(header.contains("'<u2'") && header.contains("(256,)"), "{header}");
        let (header, expected) = npy(&folder.join(format!("ref/{name}_logits_f32.npy")));
        assert!(header.contains("'<f4'") && header.contains("(256, 512)"), "{header}");
        let logits = model.forward(&u16s(&tokens)).unwrap();
        let expected = expected.as_chunks().0.iter().map(|&x| f32::from_le_bytes(x));
        let worst = logits.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-3, "{name}: a logit differs by {worst}");
    }
}

#[test]
fn loss_of_the_whole_validation_stream() {
    let Some(folder) = data("stories260k") else {
        return;
    };
    let model = llama2c::read(&folder.join("stories260K.bin")).unwrap();
    let tokens = u16s(&fs::read(folder.join("ref/val_stream_n_102401.u16")).unwrap());
    let (loss, count) = loss_f32(&model, &tokens, 512).unwrap();
    assert_eq!(count, 102_400);
    assert!((loss - 1.336726).abs() < 1e-4, "{loss}");
}
