//! Faults of claims in words: names of claims from a fixed list, and never a value.

use super::{
    NumericDate, PayloadMembers, PayloadName,
    invalid_claim::invalid,
    service_account::{KubernetesClaim, KubernetesName, ObjectClaim},
};
use crate::{
    encoding::json::{Malformed, Name as _},
    error::InvalidToken,
};

const STRING: &str = "a string";
const OBJECT: &str = "an object";

/// The refusal of a payload that cannot be read.
#[cold]
pub(super) fn malformed(error: &Malformed, members: &PayloadMembers<'_>) -> InvalidToken {
    match members.fault() {
        Some((claim, _)) if error.is_twice() => {
            InvalidToken::Claims(format!("duplicate member at the claim `{claim}`"))
        }
        Some((claim, expected)) if error.is_of_other_kind() => invalid(&claim, expected),
        _ => InvalidToken::Claims(format!("invalid JSON in the payload: {}", error.place())),
    }
}

/// The path of a claim, and what its value must be.
type Fault = (String, &'static str);

impl PayloadMembers<'_> {
    fn fault(&self) -> Option<Fault> {
        let name = self.fault?;
        let expected = match name {
            PayloadName::Aud => "a string or a list of strings",
            PayloadName::Exp | PayloadName::Iat | PayloadName::Nbf => NumericDate::EXPECTED,
            PayloadName::Iss | PayloadName::Jti | PayloadName::Sub => STRING,
            PayloadName::Cnf | PayloadName::Kubernetes => OBJECT,
        };
        let inner = self.kubernetes.as_ref().filter(|_| matches!(name, PayloadName::Kubernetes));
        Some(within(name.text(), expected, inner.and_then(KubernetesClaim::fault)))
    }
}

impl KubernetesClaim<'_> {
    fn fault(&self) -> Option<Fault> {
        let name = self.fault?;
        let (expected, object) = match name {
            KubernetesName::Namespace => (STRING, &None),
            KubernetesName::WarnAfter => (NumericDate::EXPECTED, &None),
            KubernetesName::ServiceAccount => (OBJECT, &self.service_account),
            KubernetesName::Pod => (OBJECT, &self.pod),
            KubernetesName::Node => (OBJECT, &self.node),
            KubernetesName::Secret => (OBJECT, &self.secret),
        };
        Some(within(name.text(), expected, object.as_ref().and_then(ObjectClaim::fault)))
    }
}

impl ObjectClaim<'_> {
    fn fault(&self) -> Option<Fault> {
        Some((self.fault?.text().to_owned(), STRING))
    }
}

fn within(name: &str, expected: &'static str, inner: Option<Fault>) -> Fault {
    match inner {
        Some((path, expected)) => (format!("{name}.{path}"), expected),
        None => (name.to_owned(), expected),
    }
}
