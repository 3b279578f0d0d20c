//! Texts that the model wrote as it learned.

use super::page::note;
use crate::chart::escape;
use crate::train::Sample;

/// Samples that are shown at most, the first and the last among them.
const SHOWN: usize = 12;

pub fn section(samples: &[Sample]) -> String {
    if samples.is_empty() {
        return note(
            "There are none: each evaluation of a run with a tokenizer brings one, but a classifier writes nothing.",
        );
    }
    let shown = samples.len().min(SHOWN);
    let mut html = note(&format!(
        "What the model wrote behind the same prompt (bold), at temperature 0.8; {shown} of {} samples.",
        samples.len()
    ));
    for i in 0..shown {
        let Sample { step, prompt, text } = &samples[i * (samples.len() - 1) / (shown - 1).max(1)];
        html += &format!(
            "<div class=\"sample\"><span class=\"muted\">step {step}</span><pre><b>{}</b>{}</pre></div>\n",
            escape(prompt),
            escape(text)
        );
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_are_among_those_shown() {
        let samples = |n| -> Vec<Sample> {
            (1..=n).map(|step| Sample { step, prompt: "<".into(), text: "\0".into() }).collect()
        };
        for n in [1, 2, 12, 13, 100] {
            let html = section(&samples(n));
            assert!(html.contains(">step 1<") && html.contains(&format!(">step {n}<")), "{html}");
            assert_eq!(html.matches("<b>&lt;</b>\u{2400}").count(), SHOWN.min(n as usize));
        }
    }
}
