//! A caller and those whom it calls, which know it by its `ServiceAccount` token: an axum app and a
//! tonic server, and a stranger, who is not sent one.
//!
//! All are on this machine and speak plain text; between machines a bearer token needs TLS.

mod callee;
mod caller;

use std::{
    error::Error,
    fs,
    io::{self, Write as _},
    iter,
    os::unix::fs::{DirBuilderExt as _, symlink},
    path::PathBuf,
    process::ExitCode,
    time::{Duration, SystemTime},
};

use kube_oidc_testing::TestIssuer;
use tokio::net::TcpListener;
use tower_kube_oidc::clock::ManualClock;

use self::caller::Caller;

type BoxError = Box<dyn Error + Send + Sync>;

/// The audiences of the callees, and the names of the caller's token files for them.
const ORDERS: &str = "orders";
const LEDGER: &str = "ledger";

/// Any free port of this machine.
const LISTEN: &str = "127.0.0.1:0";

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "two-services: {}", one_line(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), BoxError> {
    let issuer = TestIssuer::start();
    let volume = Volume::new()?;
    let orders = callee::orders(issuer.url().parse()?).await?;
    let ledger = callee::ledger(issuer.url().parse()?)?;
    // turned by hand, so that nobody has to wait until a file is read again
    let clock = ManualClock::at(SystemTime::now());
    let caller = Caller::new(&volume.0, orders, ledger, &clock)?;

    for number in ["1", "2"] {
        volume.publish(&issuer, number)?;
        clock.advance(Duration::from_secs(60));
        let expected = format!("payments/checkout with token {number}");
        check("orders, over axum", caller.get(orders).await, &expected)?;
        check("ledger, over tonic", caller.check().await, &expected)?;
    }

    let listener = TcpListener::bind(LISTEN).await?;
    let stranger = listener.local_addr()?;
    let expected = format!("no token is named for http://{stranger}, so the request was not sent");
    tokio::select! {
        biased;
        _ = listener.accept() => Err("the stranger was called".into()),
        answer = caller.get(stranger) => check("a stranger", answer, &expected),
    }
}

/// Prints the answer, or why there is none, if it is the expected one.
fn check(call: &str, answer: Result<String, BoxError>, expected: &str) -> Result<(), BoxError> {
    let answer = answer.unwrap_or_else(|error| one_line(&*error));
    if answer != expected {
        return Err(format!("{call}: expected {expected:?}, but it was {answer:?}").into());
    }
    // that nobody reads it changes nothing
    let _ = writeln!(io::stdout(), "{call}: {answer}");
    Ok(())
}

/// An error with its causes.
fn one_line(error: &(dyn Error + 'static)) -> String {
    let chain = iter::successors(Some(error), |error| (*error).source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The folder in which a pod finds its tokens, with the kubelet's part played here. It goes when
/// the pod does.
struct Volume(PathBuf);

impl Volume {
    fn new() -> Result<Self, BoxError> {
        let folder = std::env::temp_dir().join(format!("two-services-{}", std::process::id()));
        let created = fs::DirBuilder::new().mode(0o700).create(&folder);
        created.map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
        let volume = Self(folder);
        for audience in [ORDERS, LEDGER] {
            symlink(format!("..data/{audience}"), volume.0.join(audience))?;
        }
        Ok(volume)
    }

    /// Replaces all tokens at a stroke: a reader finds an old one or a new one, never half of one.
    fn publish(&self, issuer: &TestIssuer, number: &str) -> io::Result<()> {
        let version = format!("..{number}");
        fs::create_dir(self.0.join(&version))?;
        for audience in [ORDERS, LEDGER] {
            let token = issuer.token().audience(audience).claim("jti", number);
            let token = token.service_account("payments", "checkout").mint();
            fs::write(self.0.join(&version).join(audience), token)?;
        }
        symlink(version, self.0.join("..data_tmp"))?;
        fs::rename(self.0.join("..data_tmp"), self.0.join("..data"))
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_answer_than_expected_is_an_error() {
        let told = |answer| check("a call", answer, "yes").map_err(|error| error.to_string());
        assert_eq!(told(Ok("yes".to_owned())), Ok(()));
        assert_eq!(
            told(Ok("no".to_owned())),
            Err(r#"a call: expected "yes", but it was "no""#.to_owned())
        );
        // which may be told by an error as well
        assert_eq!(told(Err("yes".into())), Ok(()));
        assert!(told(Err("broken".into())).is_err());
    }
}
