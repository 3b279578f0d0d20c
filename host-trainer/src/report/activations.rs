//! How large the vectors get that matrices read, and the residual stream.

use super::Report;
use super::page::{figure, note};
use super::weights::short;
use crate::chart::Histogram;
use crate::model::Model;
use anyhow::Result;

/// Tokens that are read.
const TOKENS: usize = 256;

pub fn section(report: &Report<'_>, model: &Model) -> Result<String> {
    let tokens = &report.held_out[..report.held_out.len().min(TOKENS).min(model.config().config.seq_len)];
    if tokens.is_empty() {
        return Ok(note("The folder has no held-out tokens (valid.u16) to read."));
    }
    let mut html = note(&format!(
        "Share of a vector's elements in percent over their values, over the first {} held-out tokens: what the matrices read, \
         the residual stream behind each block, and the logits (output).",
        tokens.len()
    ));
    html += "<div class=\"small\">\n";
    model.forward_observed(tokens, &mut |site, values| {
        let place = site.rsplit('.').next().unwrap_or(site);
        let read = ["attention_norm", "heads", "ffn_norm", "hidden", "norm", "output"].contains(&place);
        if read || site.ends_with("feed_forward.residual") {
            let histogram = Histogram::new(values);
            let caption =
                format!("{}: rms {:.2}, largest {:.1}", short(site), histogram.rms(), histogram.peak());
            html += &figure(&histogram.svg(), &caption);
        }
    })?;
    Ok(html + "</div>\n")
}
