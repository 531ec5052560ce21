//! A test that needs an environment of its own.

use std::process::Command;

const CHILD: &str = "KUBE_OIDC_TESTS_CHILD";

/// The variables that proxies and root certificates are configured by.
const REMOVED: &[&str] = &[
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
    "REQUEST_METHOD",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
];

/// Returns `true` in the process that [`run_in_child`] started.
#[must_use]
pub fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Runs one test of this program again, in a process with these variables.
///
/// # Panics
///
/// If the test fails there.
pub fn run_in_child(test: &str, variables: &[(&str, &str)]) {
    let _ = output_of_child(test, variables);
}

/// Runs one test as [`run_in_child`] does, and returns its output.
///
/// # Panics
///
/// If the test fails there.
#[must_use]
pub fn output_of_child(test: &str, variables: &[(&str, &str)]) -> String {
    let mut child = Command::new(std::env::current_exe().expect("a path"));
    child.args(["--exact", test, "--nocapture"]).env(CHILD, "1");
    for variable in REMOVED {
        child.env_remove(variable);
    }
    let ended = child.envs(variables.iter().copied()).output().expect("a process");
    let output = String::from_utf8_lossy(&ended.stdout).into_owned();
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success() && output.contains("1 passed"), "{output}{errors}");
    output
}
