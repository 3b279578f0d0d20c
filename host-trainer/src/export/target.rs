//! The cores for which matrices can be packed.

use boards::Board;
use clap::ValueEnum;
use thumbformer::Model;
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
    /// The core of a board.
    pub fn of(board: &Board) -> Option<Self> {
        Self::from_str(&board.pack, false).ok()
    }

    /// Whether a model is packed for this core, or for one with the same layout.
    pub fn packed(self, model: &Model<'_>) -> bool {
        model.is_packed_as(self.layout(model.config(), TensorKind::Head))
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_board_names_a_target() {
        for board in boards::all().iter().chain(boards::bench()) {
            assert!(Target::of(board).is_some(), "{}: pack = {:?}", board.name, board.pack);
        }
    }
}
