//! A model in flash: configuration, weights and tokenizer, read in place.

use crate::format::{
    Config, Dtype, FormatError, Header, InputWidth, Layout, Tensor, TensorKind, crc32, header, nibbles, part,
    read_u16,
};
use crate::kernel::{Nibbles, Weights};
use crate::linear::Linear;
use crate::norm::Norm;
use crate::shift::{keep_rolled, round_shift, shift, shift_left};
use crate::tokenizer::Tokenizer;
use crate::workspace::Plan;
use zerocopy::{FromBytes, Immutable};

#[cfg(target_endian = "big")]
compile_error!("model files are little-endian and are read in place: big-endian machines cannot use them");

/// A model, borrowed from the bytes of a `.thumb` file.
///
/// See [`include_model!`](crate::include_model) for models that are part of the firmware.
#[derive(Debug, Clone, Copy)]
pub struct Model<'m> {
    file: &'m [u8],
    header: Header,
    tokenizer: Tokenizer<'m>,
}

impl<'m> Model<'m> {
    /// Checks the header, the tensor directory and the tokenizer of a model file. The checksum and the row
    /// scales, for which all bytes must be read, are left to [`Model::verify`].
    ///
    /// `file` must lie at an address that is a multiple of four; [`Session::new`](crate::Session::new) and
    /// [`Model::verify`] check that.
    ///
    /// # Errors
    /// A [`FormatError`] that says what is wrong. Any bytes are safe to give.
    ///
    /// ```
    /// use thumbformer::{FormatError, Model};
    /// let refused = Model::from_bytes(b"no model at all").unwrap_err();
    /// assert_eq!(refused, FormatError::BadMagic { found: *b"no m" });
    /// ```
    pub const fn from_bytes(file: &'m [u8]) -> Result<Self, FormatError> {
        let header = match Header::read(file) {
            Ok(header) => header,
            Err(e) => return Err(e),
        };
        let section = part(file, header.tokenizer.offset, header.tokenizer.len);
        let tokenizer = match Tokenizer::from_bytes(section) {
            Ok(tokenizer) => tokenizer,
            Err(e) => return Err(e),
        };
        if count_labels(part(file, header.metadata.offset, header.metadata.len)) < header.config.n_classes {
            let n_classes = header.config.n_classes;
            return Err(FormatError::BadConfig { field: "n_classes (more than labels)", found: n_classes });
        }
        if tokenizer.vocab_size() > header.config.vocab_size {
            return Err(FormatError::BadConfig {
                field: "vocab_size (fewer than the tokenizer has)",
                found: header.config.vocab_size,
            });
        }
        Ok(Self { file, header, tokenizer })
    }

    /// Reads the whole file: its address, its checksum, and every row scale.
    ///
    /// # Errors
    /// A [`FormatError`] that says what is wrong.
    pub fn verify(&self) -> Result<(), FormatError> {
        self.check_alignment()?;
        let computed = crc32(part(
            self.file,
            header::field::CRC.end,
            self.file.len().saturating_sub(header::field::CRC.end),
        ));
        if computed != self.header.crc {
            return Err(FormatError::BadChecksum { stated: self.header.crc, computed });
        }
        for index in 0..self.config().n_tensors() {
            let tensor = self.header.tensor(self.file, index)?;
            let (kind, layer) = (tensor.spec.kind, tensor.spec.layer as u8);
            for row in 0..tensor.scales_len() / 2 {
                let found = read_u16(self.file, tensor.scales + 2 * row).unwrap_or(0) as i16;
                if found <= 0 {
                    return Err(FormatError::BadScale { kind, layer, row, found });
                }
            }
        }
        Ok(())
    }

    /// Whether weights can be read in place.
    pub(crate) fn check_alignment(&self) -> Result<(), FormatError> {
        if self.file.as_ptr().addr().is_multiple_of(crate::format::ALIGN) {
            Ok(())
        } else {
            Err(FormatError::Misaligned)
        }
    }

    /// The shape of the model.
    pub const fn config(&self) -> &Config {
        &self.header.config
    }

    /// The header.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Entry `index` of the tensor directory, in the order of [`Config::tensors`].
    ///
    /// # Errors
    /// [`FormatError::BadConfig`] where there are fewer.
    pub const fn tensor(&self, index: usize) -> Result<Tensor, FormatError> {
        if index >= self.header.config.n_tensors() {
            return Err(FormatError::BadConfig { field: "n_tensors", found: index });
        }
        self.header.tensor(self.file, index)
    }

    /// Whether every int8 matrix that vectors are multiplied by lies in this order. Where that is not
    /// [`kernel::LAYOUT`](crate::kernel::LAYOUT), the numbers are the same, and computed more slowly. (int4 has one layout
    /// for all cores.)
    pub const fn is_packed_as(&self, layout: Layout) -> bool {
        let mut index = 0;
        while let Ok(tensor) = self.tensor(index) {
            let int8 = tensor.spec.kind.is_matrix() && matches!(tensor.dtype, Dtype::I8);
            if int8 && tensor.layout as u8 != layout as u8 {
                return false;
            }
            index += 1;
        }
        true
    }

    /// The bytes of the file.
    pub const fn file(&self) -> &'m [u8] {
        self.file
    }

    /// What lies where in the smallest workspace for this model.
    pub const fn plan(&self) -> Plan {
        Plan::new(&self.header.config, 1)
    }

    /// Bytes that a session with this model needs.
    pub const fn workspace_len(&self) -> usize {
        self.plan().bytes()
    }

    /// Bytes with which a session reads prompts `block` positions at a time, at most
    /// [`MAX_BLOCK`](crate::workspace::MAX_BLOCK): each weight is loaded once for several of them. Nothing else changes.
    pub const fn workspace_len_for(&self, block: usize) -> usize {
        Plan::new(&self.header.config, block).bytes()
    }

    /// The tokenizer.
    pub const fn tokenizer(&self) -> Tokenizer<'m> {
        self.tokenizer
    }

    /// The metadata: UTF-8, a line `key = value` each.
    pub fn metadata(&self) -> &'m str {
        let section = self.header.metadata;
        core::str::from_utf8(part(self.file, section.offset, section.len)).unwrap_or("")
    }

    /// The names of a classifier's classes, in their order; none of another model.
    pub fn labels(&self) -> impl Iterator<Item = &'m str> + use<'m> {
        let mut rest = self.metadata();
        // `str::lines` is linked with code for panics.
        let lines = core::iter::from_fn(move || {
            let end = rest.bytes().position(|byte| byte == b'\n').unwrap_or(rest.len());
            let (line, after) = rest.split_at_checked(end).filter(|_| !rest.is_empty())?;
            rest = after.get(1..).unwrap_or_default();
            Some(line.strip_suffix('\r').unwrap_or(line))
        });
        lines.filter_map(|line| line.strip_prefix(LABEL)).take(self.config().n_classes)
    }

    /// Fraction bits of the residual stream, of all matrix outputs and of the logits.
    pub(crate) const fn frac(&self) -> i32 {
        self.header.frac as i32
    }

    /// Elements of the file in place.
    fn elements<T: FromBytes + Immutable>(&self, at: usize, len: usize) -> &'m [T] {
        // With branches, which cost a token less than what `part`, for constants, compiles to.
        let bytes = self.file.get(at..).and_then(|rest| rest.get(..len));
        bytes.and_then(|bytes| <[T]>::ref_from_bytes(bytes).ok()).unwrap_or_default()
    }

    /// A matrix.
    #[inline(never)]
    pub(crate) fn linear(&self, kind: TensorKind, layer: usize) -> Linear<'m> {
        match self.header.find(self.file, kind, layer) {
            Some(t) => Linear {
                weights: self.weights(&t),
                scales: self.elements(t.scales, 2 * t.spec.rows),
                bias: if t.bias == 0 { &[] } else { self.elements(t.bias, t.bias_len()) },
                exponent: i32::from(t.exponent),
                cols: t.spec.cols,
                input: t.input,
                sparse: matches!(kind, TensorKind::W2) && self.config().activation.is_sparse(),
            },
            None => Linear {
                weights: Weights::Rows(&[]),
                scales: &[],
                bias: &[],
                exponent: 0,
                cols: 1,
                input: InputWidth::A16,
                sparse: false,
            },
        }
    }

    /// A norm.
    pub(crate) fn norm(&self, kind: TensorKind, layer: usize) -> Norm<'m> {
        let gain = match self.header.find(self.file, kind, layer) {
            Some(t) if matches!(t.dtype, Dtype::I16) => {
                Some((self.elements(t.data, t.data_len()), i32::from(t.exponent)))
            }
            _ => None,
        };
        Norm { kind: self.config().norm, gain, epsilon: self.header.epsilon }
    }

    /// The rotary table; of no positions where there is none.
    pub(crate) fn rope(&self) -> Rope<'m> {
        match self.header.find(self.file, TensorKind::RopeTable, 0) {
            Some(t) if matches!(t.dtype, Dtype::I16) => {
                Rope { table: self.elements(t.data, t.data_len()), row: t.spec.cols }
            }
            _ => Rope { table: &[], row: 0 },
        }
    }

    /// A row of the embedding or of the learned positions, added to `hidden` (saturated).
    pub(crate) fn add_row(&self, kind: TensorKind, row: usize, hidden: &mut [i32]) {
        let Some(t) = self.header.find(self.file, kind, 0) else {
            return;
        };
        let scale = i32::from(read_u16(self.file, t.scales + 2 * row).unwrap_or(0) as i16);
        let s = -(i32::from(t.exponent) + self.frac());
        let data = part(self.file, t.data, t.data_len());
        if matches!(t.dtype, Dtype::I4) {
            for (column, h) in hidden.iter_mut().enumerate() {
                *h = h.saturating_add(shift(t.weight(data, row, column) * scale, s));
                keep_rolled();
            }
            return;
        }
        let first = t.layout.place(t.spec.cols, row, 0);
        let step = t.layout.place(t.spec.cols, row, 4) - first;
        // A layout's bytes differ from weights in their sign, if at all, in even columns or in all.
        let signs = [t.layout.decode(0, 0) as u8, t.layout.decode(0, 1) as u8];
        let row = data.get(first..).unwrap_or_default();
        let (right, left) = (s.clamp(0, 31) as u32, s.min(0).unsigned_abs());
        for (hidden, bytes) in hidden.chunks_mut(4).zip(row.chunks(step.max(1))) {
            for (column, (h, &byte)) in hidden.iter_mut().zip(bytes).enumerate() {
                let value = round_shift(i32::from((byte ^ signs[column & 1]) as i8) * scale, right);
                // To the left is rare, and is not worth a loop of its own.
                *h = h.saturating_add(if left == 0 { value } else { shift_left(value, left) });
                keep_rolled();
            }
        }
    }

    /// The weights of a matrix.
    fn weights(&self, t: &Tensor) -> Weights<'m> {
        // Those of a matrix are int8.
        let len = t.layout.len(t.spec.rows, t.spec.cols);
        match t.layout {
            Layout::Rows => Weights::Rows(self.elements(t.data, len)),
            Layout::Bytes => Weights::Bytes(self.elements(t.data, len)),
            Layout::Halves => Weights::Halves(self.elements(t.data, len)),
            Layout::Nibbles => {
                let tiles = nibbles::tiles_len(t.spec.rows, t.spec.cols);
                Weights::Nibbles(Nibbles {
                    tiles: self.elements(t.data, tiles),
                    factors: self.elements(t.data + tiles, t.data_len() - tiles),
                })
            }
        }
    }
}

/// What begins a line of the metadata that names a class.
const LABEL: &str = "label = ";

/// How many lines of the metadata name a class; none where they are not UTF-8.
const fn count_labels(metadata: &[u8]) -> usize {
    if core::str::from_utf8(metadata).is_err() {
        return 0;
    }
    let (mut count, mut at) = (0, 0);
    while at < metadata.len() {
        let (mut i, wanted) = (0, LABEL.as_bytes());
        while i < wanted.len() && at + i < metadata.len() && metadata[at + i] == wanted[i] {
            i += 1;
        }
        count += (i == wanted.len()) as usize;
        while at < metadata.len() && metadata[at] != b'\n' {
            at += 1;
        }
        at += 1;
    }
    count
}

/// The rotary table of a model.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rope<'m> {
    table: &'m [i16],
    row: usize,
}

impl<'m> Rope<'m> {
    /// Cosine and sine of each pair of a head at this position, Q14; empty where positions are learned.
    pub fn at(&self, position: usize) -> &'m [i16] {
        let rest = self.table.get(position * self.row..).unwrap_or_default();
        rest.get(..self.row).unwrap_or_default()
    }
}

/// Bytes at an address that is a multiple of 16; what [`include_model!`](crate::include_model) puts models in.
#[doc(hidden)]
#[derive(Debug)]
#[repr(C, align(16))]
pub struct Aligned<T: ?Sized>(pub T);

/// Embeds a model file in the program: `include_model! { pub static STORIES = "stories.thumb"; }`.
///
/// The path is relative to the source file, as for `include_bytes!`. rustc reads the header, the tensor
/// directory and the tokenizer: a file that is not a model, is damaged there, or is of another version does
/// not compile. Attributes are passed on, so that a model may be given its own link section.
///
/// `static STORIES = "stories.thumb", max_ram = 64 * 1024, max_flash = 300_000;` does not compile, either, where
/// [`Model::workspace_len`] or the file has more bytes: the error names the need, the budget and the largest part. Stack
/// and code come on top.
#[macro_export]
macro_rules! include_model {
    ($(#[$attribute:meta])* $visibility:vis static $name:ident = $path:expr $(, $budget:ident = $bytes:expr)* $(,)?;) => {
        $(#[$attribute])*
        $visibility static $name: $crate::Model<'static> = {
            static FILE: &$crate::model::Aligned<[u8]> = &$crate::model::Aligned(*include_bytes!($path));
            match $crate::Model::from_bytes(&FILE.0) {
                Ok(model) => match $crate::budget::Budget::NONE$(.$budget($bytes))*.exceeded(&model) {
                    None => model,
                    Some(message) => panic!("{}", message.as_str()),
                },
                Err(error) => panic!("{}", error.message()),
            }
        };
    };
}
