//! The result of a simulation.

use std::fmt;

/// The counts of a simulation.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    /// Requests at the issuer, for key sets and for discovery documents.
    pub(super) requests: u64,
    /// Those for discovery documents.
    pub(super) for_documents: u64,
    /// The most of them in one second.
    pub(super) peak_per_second: u64,
    /// Those that were answered with 429.
    pub(super) throttled: u64,
    /// Those that came while the issuer was away.
    pub(super) during_outage: u64,
    /// Good tokens that were verified.
    pub(super) accepted: u64,
    /// Good tokens of which the caller heard 503 twice, or 401, in the first ten minutes.
    pub(super) refused_at_start: Refused,
    /// The same, later.
    pub(super) refused_later: Refused,
    /// How often an instance got a new key: at each rotation, each of them does.
    pub(super) new_keys_had: u64,
    /// The longest time in seconds from when a key began to sign until the last instance had it.
    pub(super) slowest_rotation: f64,
    /// The most requests of one instance in any 30 seconds.
    pub(super) peak_per_instance: usize,
    /// The most responses other than 429 in one second.
    pub(super) peak_answered: u64,
    /// How long after the outage the last instance had keys, in seconds.
    pub(super) slowest_start: f64,
    /// For how long it was simulated.
    pub(super) seconds: u64,
}

/// Good tokens that were not accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Refused {
    /// With 401.
    pub(super) unauthorized: u64,
    /// With 503, and again after the `Retry-After` that the caller heeded.
    pub(super) unavailable: u64,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with 401, {} with 503 twice", self.unauthorized, self.unavailable)
    }
}

impl fmt::Display for Report {
    #[expect(clippy::cast_precision_loss, reason = "a mean for people")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mean = self.requests as f64 / self.seconds as f64;
        writeln!(f, "| measure | value |")?;
        writeln!(f, "| --- | --- |")?;
        writeln!(f, "| requests at the issuer | {} |", self.requests)?;
        writeln!(f, "| for its discovery document | {} |", self.for_documents)?;
        writeln!(f, "| mean per second | {mean:.2} |")?;
        writeln!(f, "| peak in one second | {} |", self.peak_per_second)?;
        writeln!(f, "| answered with 429 | {} |", self.throttled)?;
        writeln!(f, "| while the issuer was away | {} |", self.during_outage)?;
        writeln!(f, "| good tokens accepted | {} |", self.accepted)?;
        writeln!(f, "| good tokens refused in the first 10 min | {} |", self.refused_at_start)?;
        writeln!(f, "| good tokens refused later | {} |", self.refused_later)?;
        writeln!(f, "| last to have a new key, after it signs | {:.0} s |", self.slowest_rotation)?;
        writeln!(f, "| most requests of one verifier in 30 s | {} |", self.peak_per_instance)?;
        writeln!(f, "| most requests answered in one second | {} |", self.peak_answered)?;
        writeln!(f, "| last to have keys, after the outage | {:.0} s |", self.slowest_start)
    }
}
