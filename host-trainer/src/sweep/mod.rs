//! Many runs of one configuration: which they are, how other programs do them, and what came out.
//!
//! A sweep is a folder. `sweep.json` lists its runs, `configs/NAME.toml` is what `train --config` reads, `runs/NAME` is the
//! run folder, and `run.sh NAME` does one run or goes on with it.

mod chart;
mod collect;
mod jobs;
mod plan;

pub use chart::svg;
pub use collect::{Row, Status, collect, table};
pub use jobs::{Scheduler, write};
pub use plan::{Plan, Point};
