//! How a layer treats requests, whatever it accepts.

use kube_oidc::Claims;

use super::{bearer::TokenHeader, open_path::Open, outcome::OnOutcome};
use crate::response::Answering;

/// How a layer treats requests, whatever it accepts.
pub(crate) struct RequestOptions<C: Claims> {
    pub(crate) mode: Mode,
    pub(crate) token_header: TokenHeader,
    pub(crate) remove_token_header: bool,
    pub(crate) open: Vec<Open>,
    pub(crate) end_streams: bool,
    pub(crate) on_outcome: Option<OnOutcome<C>>,
    pub(crate) answering: Answering,
}

/// Who has to bring a good token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    #[default]
    Required,
    /// Whoever brings a token at all.
    Optional,
    /// Nobody: it is looked at only.
    ReportOnly,
}

impl<C: Claims> Clone for RequestOptions<C> {
    fn clone(&self) -> Self {
        Self {
            mode: self.mode,
            token_header: self.token_header.clone(),
            remove_token_header: self.remove_token_header,
            open: self.open.clone(),
            end_streams: self.end_streams,
            on_outcome: self.on_outcome.clone(),
            answering: self.answering.clone(),
        }
    }
}

impl<C: Claims> Default for RequestOptions<C> {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            token_header: TokenHeader::default(),
            remove_token_header: false,
            open: Vec::new(),
            end_streams: false,
            on_outcome: None,
            answering: Answering::default(),
        }
    }
}
