//! What is open to everybody, such as health probes.

use std::{fmt, sync::Arc};

use http::Method;

use crate::response::RequestHead;

/// Requests that nobody asks for a token.
#[derive(Clone)]
pub(crate) enum Open {
    Path {
        path: String,
        /// `None`: GET and HEAD.
        methods: Option<Vec<Method>>,
    },
    When(Arc<dyn Fn(RequestHead<'_>) -> bool + Send + Sync>),
}

impl Open {
    /// A path of visible ASCII, without a query, and without what would be a pattern elsewhere. An
    /// error shows the setting.
    pub(crate) fn path(path: String, methods: Option<Vec<Method>>) -> Result<Self, String> {
        let is_valid = path.starts_with('/')
            && path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#*{}".contains(&byte))
            && methods.as_ref().is_none_or(|methods| !methods.is_empty());
        if is_valid { Ok(Self::Path { path, methods }) } else { Err(path) }
    }

    /// Whether a request is one. Paths are compared byte for byte: nothing is decoded, and no
    /// slash, case or parameter is made up for.
    pub(crate) fn includes(&self, request: RequestHead<'_>) -> bool {
        match self {
            Self::Path { path, methods } => {
                let method = match methods {
                    None => matches!(*request.method, Method::GET | Method::HEAD),
                    Some(methods) => methods.contains(request.method),
                };
                method && request.uri.path() == path && request.is_routed_by(path)
            }
            Self::When(is_open) => is_open(request),
        }
    }
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path { path, methods: None } => write!(f, "{path:?}"),
            Self::Path { path, methods: Some(methods) } => write!(f, "{path:?} for {methods:?}"),
            Self::When(_) => f.write_str("a predicate"),
        }
    }
}
