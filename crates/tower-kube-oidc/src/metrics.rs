//! What is counted of requests, with the feature `metrics`. Without it the same calls do nothing.
//!
//! Labels are words of these crates: nothing that a caller chooses becomes one.

#[cfg(not(feature = "metrics"))]
pub(crate) use self::noop::{RequestMeter, count_inner_rejection, count_late_rejection};
#[cfg(feature = "metrics")]
pub(crate) use self::recorder::{RequestMeter, count_inner_rejection, count_late_rejection};

#[cfg(feature = "metrics")]
mod recorder {
    use std::sync::{Once, OnceLock};

    use ::metrics::{Counter, counter, describe_counter};

    const REQUESTS: &str = "kube_oidc_requests_total";
    const REFUSALS: &str = "kube_oidc_route_rejections_total";

    /// Counts requests by what became of them.
    pub(crate) struct RequestMeter {
        described: Once,
        /// Those that most requests are among. Looked up once, at the first of them, for which a
        /// recorder should be there.
        verified: OnceLock<Counter>,
    }

    impl Default for RequestMeter {
        fn default() -> Self {
            Self { described: Once::new(), verified: OnceLock::new() }
        }
    }

    impl RequestMeter {
        pub(crate) fn count(&self, outcome: &'static str, reason: &'static str) {
            // at the first request, whatever becomes of it, for what is further in too
            self.described.call_once(describe);
            let find = || counter!(REQUESTS, "outcome" => outcome, "reason" => reason);
            if outcome == "verified" {
                self.verified.get_or_init(find).increment(1);
            } else {
                find().increment(1);
            }
        }
    }

    fn describe() {
        describe_counter!(REQUESTS, "Requests that came to the layer, by outcome");
        describe_counter!(REFUSALS, "Requests that a layer further in refused, by reason");
    }

    /// Counts a request that was counted as it passed, and is refused after all.
    pub(crate) fn count_late_rejection(reason: &'static str) {
        counter!(REQUESTS, "outcome" => "rejected", "reason" => reason).increment(1);
    }

    /// Counts a request that a layer passed, and one further in refuses.
    pub(crate) fn count_inner_rejection(outcome: &'static str, reason: &'static str) {
        counter!(REFUSALS, "outcome" => outcome, "reason" => reason).increment(1);
    }
}

#[cfg(not(feature = "metrics"))]
mod noop {
    #[derive(Default)]
    pub(crate) struct RequestMeter {}

    impl RequestMeter {
        #[expect(clippy::unused_self, reason = "the same call as with the feature")]
        pub(crate) fn count(&self, _: &'static str, _: &'static str) {}
    }

    pub(crate) fn count_late_rejection(_: &'static str) {}

    pub(crate) fn count_inner_rejection(_: &'static str, _: &'static str) {}
}
