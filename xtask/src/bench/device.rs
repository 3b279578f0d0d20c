//! Measuring on an emulated machine.

use std::{ffi::OsStr, fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use boards::Board;

use crate::{
    command::root,
    firmware,
    qemu::{self, field},
    size::Size,
};

use super::{
    model::Model,
    plugin::{self, Executed, Plugin},
    program::Program,
};

/// The longest that a machine may take. A slow one with a long context executes some billion instructions.
const TIME_LIMIT: Duration = Duration::from_secs(900);

/// What a machine measured.
#[derive(Debug)]
pub struct Measurement {
    /// Every region but the first, which is empty.
    pub regions: Vec<Region>,
    /// Bytes of the workspace.
    pub workspace: u64,
    /// The positions that a prompt was read by at once.
    pub block: u64,
    /// The bytes of workspace with which it was.
    pub memory: u64,
    /// The most bytes that the stack held.
    pub stack: u64,
    /// The name of the kernels.
    pub kernel: String,
    /// The program.
    pub program: Program,
    /// What the program takes.
    pub size: Size,
    /// Why there are no counts of single instructions, if that is so.
    pub fallback: Option<String>,
}

/// A measured region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// What was measured, in the words of the firmware.
    pub work: String,
    /// The firmware's line about it.
    fields: String,
    /// Instructions by the processor's counter.
    pub counted: u64,
    /// Instructions by the plugin, if it was there.
    pub executed: Option<u64>,
    /// Each instruction that the plugin saw.
    pub profile: Vec<Executed>,
}

impl Region {
    /// Instructions, by the better instrument.
    pub fn instructions(&self) -> u64 {
        self.executed.unwrap_or(self.counted)
    }

    /// A number of the firmware's line.
    pub fn number(&self, name: &str) -> Result<u64> {
        field(&self.fields, name)?.parse().with_context(|| format!("{name} is no number: {}", self.fields))
    }

    /// The difference between the two instruments.
    pub fn deviation(&self) -> Option<u64> {
        Some(self.executed?.abs_diff(self.counted))
    }

    /// An error where the two instruments disagree. Where a tick is hardly longer than an instruction (microbit), each of
    /// four readings of the counter may be one off. Where its 24 bits wrap, every ten million instructions, an interrupt's
    /// few are counted, too: any region may have one.
    fn check(&self) -> Result<()> {
        let tolerance = 4 + 10 + self.instructions() / 1_000_000;
        ensure!(
            self.deviation().is_none_or(|off| off <= tolerance),
            "{}: the plugin has {} instructions, the processor's counter {}",
            self.fields,
            self.instructions(),
            self.counted
        );
        Ok(())
    }
}

/// Builds the firmware with the model, runs it on the machine and compares its digest with the host's. `plain` leaves
/// the plugin out.
pub fn measure(board: &Board, model: &Model, tokens: u32, plain: bool, digest: &str) -> Result<Measurement> {
    let number = tokens.to_string();
    let env = [("THUMBFORMER_MODEL", model.path.as_os_str()), ("THUMBFORMER_TOKENS", OsStr::new(&number))];
    let elf = firmware::build(board, "bench", &env)?;
    let program = Program::read(&elf, model.in_tiles())?;
    let Observation { report, regions, fallback, .. } = observe(board, &elf, &program, plain)?;
    let found = field(&report, "digest")?;
    ensure!(found == digest, "{} computed logits of digest {found}, the host of {digest}", board.name);
    Ok(Measurement {
        regions,
        workspace: field(&report, "workspace")?.parse()?,
        block: field(&report, "block")?.parse()?,
        memory: field(&report, "memory")?.parse()?,
        stack: field(&report, "stack")?.parse()?,
        kernel: field(&report, "kernel")?.to_owned(),
        size: Size::of(&elf)?,
        program,
        fallback,
    })
}

/// What was seen of a program that measures regions.
#[derive(Debug)]
pub struct Observation {
    /// The first region, in which nothing is done.
    pub nothing: Region,
    /// The others, without what the first one has.
    pub regions: Vec<Region>,
    /// The report's fields.
    pub report: String,
    /// Why there are no counts of single instructions, if that is so.
    pub fallback: Option<String>,
}

/// Runs a program on the machine, under the plugin unless `plain` leaves it out.
pub fn observe(board: &Board, elf: &Path, program: &Program, plain: bool) -> Result<Observation> {
    let plugin = if plain { Err("it was not asked for".to_owned()) } else { Plugin::build(board)? };
    let out = root().join("target/bench").join(format!("{}.regions", board.name));
    let arguments = match &plugin {
        Ok(plugin) => plugin.arguments(board, program, &out)?.to_vec(),
        Err(_) => Vec::new(),
    };
    let run = qemu::capture_with(board, elf, b"", TIME_LIMIT, &arguments)?;
    ensure!(run.exit_code == 0, "the exit code is {}; the log says {:#?}", run.exit_code, run.logs);
    let lines = |start| run.logs.iter().filter_map(move |log| log.message.strip_prefix(start));
    let report = lines("report ").next().with_context(|| format!("no report among {:#?}", run.logs))?;
    let mut regions: Vec<_> = lines("region ").map(region).collect::<Result<_>>()?;
    if plugin.is_ok() {
        let text = fs::read_to_string(&out).with_context(|| format!("cannot read {}", out.display()))?;
        fs::remove_file(&out)?;
        add_profiles(&mut regions, plugin::parse(&text)?)?;
    }
    let (nothing, regions) = without_empty(regions)?;
    regions.iter().try_for_each(Region::check)?;
    Ok(Observation { nothing, regions, report: report.to_owned(), fallback: plugin.err() })
}

/// Reads a region's line of the log.
fn region(fields: &str) -> Result<Region> {
    Ok(Region {
        work: field(fields, "work")?.to_owned(),
        fields: fields.to_owned(),
        counted: field(fields, "instructions")?.parse()?,
        executed: None,
        profile: Vec::new(),
    })
}

/// Adds what the plugin saw.
fn add_profiles(regions: &mut [Region], profiles: Vec<Vec<Executed>>) -> Result<()> {
    let (saw, has) = (profiles.len(), regions.len());
    ensure!(saw == has, "the plugin saw {saw} regions, the firmware has {has}");
    for (region, profile) in regions.iter_mut().zip(profiles) {
        region.executed = Some(profile.iter().map(|executed| executed.count).sum());
        region.profile = profile;
    }
    Ok(())
}

/// Subtracts from each region what the first one, which is empty, has: the instruments' own instructions.
fn without_empty(mut regions: Vec<Region>) -> Result<(Region, Vec<Region>)> {
    ensure!(
        regions.first().is_some_and(|region| region.work == "nothing"),
        "the firmware's first region is not the empty one"
    );
    let empty = regions.remove(0);
    for region in &mut regions {
        let less = |n: u64, by: u64| {
            n.checked_sub(by).with_context(|| format!("{n} instructions, nothing has {by}"))
        };
        region.counted = less(region.counted, empty.counted)?;
        if let (Some(n), Some(by)) = (region.executed, empty.executed) {
            region.executed = Some(less(n, by)?);
        }
    }
    Ok((empty, regions))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_region_is_subtracted() {
        let lines = [
            "work=nothing position=0 tokens=0 instructions=20",
            "work=token position=7 tokens=1 instructions=1020",
        ];
        let mut regions: Vec<_> = lines.iter().map(|line| region(line).unwrap()).collect();
        regions[0].executed = Some(1);
        regions[1].executed = Some(1001);
        let (nothing, regions) = without_empty(regions).unwrap();
        assert_eq!((nothing.work.as_str(), regions.len()), ("nothing", 1));
        let Region { counted, executed, .. } = regions[0];
        assert_eq!((counted, executed, regions[0].number("position").unwrap()), (1000, Some(1000), 7));
        assert!(regions[0].number("work").is_err() && regions[0].number("rows").is_err());
        assert!(without_empty(vec![region(lines[1]).unwrap()]).is_err());
        Region { counted: 1014, ..regions[0].clone() }.check().unwrap();
        assert!(Region { counted: 1015, ..regions[0].clone() }.check().is_err());
        assert!(region("work=token position=0 tokens=1 instructions=x").is_err());
    }
}
