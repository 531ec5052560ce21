//! Cases for other implementations to judge: see `oracles/README.md`.

use std::{
    fs::File,
    io::Write as _,
    sync::{LazyLock, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};

use kube_oidc::Reason;
use serde_json::{Value, json};

/// The seconds of leeway that every exported case has: a verifier's default.
const LEEWAY: u64 = 60;

/// A token, all that its verdict depends on, and our verdict.
#[derive(Debug)]
pub struct OracleCase<'a> {
    /// Its own name, from which one can tell what is special about the token.
    pub name: String,
    /// The token.
    pub token: &'a str,
    /// The issuer's keys, as a JSON Web Key Set.
    pub key_set: &'a Value,
    /// The issuer that is trusted.
    pub issuer: &'a str,
    /// The audience that is asked for.
    pub audience: &'a str,
    /// When the token was judged.
    pub now: SystemTime,
    /// What we say.
    pub ours: Result<(), Reason>,
}

/// What the environment variable `ORACLE_CASES` names.
static FILE: LazyLock<Option<Mutex<File>>> = LazyLock::new(|| {
    let path = std::env::var_os("ORACLE_CASES")?;
    Some(Mutex::new(File::create(path).expect("ORACLE_CASES names a file to write")))
});

impl OracleCase<'_> {
    /// Whether anybody asked for them.
    #[must_use]
    pub fn are_exported() -> bool {
        FILE.is_some()
    }

    /// Writes the case as one line of JSON to the file that the environment variable
    /// `ORACLE_CASES` names, and does nothing without it.
    pub fn export(&self) {
        let Some(file) = &*FILE else { return };
        let now = self.now.duration_since(UNIX_EPOCH).expect("a time after 1970").as_secs();
        let line = json!({
            "name": self.name,
            "token": self.token,
            "key_set": self.key_set,
            "issuer": self.issuer,
            "audience": self.audience,
            "leeway": LEEWAY,
            "now": now,
            "ours": self.ours.map_or_else(Reason::code, |()| "accepted"),
        });
        let mut file = file.lock().expect("nobody panics while writing");
        file.write_all(format!("{line}\n").as_bytes()).expect("the case can be written");
    }
}
