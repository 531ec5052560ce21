//! How much memory a flood of tokens leaves behind. Each kind has a process of its own, so that
//! none hides what another one left.

use std::{env, fs, io::Write as _, process::Command};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use kube_oidc::{Reason, Verifier};
use kube_oidc_benches::inputs::{builder, pod_token, verify};
use kube_oidc_testing::{SigningAlgorithm, SigningKey, TestIssuer};

/// What a flood is of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    WrongSignature,
    UnknownKid,
    Good,
    GoodByDigest,
    GoodForgotten,
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::WrongSignature,
        Self::UnknownKid,
        Self::Good,
        Self::GoodByDigest,
        Self::GoodForgotten,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::WrongSignature => "junk: wrong signatures by a known key",
            Self::UnknownKid => "junk: unknown keys",
            Self::Good => "good tokens, the cache as it is by default",
            Self::GoodByDigest => "good tokens, the cache with digests",
            Self::GoodForgotten => "good tokens, no cache",
        }
    }

    fn bar(self) -> &'static str {
        match self {
            Self::WrongSignature | Self::UnknownKid => "8 MB",
            Self::Good | Self::GoodByDigest | Self::GoodForgotten => "",
        }
    }

    /// What is to come of each token.
    fn verdict(self) -> Option<Reason> {
        match self {
            Self::WrongSignature => Some(Reason::Signature),
            Self::UnknownKid => Some(Reason::UnknownKey),
            Self::Good | Self::GoodByDigest | Self::GoodForgotten => None,
        }
    }

    fn algorithm(self) -> SigningAlgorithm {
        match self.verdict() {
            Some(_) => SigningAlgorithm::Rs256,
            // so many are signed soon
            None => SigningAlgorithm::EdDsa,
        }
    }

    fn verifier(self, issuer: &TestIssuer) -> Verifier {
        let builder = match self {
            Self::GoodByDigest => builder(issuer).token_cache_digests(),
            Self::GoodForgotten => builder(issuer).token_cache(0),
            _ => builder(issuer),
        };
        builder.build().expect("good settings")
    }
}

/// Stands in a template where a number goes.
const BLANK: &str = "00000000000000000000";

/// JSON with a number in it.
struct Template {
    json: Vec<u8>,
    /// Where the number is, if there is one.
    blank: Option<usize>,
}

impl Template {
    /// Of a part of a token.
    fn of(part: &str) -> Self {
        let json = URL_SAFE_NO_PAD.decode(part).expect("base64url");
        let blank = json.windows(BLANK.len()).position(|window| window == BLANK.as_bytes());
        Self { json, blank }
    }

    fn put(&mut self, number: u64) {
        if let Some(blank) = self.blank {
            let mut room = &mut self.json[blank..][..BLANK.len()];
            write!(room, "{number:020}").expect("room for the number");
        }
    }
}

/// Makes tokens that differ, in the same memory each time.
struct Tokens {
    header: Template,
    payload: Template,
    signature: Vec<u8>,
    /// What signs the good ones.
    key: Option<SigningKey>,
    token: String,
}

impl Tokens {
    fn of(kind: Kind, issuer: &TestIssuer) -> Self {
        let builder = pod_token(issuer).claim("jti", BLANK);
        let template = match kind {
            Kind::UnknownKid => builder.header("kid", BLANK).mint(),
            _ => builder.mint(),
        };
        let parts: Vec<&str> = template.split('.').collect();
        Self {
            header: Template::of(parts[0]),
            payload: Template::of(parts[1]),
            signature: URL_SAFE_NO_PAD.decode(parts[2]).expect("base64url"),
            key: kind.verdict().is_none().then(|| issuer.signing_key()),
            token: String::new(),
        }
    }

    /// Another one for each number.
    fn make(&mut self, number: u64) -> &str {
        // an odd factor mixes, and brings no two numbers together
        let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.header.put(mixed);
        self.payload.put(mixed);
        let token = &mut self.token;
        token.clear();
        URL_SAFE_NO_PAD.encode_string(&self.header.json, token);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(&self.payload.json, token);
        if let Some(key) = &self.key {
            self.signature = key.sign(token.as_bytes());
        } else {
            let (_, end) = self.signature.split_last_chunk_mut().expect("a longer signature");
            *end = mixed.to_be_bytes();
        }
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(&self.signature, token);
        token
    }
}

/// By how many KiB the process grows.
async fn flood(kind: Kind, count: u64) -> i64 {
    let issuer = TestIssuer::builder().algorithm(kind.algorithm()).start();
    let verifier = kind.verifier(&issuer);
    verifier.ready().await;
    verify(&verifier, &pod_token(&issuer).mint());
    let mut tokens = Tokens::of(kind, &issuer);
    let before = resident();
    for number in 1..=count {
        let verdict = verifier.verify(tokens.make(number)).await;
        assert_eq!(verdict.err().map(|error| error.reason()), kind.verdict());
    }
    resident() - before
}

/// The memory of this process that is resident, in KiB.
fn resident() -> i64 {
    let status = fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// [`flood`] in a process of its own.
fn flood_elsewhere(place: usize, count: u64) -> i64 {
    let mut command = Command::new(env::current_exe().expect("a path"));
    let output = command.args([count.to_string(), place.to_string()]).output().expect("a process");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number")
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<u64> =
        env::args().skip(1).map(|argument| argument.parse().expect("a number")).collect();
    let count = arguments.first().copied().unwrap_or(1_000_000);
    if let Some(&place) = arguments.get(1) {
        let kind = Kind::ALL[usize::try_from(place).expect("a kind")];
        println!("{}", flood(kind, count).await);
        return;
    }
    println!("| what | tokens | growth in MiB | bar |");
    println!("| --- | ---: | ---: | --- |");
    for (place, kind) in Kind::ALL.into_iter().enumerate() {
        let growth = flood_elsewhere(place, count) as f64 / 1024.0;
        println!("| {} | {count} | {growth:.2} | {} |", kind.name(), kind.bar());
    }
}
