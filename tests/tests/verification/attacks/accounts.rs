//! Names of workloads that are read in two ways. Every forged token is signed by the issuer's own
//! key: an issuer that can be talked into odd names must not give its callers another's.

use kube_oidc::Reason;
use serde_json::json;

use super::Lock;

/// Kubernetes makes `sub` and the claim of one account (`pkg/serviceaccount/claims.go`: `Claims`).
/// Where they disagree, somebody reads one of them and decides by the other: an API server reads the
/// claim alone (`Validate` there), but compared both in tokens of Secrets (`legacy.go`: `Validate`).
/// RFC 8725, 3.8: a subject is to be validated, not only read.
#[test]
fn subjects_that_disagree_with_the_claim() {
    let lock = Lock::new();
    lock.forge();
    let with = |sub: &str| lock.token().claim("sub", sub).mint();
    lock.accepts("ours", with("system:serviceaccount:payments:checkout"));
    for sub in [
        "",
        ":",
        "checkout",
        "payments:checkout",
        "system:serviceaccount:",
        "system:serviceaccount::",
        "system:serviceaccount:payments",
        "system:serviceaccount:payments:",
        "system:serviceaccount::checkout",
        "system:serviceaccount:payments:admin",
        "system:serviceaccount:kube-system:checkout",
        "system:serviceaccount:checkout:payments",
        "system:serviceaccount:payments:checkout:",
        "system:serviceaccount:payments:checkout:admin",
        "system:serviceaccount:payments::checkout",
        "system:serviceaccount::payments:checkout",
        "system:serviceaccount:kube-system:payments:checkout",
        "system:serviceaccount:system:serviceaccount:payments:checkout",
        "system:serviceaccounts:payments:checkout",
        "system:serviceaccount.payments.checkout",
        "System:ServiceAccount:payments:checkout",
        "system:serviceaccount:Payments:checkout",
        "system:serviceaccount:payments:Checkout",
        "system:serviceaccount:payments:checkout ",
        " system:serviceaccount:payments:checkout",
        "system:serviceaccount:payments: checkout",
        "system:serviceaccount:payments:checkout\u{0}",
        "system:serviceaccount:payments:checkout\n",
        "system:serviceaccount:payments:check\u{43e}ut",
        "system:serviceaccount\u{ff1a}payments:checkout",
        "system:node:payments",
        "system:admin",
        "system:anonymous",
        "system:masters",
        "kubernetes-admin",
        "payments/checkout",
    ] {
        lock.refuses(sub, with(sub), Reason::SubjectMismatch);
    }
    lock.refuses("none", lock.token().without_claim("sub").mint(), Reason::SubjectMismatch);
    for sub in [json!(7), json!(["system:serviceaccount:payments:checkout"]), json!({})] {
        let token = lock.token().claim("sub", sub.clone()).mint();
        lock.refuses(sub, token, Reason::Claims);
    }
}

/// What no namespace, account, pod, node or secret is called, though `sub` agrees with it: a colon
/// or a slash in a name would let one account be read as another. Kubernetes asks for DNS labels
/// and subdomains (`apimachinery`, `pkg/util/validation/validation.go`: `IsDNS1123Label` and
/// `IsDNS1123Subdomain`), and joins and splits the parts of a user at colons
/// (`apiserver`, `pkg/authentication/serviceaccount/util.go`: `SplitUsername`).
#[test]
fn names_that_kubernetes_forbids() {
    let lock = Lock::new();
    lock.forge();
    let of = |namespace: &str, name: &str| {
        // the pod of an ordinary token is forgotten with its account
        lock.token().service_account(namespace, name).mint()
    };
    let (n63, n64, n253, n254) = ("n".repeat(63), "n".repeat(64), "n".repeat(253), "n".repeat(254));
    let bad = [
        "",
        " ",
        ".",
        "..",
        "../x",
        "a..b",
        "a.",
        ".a",
        "-",
        "-a",
        "a-",
        "A",
        "paYments",
        "a_b",
        "a b",
        " a",
        "a ",
        "a\n",
        "a\t",
        "a\u{0}",
        "a:b",
        ":",
        "a:",
        ":a",
        "a/b",
        "/",
        "a\\b",
        "a*",
        "*",
        "a%2fb",
        "a@b",
        "a,b",
        "ä",
        "\u{430}",
        "a\u{200b}",
        "\u{ff41}",
        "\u{1f600}",
        "a\u{301}",
    ];
    for name in bad {
        lock.refuses((name, "as namespace"), of(name, "checkout"), Reason::Claims);
        lock.refuses((name, "as account"), of("payments", name), Reason::Claims);
        for kind in ["pod", "node", "secret"] {
            let object = json!({ "name": name, "uid": "1" });
            let token = lock.token().kubernetes_claim(kind, object).mint();
            lock.refuses((name, kind), token, Reason::Claims);
        }
    }
    // a namespace is a label, and an account a name with dots
    lock.accepts("63", of(&n63, "checkout"));
    lock.refuses("64", of(&n64, "checkout"), Reason::Claims);
    lock.refuses("a.b", of("a.b", "checkout"), Reason::Claims);
    lock.accepts("253", of("payments", &n253));
    lock.refuses("254", of("payments", &n254), Reason::Claims);
    lock.accepts("a.b", of("payments", "a.b"));
    // one text as `sub`, and two ways to read it
    lock.refuses("payments:x, checkout", of("payments:x", "checkout"), Reason::Claims);
    lock.refuses("payments, x:checkout", of("payments", "x:checkout"), Reason::Claims);
}

/// The claim of Kubernetes in other shapes, and the objects in it without what they must have
/// (`pkg/serviceaccount/claims.go`: `privateClaims`, `kubernetes`, `ref`). The members of tokens that
/// live in Secrets are those of `pkg/serviceaccount/legacy.go`: `legacyPrivateClaims`.
#[test]
fn claims_of_another_shape() {
    let lock = Lock::new();
    lock.forge();
    for value in [json!(7), json!("x"), json!([]), json!({}), json!([{ "namespace": "payments" }])]
    {
        let token = lock.token().claim("kubernetes.io", value.clone()).mint();
        lock.refuses(value, token, Reason::Claims);
    }
    lock.refuses("none", lock.token().without_claim("kubernetes.io").mint(), Reason::Claims);
    for (member, value) in [
        ("namespace", json!(null)),
        ("namespace", json!(["payments"])),
        ("namespace", json!({ "name": "payments" })),
        ("serviceaccount", json!(null)),
        ("serviceaccount", json!("checkout")),
        ("serviceaccount", json!(["checkout"])),
        ("serviceaccount", json!({})),
        ("serviceaccount", json!({ "name": "checkout" })),
        ("serviceaccount", json!({ "uid": "1" })),
        ("serviceaccount", json!({ "name": ["checkout"], "uid": "1" })),
        ("serviceaccount", json!({ "name": "checkout", "uid": "" })),
        ("serviceaccount", json!({ "name": "checkout", "uid": 1 })),
        ("serviceaccount", json!({ "name": "checkout", "uid": "a b" })),
        ("serviceaccount", json!({ "name": "checkout", "uid": "a\n" })),
        ("serviceaccount", json!({ "name": "checkout", "uid": "u".repeat(129) })),
        ("pod", json!(null)),
        ("pod", json!("x")),
        ("pod", json!({ "name": "x" })),
        ("secret", json!({ "uid": "x" })),
        ("node", json!([])),
        ("warnafter", json!("soon")),
        ("warnafter", json!(-1)),
        ("warnafter", json!(null)),
    ] {
        let token = lock.token().kubernetes_claim(member, value.clone()).mint();
        lock.refuses((member, value), token, Reason::Claims);
    }
    // names in other letters are other members
    let forge = lock.forge();
    for other in
        [r#""kubernetes_io""#, r#""Kubernetes.io""#, r#""kubernetes.IO""#, r#""kubernetes.io ""#]
    {
        let token = forge.clone().payload(r#""kubernetes.io""#, other).mint();
        lock.refuses(other, token, Reason::Claims);
    }
    let token = forge.payload(r#""namespace""#, r#""Namespace""#).mint();
    lock.refuses("Namespace", token, Reason::Claims);
    // the members that tokens of Secrets had are not read
    let legacy = lock.token().without_claim("kubernetes.io");
    let legacy = legacy
        .claim("kubernetes.io/serviceaccount/namespace", "payments")
        .claim("kubernetes.io/serviceaccount/service-account.name", "checkout");
    lock.refuses("legacy claims", legacy.mint(), Reason::Claims);
}
