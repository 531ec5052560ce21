//! [`swap_unready_clone`]: a service for a request that has to wait.

/// The inner service for a request that has to wait: a clone that was not polled ready, so that it
/// holds no permit meanwhile. The one that is ready is let go, with a permit that it may hold: it
/// could be the very one that the clone will need.
pub(crate) fn swap_unready_clone<S: Clone>(inner: &mut S) -> S {
    *inner = inner.clone();
    inner.clone()
}
