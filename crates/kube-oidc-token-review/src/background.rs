//! A runtime with a thread of its own.

use std::{convert::Infallible, io, thread};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
    task::{JoinError, JoinHandle},
};

/// A runtime that is not one of the application's, and ends when this is dropped.
///
/// Connections live in the runtime in which they were opened, and callers come from several
/// runtimes. kube reads files in the runtime as well, and a file system may hang.
pub(crate) struct Background {
    handle: Handle,
    _stop: oneshot::Sender<Infallible>,
}

/// A task that ends when its future is dropped.
struct Task<T>(JoinHandle<T>);

impl Background {
    pub(crate) fn start(name: &str) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let handle = runtime.handle().clone();
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _: Result<Infallible, _> = runtime.block_on(stopped);
            // not even a name that is being resolved is waited for
            runtime.shutdown_background();
        })?;
        Ok(Self { handle, _stop: stop })
    }

    pub(crate) async fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, JoinError> {
        let mut task = Task(self.handle.spawn(future));
        (&mut task.0).await
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
