//! Headers that point elsewhere, or demand what nobody checks.

use std::{net::TcpListener, time::Duration};

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use kube_oidc::Reason;
use kube_oidc_testing::{SigningAlgorithm, SigningKey, TestIssuer};
use kube_oidc_tests::{
    Forge, Judge as _, builder_for,
    forge::{encode, signed},
    issuer_for,
};
use serde_json::{Value, json};

use super::{ISSUER, Lock, key, signatures::der_signature, stranger, token_by};

/// RFC 8725, 3.10; CVE-2018-0114 (node-jose); RFC 7515, 4.1.2 to 4.1.8: a token brings its own
/// key, or says where to fetch it. It is neither used nor fetched, in whatever form.
#[test]
fn keys_in_a_token_and_places_to_fetch_them_from() {
    // whoever connects is caught, even if it never sends a request
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let evil = format!("http://{}", listener.local_addr().unwrap());
    let host = evil.strip_prefix("http://").unwrap();

    for algorithm in [SigningAlgorithm::Es256, SigningAlgorithm::Rs256, SigningAlgorithm::EdDsa] {
        let lock = Lock::of(algorithm);
        lock.forge();
        let theirs = stranger(algorithm);
        let (ours, as_ours) = (lock.key.kid(), theirs.clone().with_kid(lock.key.kid()));
        let set = json!({ "keys": [theirs.jwk()] });
        for (name, value) in [
            ("jwk", theirs.jwk()),
            ("jwk", as_ours.jwk()),
            ("jwk", json!(theirs.jwk().to_string())),
            ("jwk", json!([theirs.jwk()])),
            ("jwks", set.clone()),
            ("keys", set["keys"].clone()),
            ("jku", json!(evil)),
            ("jku", json!(format!("{evil}/jwks.json"))),
            ("jku", json!([evil])),
            // the issuer's own name in front, in the ways that fool a comparison of beginnings
            ("jku", json!(format!("http://issuer.example@{host}/"))),
            ("jku", json!(format!("{evil}/#{ISSUER}"))),
            ("jku", json!(format!("{evil}/?{ISSUER}"))),
            ("jku", json!(format!("data:application/json,{set}"))),
            ("jku", json!("file:///etc/passwd")),
            ("x5u", json!(format!("{evil}/cert.pem"))),
            ("x5c", json!([evil, "MIIB"])),
            ("x5c", json!("MIIB")),
            ("x5t", json!("AAAA")),
            ("x5t#S256", json!("AAAA")),
            ("iss", json!(evil)),
            ("url", json!(evil)),
        ] {
            let token = || lock.token().header(name, value.clone());
            let what = (algorithm, name, value.to_string());
            // in the name of our key, of theirs, and of none
            let in_our_name = token().forged_by(theirs);
            lock.refuses(&what, in_our_name.clone().mint(), Reason::Signature);
            lock.refuses(&what, token().signed_by(theirs).mint(), Reason::UnknownKey);
            lock.refuses(&what, in_our_name.without_header("kid").mint(), Reason::Signature);
            // an honest token that has such a member is read over it
            lock.accepts(&what, token().header("kid", ours).mint());
        }
    }
    assert!(listener.accept().is_err(), "somebody was asked for a key");
}

/// RFC 8725, 3.10; RFC 7515, 4.1.6 to 4.1.8: the kin of CVE-2018-0114, where the key comes in a
/// certificate that the forger made and signed with it. Nothing is wrong with the certificate but
/// that nobody trusts it; who checks the signature by its key and asks no more believes everybody.
#[test]
fn certificates_in_a_token() {
    for algorithm in [SigningAlgorithm::Es256, SigningAlgorithm::Rs256, SigningAlgorithm::EdDsa] {
        let theirs = stranger(algorithm);
        let der = self_signed(theirs);
        // a certificate that others would read, of the key that signs the token
        rustls::RootCertStore::empty().add(der.clone().into()).unwrap();
        assert!(der.windows(theirs.public_bytes().len()).any(|part| part == theirs.public_bytes()));

        let cert = STANDARD.encode(&der);
        let pem = format!("-----BEGIN CERTIFICATE-----\n{cert}\n-----END CERTIFICATE-----\n");
        let sha1 = encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &der));
        let sha256 = encode(digest::digest(&digest::SHA256, &der));
        let all = json!({ "x5c": [cert], "x5t": sha1, "x5t#S256": sha256, "jwk": theirs.jwk() });
        let lock = Lock::of(algorithm);
        lock.forge();
        for members in [
            json!({ "x5c": [cert] }),
            // as a chain up to its own issuer
            json!({ "x5c": [cert, cert] }),
            json!({ "x5t": sha1 }),
            json!({ "x5t#S256": sha256 }),
            json!({ "x5c": [cert], "x5t": sha1, "x5t#S256": sha256 }),
            all.clone(),
            json!({ "x5u": format!("data:application/pem-certificate-chain,{pem}") }),
            // in forms that no RFC has, and some reader might
            json!({ "x5c": cert }),
            json!({ "x5c": [pem] }),
            json!({ "x5c": [encode(&der)] }),
        ] {
            let token = || {
                let members = members.as_object().unwrap();
                members
                    .iter()
                    .fold(lock.token(), |token, (name, value)| token.header(name, value.clone()))
            };
            let what = (algorithm, members.to_string());
            // in the name of our key, of theirs, of the certificate, and of none
            let in_our_name = token().forged_by(theirs);
            lock.refuses(&what, in_our_name.clone().mint(), Reason::Signature);
            lock.refuses(&what, token().signed_by(theirs).mint(), Reason::UnknownKey);
            for kid in [&sha1, &sha256] {
                let named = in_our_name.clone().header("kid", kid.as_str());
                lock.refuses(&what, named.mint(), Reason::UnknownKey);
            }
            lock.refuses(&what, in_our_name.without_header("kid").mint(), Reason::Signature);
            // an honest token that has such a member is read over it
            lock.accepts(&what, token().mint());
        }
        // RFC 7517, 4.7: beside a key of the set, where it has to be of that key, and is not
        let mut jwk = lock.key.jwk();
        jwk.as_object_mut().unwrap().extend(all.as_object().unwrap().clone());
        let published = Lock::with_keys(&lock.key, &[jwk]);
        published.forge();
        let forged = published.token().forged_by(theirs).mint();
        published.refuses(algorithm, forged, Reason::Signature);
    }
}

/// A certificate of the key, by the key, in the name of the issuer's host.
pub(crate) fn self_signed(key: &SigningKey) -> Vec<u8> {
    let params = rcgen::CertificateParams::new(["issuer.example".to_owned()]).unwrap();
    params.self_signed(&Certified(key)).unwrap().der().to_vec()
}

/// A key as a signer of certificates.
struct Certified<'k>(&'k SigningKey);

impl rcgen::PublicKeyData for Certified<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        match self.0.algorithm() {
            SigningAlgorithm::Es256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            SigningAlgorithm::EdDsa => &rcgen::PKCS_ED25519,
            _ => &rcgen::PKCS_RSA_SHA256,
        }
    }
}

impl rcgen::SigningKey for Certified<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature = self.0.sign(message);
        // a certificate has the numbers of ECDSA in DER
        Ok(if self.0.algorithm() == SigningAlgorithm::Es256 {
            let (r, s) = signature.split_at(signature.len() / 2);
            der_signature(r, s)
        } else {
            signature
        })
    }
}

/// RFC 8725, 3.10; RFC 7515, 4.1.2: the same with keys that are fetched. Only the issuer's own URLs
/// are ever read.
#[tokio::test]
async fn a_token_does_not_choose_what_is_fetched() {
    let (issuer, evil) = (TestIssuer::start(), TestIssuer::start());
    let trusted = issuer_for(&issuer);
    let verifier = builder_for(trusted)
        // each unknown kid is worth a fetch
        .dangerous_no_unknown_kid_cooldown()
        .build()
        .unwrap();
    let token = || issuer.token().audience("orders");
    assert!(verifier.judge(token().mint()).await.is_ok());
    let theirs = evil.signing_key();
    for (kid, jku) in [
        ("../../evil", evil.jwks_uri()),
        (evil.jwks_uri(), evil.jwks_uri()),
        ("?x=1#", evil.url()),
        ("/openid/v1/other", "/openid/v1/other"),
        ("http://127.0.0.1/\r\nHost: evil", evil.base_url()),
    ] {
        let forged = token().signed_by(&theirs).header("kid", kid).header("jku", jku).mint();
        let error = verifier.judge(&forged).await.unwrap_err();
        assert_eq!(error.reason(), Reason::UnknownKey, "{kid}");
    }
    assert!(issuer.key_fetches() > 1, "unknown keys are looked for");
    for request in issuer.received_requests() {
        let paths = ["/.well-known/openid-configuration", "/openid/v1/jwks"];
        assert!(paths.contains(&request.path.as_str()), "{}", request.path);
    }
    assert_eq!(evil.received_requests().len(), 0);
}

/// RFC 8725, 3.10: `kid` goes into look-ups of other verifiers, be they files, SQL, LDAP or a
/// shell. Here it is compared with the names in the set, and that is all.
#[test]
fn names_of_keys_that_are_something_else() {
    let lock = Lock::new();
    let forge = lock.forge();
    let ours = format!("{:?}", lock.key.kid());
    for kid in [
        " ",
        "/dev/null",
        "../../../../../../dev/null",
        "..\\..\\windows\\win.ini",
        "file:///proc/sys/kernel/randomize_va_space",
        "' UNION SELECT 'key';--",
        "1' OR '1'='1",
        "x' || '",
        "*)(uid=*",
        "`id`",
        "$(id)",
        "; sleep 10",
        "|id",
        "${jndi:ldap://127.0.0.1/x}",
        "{{7*7}}",
        "%2e%2e%2f",
        "__proto__",
        "constructor",
        "null",
        "0",
        "the-ES256-ke",
        "the-ES256-key ",
        " the-ES256-key",
        "the-es256-key",
        "THE-ES256-KEY",
        "the-ES256-key\u{0}",
        "the-ES256-key\u{0}.pem",
        "the-ES256-key\n",
        "the-ES256-key\u{200b}",
        "th\u{435}-ES256-key",
        "\u{feff}the-ES256-key",
        "the-ES256-key,the-RS256-key",
        "the%2dES256-key",
        "\u{202e}yek-652SE-eht",
    ] {
        let forged = forge.clone().header(&ours, json!(kid).to_string());
        lock.refuses(kid, forged.mint(), Reason::UnknownKey);
    }
    for value in ["null", "0", "-1", "true", "[]", r#"["the-ES256-key"]"#, "{}", r#"{"kid":1}"#] {
        let forged = forge.clone().header(&ours, value);
        lock.refuses(value, forged.mint(), Reason::Malformed);
    }
    // twice, in whatever order and spelling
    let (first, second) = (r#""kid":"/dev/null""#, r#""k\u0069d":"the-ES256-key""#);
    for member in [first, second, r#""kid":"the-ES256-key""#] {
        lock.refuses(member, forge.clone().with_header(member).mint(), Reason::Malformed);
    }
    // a name of many bytes, which no set may hold, and one that is more than a whole token
    let long = |length: usize| format!("{:?}", "k".repeat(length));
    lock.refuses("1,024", forge.clone().header(&ours, long(1024)).mint(), Reason::UnknownKey);
    lock.refuses("1,025", forge.clone().header(&ours, long(1025)).mint(), Reason::Malformed);
    lock.refuses("1 MB", forge.clone().header(&ours, long(1 << 20)).mint(), Reason::TooLong);
    // the same name in other letters of JSON is the same name
    lock.accepts("escaped", forge.header(&ours, r#""\u0074he-ES256\u002dkey""#).mint());
}

/// RFC 8725, 3.1 and 3.10: the empty key of `/dev/null` as the secret of an HMAC, which is what
/// path traversal in `kid` is for.
#[test]
fn an_empty_secret_behind_a_path() {
    use aws_lc_rs::hmac;
    let lock = Lock::new();
    let forged = lock
        .forge()
        .header(r#""alg":"ES256""#, r#""alg":"HS256""#)
        .header(r#""the-ES256-key""#, r#""../../../dev/null""#);
    let tag =
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b""), forged.signing_input().as_bytes());
    lock.refuses("/dev/null", forged.mint_with(tag), Reason::Algorithm);
}

/// RFC 7515, 4.1.11: what is in `crit` must be understood, or the token refused; nothing in it is
/// understood here. Nor are members that change what the parts of a token are: `b64` (RFC 7797),
/// `zip` and `enc` (RFC 7516). CVE-2025-59420 (Authlib) read over an unknown `crit`.
#[test]
fn headers_that_demand() {
    for algorithm in [SigningAlgorithm::Es256, SigningAlgorithm::Rs256, SigningAlgorithm::EdDsa] {
        let lock = Lock::of(algorithm);
        let forge = lock.forge();
        for member in [
            r#""crit":[]"#,
            r#""crit":["exp"]"#,
            r#""crit":["alg"]"#,
            r#""crit":["bork"],"bork":true"#,
            r#""crit":["http://example.invalid/UNDEFINED"],"http://example.invalid/UNDEFINED":1"#,
            r#""crit":["bork"]"#,
            r#""crit":"exp""#,
            r#""crit":null"#,
            r#""crit":false"#,
            r#""crit":{}"#,
            r#""cr\u0069t":["exp"]"#,
            r#""crit":["b64"],"b64":false"#,
            r#""crit":["b64"],"b64":true"#,
            r#""b64":false"#,
            r#""b64":true"#,
            r#""b64":null"#,
            r#""zip":"DEF""#,
            r#""zip":"none""#,
            r#""zip":null"#,
            r#""enc":"A256GCM""#,
            r#""enc":null"#,
        ] {
            let forged = forge.clone().with_header(member);
            lock.refuses((algorithm, member), forged.mint(), Reason::Malformed);
        }
        // nothing is demanded by such members
        for member in [r#""Crit":["exp"]"#, r#""cty":"text""#, r#""x":{"crit":["exp"]}"#] {
            lock.accepts((algorithm, member), forge.clone().with_header(member).mint());
        }
    }
}

/// RFC 7797, 5.2 and 6: with `b64` false the payload stands in the token as it is, and is what is
/// signed. Who ignores `b64` reads other claims than whoever made it.
#[test]
fn a_payload_that_is_not_encoded() {
    let lock = Lock::new();
    let forge = lock.forge();
    let payload = String::from_utf8(forge.payload.clone()).unwrap();
    let as_it_is =
        |forge: &Forge, payload: &str| signed(&encode(&forge.header), payload, &lock.key);
    // with the dots of the payload, the token has more parts
    lock.refuses("dots", as_it_is(&forge, &payload), Reason::Malformed);
    let undotted = payload.replace('.', r"\u002e");
    lock.refuses("without b64", as_it_is(&forge, &undotted), Reason::Malformed);
    let demanding = forge.with_header(r#""crit":["b64"],"b64":false"#);
    lock.refuses("with b64", as_it_is(&demanding, &undotted), Reason::Malformed);
}

/// CVE-2022-36083 (panva/jose), CVE-2023-50967 (latchset/jose), CVE-2024-33664 (python-jose):
/// work without end, or a payload without end, that a header asks for.
#[test]
fn headers_that_ask_for_much_work() {
    let lock = Lock::new();
    let forge = lock.forge();
    let start = std::time::Instant::now();
    for p2c in ["2147483647", "9007199254740991", "18446744073709551615", "1e308"] {
        let member = format!(r#""p2c":{p2c},"p2s":"AAAAAAAAAAA""#);
        let forged = forge.clone().with_header(&member);
        let renamed = forged.clone().header(r#""ES256""#, r#""PBES2-HS256+A128KW""#);
        lock.refuses(p2c, renamed.mint(), Reason::Algorithm);
        let encrypted = renamed.with_header(r#""enc":"A128GCM""#);
        lock.refuses(p2c, encrypted.mint(), Reason::Malformed);
        // beside an honest alg it means nothing
        lock.accepts(p2c, forged.mint());
    }
    // minutes, if anybody did that work
    assert!(start.elapsed() < Duration::from_secs(20));
}

/// RFC 7515, 4: names of members are compared exactly, and none is guessed.
#[test]
fn names_of_members_that_are_nearly_right() {
    let lock = Lock::new();
    let forge = lock.forge();
    for alg in [r#""Alg""#, r#""ALG""#, r#""alg ""#, r#"" alg""#, r#""a\u200blg""#, r#""al\u0261""#]
    {
        let renamed = forge.clone().header(r#""alg""#, alg);
        lock.refuses(alg, renamed.mint(), Reason::Malformed);
        // beside the right one it is a member like any other
        lock.accepts(alg, forge.clone().with_header(format!(r#"{alg}:"none""#)).mint());
    }
    // without a kid the only key of the alg is meant; under another name there is no kid
    for kid in [r#""Kid""#, r#""KID""#, r#""kid ""#] {
        lock.accepts(kid, forge.clone().header(r#""kid""#, kid).mint());
    }
}

/// RFC 7515, 4.1.4: `kid` is optional. Without it there must be exactly one key that fits: none
/// is guessed among several, and the token does not get to try them all.
#[test]
fn a_token_that_names_no_key() {
    let (one, other) = (key(SigningAlgorithm::Es256), stranger(SigningAlgorithm::Es256));
    let nameless = |key: &SigningKey| token_by(key).without_header("kid").mint();
    let alone = Lock::with_keys(one, &[one.jwk(), key(SigningAlgorithm::Rs256).jwk()]);
    alone.accepts("the only one for its alg", nameless(one));
    let both = Lock::with_keys(one, &[one.jwk(), other.jwk()]);
    both.forge();
    for key in [one, other] {
        both.refuses("one of two", nameless(key), Reason::UnknownKey);
    }
    let none = nameless(key(SigningAlgorithm::EdDsa));
    both.refuses("none", none, Reason::UnknownKey);
    // a key without a name is no key for every name
    let mut unnamed: Value = one.jwk();
    unnamed.as_object_mut().unwrap().remove("kid");
    let lock = Lock::with_keys(one, &[unnamed]);
    lock.accepts("a key without a name", nameless(one));
    lock.refuses("a name that no key has", lock.token().mint(), Reason::UnknownKey);
    lock.accepts("an empty name is none", lock.token().header("kid", "").mint());
    both.refuses("an empty name", token_by(one).header("kid", "").mint(), Reason::UnknownKey);
}
