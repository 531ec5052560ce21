//! Helpers of the unit tests of this crate.

mod fetcher;
mod issuer;
mod reviewer;
mod signer;
mod tasks;
mod time;
mod vectors;

pub(crate) use self::{
    fetcher::{FetchReply, ScriptedFetcher},
    issuer::{in_cluster_issuer, key_set, observed, public_key},
    reviewer::{ReviewReply, ScriptedReviewer},
    signer::{Signer, coordinate_length, modulus},
    tasks::{poll_once, runtime, until},
    time::{SECOND, at, clock, secs},
    vectors::{b64, hex, vectors},
};
