//! A model that has the runtime take the ways on which it needs most stack: int8 rows of more columns than a kernel
//! multiplies at once, and int4 with 16-bit inputs.

use anyhow::Result;
use thumbformer::format::tokenizer::{self, TokenizerKind};
use thumbformer::format::{Dtype, Emitter, InputWidth, Layout, TensorKind, TensorPlan, TensorSpec};
use thumbformer::{Activation, Config, NormKind, Positions};

const CONFIG: Config = Config {
    dim: 16,
    hidden_dim: 520,
    n_layers: 1,
    n_heads: 2,
    n_kv_heads: 1,
    vocab_size: 259,
    seq_len: 8,
    norm: NormKind::Rms,
    activation: Activation::Silu,
    gated: false,
    positions: Positions::Learned,
    tied: true,
    biases: false,
    n_classes: 0,
};

/// The file. Its weights are 1 and its text is none; how deep the stack is depends on neither.
pub fn model() -> Result<Vec<u8>> {
    let plan = |spec: TensorSpec| {
        let plan = TensorPlan {
            dtype: Dtype::I8,
            layout: Layout::Rows,
            input: InputWidth::A16,
            exponent: -20,
            bias: false,
        };
        match spec.kind {
            TensorKind::W2 => TensorPlan { layout: Layout::Halves, input: InputWidth::A8, ..plan },
            TensorKind::Wo => TensorPlan { dtype: Dtype::I4, layout: Layout::Nibbles, ..plan },
            kind if kind.is_norm() => TensorPlan { dtype: Dtype::I16, exponent: -14, ..plan },
            _ => plan,
        }
    };
    let plans: Vec<_> = CONFIG.tensors().map(plan).collect();
    let mut section = vec![0; tokenizer::section_len(0, 0)];
    tokenizer::emit(TokenizerKind::ByteBpe, &[], &mut section).map_err(|error| anyhow::anyhow!("{error}"))?;
    emit(&plans, &section).map_err(|error| anyhow::anyhow!("the wide model: {error}"))
}

fn emit(plans: &[TensorPlan], section: &[u8]) -> Result<Vec<u8>, thumbformer::FormatError> {
    let mut file = vec![0; Emitter::file_len(&CONFIG, plans, section.len(), 0)];
    let mut emitter = Emitter::new(&mut file, CONFIG, 16, (10_995_116, -40), plans, section.len(), 0)?;
    emitter.tokenizer().copy_from_slice(section);
    for (i, spec) in CONFIG.tensors().enumerate() {
        match spec.kind {
            TensorKind::Head => continue,
            kind if kind.is_norm() => {
                emitter.data(i)?.as_chunks_mut().0.fill(16_384_i16.to_le_bytes());
                continue;
            }
            _ => emitter.weights(i, &vec![1; spec.rows * spec.cols])?,
        }
        emitter.scales(i)?.as_chunks_mut().0.fill(0x4000_i16.to_le_bytes());
        if spec.kind == TensorKind::Wo {
            let groups = spec.rows * thumbformer::format::nibbles::groups(spec.cols);
            emitter.factors(i, &vec![8; groups])?;
        }
    }
    emitter.finish();
    Ok(file)
}
