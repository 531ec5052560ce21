//! The real binary.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

/// Runs it with this folder for its temporary files.
fn run(temporary: &Path) -> (Output, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_two-services"));
    let output = command.env("TMPDIR", temporary).output().unwrap();
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    (output, stderr)
}

#[test]
fn every_call_is_answered_and_the_stranger_is_not_called() {
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR")).join("every-call");
    fs::create_dir_all(&temporary).unwrap();
    let (output, stderr) = run(&temporary);
    assert_eq!((output.status.code(), stderr.as_str()), (Some(0), ""));
    let stdout = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = stdout.lines().collect();
    let (stranger, calls) = lines.split_last().unwrap();
    assert_eq!(
        calls,
        [
            "orders, over axum: payments/checkout with token 1",
            "ledger, over tonic: payments/checkout with token 1",
            "orders, over axum: payments/checkout with token 2",
            "ledger, over tonic: payments/checkout with token 2",
        ]
    );
    let refusal = stranger.strip_prefix("a stranger: no token is named for http://127.0.0.1:");
    assert!(refusal.unwrap().ends_with(", so the request was not sent"), "{stranger}");
    // the tokens are gone with it
    assert_eq!(fs::read_dir(temporary).unwrap().count(), 0);
}

#[test]
fn what_cannot_work_is_one_line() {
    let nowhere = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no/such/folder");
    let (output, stderr) = run(&nowhere);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]));
    let begins = format!("two-services: cannot create {}/", nowhere.display());
    assert!(stderr.starts_with(&begins) && stderr.lines().count() == 1, "{stderr}");
}
