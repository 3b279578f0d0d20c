//! Sound to features: log-mel bands or MFCC of 16-bit PCM, in integers alone, row by row as samples arrive.
//!
//! A [`Spec`] says what is computed. [`Tables`] are its constants, made by rustc and kept in flash; a [`FrontEnd`] takes
//! samples in pieces of any length and hands out a row at every hop. docs/numerics.md has the exact arithmetic, so that
//! features learned from on a laptop are, bit for bit, those of the device.
//!
//! ```
//! use thumbformer::audio::{FrontEnd, Spec, Tables};
//!
//! const SPEC: Spec = Spec::KWT;
//! static TABLES: Tables<{ SPEC.table_words() }> = Tables::new(SPEC);
//!
//! let mut memory = [0; SPEC.memory_words()];
//! let mut front = FrontEnd::new(&TABLES, &mut memory)?;
//! let mut rows = 0;
//! for samples in [0i16; 16_000].chunks(100) {
//!     front.push(samples, |row| {
//!         assert_eq!(row.len(), 40); // with 12 fraction bits
//!         rows += 1;
//!     });
//! }
//! assert_eq!(rows, 98);
//! # Ok::<(), thumbformer::Error>(())
//! ```

mod constants;
mod cosine;
mod fft;
mod front;
mod mel;
#[cfg(any(test, feature = "selftest"))]
mod selftest;
mod spec;
mod tables;

pub use front::FrontEnd;
#[cfg(any(test, feature = "selftest"))]
#[doc(hidden)]
pub use selftest::{Failure, VOICE_LEN, selftest, voice};
pub use spec::{FRACTION, Spec};
pub use tables::Tables;
