//! Model files of random integers, made by the emitter alone, and memory that is aligned.
#![allow(dead_code)]

use thumbformer::format::tokenizer::{Piece, TokenizerKind};
use thumbformer::format::{Dtype, Emitter, InputWidth, Layout, TensorKind, TensorPlan, tokenizer};
use thumbformer::{Activation, Config, Model, NormKind, Positions, Session};
use zerocopy::IntoBytes;

/// Bytes at an address that is a multiple of eight.
pub struct Bytes {
    words: Vec<u64>,
    len: usize,
}

impl Bytes {
    pub fn zeros(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(8)], len }
    }

    pub fn of(bytes: &[u8]) -> Self {
        let mut copy = Self::zeros(bytes.len());
        copy.as_mut().copy_from_slice(bytes);
        copy
    }

    pub fn model(&self) -> Model<'_> {
        Model::from_bytes(self.as_ref()).unwrap()
    }

    pub fn session<'a>(&'a mut self, model: &Model<'a>) -> Session<'a> {
        Session::new(model, self).unwrap()
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        &self.words.as_bytes()[..self.len]
    }
}

impl AsMut<[u8]> for Bytes {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.words.as_mut_bytes()[..self.len]
    }
}

/// Memory for a session with this model.
pub fn workspace(model: &Model<'_>) -> Bytes {
    Bytes::zeros(model.workspace_len())
}

/// The same for `block` positions at once.
pub fn workspace_for(model: &Model<'_>, block: usize) -> Bytes {
    Bytes::zeros(model.workspace_len_for(block))
}

/// Llama-style: RMSNorm, rotary positions, gated SiLU, grouped queries, tied head.
pub const LLAMA: Config = Config {
    dim: 12,
    hidden_dim: 10,
    n_layers: 2,
    n_heads: 2,
    n_kv_heads: 1,
    vocab_size: 262,
    seq_len: 16,
    norm: NormKind::Rms,
    activation: Activation::Silu,
    gated: true,
    positions: Positions::Rope,
    tied: true,
    biases: false,
    n_classes: 0,
};

/// GPT-2-style: LayerNorm, learned positions, plain GELU, biases, a head of its own.
pub const GPT2: Config = Config {
    dim: 15,
    hidden_dim: 13,
    n_layers: 1,
    n_heads: 3,
    n_kv_heads: 3,
    norm: NormKind::Layer,
    activation: Activation::GeluTanh,
    gated: false,
    positions: Positions::Learned,
    tied: false,
    biases: true,
    ..LLAMA
};

/// Three pieces beside the bytes: 262 tokens.
pub fn tokenizer_section() -> Vec<u8> {
    let pieces = [&b"he"[..], b"ll", b"hell"].into_iter().zip(0..).map(|(bytes, rank)| Piece { bytes, rank });
    let mut section = vec![0; tokenizer::section_len(3, 8)];
    tokenizer::emit(TokenizerKind::ByteBpe, &pieces.collect::<Vec<_>>(), &mut section).unwrap();
    section
}

/// Random bytes; the same for the same seed.
pub fn random(seed: u32) -> impl FnMut() -> u8 {
    let mut state = seed.wrapping_mul(2_654_435_769) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 11) as u8
    }
}

/// A model whose numbers stay in range and whose logits differ.
pub fn model_file(config: Config, seed: u32) -> Bytes {
    louder_model_file(config, seed, 0)
}

/// A model whose residual stream comes near its limits, in the first block if not in the embedding.
pub fn loud_model_file() -> Bytes {
    louder_model_file(LLAMA, 1, 14)
}

/// A model with an embedding that is 2^`louder` times as large.
fn louder_model_file(config: Config, seed: u32, louder: i8) -> Bytes {
    let mut random = random(seed);
    let plan = |spec: thumbformer::format::TensorSpec| {
        let matrix = spec.kind.is_matrix();
        // Products of int8 rows with vectors of size 1 have size 73 * sqrt(columns).
        let size = 73.0 * if matrix { (spec.cols as f64).sqrt() } else { 1.0 };
        let (dtype, exponent) = match spec.kind {
            TensorKind::RopeTable => (Dtype::I16, -14),
            kind if kind.is_norm() => (Dtype::I16, -14),
            TensorKind::Head => (Dtype::I8, -13 - size.log2() as i8),
            TensorKind::Embedding => (Dtype::I8, -14 - size.log2() as i8 + louder),
            _ => (Dtype::I8, -14 - size.log2() as i8),
        };
        let input = if spec.layer == 1 { InputWidth::A8 } else { InputWidth::A16 };
        let bias = config.biases && matrix && spec.kind != TensorKind::Head;
        let layout = match (dtype, spec.layer) {
            (Dtype::I8, 1) => Layout::Bytes,
            (Dtype::I8, 2) => Layout::Halves,
            _ => Layout::Rows,
        };
        TensorPlan { dtype, layout, input, exponent, bias }
    };
    let plans: Vec<_> = config.tensors().map(plan).collect();
    let labels: String = (0..config.n_classes).map(|i| format!("label = class {i}\n")).collect();
    let (section, metadata) = (tokenizer_section(), format!("name = random\n{labels}"));
    let mut file = Bytes::zeros(Emitter::file_len(&config, &plans, section.len(), metadata.len()));
    let epsilon = (10_995_116, -40);
    let mut emitter =
        Emitter::new(file.as_mut(), config, 16, epsilon, &plans, section.len(), metadata.len()).unwrap();
    emitter.tokenizer().copy_from_slice(&section);
    emitter.metadata().copy_from_slice(metadata.as_bytes());
    for (i, spec) in config.tensors().enumerate() {
        if spec.kind == TensorKind::Head && config.tied {
            continue;
        }
        let data = emitter.data(i).unwrap();
        match spec.kind {
            TensorKind::RopeTable => {
                for (at, turn) in data.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                    let (position, pair) = (at / (spec.cols / 2), at % (spec.cols / 2));
                    let angle = position as f64 * libm::pow(100.0, -2.0 * pair as f64 / spec.cols as f64);
                    let [cos, sin] = [libm::cos(angle), libm::sin(angle)].map(|v| (v * 16384.0) as i16);
                    *turn = (u32::from(cos as u16) | u32::from(sin as u16) << 16).to_le_bytes();
                }
            }
            kind if kind.is_norm() => {
                for gain in data.as_chunks_mut::<2>().0 {
                    *gain = (16_384 + 16 * i16::from(random())).to_le_bytes();
                }
            }
            _ => {
                let weights: Vec<i8> =
                    (0..spec.rows * spec.cols).map(|_| (random() as i8).max(-127)).collect();
                emitter.weights(i, &weights).unwrap();
                for scale in emitter.scales(i).unwrap().as_chunks_mut::<2>().0 {
                    // 1.0 to 2.0 in Q14
                    *scale = (0x4000 | u16::from(random()) << 6).to_le_bytes();
                }
                for bias in emitter.bias(i).unwrap().as_chunks_mut::<4>().0 {
                    *bias = (i32::from(random() as i8) << 8).to_le_bytes();
                }
            }
        }
    }
    emitter.finish();
    file
}
