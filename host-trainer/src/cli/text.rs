//! How text is read: flags, and what is told, that several commands share.

use crate::corpus::{Corpus, Documents, Split};
use crate::train::DataConfig;

/// Texts larger than this have their progress told.
const LONG: u64 = 64 << 20;

/// How text is read and split.
#[derive(Debug, Clone, clap::Args)]
pub struct TextArgs {
    /// Where a file is cut into documents: at "<|endoftext|>" if it has any (auto), nowhere (file), at each line (lines), at
    /// blank lines (blank-lines), or at whatever else is given here [default: auto]
    #[arg(long, value_name = "RULE")]
    split_documents: Option<Documents>,
    /// Leave out documents that say the same as one before them, but for white space
    #[arg(long)]
    deduplicate: bool,
    /// Put the documents of each part in a random order: sequences reach across documents, and where these are sorted, one
    /// tells of the next
    #[arg(long)]
    shuffle: bool,
    /// How the part to hold out is chosen [default: by document, if there are several]
    #[arg(long, value_enum)]
    split: Option<Split>,
    /// Part of the text that is held out for validation [default: 0.05]
    #[arg(long)]
    held_out: Option<f64>,
    /// Part of the text that is kept for the end, as tokens/test.u16: for `eval`, once everything is chosen [default: 0]
    #[arg(long, value_name = "PART")]
    test: Option<f64>,
}

impl TextArgs {
    /// Overrides a configuration by what was given.
    pub fn apply(&self, data: &mut DataConfig) {
        if let Some(rule) = &self.split_documents {
            data.split_documents.clone_from(rule);
        }
        data.deduplicate |= self.deduplicate;
        data.shuffle |= self.shuffle;
        data.split = self.split.or(data.split);
        data.held_out = self.held_out.unwrap_or(data.held_out);
        data.test = self.test.unwrap_or(data.test);
    }
}

/// Tells what a corpus is, and what was found in it.
pub fn tell(corpus: &Corpus) {
    let findings = &corpus.findings;
    for path in &findings.skipped {
        eprintln!("left out, not text: {}", path.display());
    }
    for (count, what) in [
        (findings.byte_order_marks, "begin with a byte order mark, which is left out"),
        (findings.cr_lf, "have lines that end in CR LF, read as LF"),
    ] {
        if count > 0 {
            eprintln!("files     {count} of {} {what}", findings.files);
        }
    }
    if findings.duplicates > 0 {
        eprintln!(
            "documents {} duplicates, {} bytes, {}",
            findings.duplicates,
            findings.duplicate_bytes,
            if findings.deduplicated { "left out" } else { "kept; --deduplicate leaves them out" }
        );
    }
    eprint!("corpus    {}, {} bytes", corpus.provenance.name, corpus.provenance.bytes);
    match corpus.documents() {
        1 => eprintln!(),
        count => eprintln!(", {count} documents"),
    }
}

/// Tells how much of a long text is turned into tokens, each tenth.
pub fn progress() -> impl FnMut(u64, u64) {
    let mut told = 0;
    move |done, all| {
        let tenth = 10 * done / all.max(1);
        if all >= LONG && tenth > told {
            told = tenth;
            eprintln!("tokens    of {} % of {} MB of text", 10 * tenth, all / 1_000_000);
        }
    }
}
