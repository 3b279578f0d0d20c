//! What each head of each layer looks at, in a sentence of the held-out text.

use super::Report;
use super::page::{figure, note};
use crate::chart::{escape, map};
use crate::model::Model;
use crate::train::text_of;
use anyhow::Result;
use thumbformer::Tokenizer;

/// Tokens of the sentence.
const TOKENS: usize = 24;

pub fn section(report: &Report<'_>, model: &Model) -> Result<String> {
    let shape = model.config().config;
    let tokens = &report.held_out[..report.held_out.len().min(TOKENS).min(shape.seq_len)];
    if tokens.is_empty() {
        return Ok(note("The folder has no held-out tokens (valid.u16), which are the sentence."));
    }
    let mut html = note(
        "Weights of every head over the start of the held-out text: a row is a token that looks, a column one that is looked \
         at, both numbered from 0. The stronger the colour, the more; full colour is all of the weight.",
    );
    html += &sentence(report.tokenizer, tokens);
    model.attention_maps(tokens, &mut |site, weights| {
        let layer = site.split('.').nth(1).unwrap_or(site);
        html += &format!("<h3>block {}</h3>\n<div class=\"maps\">\n", escape(layer));
        for (head, weights) in weights.chunks(tokens.len() * tokens.len()).enumerate() {
            html += &figure(&map(weights, tokens.len()), &format!("head {head}"));
        }
        html += "</div>\n";
    })?;
    Ok(html)
}

/// The tokens with their numbers, as text where there is a tokenizer.
fn sentence(tokenizer: Option<&[u8]>, tokens: &[u16]) -> String {
    let tokenizer = tokenizer.and_then(|section| Tokenizer::from_bytes(section).ok());
    let items = tokens.iter().enumerate().map(|(i, &token)| {
        let text = tokenizer.map_or_else(|| format!("[{token}]"), |tokenizer| text_of(&tokenizer, &[token]));
        // Line breaks would break the list; a token without text has at least its number.
        let text = if text.is_empty() { format!("[{token}]") } else { text.replace('\n', "\u{21b5}") };
        format!("<li><sup>{i}</sup>{}</li>", escape(&text))
    });
    format!("<ol class=\"tokens\">{}</ol>\n", items.collect::<String>())
}
