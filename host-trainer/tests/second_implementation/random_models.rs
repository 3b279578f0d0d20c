//! Model files of random numbers.

use thumbformer::format::{
    Dtype, Emitter, InputWidth, Layout, TensorKind, TensorPlan, TensorSpec, tokenizer,
};
use thumbformer::{Activation, Config, NormKind, Positions};

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number of this range.
    pub fn of(&mut self, range: std::ops::RangeInclusive<i64>) -> i64 {
        range.start() + (self.next() % (range.end() - range.start() + 1) as u64) as i64
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.of(0..=from.len() as i64 - 1) as usize]
    }

    pub fn chance(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

/// How the numbers of a file are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Style {
    /// Sizes such as those of a trained model.
    Sane,
    /// All bits that a reader accepts, extremes more often than others.
    Hostile,
}

/// A shape with small numbers, odd ones too.
pub fn any_config(random: &mut Random) -> Config {
    let positions = random.pick(&[Positions::Rope, Positions::Learned]);
    let n_kv_heads = random.of(1..=3) as usize;
    let n_heads = n_kv_heads * random.of(1..=3) as usize;
    let head_dim = match positions {
        Positions::Rope => 2 * random.of(1..=10) as usize,
        Positions::Learned => random.of(1..=19) as usize,
    };
    let n_classes = random.pick(&[0, 0, 1, 2, 7]);
    Config {
        dim: n_heads * head_dim,
        hidden_dim: random.of(1..=100) as usize,
        n_layers: random.of(1..=3) as usize,
        n_heads,
        n_kv_heads,
        vocab_size: random.of(259..=300) as usize,
        seq_len: random.of(8..=20) as usize,
        norm: random.pick(&[NormKind::Rms, NormKind::Layer, NormKind::Batch]),
        activation: random.pick(&[
            Activation::Silu,
            Activation::Gelu,
            Activation::GeluTanh,
            Activation::Relu,
            Activation::ReluSquared,
        ]),
        gated: random.chance(),
        positions,
        tied: random.chance() && n_classes == 0,
        biases: random.chance(),
        n_classes,
    }
}

/// A file of this shape, with bytes as tokens.
pub fn file(random: &mut Random, style: Style, config: Config) -> Vec<u8> {
    file_with(random, style, config, &[])
}

/// A file of this shape whose tokenizer has these pieces, each with its rank.
pub fn file_with(
    random: &mut Random,
    style: Style,
    config: Config,
    pieces: &[tokenizer::Piece<'_>],
) -> Vec<u8> {
    let sane = style == Style::Sane;
    let folded = random.chance();
    let mut plans = Vec::<TensorPlan>::new();
    for spec in config.tensors() {
        let mut plan = plan(random, style, spec, folded, config.biases);
        let first = config.index_of(spec.kind.first_reader(), spec.layer);
        if let Some(first) = plans.get(first) {
            (plan.input, plan.layout, plan.dtype) = (first.input, first.layout, first.dtype);
        }
        plans.push(plan);
    }
    let pool = pieces.iter().map(|piece| piece.bytes.len()).sum();
    let mut section = vec![0; tokenizer::section_len(pieces.len(), pool)];
    tokenizer::emit(tokenizer::TokenizerKind::ByteBpe, pieces, &mut section).unwrap();
    let frac = random.of(if sane { 14..=20 } else { 4..=24 }) as u8;
    let epsilon = match sane {
        true => (10_995_116, -40),
        false => (random.of(0..=(1 << 24) - 1) as u32, random.of(-200..=0) as i32),
    };
    let metadata = "label = any\n".repeat(config.n_classes);
    let mut file = vec![0; Emitter::file_len(&config, &plans, section.len(), metadata.len())];
    let mut emitter =
        Emitter::new(&mut file, config, frac, epsilon, &plans, section.len(), metadata.len()).unwrap();
    emitter.tokenizer().copy_from_slice(&section);
    emitter.metadata().copy_from_slice(metadata.as_bytes());
    for (index, (spec, plan)) in config.tensors().zip(&plans).enumerate() {
        if matches!(plan.dtype, Dtype::I8 | Dtype::I4) {
            fill(emitter.data(index).unwrap(), || [weight(random, style) as u8]);
        } else {
            fill(emitter.data(index).unwrap(), || value(random, style, spec.kind).to_le_bytes());
        }
        // 0.5 to 1.99 in Q14
        fill(emitter.scales(index).unwrap(), || {
            let any = random.next() as u16;
            if sane { 0x2000 + any % 0x5fff } else { any }.to_le_bytes()
        });
        fill(emitter.bias(index).unwrap(), || match sane {
            true => (random.of(-(1 << frac)..=1 << frac) as i32).to_le_bytes(),
            false => random.pick(&[i32::MIN, i32::MAX, 0, -1, random.0 as i32]).to_le_bytes(),
        });
    }
    emitter.finish();
    file
}

fn fill<const N: usize>(bytes: &mut [u8], mut next: impl FnMut() -> [u8; N]) {
    for chunk in bytes.chunks_exact_mut(N) {
        chunk.copy_from_slice(&next());
    }
}

fn plan(random: &mut Random, style: Style, spec: TensorSpec, folded: bool, biases: bool) -> TensorPlan {
    let kind = spec.kind;
    let table = kind == TensorKind::RopeTable;
    let dtype = match kind {
        _ if kind.is_norm() && folded => Dtype::Folded,
        _ if kind.is_norm() || table => Dtype::I16,
        _ => random.pick(&[Dtype::I8, Dtype::I4]),
    };
    // Outputs of a matrix near 1 for inputs near 1: weights are near 2^6, scales near 1.
    let size = (spec.cols.ilog2() / 2) as i64;
    let exponent = match style {
        Style::Sane if table || kind.is_norm() => -14,
        Style::Sane if !kind.is_matrix() => -20,
        Style::Sane => random.of(-21 - size..=-19 - size),
        // Where shifts to the left and to the right meet, and anywhere.
        Style::Hostile if random.chance() => random.of(-44..=-4),
        Style::Hostile => random.of(-128..=127),
    };
    let input = random.pick(&[InputWidth::A8, InputWidth::A16]);
    let layout = match dtype {
        Dtype::I8 => random.pick(&[Layout::Rows, Layout::Bytes, Layout::Halves]),
        Dtype::I4 => Layout::Nibbles,
        Dtype::Folded | Dtype::I16 => Layout::Rows,
    };
    TensorPlan { dtype, layout, input, exponent: exponent as i8, bias: biases && kind.is_matrix() }
}

fn weight(random: &mut Random, style: Style) -> i8 {
    match style {
        Style::Sane => random.of(-127..=127) as i8,
        Style::Hostile => random.pick(&[-128, -128, 127, 0, random.0 as i8]),
    }
}

fn value(random: &mut Random, style: Style, kind: TensorKind) -> i16 {
    match style {
        Style::Sane if kind.is_norm() => random.of(8_000..=32_767) as i16,
        Style::Sane => random.of(-16_384..=16_384) as i16,
        Style::Hostile => random.pick(&[i16::MIN, i16::MAX, 0, random.0 as i16]),
    }
}
