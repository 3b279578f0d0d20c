//! Writes a model file into memory that the caller gives.

use super::header::{self, Header, Section};
use super::{
    Config, Dtype, FormatError, InputWidth, Layout, Tensor, TensorKind, align, crc32,
    nibbles::{self, Nibble},
};

/// What the writer decides about a tensor; its kind and shape follow from the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorPlan {
    /// The type of its elements.
    pub dtype: Dtype,
    /// The order of its elements.
    pub layout: Layout,
    /// The width of its input vector, for matrices.
    pub input: InputWidth,
    /// The power of two that its values or row scales are relative to.
    pub exponent: i8,
    /// Whether it has biases.
    pub bias: bool,
}

/// Lays out a model file and hands out its parts to be filled.
///
/// The order is header, directory, tokenizer, metadata, tensors. A tied head has no data of its own.
#[derive(Debug)]
pub struct Emitter<'a> {
    file: &'a mut [u8],
    header: Header,
}

impl<'a> Emitter<'a> {
    /// Bytes of the file that [`Emitter::new`] will lay out.
    pub fn file_len(config: &Config, plans: &[TensorPlan], tokenizer: usize, metadata: usize) -> usize {
        let mut end = data_start(config, tokenizer, metadata);
        for (i, plan) in plans.iter().enumerate() {
            place(config, i, plan, &mut end, None);
        }
        end
    }

    /// Lays out a file in `file`, whose length must be [`Emitter::file_len`]. `plans` are in the order of
    /// [`Config::tensors`]; `tokenizer` and `metadata` are the lengths of those sections.
    ///
    /// # Errors
    /// What [`Header::read`] would say of the file: a configuration or plan that no reader would take.
    pub fn new(
        file: &'a mut [u8],
        config: Config,
        frac: u8,
        epsilon: (u32, i32),
        plans: &[TensorPlan],
        tokenizer: usize,
        metadata: usize,
    ) -> Result<Self, FormatError> {
        config.check()?;
        let need = Self::file_len(&config, plans, tokenizer, metadata);
        if plans.len() != config.n_tensors() {
            return Err(FormatError::BadConfig { field: "n_tensors", found: plans.len() });
        }
        if file.len() != need {
            return Err(FormatError::Truncated { need, have: file.len() });
        }
        file.fill(0);
        let tokenizer = Section { offset: header::LEN + config.n_tensors() * Tensor::ENTRY, len: tokenizer };
        let metadata = Section { offset: align(tokenizer.offset + tokenizer.len), len: metadata };
        let header = Header {
            config,
            frac,
            epsilon,
            file_len: need,
            crc: 0,
            directory: header::LEN,
            tokenizer,
            metadata,
        };
        let (head, rest) = file.split_first_chunk_mut().ok_or(FormatError::Truncated { need, have: 0 })?;
        header.emit(head);
        let mut end = data_start(&config, tokenizer.len, metadata.len);
        let mut embedding = None;
        let (entries, _) = rest.as_chunks_mut::<{ Tensor::ENTRY }>();
        for (i, (plan, entry)) in plans.iter().zip(entries).enumerate() {
            let tensor = place(&config, i, plan, &mut end, embedding);
            if i == 0 {
                embedding = Some(tensor);
            }
            tensor.emit(entry);
        }
        Header::read(file)?;
        Ok(Self { file, header })
    }

    fn tensor(&self, index: usize) -> Result<Tensor, FormatError> {
        self.header.tensor(self.file, index)
    }

    /// Writes int8 or int4 tensor `index` in its layout: `weights` are its rows, one after the other.
    ///
    /// # Errors
    /// There is no such tensor.
    pub fn weights(&mut self, index: usize, weights: &[i8]) -> Result<(), FormatError> {
        let Tensor { spec, layout, dtype, .. } = self.tensor(index)?;
        let data = self.data(index)?;
        if dtype == Dtype::I4 {
            let tiles = nibbles::tiles_len(spec.rows, spec.cols);
            data.iter_mut().take(tiles).for_each(|byte| *byte = 17 * nibbles::encode(0));
            for (place, &weight) in weights.iter().enumerate() {
                let (row, column) = (place / spec.cols, place % spec.cols);
                Nibble::weight(spec.cols, row, column).set(data, nibbles::encode(weight));
            }
            return Ok(());
        }
        // Padding is a weight of 0, too.
        for column in 0..align(spec.cols) {
            for row in 0..align(spec.rows) {
                let place = layout.place(spec.cols, row, column);
                let inside = row < spec.rows && column < spec.cols;
                let weight = inside.then(|| weights.get(row * spec.cols + column)).flatten();
                if let Some(byte) = data.get_mut(place) {
                    *byte = layout.encode(weight.copied().unwrap_or(0), column);
                }
            }
        }
        Ok(())
    }

    /// Writes the factors of the groups of int4 tensor `index`: `factors` are its rows, one after the other.
    ///
    /// # Errors
    /// There is no such tensor.
    pub fn factors(&mut self, index: usize, factors: &[u8]) -> Result<(), FormatError> {
        let spec = self.tensor(index)?.spec;
        let (data, groups) = (self.data(index)?, nibbles::groups(spec.cols));
        for (place, &factor) in factors.iter().enumerate() {
            Nibble::factor(spec.rows, spec.cols, place / groups, place % groups).set(data, factor);
        }
        Ok(())
    }

    /// Elements of tensor `index` as they lie, little-endian.
    ///
    /// # Errors
    /// There is no such tensor.
    pub fn data(&mut self, index: usize) -> Result<&mut [u8], FormatError> {
        let t = self.tensor(index)?;
        Ok(&mut self.file[t.data..t.data + t.data_len()])
    }

    /// The int16 row scales of tensor `index`.
    ///
    /// # Errors
    /// There is no such tensor.
    pub fn scales(&mut self, index: usize) -> Result<&mut [u8], FormatError> {
        let t = self.tensor(index)?;
        Ok(&mut self.file[t.scales..t.scales + t.scales_len()])
    }

    /// The i32 biases of tensor `index`; empty where it has none.
    ///
    /// # Errors
    /// There is no such tensor.
    pub fn bias(&mut self, index: usize) -> Result<&mut [u8], FormatError> {
        let t = self.tensor(index)?;
        Ok(&mut self.file[t.bias..t.bias + t.bias_len()])
    }

    /// The tokenizer section.
    pub fn tokenizer(&mut self) -> &mut [u8] {
        let s = self.header.tokenizer;
        &mut self.file[s.offset..s.offset + s.len]
    }

    /// The metadata.
    pub fn metadata(&mut self) -> &mut [u8] {
        let s = self.header.metadata;
        &mut self.file[s.offset..s.offset + s.len]
    }

    /// Writes the checksum; the file is complete.
    pub fn finish(self) {
        let crc = crc32(&self.file[header::field::CRC.end..]);
        self.file[header::field::CRC].copy_from_slice(&crc.to_le_bytes());
    }
}

/// Where the data of the first tensor begins.
fn data_start(config: &Config, tokenizer: usize, metadata: usize) -> usize {
    let directory_end = header::LEN + config.n_tensors() * Tensor::ENTRY;
    align(directory_end + align(tokenizer) + metadata)
}

/// Gives tensor `index` its place at `end` and moves `end` behind it. A tied head has the data and the
/// scales of the `embedding`, and so its type and its layout.
fn place(
    config: &Config,
    index: usize,
    plan: &TensorPlan,
    end: &mut usize,
    embedding: Option<Tensor>,
) -> Tensor {
    let spec = config.tensor(index);
    let mut tensor = Tensor {
        spec,
        dtype: plan.dtype,
        layout: plan.layout,
        input: plan.input,
        exponent: plan.exponent,
        data: 0,
        scales: 0,
        bias: 0,
    };
    let mut take = |len: usize| {
        let at = *end;
        *end = align(at + len);
        if len == 0 { 0 } else { at }
    };
    if config.tied && matches!(spec.kind, TensorKind::Head) {
        if let Some(Tensor { dtype, layout, data, scales, .. }) = embedding {
            tensor = Tensor { dtype, layout, data, scales, ..tensor };
        }
    } else {
        tensor.data = take(tensor.data_len());
        tensor.scales = take(tensor.scales_len());
    }
    if plan.bias {
        tensor.bias = take(spec.rows * 4);
    }
    tensor
}
