//! The lock and the tasks of the protocols that are our own, see `docs/concurrency.md`. In unit tests
//! with `--cfg kube_oidc_shuttle` they are shuttle's, which tries the orders that threads seldom have.

#[cfg(not(all(test, kube_oidc_shuttle)))]
pub(crate) use std::sync::{Mutex, MutexGuard};

#[cfg(all(test, kube_oidc_shuttle))]
pub(crate) use shuttle::sync::{Mutex, MutexGuard};
use tokio::runtime::Handle;

/// Begins a task.
#[cfg(not(all(test, kube_oidc_shuttle)))]
pub(crate) fn spawn<T: Send + 'static>(
    runtime: &Handle,
    task: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    runtime.spawn(task)
}

/// Begins a task.
#[cfg(all(test, kube_oidc_shuttle))]
pub(crate) fn spawn<T: Send + 'static>(
    _: &Handle,
    task: impl Future<Output = T> + Send + 'static,
) -> shuttle::future::JoinHandle<T> {
    shuttle::future::spawn(task)
}

/// Another thread may come first here: stands where something is shared that shuttle does not know.
#[inline]
pub(crate) fn step() {
    #[cfg(all(test, kube_oidc_shuttle))]
    shuttle::sync::atomic::AtomicBool::new(false).load(std::sync::atomic::Ordering::SeqCst);
}

/// Runs a scenario in many orders of its tasks. That nobody can go on is a failure too: no time
/// passes for anybody who waits.
#[cfg(test)]
#[cfg(kube_oidc_shuttle)]
pub(crate) fn in_many_orders(scenario: impl Fn() + Send + Sync + 'static) {
    use shuttle::{
        Config, Runner,
        scheduler::{PctScheduler, RandomScheduler},
    };

    const ORDERS: usize = 20_000;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _inside = runtime.enter();
    let config = || {
        let mut config = Config::new();
        config.stack_size = 1 << 19;
        config
    };
    let scenario = std::sync::Arc::new(scenario);
    let again = std::sync::Arc::clone(&scenario);
    Runner::new(RandomScheduler::new(ORDERS), config()).run(move || scenario());
    // few switches, and those where it hurts
    Runner::new(PctScheduler::new(3, ORDERS), config()).run(move || again());
}
