//! Tokens of the demo's own issuer: good ones, and such as something is wrong with.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{
    Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::StatusCode,
};
use kube_oidc_testing::{SigningKey, TokenBuilder};
use serde::{Deserialize, Serialize};

use super::{
    Page,
    exchange::{Problem, read},
};

const HOUR: Duration = Duration::from_secs(3600);

/// As long as API servers let tokens live that they extend.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// As long as a name may be, in bytes. Names that no cluster would have are welcome, since a
/// token may hold them, but not for ever.
const MAX_NAME_BYTES: usize = 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    namespace: String,
    service_account: String,
    /// Nothing for a token that is not bound to one.
    #[serde(default)]
    pod: String,
    #[serde(default)]
    node: String,
    /// Several may stand between commas; for none, the token is for its issuer.
    audience: String,
    lifetime_seconds: u64,
    kind: Kind,
}

/// What is wrong with a token.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Good,
    Expired,
    NotYetValid,
    /// Good, though it should have been replaced.
    PastWarnAfter,
    OtherAudience,
    /// Of an issuer that the verifier does not know.
    OtherIssuer,
    /// Signed by a key that the issuer never had.
    UnknownKey,
    /// Changed after it was signed.
    Tampered,
    /// With `none` as its `alg`.
    Unsigned,
    /// Of a Secret in an old cluster.
    Legacy,
}

#[derive(Serialize)]
pub(super) struct Minted {
    token: String,
}

pub(super) async fn mint(
    State(page): State<Arc<Page>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Minted>, Problem> {
    let wanted: Wanted = read(body)?;
    wanted.check()?;
    // it may have to make a key, which takes a while
    let minted = tokio::task::spawn_blocking(move || page.token(&wanted)).await;
    let failed = |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "it could not be minted");
    Ok(Json(Minted { token: minted.map_err(failed)? }))
}

impl Wanted {
    fn check(&self) -> Result<(), Problem> {
        let refused = |error| Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error));
        let names = [&self.namespace, &self.service_account, &self.pod, &self.node, &self.audience];
        if names.iter().any(|name| name.len() > MAX_NAME_BYTES) {
            return refused("a name has more than 1,024 bytes");
        }
        if !(1..=YEAR.as_secs()).contains(&self.lifetime_seconds) {
            return refused("the lifetime should be a second to a year");
        }
        Ok(())
    }

    fn bind(&self, mut token: TokenBuilder, audience: &str) -> TokenBuilder {
        token = token.service_account(&self.namespace, &self.service_account);
        if !self.pod.is_empty() {
            token = token.pod(&self.pod);
        }
        if !self.node.is_empty() {
            token = token.node(&self.node);
        }
        let audiences = audience.split(',').map(str::trim).filter(|audience| !audience.is_empty());
        audiences.fold(token, TokenBuilder::audience)
    }
}

impl Page {
    fn token(&self, wanted: &Wanted) -> String {
        let now = SystemTime::now();
        let lifetime = Duration::from_secs(wanted.lifetime_seconds);
        let started_at =
            |start| move |token: TokenBuilder| token.issued_at(start).expires_at(start + lifetime);
        let audience = match wanted.kind {
            Kind::OtherAudience => "somebody-else",
            _ => &wanted.audience,
        };
        let good = started_at(now)(wanted.bind(self.issuer.token(), audience));
        match wanted.kind {
            Kind::Good | Kind::OtherAudience => good.mint(),
            Kind::Expired => started_at(now - lifetime - HOUR)(good).mint(),
            Kind::NotYetValid => started_at(now + HOUR)(good).mint(),
            Kind::PastWarnAfter => {
                good.issued_at(now - 2 * HOUR).warn_after(now - HOUR).expires_in(YEAR).mint()
            }
            Kind::OtherIssuer => good
                .claim("iss", "https://issuer.elsewhere.example")
                .signed_by(self.stranger())
                .mint(),
            Kind::UnknownKey => good.signed_by(self.stranger()).mint(),
            Kind::Tampered => tampered(good),
            Kind::Unsigned => good.header("alg", "none").signature([]).mint(),
            Kind::Legacy => good.legacy(&wanted.namespace, &wanted.service_account).mint(),
        }
    }

    fn stranger(&self) -> &SigningKey {
        let algorithm = self.issuer.signing_key().algorithm();
        self.stranger.get_or_init(|| SigningKey::generate(algorithm))
    }
}

/// What somebody makes who has a token and would like to be the administrator.
fn tampered(token: TokenBuilder) -> String {
    let signed = token.clone().mint();
    let wanted = token.service_account("kube-system", "admin").mint();
    match (wanted.rsplit_once('.'), signed.rsplit_once('.')) {
        (Some((content, _)), Some((_, signature))) => format!("{content}.{signature}"),
        // a token has dots
        _ => wanted,
    }
}
