//! Classifiers: a head of classes behind the same blocks, and labels in the file.

mod common;

use common::{Bytes, GPT2, LLAMA, model_file, tokenizer_section, workspace, workspace_for};
use thumbformer::format::{crc32, header};
use thumbformer::{Classifier, Config, Error, FormatError, Model, Sampler, Token};

const CLASSES: Config = Config { tied: false, n_classes: 3, ..LLAMA };

fn prompt(n: u16) -> Vec<Token> {
    (0..n).map(|i| Token(i * 37 % LLAMA.vocab_size as u16)).collect()
}

#[test]
fn a_class_is_what_a_session_says_after_the_last_token() {
    for config in [CLASSES, Config { n_classes: 5, ..GPT2 }] {
        let file = model_file(config, 1);
        let model = file.model();
        model.verify().unwrap();
        let labels: Vec<_> = model.labels().collect();
        assert_eq!(labels.len(), config.n_classes);
        assert_eq!(labels[2], "class 2");

        let mut memory = workspace(&model);
        let mut session = memory.session(&model);
        let wanted: Vec<Vec<i32>> =
            prompt(9).iter().map(|&token| session.step(token).unwrap().values().to_vec()).collect();
        let mut memory = workspace_for(&model, 4);
        let mut classifier = Classifier::new(&model, &mut memory).unwrap();
        for len in [1, 9, 4] {
            // Each text begins anew.
            let found = classifier.classify(&prompt(len)).unwrap();
            let wanted = &wanted[usize::from(len) - 1];
            assert_eq!((found.logits().values(), wanted.len()), (&wanted[..], config.n_classes));
            let best = wanted.iter().max().unwrap();
            assert_eq!(found.index(), wanted.iter().position(|value| value == best).unwrap());
            assert_eq!(found.label(), labels[found.index()]);
            let classes: Vec<_> = found.classes().collect();
            assert_eq!(classes.iter().map(|class| class.0).collect::<Vec<_>>(), labels);
            assert_eq!(classes[found.index()].1, found.probability());
            let sum: u32 = classes.iter().map(|class| class.1).sum();
            assert!(sum.abs_diff(65_536) <= config.n_classes as u32, "{classes:?}");
        }
        assert_eq!(classifier.classify(&[]).unwrap_err(), Error::NoTokens);
        assert_eq!(
            classifier.classify(&prompt(17)).unwrap_err(),
            Error::ContextFull { seq_len: LLAMA.seq_len }
        );
    }
}

#[test]
fn a_text_may_come_in_parts() {
    let file = model_file(CLASSES, 2);
    let model = file.model();
    let mut memory = workspace(&model);
    let mut classifier = Classifier::new(&model, &mut memory).unwrap();
    assert!(classifier.prediction().is_none());
    let whole = classifier.classify(&prompt(8)).unwrap().logits().values().to_vec();
    classifier.session().reset();
    for part in prompt(8).chunks(3) {
        for _slice in classifier.session().prefill_slices(part).unwrap() {}
    }
    assert_eq!(classifier.prediction().unwrap().logits().values(), whole);
}

#[test]
fn each_kind_of_model_refuses_what_the_other_is_for() {
    let file = model_file(CLASSES, 1);
    let model = file.model();
    let mut memory = workspace(&model);
    let mut session = memory.session(&model);
    session.prefill(&prompt(3)).unwrap();
    let mut sampler = Sampler::greedy();
    let mut generate = session.generate(&mut sampler);
    let error = Error::IsClassifier { n_classes: 3 };
    assert_eq!((generate.next(), generate.next()), (Some(Err(error)), None));
    assert!(error.to_string().contains("found a classifier of 3 classes, wanted a model that writes tokens"));

    let file = model_file(LLAMA, 1);
    let model = file.model();
    assert_eq!(model.labels().count(), 0);
    let mut memory = workspace(&model);
    let error = Classifier::new(&model, &mut memory).unwrap_err();
    assert_eq!(error, Error::NoClassifier { vocab_size: LLAMA.vocab_size });
}

/// A file with these bytes at this place, read.
fn spoiled(file: &Bytes, at: usize, bytes: &[u8]) -> Result<usize, FormatError> {
    let mut file = Bytes::of(file.as_ref());
    file.as_mut()[at..at + bytes.len()].copy_from_slice(bytes);
    let crc = crc32(&file.as_ref()[header::field::CRC.end..]);
    file.as_mut()[header::field::CRC].copy_from_slice(&crc.to_le_bytes());
    Model::from_bytes(file.as_ref()).map(|model| model.config().n_classes)
}

#[test]
fn what_does_not_fit_together_is_refused() {
    use header::field::{FEATURES, N_CLASSES, TIED};
    let file = model_file(CLASSES, 1);
    let bad = |field, found| Err(FormatError::BadConfig { field, found });
    assert_eq!(spoiled(&file, 0, b"THMB"), Ok(3));
    // The older readers know no feature, and refuse the file by this bit.
    assert_eq!(file.as_ref()[FEATURES], [1, 0, 0, 0]);
    assert_eq!(spoiled(&file, FEATURES.start, &[0]), bad("n_classes", 3));
    assert_eq!(spoiled(&file, FEATURES.start, &[3]), Err(FormatError::UnsupportedFeatures { bits: 2 }));
    assert_eq!(spoiled(&file, N_CLASSES.start, &[0]), bad("n_classes", 0));
    assert_eq!(spoiled(&file, N_CLASSES.start, &[0, 0, 1]), bad("n_classes", 1 << 16));
    assert_eq!(spoiled(&file, TIED.start, &[1]), bad("tied (a classifier has a head of its own)", 1));
    let metadata = file.model().header().metadata.offset;
    let label = metadata + "name = random\n".len();
    assert_eq!(spoiled(&file, label, b"lapel"), bad("n_classes (more than labels)", 3));
    assert_eq!(spoiled(&file, label, &[0xff]), bad("n_classes (more than labels)", 3));
    assert_eq!(spoiled(&file, label, b"Label"), bad("n_classes (more than labels)", 3));
    assert!(tokenizer_section().len() < metadata);
}
