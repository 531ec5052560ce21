//! An error of a fetcher or a reviewer that an application brings.

/// An error of code that is not ours: a text for the log, and what caused it.
macro_rules! foreign_error {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, thiserror::Error)]
        #[error("{message}")]
        pub struct $name {
            message: std::borrow::Cow<'static, str>,
            source: Option<Box<dyn std::error::Error + Send + Sync>>,
        }

        impl $name {
            /// An error with a text for the log.
            #[must_use]
            pub fn new(message: impl Into<std::borrow::Cow<'static, str>>) -> Self {
                Self { message: message.into(), source: None }
            }

            /// The same error with what caused it.
            #[must_use]
            pub fn with_source(
                mut self,
                source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
            ) -> Self {
                self.source = Some(source.into());
                self
            }
        }
    };
}

pub(crate) use foreign_error;
