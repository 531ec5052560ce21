//! The first of several futures to complete.

use std::{future::poll_fn, pin::Pin, task::Poll};

/// The next of some futures to end, which is taken out; of none, it never ends.
pub(super) async fn next_of<F: Future>(futures: &mut Vec<Pin<Box<F>>>) -> F::Output {
    poll_fn(|context| {
        for index in 0..futures.len() {
            if let Poll::Ready(output) = futures[index].as_mut().poll(context) {
                drop(futures.swap_remove(index));
                return Poll::Ready(output);
            }
        }
        Poll::Pending
    })
    .await
}
