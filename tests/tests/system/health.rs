//! Readiness and health, by the keys that are here.
