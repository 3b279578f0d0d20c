//! Transformers on microcontrollers: no heap, no floating point, the same bits on every machine.
//!
//! A host command trains a decoder (or imports one), rounds it to int8 or int4 and writes a `.thumb` file; this crate
//! runs it on Cortex-M and RISC-V, straight from flash, in memory whose size is known while rustc runs.
//!
//! ```
//! use thumbformer::{Sampler, Session, Token, Workspace, include_model};
//!
//! // rustc reads the header: a file that is not a model does not compile.
//! include_model! { static BOOK = concat!(env!("CARGO_MANIFEST_DIR"), "/firmware/models/book.thumb"); }
//!
//! // In firmware a `static`, such as a `static_cell::ConstStaticCell`; it is exact to the byte.
//! let mut workspace = Workspace::<{ BOOK.workspace_len() }>::new();
//! let mut session = Session::new(&BOOK, &mut workspace)?;
//! let mut sampler = Sampler::new(42).temperature(0.8).top_p(0.9);
//!
//! let tokenizer = BOOK.tokenizer();
//! let mut tokens = [Token::BOS; 32];
//! session.prefill(tokenizer.encode("The compiler", &mut tokens)?)?;
//! for token in session.generate(&mut sampler).take(20) {
//!     let bytes: &[u8] = tokenizer.decode(token?); // straight from flash, to a serial port
//! #   assert!(!bytes.is_empty());
//! }
//! # Ok::<(), thumbformer::Error>(())
//! ```
//!
//! # Three memories
//!
//! The *weights* are what training left: [`Model`] borrows them from flash, frozen. The *context window* is what
//! the model reads now, the prompt and its own tokens fed back: [`Session`] holds it as the KV cache in a
//! [`Workspace`], and [`Session::slide`] decides what goes when it is full. (Recurrent models have a third,
//! their state; decoders with attention need none.)
//!
//! # From the prompt to the next token
//!
//! [`Tokenizer`] makes tokens of text. [`Session::prefill`] sends each through the model: `block.rs` has the
//! way from embedding to logits, to be read from top to bottom; each layer reads the residual stream through
//! a norm (`norm.rs`), multiplies int8 or int4 matrices (`linear.rs`) and adds its result; `attention.rs` looks back
//! through the cache (`cache.rs`). [`Sampler`] draws a token from the [`Logits`]; [`Utf8Stream`] puts its bytes
//! together to text. Where the head was trained to tell classes apart, [`Classifier`] says which one a text belongs to. [`audio`] makes
//! features of sound, for models of sound. [`format`](mod@format) describes the file, [`kernel`] has the inner loops, chosen for the
//! processor while the crate is built.
//!
//! Attention computes in use what it computed in training, one position at a time (matrices take a few at once). Dropout was a matter of
//! training and has vanished; the norms' gains are constants.
//!
//! # Promises
//!
//! - Integers only, exactly specified (docs/numerics.md): logits are equal to the bit on every machine, at every
//!   optimisation level, in every kernel. [`Digest`] lets two machines compare.
//! - [`Model::workspace_len`] is a `const fn`: memory is known before flashing. More of it, as
//!   [`Model::workspace_len_for`] tells, makes prompts faster and changes nothing else.
//! - Any bytes given as a model are a model or a [`FormatError`]; inference does not panic.
//! - `unsafe` and assembly are in [`kernel`] only, each kernel checked against a reference.
//!
//! # Features
//!
//! None is on by default. `defmt` derives `defmt::Format` for the public types. `selftest` adds
//! `kernel::selftest`, which checks the kernels of the machine that it runs on, and what counts their instructions.
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

mod activation;
mod attention;
pub mod audio;
#[cfg(any(test, feature = "selftest"))]
#[doc(hidden)]
pub mod bench;
mod block;
// What `include_model!` expands to.
#[doc(hidden)]
pub mod budget;
mod cache;
mod chunks;
pub mod classifier;
mod digest;
pub mod error;
pub mod fixed;
pub mod format;
// What a core does in its own way refers to the safe functions, which are private.
#[allow(rustdoc::private_intra_doc_links)]
pub mod kernel;
mod linear;
mod logits;
pub mod model;
mod norm;
mod random;
pub mod sampler;
pub mod session;
mod shift;
pub mod token;
pub mod tokenizer;
mod utf8_stream;
mod vector;
pub mod workspace;

pub use classifier::{Classifier, Prediction};
pub use digest::Digest;
pub use error::Error;
pub use format::{Activation, Config, FormatError, NormKind, Positions};
pub use logits::Logits;
pub use model::Model;
pub use sampler::Sampler;
pub use session::Session;
pub use token::Token;
pub use tokenizer::Tokenizer;
pub use utf8_stream::{Text, Utf8Stream};
pub use workspace::Workspace;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
