//! Helpers of the unit tests of this crate.

#[cfg(test)]
mod fetcher;
#[cfg(test)]
mod issuer;
#[cfg(test)]
mod reviewer;
#[cfg(test)]
mod signer;
#[cfg(test)]
mod tasks;
#[cfg(test)]
mod time;
#[cfg(test)]
mod vectors;

pub(crate) use self::{
    fetcher::{FetchReply, ScriptedFetcher},
    issuer::{key_set, observed, public_key},
    reviewer::{ReviewReply, ScriptedReviewer},
    signer::{Signer, coordinate_length, modulus},
    tasks::{poll_once, runtime, until},
    time::{SECOND, at, clock, secs},
    vectors::{b64, hex, vectors},
};
