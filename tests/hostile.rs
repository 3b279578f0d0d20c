//! Model files that someone made to do harm, with checksums that are right: an error or tokens, never a panic.

mod common;

use common::{Bytes, GPT2, LLAMA, model_file, workspace};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use thumbformer::format::header::{self, field};
use thumbformer::format::{
    Dtype, Emitter, InputWidth, Layout, Tensor, TensorKind, TensorPlan, crc32, tokenizer,
};
use thumbformer::{Config, Error, FormatError, Model, Sampler, Session, Token};

/// Reads a prompt and writes eight tokens.
fn writes(model: &Model<'_>, memory: &mut Bytes) -> Result<usize, Error> {
    let mut session = Session::new(model, memory)?;
    let mut buffer = [Token::BOS; 8];
    session.prefill(model.tokenizer().encode("a b", &mut buffer)?)?;
    let mut text = 0;
    for token in session.generate(&mut Sampler::new(1)).stop_at(&[]).take(8) {
        text += model.tokenizer().decode(token?).len();
    }
    Ok(text)
}

/// Reads all of a file, then writes.
fn verified(file: &[u8]) -> Result<usize, Error> {
    let model = Model::from_bytes(file)?;
    model.verify()?;
    writes(&model, &mut workspace(&model))
}

/// Makes the checksum that of the bytes.
fn mend(file: &mut Bytes) {
    let crc = crc32(&file.as_ref()[field::CRC.end..]);
    file.as_mut()[field::CRC].copy_from_slice(&crc.to_le_bytes());
}

/// How the checksum changes with each of the last `n` bytes: for the bits of a byte, bits of the checksum. A checksum is
/// linear: the change does not depend on the other bytes.
fn changes(n: usize) -> Vec<[u32; 8]> {
    let mut registers: [u32; 8] = std::array::from_fn(|bit| 1 << bit);
    let mut all = vec![[0; 8]; n];
    for change in all.iter_mut().rev() {
        for register in &mut registers {
            for _ in 0..8 {
                *register = (*register >> 1) ^ if *register & 1 == 1 { 0xEDB8_8320 } else { 0 };
            }
        }
        *change = registers;
    }
    all
}

/// Header, directory, tokenizer and metadata of the committed model: every bit. Its tensors: every 97th, which has each bit
/// of a byte in turn.
#[test]
fn every_flipped_bit_of_a_real_model() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("firmware/models/book.thumb");
    let good = Bytes::of(&std::fs::read(path).unwrap());
    let first = {
        let model = good.model();
        let tensors = (0..model.config().n_tensors()).map(|index| model.tensor(index).unwrap());
        tensors.map(|tensor| tensor.data).filter(|&data| data > 0).min().unwrap()
    };
    let len = good.as_ref().len();
    let changes = changes(len);
    let bits: Vec<usize> = (0..8 * first).chain((8 * first..8 * len).step_by(97)).collect();
    let flip = |bits: &[usize]| {
        let mut file = Bytes::of(good.as_ref());
        let crc = good.model().header().crc;
        let (mut refused, mut wrote) = (0, 0);
        for &bit in bits {
            let (byte, mask) = (bit / 8, 1 << (bit % 8));
            file.as_mut()[byte] ^= mask;
            // A flip in front of the checksum leaves it, and one of it stays wrong.
            if byte >= field::CRC.end {
                let crc = crc ^ changes[byte][bit % 8];
                file.as_mut()[field::CRC].copy_from_slice(&crc.to_le_bytes());
            }
            match catch_unwind(AssertUnwindSafe(|| verified(file.as_ref()))) {
                Ok(Ok(_)) => wrote += 1,
                Ok(Err(Error::Format(FormatError::BadChecksum { .. }))) => {
                    assert!(field::CRC.contains(&byte), "the checksum for bit {bit} is not mended");
                }
                Ok(Err(_)) => refused += 1,
                Err(_) => panic!("bit {bit}"),
            }
            file.as_mut()[byte] ^= mask;
            file.as_mut()[field::CRC].copy_from_slice(&crc.to_le_bytes());
        }
        (refused, wrote)
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (mut refused, mut wrote) = (0, 0);
    std::thread::scope(|scope| {
        let parts: Vec<_> =
            bits.chunks(bits.len().div_ceil(threads)).map(|bits| scope.spawn(|| flip(bits))).collect();
        for part in parts {
            let (more_refused, more_wrote) = part.join().unwrap();
            (refused, wrote) = (refused + more_refused, wrote + more_wrote);
        }
    });
    assert_eq!(refused + wrote + 32, bits.len());
    assert!(refused > 5_000 && wrote > 5_000, "{refused} refused, {wrote} wrote, of {} bits", bits.len());
    println!("{} bits of {}: {refused} refused, {wrote} wrote", bits.len(), 8 * len);
}

/// Fields of the header: none, one beyond the limit, all that fits.
#[test]
fn dimensions_of_nothing_and_of_everything() {
    for config in [LLAMA, GPT2] {
        for at in [
            field::DIM,
            field::HIDDEN_DIM,
            field::N_LAYERS,
            field::N_HEADS,
            field::N_KV_HEADS,
            field::VOCAB_SIZE,
            field::SEQ_LEN,
            field::N_TENSORS,
        ] {
            for value in [0, 16_385, 65_536, 1 << 30, 1 << 31, u32::MAX] {
                let mut file = model_file(config, 1);
                file.as_mut()[at.clone()].copy_from_slice(&value.to_le_bytes());
                mend(&mut file);
                let refused = verified(file.as_ref());
                assert!(
                    matches!(
                        refused,
                        Err(Error::Format(FormatError::BadConfig { .. } | FormatError::BadTensor { .. }))
                    ),
                    "{value} at {at:?}: {refused:?}"
                );
            }
        }
    }
}

/// What stands for nothing (subnormal, if there were floats) and for more than there is (infinite): scales, exponents,
/// fraction bits and epsilons at their limits. Verification refuses scales of no sign; without it, they are computed with.
#[test]
fn scales_of_nothing_and_of_everything() {
    for config in [LLAMA, GPT2] {
        for scale in [0, 1, -1, i16::MIN, i16::MAX] {
            for exponent in [-128i8, -30, 0, 127] {
                for (frac, epsilon) in [(4, (0, 0)), (24, (0x00ff_ffff, 0)), (16, (1, -200))] {
                    let mut file = model_file(config, 2);
                    file.as_mut()[field::FRAC].copy_from_slice(&[frac]);
                    file.as_mut()[field::EPSILON_MANTISSA].copy_from_slice(&u32::to_le_bytes(epsilon.0));
                    file.as_mut()[field::EPSILON_EXPONENT].copy_from_slice(&i32::to_le_bytes(epsilon.1));
                    for index in 0..config.n_tensors() {
                        let tensor = file.model().tensor(index).unwrap();
                        file.as_mut()[header::LEN + index * Tensor::ENTRY + 5] = exponent as u8;
                        let scales = &mut file.as_mut()[tensor.scales..][..tensor.scales_len()];
                        scales.as_chunks_mut::<2>().0.fill(scale.to_le_bytes());
                    }
                    mend(&mut file);
                    let model = file.model();
                    match model.verify() {
                        Ok(()) => assert!(scale > 0),
                        Err(FormatError::BadScale { row: 0, .. }) => assert!(scale <= 0),
                        Err(other) => panic!("{other}"),
                    }
                    writes(&model, &mut workspace(&model)).unwrap();
                }
            }
        }
    }
}

/// Weights of -128, gains of -32768 and biases of -2^31, and other bytes that are all the same.
#[test]
fn weights_that_are_all_extreme() {
    for config in [LLAMA, GPT2] {
        for byte in [0x80, 0x7f, 0xff, 0x00] {
            let mut file = model_file(config, 3);
            for index in 0..config.n_tensors() {
                let tensor = file.model().tensor(index).unwrap();
                for (at, len) in [(tensor.data, tensor.data_len()), (tensor.bias, tensor.bias_len())] {
                    let word = [byte & 0x7f, byte & 0x7f, byte & 0x7f, byte];
                    let bytes = &mut file.as_mut()[at..at + len];
                    if matches!(tensor.dtype, Dtype::I8) && at == tensor.data {
                        bytes.fill(byte);
                    } else {
                        bytes.as_chunks_mut::<4>().0.fill(word);
                    }
                }
            }
            mend(&mut file);
            verified(file.as_ref()).unwrap();
        }
    }
}

/// All tensors begin at one place: in the weights, in the directory, in the header.
#[test]
fn tensors_that_overlap() {
    for config in [LLAMA, GPT2] {
        let first = model_file(config, 4).model().tensor(0).unwrap();
        for (place, wanted) in [(first.data, true), (header::LEN, true), (4, true), (0, false), (6, false)] {
            let mut file = model_file(config, 4);
            for index in 0..config.n_tensors() {
                let entry = header::LEN + index * Tensor::ENTRY;
                file.as_mut()[entry + 16..entry + 20].copy_from_slice(&(place as u32).to_le_bytes());
            }
            mend(&mut file);
            assert_eq!(verified(file.as_ref()).is_ok(), wanted, "at {place}");
        }
    }
}

/// The widest matrix that there is, with weights as large as its layout's bytes of one value can be, in both widths.
#[test]
fn columns_up_to_the_bound_of_the_accumulator() {
    let wide = Config { dim: 4, hidden_dim: 16_384, n_layers: 1, ..LLAMA };
    let beyond = Config { hidden_dim: 16_385, ..wide };
    let refused = FormatError::BadConfig { field: "hidden_dim", found: 16_385 };
    assert_eq!(beyond.check(), Err(refused));
    for (input, layout) in [
        (InputWidth::A8, Layout::Rows),
        (InputWidth::A16, Layout::Rows),
        (InputWidth::A8, Layout::Halves),
        (InputWidth::A16, Layout::Bytes),
        (InputWidth::A8, Layout::Nibbles),
        (InputWidth::A16, Layout::Nibbles),
    ] {
        let plan = |kind: TensorKind| match kind {
            TensorKind::RopeTable => (Dtype::I16, Layout::Rows),
            kind if kind.is_norm() => (Dtype::Folded, Layout::Rows),
            kind if kind.is_matrix() && layout == Layout::Nibbles => (Dtype::I4, layout),
            kind if kind.is_matrix() => (Dtype::I8, layout),
            _ => (Dtype::I8, Layout::Rows),
        };
        let config = Config { tied: false, ..wide };
        let plans: Vec<TensorPlan> = config
            .tensors()
            .map(|spec| {
                let (dtype, layout) = plan(spec.kind);
                TensorPlan { dtype, layout, input, exponent: -8, bias: false }
            })
            .collect();
        let mut section = vec![0; tokenizer::section_len(0, 0)];
        tokenizer::emit(tokenizer::TokenizerKind::ByteBpe, &[], &mut section).unwrap();
        let mut file = Bytes::zeros(Emitter::file_len(&config, &plans, section.len(), 0));
        let mut emitter =
            Emitter::new(file.as_mut(), config, 16, (1, -20), &plans, section.len(), 0).unwrap();
        emitter.tokenizer().copy_from_slice(&section);
        for (index, plan) in plans.iter().enumerate() {
            match plan.dtype {
                // -128 as bytes, also where 128 is added (in halves only every other column); 7 * 15 in nibbles.
                Dtype::I8 if layout == Layout::Rows => emitter.data(index).unwrap().fill(0x80),
                Dtype::I4 => emitter.data(index).unwrap().fill(0xff),
                _ => emitter.data(index).unwrap().fill(0),
            }
            emitter.scales(index).unwrap().as_chunks_mut::<2>().0.fill(i16::MAX.to_le_bytes());
        }
        emitter.finish();
        verified(file.as_ref()).unwrap();
    }
}
