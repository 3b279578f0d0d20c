//! The certificate to be read: certificate.md.

use std::fmt::Write;

use super::certificate::{Certificate, Findings, SLACK, Web};

impl Web {
    /// Each claim that does not hold.
    pub fn failures(&self) -> Vec<String> {
        let mut failures: Vec<String> = self
            .forbidden
            .iter()
            .map(|name| format!("wasm32: no panic, division by zero or heap: found {name}"))
            .collect();
        if self.imports > 0 {
            failures.push(format!("wasm32: found {} imports, wanted none", self.imports));
        }
        failures
    }
}

/// The certificate as Markdown.
pub fn markdown(certificate: &Certificate) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut text, certificate);
    text
}

fn write(text: &mut String, certificate: &Certificate) -> std::fmt::Result {
    let Certificate { version, compiler, model, model_bytes, model_crc, failures, builds, web } = certificate;
    writeln!(text, "# Certificate of thumbformer {version}\n")?;
    writeln!(text, "Compiler: {compiler}. Model: {model}, {model_bytes} bytes, checksum {model_crc}.\n")?;
    if failures.is_empty() {
        writeln!(
            text,
            "**Every claim holds.** What they mean and how they are checked is in docs/certify.md."
        )?;
    } else {
        writeln!(text, "**{} claims do not hold:**\n", failures.len())?;
        failures.iter().try_for_each(|failure| writeln!(text, "- {failure}"))?;
    }
    writeln!(text, "\n## Absent\n")?;
    writeln!(text, "Numbers are findings: 0 says that there is none.\n")?;
    writeln!(
        text,
        "| target | processor | opt-level | panics | divisions by zero | heap | floating point | recursion | not followed | functions |"
    )?;
    writeln!(text, "|---|---|---|---|---|---|---|---|---|---|")?;
    for found in builds {
        let Findings {
            target,
            cpu,
            opt_level,
            panics,
            divisions,
            heap,
            float,
            recursion,
            problems,
            functions,
            ..
        } = found;
        let counts = [
            panics.len(),
            divisions.len(),
            heap.len(),
            usize::from(float.is_some()),
            recursion.len(),
            problems.len(),
        ];
        let counts = counts.map(|count| count.to_string()).join(" | ");
        writeln!(text, "| {target} | {cpu} | {opt_level} | {counts} | {functions} |")?;
    }
    writeln!(
        text,
        "\nwasm32-unknown-unknown: {} imports; of {} functions {} tell of a panic, a division by zero or a heap.",
        web.imports,
        web.functions.len(),
        web.forbidden.len()
    )?;
    stack(text, builds)?;
    computed(text, builds)?;
    trees(text, builds)
}

fn stack(text: &mut String, builds: &[Findings]) -> std::fmt::Result {
    writeln!(text, "\n## Stack\n")?;
    writeln!(
        text,
        "Bytes below the caller: the bound from the machine code, and the high-water mark of a run on the emulated machine. \
         For the calls of a session, the bound is at most {:.0} % above.\n",
        100.0 * SLACK
    )?;
    writeln!(text, "| target | processor | opt-level | call | bound | mark | slack |")?;
    writeln!(text, "|---|---|---|---|---|---|---|")?;
    for found in builds {
        for entry in &found.entries {
            let mark = entry.mark.map_or("not run".to_owned(), |mark| mark.to_string());
            let slack = entry.slack().map_or(String::new(), |slack| format!("{:.1} %", 100.0 * slack));
            let name = entry.name.trim_start_matches(super::ENTRY);
            writeln!(
                text,
                "| {} | {} | {} | {name} | {} | {mark} | {slack} |",
                found.target, found.cpu, found.opt_level, entry.bound
            )?;
        }
    }
    Ok(())
}

fn computed(text: &mut String, builds: &[Findings]) -> std::fmt::Result {
    writeln!(text, "\n## Computed calls and jumps\n")?;
    writeln!(text, "Each takes one of the functions named, or, where none is, stays in its own.\n")?;
    for found in builds {
        writeln!(text, "{}:\n", found.name())?;
        for computed in &found.computed {
            writeln!(text, "- `{}`: {}", computed.function, listed(&computed.meant))?;
        }
        writeln!(text)?;
    }
    Ok(())
}

/// Names in a line.
fn listed(names: &[String]) -> String {
    if names.is_empty() {
        return "stays in its own code".to_owned();
    }
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Who calls whom, from each entry down; a function that was shown already is not opened again.
fn trees(text: &mut String, builds: &[Findings]) -> std::fmt::Result {
    writeln!(text, "## Calls\n")?;
    writeln!(
        text,
        "A function is opened where it is met first; certificate.json has the calls of every build.\n"
    )?;
    let Some(found) = builds.iter().find(|found| found.cpu == "cortex-m4").or(builds.first()) else {
        return Ok(());
    };
    writeln!(text, "{}:\n\n```text", found.name())?;
    let mut shown = Vec::new();
    for entry in found.calls.keys().filter(|name| name.starts_with(super::ENTRY)) {
        tree(text, found, entry, 0, &mut shown)?;
    }
    writeln!(text, "```")
}

fn tree<'a>(
    text: &mut String,
    found: &'a Findings,
    function: &'a str,
    depth: usize,
    shown: &mut Vec<&'a str>,
) -> std::fmt::Result {
    let calls = found.calls.get(function).map(Vec::as_slice).unwrap_or_default();
    let again = shown.contains(&function) && !calls.is_empty();
    writeln!(text, "{:1$}{function}{2}", "", 2 * depth, if again { " ..." } else { "" })?;
    if again {
        return Ok(());
    }
    shown.push(function);
    calls.iter().try_for_each(|callee| tree(text, found, callee, depth + 1, shown))
}
