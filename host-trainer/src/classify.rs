//! What a classifier makes of texts whose classes are known, in f32 and in the integers of the device.

use crate::data::labelled::{self, Labelled};
use crate::device::Memory;
use crate::eval::{likeliest, log_probabilities, log_softmax, on_threads};
use crate::model::Model;
use crate::tokenizer::TextEncoder;
use anyhow::{Result, ensure};
use serde::Serialize;
use std::fmt::{Display, Formatter, Result as FmtResult};
use thumbformer::{Token, Tokenizer};

/// Texts as tokens, and their classes.
#[derive(Debug)]
pub struct Texts {
    /// The names of the classes.
    labels: Vec<String>,
    texts: Vec<(Vec<Token>, usize)>,
    /// Texts of which only the beginning fits the context.
    pub cut: usize,
}

/// The logarithms of the probabilities of all classes after some tokens, and how often the residual stream saturated.
type Scores<'a> = dyn Fn(&[Token]) -> Result<(Vec<f64>, u32)> + Sync + 'a;

impl Texts {
    /// Encodes texts for a model of these classes.
    ///
    /// # Errors
    /// A text has a class that the model does not know.
    pub fn new(
        texts: &[Labelled],
        labels: Vec<String>,
        tokenizer: Tokenizer<'_>,
        seq_len: usize,
    ) -> Result<Self> {
        ensure!(!labels.is_empty(), "found a model of tokens, wanted a classifier");
        let mut encoder = TextEncoder::new(tokenizer);
        let mut found = Self { labels, texts: Vec::new(), cut: 0 };
        for text in texts {
            let class = labelled::class_of(text, &found.labels)?;
            let (tokens, cut) = labelled::tokens(&mut encoder, &text.text, seq_len);
            found.cut += usize::from(cut);
            found.texts.push((tokens, usize::from(class)));
        }
        Ok(found)
    }

    /// What the runtime finds: the same as a device.
    pub fn on_device(&self, model: &thumbformer::Model<'_>) -> Result<Classified> {
        self.count(&|tokens| {
            let mut memory = Memory::new(model);
            let mut session = memory.session(model)?;
            let scores = log_probabilities(&session.prefill(tokens)?);
            Ok((scores, session.saturations()))
        })
    }

    /// What a model in f32 finds.
    pub fn in_f32(&self, model: &Model) -> Result<Classified> {
        let model = &*model.rounded();
        self.count(&|tokens| {
            let tokens: Vec<u16> = tokens.iter().map(|token| token.0).collect();
            let logits = model.forward(&tokens)?;
            let last = &logits[logits.len() - self.labels.len()..];
            Ok((log_softmax(last.iter().map(|&v| f64::from(v)).collect()), 0))
        })
    }

    /// Compares classes with what `scores` finds.
    fn count(&self, scores: &Scores<'_>) -> Result<Classified> {
        let found = on_threads(&self.texts, &|(tokens, _)| scores(tokens))?;
        let mut confusion = vec![vec![0; self.labels.len()]; self.labels.len()];
        let (mut loss, mut saturations) = (0.0, 0);
        for ((_, class), (scores, saturated)) in self.texts.iter().zip(&found) {
            confusion[*class][likeliest(scores)] += 1;
            loss -= scores[*class] / self.texts.len() as f64;
            saturations += saturated;
        }
        Ok(Classified::new(&self.labels, loss, saturations, confusion))
    }
}

/// How well texts were classified.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Classified {
    /// Share of the texts whose class was found.
    pub accuracy: f64,
    /// Mean cross-entropy in nats per text.
    pub loss: f64,
    /// Texts.
    pub texts: usize,
    /// How often the integers' residual stream was at its limit; more than 0 spoils the model.
    pub saturations: u32,
    /// Each class.
    pub classes: Vec<Class>,
    /// How many texts of each class, in its row, were found to be of each class.
    pub confusion: Vec<Vec<usize>>,
}

/// How well one class was told from the others. A share of nothing is 0.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Class {
    /// Its name.
    pub label: String,
    /// Texts of it.
    pub texts: usize,
    /// Share of the texts found to be of it that are.
    pub precision: f64,
    /// Share of the texts of it that were found to be.
    pub recall: f64,
    /// The harmonic mean of both.
    pub f1: f64,
}

impl Classified {
    fn new(labels: &[String], loss: f64, saturations: u32, confusion: Vec<Vec<usize>>) -> Self {
        let share = |part: usize, all: usize| if all == 0 { 0.0 } else { part as f64 / all as f64 };
        let class = |(i, label): (usize, &String)| {
            let (right, texts) = (confusion[i][i], confusion[i].iter().sum());
            let found = confusion.iter().map(|row| row[i]).sum::<usize>();
            let f1 = share(2 * right, texts + found);
            let (precision, recall) = (share(right, found), share(right, texts));
            Class { label: label.clone(), texts, precision, recall, f1 }
        };
        let classes: Vec<Class> = labels.iter().enumerate().map(class).collect();
        let texts = classes.iter().map(|class| class.texts).sum();
        let right = (0..labels.len()).map(|i| confusion[i][i]).sum();
        Self { accuracy: share(right, texts), loss, texts, saturations, classes, confusion }
    }
}

/// The most classes of which the confusion is shown as a table; beyond, the JSON has it.
const SHOWN: usize = 12;

impl Display for Classified {
    fn fmt(&self, f: &mut Formatter<'_>) -> FmtResult {
        let Self { accuracy, loss, texts, saturations, classes, confusion } = self;
        writeln!(f, "accuracy {:.2} %, loss {loss:.6} nats per text ({texts} texts)\n", 100.0 * accuracy)?;
        let width = classes.iter().map(|class| class.label.chars().count()).max().unwrap_or(0).max(5);
        write!(f, "{:<width$} {:>6} {:>9} {:>7} {:>6}", "class", "texts", "precision", "recall", "F1")?;
        for Class { label, texts, precision, recall, f1 } in classes {
            let [precision, recall, f1] = [precision, recall, f1].map(|share| 100.0 * share);
            write!(f, "\n{label:<width$} {texts:>6} {precision:>8.2}% {recall:>6.2}% {f1:>5.1}%")?;
        }
        if classes.len() <= SHOWN {
            write!(f, "\n\n{:<width$} found as 1, 2, ..", "")?;
            for (i, (class, row)) in classes.iter().zip(confusion).enumerate() {
                let counts: String = row.iter().map(|count| format!(" {count:>6}")).collect();
                write!(f, "\n{:<width$} {:>2}{counts}", class.label, i + 1)?;
            }
        }
        match saturations {
            0 => Ok(()),
            n => write!(f, "\nthe residual stream saturated {n} times: export with more headroom"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_those_of_the_confusion() {
        let labels = ["ham", "spam", "none"].map(String::from);
        let confusion = vec![vec![6, 2, 0], vec![1, 3, 0], vec![0, 0, 0]];
        let found = Classified::new(&labels, 0.5, 0, confusion);
        assert_eq!((found.accuracy, found.texts), (0.75, 12));
        assert_eq!((found.classes[0].precision, found.classes[0].recall), (6.0 / 7.0, 0.75));
        assert_eq!(found.classes[0].f1, 12.0 / 15.0);
        assert_eq!(
            (found.classes[2].precision, found.classes[2].recall, found.classes[2].f1),
            (0.0, 0.0, 0.0)
        );
        let shown = found.to_string();
        assert!(shown.starts_with("accuracy 75.00 %, loss 0.500000 nats per text (12 texts)\n"), "{shown}");
        assert!(shown.contains("\nham        8    85.71%  75.00%  80.0%\n"), "{shown}");
        assert!(shown.contains("\nspam   2      1      3      0\n"), "{shown}");
    }
}
