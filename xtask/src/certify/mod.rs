//! Evidence: what the runtime promises, read off the machine code of a program that is the runtime and nothing else.

mod build;
mod certificate;
mod claims;
mod document;
mod frame;
mod graph;
mod instruction;
mod program;
mod riscv;
mod run;
mod thumb;
mod wasm;
mod wide;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, ensure};
use thumbformer::Model;

use crate::{
    command::{self, root},
    float, setup,
};
use build::{Build, Models};
use certificate::{Certificate, Computed, Entry, Findings, Web};
use graph::Graph;
use program::Program;

/// What the names of entries begin with.
const ENTRY: &str = "probe_";

/// Proves on machine code what the runtime promises, and writes certificate.md and certificate.json
///
/// Builds the runtime for every target, alone and at two levels of optimisation, and looks for panics, a heap, floating point,
/// recursion and division by zero; bounds the stack of every call, and compares with what the calls take on emulated
/// machines. Exits with 1 where a claim does not hold.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// The model that the probe runs [default: the repository's small one]
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Where the certificate goes, with the programs that it is about [default: target/certificate]
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// Only this target; may be given again
    #[arg(long, value_name = "TARGET")]
    target: Vec<String>,
}

impl Args {
    /// Builds, reads, runs, writes.
    pub fn run(&self) -> Result<ExitCode> {
        setup::run()?;
        let output = self.output.clone().unwrap_or_else(|| root().join("target/certificate"));
        let model = match &self.model {
            Some(model) => {
                fs::canonicalize(model).with_context(|| format!("cannot read {}", model.display()))?
            }
            None => root().join("firmware/models/book.thumb"),
        };
        fs::create_dir_all(&output).with_context(|| format!("cannot create {}", output.display()))?;
        let mut builds = build::all()?;
        if !self.target.is_empty() {
            builds.retain(|build| self.target.contains(&build.board.target));
            ensure!(
                !builds.is_empty(),
                "--target: found {}, wanted one of the certificate's",
                self.target.join(", ")
            );
        }
        let wide = fs::canonicalize(&output)?.join("wide.thumb");
        fs::write(&wide, wide::model()?).with_context(|| format!("cannot write {}", wide.display()))?;
        let models = Models { model, wide };
        notices(&models, &output)?;
        let mut certificate = certificate(&models)?;
        for (i, build) in builds.iter().enumerate() {
            eprintln!("[{}/{}] {}", i + 1, builds.len(), build.name());
            let elf = build.probe(&models, &[], &output)?;
            let marks = run::marks(&build.board, &elf)?;
            certificate.builds.push(examine(build, &elf, &marks)?);
        }
        certificate.failures = certificate.builds.iter().flat_map(Findings::failures).collect();
        certificate.failures.extend(certificate.web.failures());
        let json = serde_json::to_string_pretty(&certificate)?;
        for (name, text) in [("certificate.json", json), ("certificate.md", document::markdown(&certificate))]
        {
            let path = output.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            eprintln!("wrote {}", path.display());
        }
        for failure in &certificate.failures {
            println!("FAILED {failure}");
        }
        let (failed, programs) = (certificate.failures.len(), certificate.builds.len() + 1);
        println!("{programs} programs examined, {failed} claims failed");
        Ok(ExitCode::from(u8::from(failed > 0)))
    }
}

/// A probe that breaks every promise is refused for each, or nothing that is said of the others counts.
fn notices(models: &Models, folder: &Path) -> Result<()> {
    let folder = folder.join("broken");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let build = build::soft_float()?;
    eprintln!("[0] a probe that is broken on purpose");
    let elf = build.probe(models, &["--features", "broken"], &folder)?;
    let found = examine(&build, &elf, &BTreeMap::new())?;
    for (what, is_found) in [
        ("panics", !found.panics.is_empty()),
        ("divisions by zero", !found.divisions.is_empty()),
        ("a heap", !found.heap.is_empty()),
        ("floating point", found.float.is_some()),
        ("recursion", !found.recursion.is_empty()),
    ] {
        ensure!(is_found, "a program that has {what} on purpose was not refused for it");
    }
    Ok(())
}

/// A certificate of WebAssembly alone.
fn certificate(models: &Models) -> Result<Certificate> {
    let model = &models.model;
    let file = fs::read(model).with_context(|| format!("cannot read {}", model.display()))?;
    let header =
        *Model::from_bytes(&file).map_err(|error| anyhow::anyhow!("{}: {error}", model.display()))?.header();
    let module = wasm::Module::read(&fs::read(build::web(models)?)?)?;
    let forbidden =
        [claims::panics(&module.names), claims::divisions(&module.names), claims::heap(&module.names)]
            .concat();
    Ok(Certificate {
        version: env!("CARGO_PKG_VERSION"),
        compiler: command::output(Command::new("rustc").arg("--version").current_dir(root()))?
            .trim()
            .to_owned(),
        model: model.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        model_bytes: file.len() as u64,
        model_crc: format!("{:08x}", header.crc),
        failures: Vec::new(),
        builds: Vec::new(),
        web: Web { imports: module.imports, functions: module.names, forbidden },
    })
}

/// Reads a program.
fn examine(build: &Build, elf: &Path, marks: &BTreeMap<String, u64>) -> Result<Findings> {
    let program = Program::read(elf)?;
    let name = |index: usize| program.functions[index].name.clone();
    let entries: Vec<usize> = (0..program.functions.len())
        .filter(|&index| program.functions[index].name.starts_with(ENTRY))
        .collect();
    for mark in marks.keys() {
        ensure!(
            entries.iter().any(|&entry| name(entry) == *mark),
            "{} has no function {mark}",
            elf.display()
        );
    }
    let graph = Graph::new(&program, &entries);
    let recursion = graph.recursion();
    let entry = |&entry: &usize| {
        let (bound, way) = graph.deepest(entry);
        let way = way.into_iter().map(|function| (name(function), graph.own(function))).collect();
        Entry { name: name(entry), bound, mark: marks.get(&name(entry)).copied(), way }
    };
    let mut calls: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for function in graph.functions() {
        calls.entry(name(function)).or_default().extend(graph.calls(function).map(name));
    }
    Ok(Findings {
        target: build.board.target.clone(),
        cpu: build.board.cpu.clone(),
        opt_level: build.opt_level.to_owned(),
        machine: build.board.name.clone(),
        functions: graph.functions().count(),
        panics: claims::panics(&program.symbols),
        divisions: claims::divisions(&program.symbols),
        heap: claims::heap(&program.symbols),
        float: float::check(elf, build.board.cpu == "cortex-m55").err().map(|error| error.to_string()),
        entries: if recursion.is_none() { entries.iter().map(entry).collect() } else { Vec::new() },
        recursion: recursion
            .into_iter()
            .map(|way| way.into_iter().map(name).collect::<Vec<_>>().join(" > "))
            .collect(),
        problems: graph.problems().map(str::to_owned).collect(),
        computed: graph
            .computed
            .iter()
            .map(|(function, _, meant)| Computed {
                function: name(*function),
                meant: meant.iter().copied().map(name).collect(),
            })
            .collect(),
        calls,
    })
}
