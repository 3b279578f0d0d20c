//! Pairs of prompt and answer from JSON lines, and windows of several of them, whose loss counts the answers only.

use crate::nn::cross_entropy::IGNORED;
use crate::tokenizer::TextEncoder;
use crate::train::Rows;
use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::path::Path;
use thumbformer::format::crc32;
use thumbformer::{Token, Tokenizer};

/// The names that the two texts have in each line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields {
    /// Of the prompt.
    pub prompt: String,
    /// Of the answer.
    pub answer: String,
}

impl Default for Fields {
    fn default() -> Self {
        Self { prompt: "prompt".into(), answer: "answer".into() }
    }
}

/// A prompt and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The line of the file, counted from 1.
    pub line: usize,
    /// What the model is given.
    pub prompt: String,
    /// What it is to say.
    pub answer: String,
}

/// Reads a file of pairs, one JSON object in each line, and its CRC-32; empty lines and fields of other names are passed over.
///
/// # Errors
/// The file cannot be read, or a line is not an object with the two texts; the message names file, line and field.
pub fn read(path: &Path, fields: &Fields) -> Result<(Vec<Pair>, u32)> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let pairs = parse(&bytes, fields).map_err(|error| anyhow!("{}{error:#}", path.display()))?;
    Ok((pairs, crc32(&bytes)))
}

/// [`read`] of the bytes of a file; errors begin with what follows its name.
pub fn parse(bytes: &[u8], fields: &Fields) -> Result<Vec<Pair>> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut pairs = Vec::new();
    for (i, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if !line.trim_ascii().is_empty() {
            let pair = pair(line.trim_ascii_end(), i + 1, fields);
            pairs.push(pair.map_err(|error| anyhow!(", line {}: {error:#}", i + 1))?);
        }
    }
    ensure!(!pairs.is_empty(), ": found no pair, wanted one in each line");
    Ok(pairs)
}

fn pair(text: &[u8], line: usize, fields: &Fields) -> Result<Pair> {
    let object = object(text)?;
    let text = |field: &str| match object.field(field)? {
        Value::String(text) => Ok(text.clone()),
        other => bail!("{field:?}: found {}, wanted a text", kind(other)),
    };
    let (prompt, answer) = (text(&fields.prompt)?, text(&fields.answer)?);
    ensure!(!answer.is_empty(), "{:?}: found an empty text, wanted some", fields.answer);
    Ok(Pair { line, prompt, answer })
}

/// The object of a line.
pub(super) struct Object(Map<String, Value>);

/// A line as an object.
pub(super) fn object(text: &[u8]) -> Result<Object> {
    let value: Value = serde_json::from_slice(text).map_err(|error| {
        let why = error.to_string();
        let why = why.split(" at line").next().unwrap_or_default();
        anyhow!("column {}: not JSON: {why}", error.column())
    })?;
    match value {
        Value::Object(object) => Ok(Object(object)),
        other => bail!("found {}, wanted an object", kind(&other)),
    }
}

impl Object {
    /// A field, which must be there.
    pub(super) fn field(&self, field: &str) -> Result<&Value> {
        self.0.get(field).with_context(|| {
            let names: Vec<_> = self.0.keys().map(|name| format!("{name:?}")).collect();
            let names = if names.is_empty() { "no field".into() } else { names.join(", ") };
            format!("{field:?}: found {names}, wanted this field")
        })
    }
}

pub(super) fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
        Value::String(_) => "a text".into(),
        other => other.to_string(),
    }
}

/// Windows of whole pairs.
#[derive(Debug, Clone, PartialEq)]
pub struct PackedPairs {
    seq_len: usize,
    inputs: Vec<u16>,
    targets: Vec<u16>,
    /// Targets that count.
    pub answer_tokens: usize,
    /// Targets of prompts and of padding, which do not.
    pub ignored_tokens: usize,
    /// The lines of pairs that were left out, as they are longer than a window.
    pub too_long: Vec<usize>,
}

impl PackedPairs {
    /// Packs pairs into windows of `seq_len` tokens. A pair is [`Token::BOS`], prompt, answer and [`Token::EOS`], as a
    /// device sees them: prompt and answer have their tokens apart. No pair is cut; each goes where it leaves the least
    /// room, else into a new window. Those of a window see the ones before them.
    ///
    /// # Errors
    /// No pair fits a window.
    pub fn new(pairs: &[Pair], tokenizer: Tokenizer<'_>, seq_len: usize) -> Result<Self> {
        let mut encoder = TextEncoder::new(tokenizer);
        let mut packed = Self {
            seq_len,
            inputs: Vec::new(),
            targets: Vec::new(),
            answer_tokens: 0,
            ignored_tokens: 0,
            too_long: Vec::new(),
        };
        // The free end of each window: how much, and where it begins.
        let mut free: BTreeSet<(usize, usize)> = BTreeSet::new();
        let mut shortest = usize::MAX;
        for pair in pairs {
            let mut tokens = encoder.encode(pair.prompt.as_bytes());
            let prompt = tokens.len();
            tokens.extend(encoder.encode_part(pair.answer.as_bytes()));
            tokens.push(Token::EOS);
            let len = tokens.len() - 1;
            shortest = shortest.min(len);
            if len > seq_len {
                packed.too_long.push(pair.line);
                continue;
            }
            let place = free.range((len, 0)..).next().copied();
            let (room, at) = place.unwrap_or_else(|| (seq_len, packed.open()));
            free.remove(&(room, at));
            free.insert((room - len, at + len));
            for i in 0..len {
                packed.inputs[at + i] = tokens[i].0;
                if i + 1 >= prompt {
                    packed.targets[at + i] = tokens[i + 1].0;
                    packed.answer_tokens += 1;
                }
            }
        }
        ensure!(
            !packed.inputs.is_empty(),
            "no pair fits: found at least {shortest} tokens, wanted at most {seq_len} (seq_len)"
        );
        packed.ignored_tokens = packed.inputs.len() - packed.answer_tokens;
        Ok(packed)
    }

    /// Adds a window of padding, and says where it begins.
    fn open(&mut self) -> usize {
        let at = self.inputs.len();
        self.inputs.resize(at + self.seq_len, Token::EOS.0);
        self.targets.resize(at + self.seq_len, IGNORED);
        at
    }

    /// How many windows there are.
    pub fn len(&self) -> usize {
        self.inputs.len() / self.seq_len
    }

    /// Never: there is one at least.
    pub fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }

    /// The windows as rows.
    pub fn into_rows(self) -> Rows {
        Rows { len: self.seq_len, tokens: self.inputs, targets: self.targets }
    }

    /// Inputs and targets of a window; the target of what is no answer is [`IGNORED`].
    pub fn window(&self, index: usize) -> (&[u16], &[u16]) {
        let range = index * self.seq_len..(index + 1) * self.seq_len;
        (&self.inputs[range.clone()], &self.targets[range])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::section;
    use proptest::prelude::*;
    use thumbformer::format::tokenizer::TokenizerKind;

    fn packed(text: &str, seq_len: usize) -> Result<PackedPairs> {
        let section = section(TokenizerKind::ByteBpe, &[]).unwrap();
        let pairs = parse(text.as_bytes(), &Fields::default())?;
        PackedPairs::new(&pairs, Tokenizer::from_bytes(&section)?, seq_len)
    }

    fn line(prompt: &str, answer: &str) -> String {
        serde_json::json!({ "prompt": prompt, "answer": answer, "id": 7 }).to_string() + "\n"
    }

    #[test]
    fn answers_and_their_ends_are_the_targets() {
        let packed = packed(&line("ab", "c"), 6).unwrap();
        let byte = |byte: u8| u16::from(byte) + 3;
        let (inputs, targets) = packed.window(0);
        assert_eq!(inputs, [1, byte(b'a'), byte(b'b'), byte(b'c'), 2, 2]);
        assert_eq!(targets, [IGNORED, IGNORED, byte(b'c'), 2, IGNORED, IGNORED]);
        assert_eq!((packed.len(), packed.answer_tokens, packed.ignored_tokens), (1, 2, 4));
    }

    #[test]
    fn pairs_go_where_they_leave_the_least_room() {
        // Of 5, 4, 3, 2 and 9 tokens in windows of 7: 5 + 2, 4 + 3, and one too long.
        let text = [("abc", "d"), ("ab", "c"), ("a", "b"), ("abcdef", "ghi")];
        let text: String = text.map(|(prompt, answer)| line(prompt, answer)).concat();
        let packed = packed(&text, 7).unwrap();
        assert_eq!((packed.len(), &packed.too_long[..]), (2, &[4][..]));
        assert_eq!(packed.window(1).0.iter().filter(|token| **token == 1).count(), 2);
        let error = super::tests::packed(&text, 2).unwrap_err().to_string();
        assert_eq!(error, "no pair fits: found at least 3 tokens, wanted at most 2 (seq_len)");
    }

    #[test]
    fn errors_name_line_field_and_what_was_found() {
        let good = line("a", "b");
        for (bad, message) in [
            ("{\"prompt\": \"x\"}", ", line 3: \"answer\": found \"prompt\", wanted this field"),
            ("{}", ", line 3: \"prompt\": found no field, wanted this field"),
            ("{\"prompt\": 5, \"answer\": \"\"}", ", line 3: \"prompt\": found 5, wanted a text"),
            ("{\"prompt\": \"x\", \"answer\": [1]}", ", line 3: \"answer\": found a list, wanted a text"),
            (
                "{\"prompt\": \"x\", \"answer\": \"\"}",
                ", line 3: \"answer\": found an empty text, wanted some",
            ),
            ("[]", ", line 3: found a list, wanted an object"),
            ("{\"prompt\" \"x\"}", ", line 3: column 11: not JSON: expected `:`"),
        ] {
            let text = format!("{good}\n{bad}\n");
            let error = parse(text.as_bytes(), &Fields::default()).unwrap_err().to_string();
            assert_eq!(error, message);
        }
        let error = parse(b" \n", &Fields::default()).unwrap_err().to_string();
        assert_eq!(error, ": found no pair, wanted one in each line");
        let fields = Fields { prompt: "q".into(), answer: "a".into() };
        let pairs = parse(b"\xef\xbb\xbf{\"q\": \"x\", \"a\": \"y\"}\r\n", &fields).unwrap();
        assert_eq!(pairs, [Pair { line: 1, prompt: "x".into(), answer: "y".into() }]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_pairs_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..60), head in 0..3usize) {
            let head = ["", "{\"prompt\": \"a\", \"answer\": \"", "{\"prompt\":"][head];
            match parse(&[head.as_bytes(), &bytes].concat(), &Fields::default()) {
                Ok(pairs) => prop_assert!(pairs.iter().all(|pair| !pair.answer.is_empty())),
                Err(error) => prop_assert!(error.to_string().starts_with([',', ':'])),
            }
        }

        #[test]
        fn every_answer_is_there_once(lens in prop::collection::vec((1..9usize, 1..9usize), 1..30)) {
            let text: String = lens.iter().map(|&(p, a)| line(&"p".repeat(p), &"a".repeat(a))).collect();
            let packed = packed(&text, 20).unwrap();
            let targets = (0..packed.len()).flat_map(|i| packed.window(i).1).filter(|t| **t != IGNORED);
            let answers: usize = lens.iter().map(|(_, answer)| answer + 1).sum();
            prop_assert_eq!(targets.count(), answers);
            prop_assert_eq!(packed.answer_tokens, answers);
            for (&input, &target) in (0..packed.len()).flat_map(|i| {
                let (inputs, targets) = packed.window(i);
                inputs[1..].iter().zip(targets)
            }) {
                prop_assert!(target == IGNORED || target == input || target == 2);
            }
        }
    }
}
