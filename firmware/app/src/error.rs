//! What can go wrong.

/// What can go wrong with a story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error<E> {
    /// The output failed.
    Output(E),
    /// The model refused, such as a prompt that is longer than its context.
    Model(thumbformer::Error),
}

impl<E> From<thumbformer::Error> for Error<E> {
    fn from(error: thumbformer::Error) -> Self {
        Self::Model(error)
    }
}

impl<E: core::fmt::Debug> core::fmt::Display for Error<E> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Output(error) => write!(f, "the output failed: {error:?}"),
            Self::Model(error) => write!(f, "{error}"),
        }
    }
}

impl<E: core::fmt::Debug> core::error::Error for Error<E> {}
