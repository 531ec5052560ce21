//! Tokens and their claims.

use std::{
    error::Error as _,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use http::{Request, Response};
use kube_oidc::{
    Issuer, KeySource, Policy, ServiceAccountClaims, Verified, Verifier, in_namespace,
};
use kube_oidc_testing::{TestIssuer, TokenBuilder};
use kube_oidc_tests::{builder_for, verifier_for};
use serde_json::{Value, json};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_kube_oidc::ServiceAccountTokenLayer;

use super::{Case, chain};

/// Stands in tokens, and in no message.
const SECRET: &str = "s3cr3t-value";

pub(super) async fn cases() -> Vec<Case> {
    let issuer = TestIssuer::start();
    let mut cases = legacy_names(&issuer).await;
    cases.extend(registered_claims(&issuer).await);
    cases.extend(custom_claims(&issuer).await);
    cases.push(sender_constrained(&issuer).await);
    cases.push(stale(&issuer).await);
    cases.extend(nodes());
    cases.extend(default_folder(&issuer).await);
    cases
}

fn minted(issuer: &TestIssuer) -> TokenBuilder {
    issuer.token().audience("orders").claim("x", SECRET)
}

/// The message of a token, for an operator: its error, and what the verifier explains.
async fn case<C: kube_oidc::Claims>(
    input: &'static str,
    verifier: Verifier<C>,
    token: TokenBuilder,
    words: [&'static str; 3],
) -> Case {
    let token = token.mint();
    let error = verifier.verify(&token).await.err().unwrap();
    let source = error.source().map(ToString::to_string);
    assert!(source.is_none_or(|source| !error.to_string().contains(&source)), "{error}");
    let error = chain(&error);
    let message = format!("{error}\n{}", verifier.explain(&token));
    Case { input, message, words, secrets: vec![SECRET.to_owned(), "8675309".to_owned(), token] }
}

async fn legacy_names(issuer: &TestIssuer) -> Vec<Case> {
    const NAME: &str = "kubernetes/serviceaccount";
    let named = Issuer::opaque(NAME, KeySource::fixed(issuer.key_set().to_string()));
    let configured = verifier_for(named);
    vec![
        case(
            "bound token of an issuer that is named as the legacy one and not configured",
            verifier_for(issuer),
            minted(issuer).claim("iss", NAME),
            ["its iss is `kubernetes/serviceaccount`", "Secret", "opaque"],
        )
        .await,
        case(
            "token of a Secret, where an issuer is named as the legacy one",
            configured,
            issuer.token().legacy("payments", SECRET),
            ["its iss is `kubernetes/serviceaccount`", "legacy token", "projected volume"],
        )
        .await,
    ]
}

async fn registered_claims(issuer: &TestIssuer) -> Vec<Case> {
    const WAY_OUT: &str = "types of RFC 7519";
    let seconds = "expected seconds between 1970 and 9999";
    let mut cases = Vec::new();
    for (input, name, value, words) in [
        ("sub is a number", "sub", json!(8_675_309), ["`sub`", "expected a string", WAY_OUT]),
        ("jti is a number", "jti", json!(8_675_309), ["`jti`", "expected a string", WAY_OUT]),
        ("exp is a string", "exp", json!(SECRET), ["`exp`", seconds, WAY_OUT]),
        ("iat in milliseconds", "iat", json!(8_675_309_000_000_u64), ["`iat`", seconds, WAY_OUT]),
    ] {
        let verifier = builder_for(issuer).claims::<Value>().build().unwrap();
        cases.push(case(input, verifier, minted(issuer).claim(name, value), words).await);
    }
    let payload = format!(r#"{{"iss":"{}","aud":"orders","exp":9e9,"nbf":null}}"#, issuer.url());
    let null = minted(issuer).payload_text(&payload);
    let verifier = builder_for(issuer).claims::<Value>().build().unwrap();
    cases.push(case("nbf is null", verifier, null, ["`nbf`", seconds, WAY_OUT]).await);
    let words = ["`kubernetes.io.pod.name`", "expected a string", "claims::<..>()"];
    let name = json!({ "name": 8_675_309, "uid": SECRET });
    let token = minted(issuer).kubernetes_claim("pod", name);
    cases.push(case("name of a pod is a number", verifier_for(issuer), token, words).await);
    cases
}

#[derive(serde::Deserialize)]
struct WorkerClaims {
    #[expect(dead_code, reason = "it is only read")]
    client_id: String,
}

async fn custom_claims(issuer: &TestIssuer) -> Vec<Case> {
    let verifier = || builder_for(issuer).claims::<WorkerClaims>().build().unwrap();
    let wrong = minted(issuer).bare().claim("client_id", json!([SECRET]));
    vec![
        case(
            "claim is missing that a custom type requires",
            verifier(),
            minted(issuer).bare(),
            ["missing claim `client_id`", "the type requires", "claims::<..>()"],
        )
        .await,
        case(
            "claim is of another type than that of a custom type",
            verifier(),
            wrong,
            ["the claim `client_id`", "does not fit the type", "claims::<..>()"],
        )
        .await,
    ]
}

async fn sender_constrained(issuer: &TestIssuer) -> Case {
    let words = ["`cnf`", "not a bearer token", "dangerous_accept_sender_constrained_tokens()"];
    let token = minted(issuer).claim("cnf", json!({ "jkt": SECRET }));
    case("token that is bound to a key", verifier_for(issuer), token, words).await
}

async fn stale(issuer: &TestIssuer) -> Case {
    let (now, hour) = (SystemTime::now(), Duration::from_secs(3600));
    let token = minted(issuer).issued_at(now - 4 * hour).warn_after(now - 3 * hour);
    let token = token.expires_at(now + 365 * 24 * hour).mint();
    let verifier = verifier_for(issuer);
    verifier.verify(&token).await.unwrap();
    Case {
        input: "token past its warnafter",
        message: verifier.explain(&token).to_string(),
        words: ["lifetime   ok", "good for 365 d", "`warnafter` passed 3 h ago"],
        secrets: vec![SECRET.to_owned(), token],
    }
}

fn nodes() -> [Case; 2] {
    let caller = ServiceAccountClaims::for_test("logging", "agent").with_audience(SECRET);
    let caller = Verified::dangerous_without_verification(caller);
    let policy = Policy::new(in_namespace("logging").on_node("worker-1")).unwrap();
    let empty = Policy::new(in_namespace("logging").on_node("")).unwrap_err();
    let secrets = vec![SECRET.to_owned()];
    [
        Case {
            input: "token without a node, for a rule by node",
            message: policy.check(&caller).unwrap_err().to_string(),
            words: ["on the node \"worker-1\"", "the token names no node", "older than 1.30"],
            secrets: secrets.clone(),
        },
        Case {
            input: "empty NODE_NAME in a rule by node",
            message: empty.to_string(),
            words: ["invalid node", "\"\"", "expected a DNS subdomain"],
            secrets,
        },
    ]
}

/// A token file in the folder of the pod's API server token.
struct InDefaultFolder {
    folder: PathBuf,
    /// The first folder that was made for it.
    made: PathBuf,
}

impl InDefaultFolder {
    /// An error where this user may not make the folder.
    fn holding(token: &str) -> io::Result<Self> {
        let default = Path::new("/var/run/secrets/kubernetes.io/serviceaccount");
        let folder = default.join(format!("kube-oidc-tests-{}", std::process::id()));
        let made = folder.ancestors().take_while(|folder| !folder.exists()).last();
        let made = made.unwrap_or(&folder).to_owned();
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("orders"), token)?;
        Ok(Self { folder, made })
    }
}

impl Drop for InDefaultFolder {
    fn drop(&mut self) {
        // a folder that is in use by now stays
        let _ = fs::remove_file(self.folder.join("orders"));
        for folder in self.folder.ancestors().take_while(|folder| folder.starts_with(&self.made)) {
            let _ = fs::remove_dir(folder);
        }
    }
}

/// None where this user may not write to the folder.
async fn default_folder(issuer: &TestIssuer) -> Option<Case> {
    let token = minted(issuer).mint();
    let file = InDefaultFolder::holding(&token).ok()?;
    let path = file.folder.join("orders");
    let origin = "https://orders.shop.svc".parse().unwrap();
    let layer = ServiceAccountTokenLayer::from_file(path).for_origin(origin);
    let never = service_fn(async |_: Request<String>| Ok::<_, io::Error>(Response::new(())));
    let request = Request::get("https://orders.shop.svc/").body(String::new()).unwrap();
    let error = layer.layer(never).oneshot(request).await.unwrap_err();
    Some(Case {
        input: "token for this service alone, in the default folder",
        message: chain(&error),
        words: ["/orders", "is in the folder of the pod's API server token", "mount it elsewhere"],
        secrets: vec![SECRET.to_owned(), token],
    })
}
