//! The page around the sections.

use super::Report;
use crate::chart::{STYLE, escape};
use crate::train::Metrics;
use anyhow::Result;
use std::fmt::Write;
use thumbformer::format::{NUMERICS, VERSION};

const PAGE: &str = "\
:root{color-scheme:light dark;--back:#fff;--text:#1f2328;--muted:#59636e;--edge:#d1d9e0;--soft:#f6f8fa}\
@media(prefers-color-scheme:dark){:root{--back:#0d1117;--text:#f0f6fc;--muted:#9198a1;--edge:#3d444d;--soft:#151b23}}\
*{box-sizing:border-box}\
body{margin:0 auto;max-width:1200px;padding:20px 16px 60px;background:var(--back);color:var(--text);\
font:15px/1.5 -apple-system,'Segoe UI',Helvetica,Arial,sans-serif;overflow-wrap:anywhere}\
h1{font-size:26px;margin:8px 0 0}h2{font-size:20px;margin:40px 0 4px;padding-top:12px;border-top:1px solid var(--edge)}\
h3{font-size:15px;margin:20px 0 4px}p{margin:4px 0 12px;max-width:80ch}\
.muted,figcaption,dt{color:var(--muted)}\
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:10px 16px;margin:14px 0}\
dd{margin:0;font-size:18px;font-variant-numeric:tabular-nums}dt{font-size:13px}\
figure{margin:0;min-width:0}figcaption{font-size:13px}svg{display:block;width:100%;height:auto}\
.curves,.bars{display:grid;gap:20px 28px;grid-template-columns:repeat(auto-fill,minmax(min(100%,440px),1fr))}\
.bars{grid-template-columns:repeat(auto-fill,minmax(min(100%,320px),1fr))}\
.small,.maps{display:grid;gap:12px 14px;grid-template-columns:repeat(auto-fill,minmax(148px,1fr))}\
.maps{grid-template-columns:repeat(auto-fill,minmax(124px,1fr))}\
.sample{display:grid;grid-template-columns:6.5em 1fr;gap:0 12px;margin:10px 0}\
.sample pre{margin:0;white-space:pre-wrap;font:14px/1.45 ui-monospace,Menlo,Consolas,monospace;background:var(--soft);\
padding:8px 10px;border-radius:6px}\
@media(max-width:600px){.sample{grid-template-columns:1fr}}\
.tokens{display:flex;flex-wrap:wrap;gap:4px 6px;list-style:none;padding:0;margin:8px 0 14px}\
.tokens li{white-space:pre-wrap;background:var(--soft);border-radius:4px;padding:0 5px;font:13px/1.7 ui-monospace,Menlo,Consolas,monospace}\
.tokens sup{color:var(--muted);padding-right:3px}\
pre.config{background:var(--soft);padding:12px;border-radius:6px;white-space:pre-wrap;font:13px/1.45 ui-monospace,Menlo,Consolas,monospace}";

/// A page under way.
pub struct Page(String);

impl Page {
    /// The head: what the run is, and how far it is.
    pub fn new(report: &Report<'_>) -> Self {
        let (name, provenance, licence) = match report.model {
            Some((_, info)) => (info.name.as_str(), info.provenance.as_str(), info.licence.as_str()),
            None => ("", "", ""),
        };
        let name = if name.is_empty() { "a run" } else { name };
        let mut html = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
             <title>thumbformer: {0}</title>\n<style>{PAGE}{STYLE}</style>\n</head>\n<body>\n<h1>{0}</h1>\n",
            escape(name)
        );
        let about: Vec<String> =
            [provenance, licence].into_iter().filter(|text| !text.is_empty()).map(escape).collect();
        let _ = writeln!(html, "<p class=\"muted\">{}</p>\n<dl>", about.join("; licence: "));
        for (name, value) in facts(report) {
            let _ = writeln!(html, "<div><dt>{}</dt><dd>{}</dd></div>", escape(name), escape(&value));
        }
        html += "</dl>\n";
        if report.metrics.unread > 0 {
            html += &note(&format!(
                "{} lines of metrics.jsonl made no sense and are not shown.",
                report.metrics.unread
            ));
        }
        Self(html)
    }

    /// Adds a section, or says why it cannot be shown.
    pub fn section(&mut self, id: &str, title: &str, content: Result<String>) {
        let content = content.unwrap_or_else(|error| note(&format!("Not shown: {error:#}.")));
        let _ = writeln!(self.0, "<section id=\"{id}\">\n<h2>{}</h2>\n{content}</section>", escape(title));
    }

    /// The page.
    pub fn finish(self) -> String {
        self.0 + "</body>\n</html>\n"
    }
}

/// A paragraph of plain text.
pub fn note(text: &str) -> String {
    format!("<p class=\"muted\">{}</p>\n", escape(text))
}

/// A figure with a line of plain text below it.
pub fn figure(svg: &str, caption: &str) -> String {
    format!("<figure>{svg}<figcaption>{}</figcaption></figure>\n", escape(caption))
}

/// A number with its thousands apart.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let (head, rest) = digits.split_at(digits.len() % 3);
    let groups = rest.as_bytes().chunks(3).map(|group| String::from_utf8_lossy(group).into_owned());
    let all: Vec<String> = [head.to_owned()].into_iter().filter(|h| !h.is_empty()).chain(groups).collect();
    all.join(",")
}

/// The numbers on top.
fn facts(report: &Report<'_>) -> Vec<(&'static str, String)> {
    let Metrics { steps, evaluations, .. } = report.metrics;
    let number = |value: f64, text: String| if value.is_finite() { text } else { "unknown".into() };
    let mut facts = Vec::new();
    if let Some((model, _)) = report.model {
        facts.push(("parameters", thousands(model.params().values.len() as u64)));
    }
    facts.push(("steps", thousands(steps.last().map_or(0, |step| step.step))));
    if let Some(last) = evaluations.last() {
        facts.push(("validation loss, nats per token", number(last.loss, format!("{:.4}", last.loss))));
    }
    let best = evaluations.iter().map(|e| e.loss).fold(f64::INFINITY, f64::min);
    if best.is_finite() {
        facts.push(("lowest of all evaluations", format!("{best:.4}")));
    }
    if let Some(last) = steps.last() {
        let minutes = last.seconds / 60.0;
        facts.push(("minutes of training", number(minutes, format!("{minutes:.1}"))));
        let speed = last.tokens_per_second;
        facts.push(("tokens per second", number(speed, thousands(speed.max(0.0) as u64))));
    }
    facts.push(("seed", report.config.training.seed.to_string()));
    facts
}

/// The section of what the run was told, and by what it was done.
pub fn configuration(report: &Report<'_>) -> Result<String> {
    let config = toml::to_string(report.config)?;
    Ok(format!(
        "<p class=\"muted\">thumbformer {}, model files of format {VERSION}, numerics {NUMERICS}; this page was written on {} {}.</p>\n\
         <pre class=\"config\">{}</pre>\n",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH,
        escape(&config)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        assert_eq!([0, 12, 999, 1000, 1_234_567].map(thousands), ["0", "12", "999", "1,000", "1,234,567"]);
    }
}
