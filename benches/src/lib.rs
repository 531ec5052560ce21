//! What a check costs, as ratios: see the README beside.

pub mod claims;
pub mod harness;
pub mod inputs;
pub mod jsonwebtoken_peer;
pub mod layers;
pub mod peers;
