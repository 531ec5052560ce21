//! A simulation of a fleet of verifiers and one issuer that throttles them.
//!
//! It runs the state machine of the key cache under a simulated clock: a week takes a minute. See
//! `docs/fleet.md`.

mod fleet;
mod plan;
mod report;
mod tests;

use self::{fleet::run, plan::Plan};
