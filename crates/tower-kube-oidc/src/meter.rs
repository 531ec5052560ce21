//! What is counted of requests, with the feature `metrics`. Without it the same calls do nothing.
//!
//! Labels are words of these crates: nothing that a caller chooses becomes one.

#[cfg(feature = "metrics")]
pub(crate) use self::facade::{RequestMeter, count_refusal_within};
#[cfg(not(feature = "metrics"))]
pub(crate) use self::silent::{RequestMeter, count_refusal_within};

#[cfg(feature = "metrics")]
mod facade {
    use std::sync::OnceLock;

    use metrics::{Counter, counter, describe_counter};

    const REQUESTS: &str = "kube_oidc_requests_total";

    /// Counts requests by what became of them.
    #[derive(Default)]
    pub(crate) struct RequestMeter {
        /// Those that most requests are among. Looked up once, at the first of them, for which a
        /// recorder should be there.
        verified: OnceLock<Counter>,
    }

    impl RequestMeter {
        pub(crate) fn count(&self, outcome: &'static str, reason: &'static str) {
            let find = || counter!(REQUESTS, "outcome" => outcome, "reason" => reason);
            if outcome == "verified" {
                let describe = || {
                    describe_counter!(REQUESTS, "Requests that came to the layer, by outcome");
                    find()
                };
                self.verified.get_or_init(describe).increment(1);
            } else {
                find().increment(1);
            }
        }
    }

    /// Counts a request that a layer passed, and one further in refuses.
    pub(crate) fn count_refusal_within(outcome: &'static str, reason: &'static str) {
        const REFUSALS: &str = "kube_oidc_route_refusals_total";
        counter!(REFUSALS, "outcome" => outcome, "reason" => reason).increment(1);
    }
}

#[cfg(not(feature = "metrics"))]
mod silent {
    #[derive(Default)]
    pub(crate) struct RequestMeter {}

    impl RequestMeter {
        #[expect(clippy::unused_self, reason = "the same call as with the feature")]
        pub(crate) fn count(&self, _: &'static str, _: &'static str) {}
    }

    pub(crate) fn count_refusal_within(_: &'static str, _: &'static str) {}
}
