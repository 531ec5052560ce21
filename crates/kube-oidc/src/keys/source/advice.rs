//! The meaning of a status other than 200, and the way out.

use std::borrow::Cow;

/// What was read from a URL, as far as messages need to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A document or key set of an API server that this process is configured with.
    ApiServer,
    /// The discovery document of an issuer with a path.
    BelowRoot,
    Other,
}

/// Explains a status.
///
/// `location` is where a redirect leads: scheme, host, and port. Whether credentials were sent is
/// unknown for custom fetchers.
pub(super) fn advice(
    status: u16,
    location: Option<&str>,
    place: Place,
    sent_credentials: Option<bool>,
) -> Cow<'static, str> {
    let advice = match (status, sent_credentials) {
        (304, _) => ", which is no answer to a request without a condition",
        (300..=399, _) => {
            let location = location.map(|to| format!(" to {to}")).unwrap_or_default();
            return format!(
                ", a redirect{location}; redirects are not followed: configure the new issuer, or \
                 the new URL of its keys with KeySource::jwks(..)"
            )
            .into();
        }
        (404, _) if place == Place::ApiServer => {
            ": the API server has no discovery, since its --service-account-issuer is no https URL \
             or it is older than Kubernetes 1.20; use Issuer::opaque(..) and KeySource::file(..)"
        }
        (401 | 403, Some(false)) => {
            ": no credentials were sent. A kube-apiserver demands a token \
             (HttpFetcher::with_bearer_token_file(..)) unless anonymous readers are bound to the ClusterRole \
             system:service-account-issuer-discovery. A token is sent to the origin of the key source, \
             and to others by add_credential_origin(..)"
        }
        (401, Some(true)) => {
            ": the credentials were sent and not accepted. The token may have expired, be signed by \
             a removed key, or belong to another cluster"
        }
        (403, Some(true)) if place == Place::BelowRoot => {
            ": the credentials were accepted and lack permission for this path. A kube-apiserver \
             serves its keys at /openid/v1/jwks, whatever the path of its issuer: KeySource::jwks(..)"
        }
        (403, Some(true)) => {
            ": the credentials were accepted and lack permission. A kube-apiserver demands the \
             ClusterRole system:service-account-issuer-discovery"
        }
        (401 | 403, None) => ": the fetcher sent no credentials, or none that may read this URL",
        _ => "",
    };
    advice.into()
}
