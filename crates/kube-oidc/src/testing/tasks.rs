use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use tokio::{
    runtime::{Builder, Runtime},
    task,
};

/// Polls a future once, and then drops it.
pub(crate) fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// A runtime for one thread, with time and I/O.
pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Lets other tasks run until a condition holds, and panics if it never does.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    for _ in 0..100_000 {
        if condition() {
            return;
        }
        task::yield_now().await;
    }
    panic!("the condition never holds");
}
