//! What others take, as bench/peers.toml has it.

use std::fs;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::command::root;

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peers {
    /// Whole models.
    pub decode: Vec<Decode>,
    /// A matrix times a vector.
    pub matvec: Vec<Matvec>,
}

/// What a token of stories260K takes elsewhere.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "checked to be there, for readers of the file")]
pub struct Decode {
    /// The name in tables.
    pub peer: String,
    /// Where its source is.
    pub source: String,
    /// Which revision.
    pub commit: String,
    /// Which program of it.
    pub program: String,
    /// The machine, as in boards.toml.
    pub machine: String,
    /// What compiled it.
    pub compiler: String,
    /// With which flags.
    pub flags: String,
    /// Instructions per token.
    pub decode: u64,
    /// Those of the first token.
    pub first: u64,
    /// Those of the last token.
    pub last: u64,
    /// Instructions per token with -Ofast, where that was measured.
    pub decode_ofast: Option<u64>,
    /// Bytes of heap.
    pub heap: u64,
}

/// What a multiply-accumulate takes elsewhere.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "checked to be there, for readers of the file")]
pub struct Matvec {
    /// The function.
    pub peer: String,
    /// Where its source is.
    pub source: String,
    /// Which revision.
    pub commit: String,
    /// The processor core.
    pub core: String,
    /// What compiled it.
    pub compiler: String,
    /// With which flags.
    pub flags: String,
    /// Instructions at 64 rows and columns.
    #[serde(rename = "64x64")]
    pub at_64: f64,
    /// Instructions at 288 rows and columns.
    #[serde(rename = "288x288")]
    pub at_288: f64,
}

impl Peers {
    /// Reads the file.
    pub fn read() -> Result<Self> {
        let path = root().join("bench/peers.toml");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} is malformed", path.display()))
    }

    /// The names of the peers, in the order of the file.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for decode in &self.decode {
            if !names.contains(&&*decode.peer) {
                names.push(&decode.peer);
            }
        }
        names
    }

    /// What a peer takes on a machine.
    pub fn decode(&self, peer: &str, machine: &str) -> Option<&Decode> {
        self.decode.iter().find(|decode| decode.peer == peer && decode.machine == machine)
    }

    /// The fewest instructions per multiply-accumulate that were counted on a core for a matrix of this shape.
    pub fn matvec(&self, core: &str, rows: u64, columns: u64) -> Option<f64> {
        let figure = |peer: &Matvec| match (rows, columns) {
            (64, 64) => Some(peer.at_64),
            (288, 288) => Some(peer.at_288),
            _ => None,
        };
        self.matvec.iter().filter(|peer| peer.core == core).filter_map(figure).reduce(f64::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_file_names_machines_that_exist() {
        let peers = Peers::read().unwrap();
        for decode in &peers.decode {
            assert!(boards::find(&decode.machine).is_ok(), "{}", decode.machine);
            assert!(decode.first < decode.decode && decode.decode < decode.last, "{decode:?}");
        }
        assert!(peers.matvec.iter().all(|m| boards::all().iter().any(|board| board.core == m.core)));
        assert_eq!(peers.names(), ["llama2.c f32", "llama2.c int8"]);
        assert!(peers.matvec("Cortex-M4F", 64, 64) > peers.matvec("Cortex-M4F", 288, 288));
        assert_eq!(peers.matvec("Cortex-M4F", 64, 63), None);
    }
}
