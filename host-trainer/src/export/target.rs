//! The cores for which matrices can be packed.

use thumbformer::format::{Config, Layout, TensorKind};

/// A core that the file is packed for. Every machine runs every file and computes the same numbers; with another core's
/// file it is slower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Target {
    /// Rows: no core's own
    #[default]
    Any,
    /// Cortex-M0, M0+
    M0,
    /// Cortex-M3
    M3,
    /// Cortex-M4
    M4,
    /// Cortex-M7
    M7,
    /// Cortex-M33 with the DSP extension
    M33,
    /// Cortex-M55 and others with Helium
    M55,
    /// RISC-V with multiplication
    Rv32,
}

impl Target {
    /// The layout of a tensor of this kind.
    pub fn layout(self, config: &Config, kind: TensorKind) -> Layout {
        let multiplied = kind.is_matrix() || (kind == TensorKind::Embedding && config.tied);
        match self {
            _ if !multiplied => Layout::Rows,
            Self::Any | Self::M55 => Layout::Rows,
            Self::M0 | Self::M3 | Self::Rv32 => Layout::Bytes,
            Self::M4 | Self::M7 | Self::M33 => Layout::Halves,
        }
    }
}
