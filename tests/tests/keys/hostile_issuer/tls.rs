//! Certificates that prove nothing, and servers that speak no TLS, or too old a one.

use kube_oidc::{KeySource, source::HttpFetcher};
use kube_oidc_tests::{
    Judge as _, builder_for, issuer_at, issuer_at_with,
    tls::{Authority, LOOPBACK, acceptor, authority, certificate},
    verifier_for,
};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, KeyPair, NameConstraints, SanType, date_time_ymd,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::{
    BOUND, DISCOVERY, Hostile, IMPATIENT, KEYS, PATIENT, Say, assert_said, assert_still_good,
    status,
};

/// RFC 9110, 4.3.4 and RFC 5280, 6: who is asked must prove the name, now, by an authority that is
/// trusted. No request is sent to anybody else, so no credential either.
// rule: fetch-credentials
#[tokio::test]
async fn certificates_that_prove_nothing() {
    let trusted = authority(|_| ());
    let namesake = authority(|_| ());
    let unknown = authority(|params| {
        params.distinguished_name.push(DnType::CommonName, "an unknown authority");
    });
    let ordinary = |_: &mut CertificateParams| ();
    let expired = |params: &mut CertificateParams| {
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
    };
    let early = |params: &mut CertificateParams| params.not_before = date_time_ymd(4000, 1, 1);
    let for_clients = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    };
    let named = |params: &mut CertificateParams| {
        params.distinguished_name.push(DnType::CommonName, "127.0.0.1");
    };
    let elsewhere = |params: &mut CertificateParams| {
        let here = CidrSubnet::V4([127, 0, 0, 0], [255, 0, 0, 0]);
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![],
            excluded_subtrees: vec![GeneralSubtree::IpAddress(here)],
        });
    };
    let self_signed = {
        let key = KeyPair::generate().unwrap();
        let hosts: Vec<String> = LOOPBACK.iter().map(|host| (*host).to_owned()).collect();
        let params = CertificateParams::new(hosts).unwrap();
        (vec![params.self_signed(&key).unwrap().der().clone()], key)
    };
    // signed by a certificate that is no authority
    let by_a_leaf = {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["leaf.example".to_owned()]).unwrap();
        let leaf = params.signed_by(&key, &trusted).unwrap().der().clone();
        let leaf_issuer = rcgen::Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        (vec![params.signed_by(&key, &leaf_issuer).unwrap().der().clone(), leaf], key)
    };
    // an authority between the trusted one and the server
    let between = |change: &dyn Fn(&mut CertificateParams)| {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let authority = Authority::signed_by(params, key, &trusted).unwrap();
        let (mut chain, key) = certificate(LOOPBACK, &authority, ordinary);
        chain.push(authority.der().clone());
        (chain, key)
    };
    let good = certificate(LOOPBACK, &trusted, ordinary);
    let good = Hostile::serving(Some((acceptor(good, &[]), trusted.pem()))).await;
    assert!(good.verifier(PATIENT).judge(good.token()).await.is_ok(), "the honest twin");
    let through = Some((acceptor(between(&ordinary), &[]), trusted.pem()));
    let through = Hostile::serving(through).await;
    assert!(through.verifier(PATIENT).judge(through.token()).await.is_ok(), "its honest twin");

    for (what, chain, words) in [
        (
            "another host",
            certificate(&["other.example", "127.0.0.2"], &trusted, ordinary),
            "certificate not valid for name \"127.0.0.1\"",
        ),
        (
            "no host",
            certificate(&[], &trusted, named),
            "certificate not valid for name \"127.0.0.1\"",
        ),
        (
            "the host in another form",
            certificate(&["127.0.0.1.evil.example", "*"], &trusted, ordinary),
            "certificate not valid for name \"127.0.0.1\"",
        ),
        ("expired", certificate(LOOPBACK, &trusted, expired), "certificate expired"),
        ("not yet valid", certificate(LOOPBACK, &trusted, early), "certificate not valid yet"),
        ("of an unknown authority", certificate(LOOPBACK, &unknown, ordinary), "UnknownIssuer"),
        (
            "of an unknown authority of the same name",
            certificate(LOOPBACK, &namesake, ordinary),
            "BadSignature",
        ),
        ("self-signed", self_signed, "UnknownIssuer"),
        ("signed by no authority", by_a_leaf, "Other(OtherError(EndEntityUsedAsCa))"),
        (
            "for clients",
            certificate(LOOPBACK, &trusted, for_clients),
            "certificate does not allow extended key usage for server authentication",
        ),
        ("of an authority that has expired", between(&expired), "certificate expired"),
        ("of an authority that is none yet", between(&early), "certificate not valid yet"),
        (
            "of an authority for other hosts",
            between(&elsewhere),
            "Other(OtherError(NameConstraintViolation))",
        ),
    ] {
        assert_rejected(what, chain, &trusted, words).await;
    }
}

/// Other libraries accept some of these: a common name in place of a host (RFC 9525, 2 does not), and
/// the certificate of an authority.
// rule: fetch-credentials
#[tokio::test]
async fn certificate_that_names_its_host_in_no_valid_way_is_rejected() {
    let trusted = authority(|_| ());
    let with_email = |params: &mut CertificateParams| {
        params.distinguished_name.push(DnType::CommonName, "127.0.0.1");
        let email = "root@127.0.0.1".try_into().unwrap();
        params.subject_alt_names.push(SanType::Rfc822Name(email));
    };
    let as_authority = |params: &mut CertificateParams| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    };
    let other_hosts = vec!["other.example"; 2_000];
    let not_valid = "certificate not valid for name \"127.0.0.1\"";
    for (what, chain, words) in [
        ("an email address only", certificate(&[], &trusted, with_email), not_valid),
        ("2,000 other hosts", certificate(&other_hosts, &trusted, |_| ()), not_valid),
        ("an authority's", certificate(LOOPBACK, &trusted, as_authority), "CaUsedAsEndEntity"),
    ] {
        assert_rejected(what, chain, &trusted, words).await;
    }
}

/// As the guide makes one for a test: its own root, and no authority (CA:FALSE).
#[tokio::test]
async fn self_signed_certificate_of_no_authority_is_accepted_as_root() {
    let key = KeyPair::generate().unwrap();
    let hosts: Vec<String> = LOOPBACK.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).unwrap();
    params.is_ca = IsCa::ExplicitNoCa;
    let certificate = params.self_signed(&key).unwrap();
    let chain = (vec![certificate.der().clone()], key);
    let hostile = Hostile::serving(Some((acceptor(chain, &[]), certificate.pem()))).await;
    hostile.verifier(PATIENT).judge(hostile.token()).await.unwrap();
}

/// Holds a certificate to be rejected for this reason, before any request is sent.
async fn assert_rejected(
    what: &str,
    chain: (Vec<CertificateDer<'static>>, KeyPair),
    trusted: &Authority,
    words: &str,
) {
    let hostile = Hostile::serving(Some((acceptor(chain, &[]), trusted.pem()))).await;
    let fetcher = HttpFetcher::new().with_root_certificates_pem(trusted.pem());
    let fetcher = fetcher.and_then(|fetcher| fetcher.with_bearer_token("5ecre7")).unwrap();
    let issuer = issuer_at_with(hostile.server.url(), KeySource::discovery().via(fetcher));
    let verifier = builder_for(issuer).fetch_timeout(PATIENT).build().unwrap();
    verifier.judge(hostile.token()).await.unwrap_err();
    assert_said(&verifier, what, "invalid peer certificate: ");
    assert_said(&verifier, what, words);
    assert_eq!(hostile.server.received_requests().len(), 0, "{what}: nothing was asked");
}

/// The platform's authorities do not know a private one.
#[tokio::test]
async fn a_private_authority_that_nobody_told_us_of() {
    let private = authority(|_| ());
    let chain = certificate(LOOPBACK, &private, |_| ());
    let hostile = Hostile::serving(Some((acceptor(chain, &[]), private.pem()))).await;
    assert!(hostile.verifier(PATIENT).judge(hostile.token()).await.is_ok(), "who was told");
    let issuer = issuer_at(hostile.server.url());
    let verifier = verifier_for(issuer);
    verifier.refresh_keys().await.unwrap_err();
    assert_said(&verifier, "untold", "invalid peer certificate: UnknownIssuer");
}

/// Behind an `https` URL there is something else.
#[tokio::test]
async fn servers_that_speak_no_tls() {
    let trusted = authority(|_| ());
    for (what, bytes) in [
        ("plain http", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".to_vec()),
        (
            "a redirect to plain http",
            b"HTTP/1.1 301 X\r\nlocation: http://127.0.0.1/\r\n\r\n".to_vec(),
        ),
        ("nothing", vec![]),
        ("an alert", vec![0x15, 3, 1, 0, 2, 2, 70]),
        ("a record without end", [&[0x16, 3, 3, 0xff, 0xff][..], &vec![0; 70_000]].concat()),
        ("bytes of all kinds", (0..=255).collect()),
    ] {
        let hostile = Hostile::start().await;
        hostile.server.always_says(Some(Say::Bytes(bytes)));
        let url = hostile.server.url().replace("http:", "https:");
        let issuer = issuer_at_with(
            &url,
            KeySource::discovery().via(
                HttpFetcher::new()
                    .with_root_certificates_pem(trusted.pem())
                    .unwrap()
                    .with_bearer_token("5ecre7")
                    .unwrap(),
            ),
        );
        let verifier = builder_for(issuer).fetch_timeout(PATIENT).build().unwrap();
        let token = hostile.mint.token().claim("iss", url).audience("orders").mint();
        verifier.judge(token).await.unwrap_err();
        assert_said(&verifier, what, "could not be read");
        for request in hostile.server.received_requests() {
            assert!(!request.contains("5ecre7"), "{what}: a credential in plain text");
        }
    }
}

/// RFC 8996: TLS 1.1 and what was before it are not spoken. The server chooses one of them in a whole
/// `ServerHello` (RFC 4346, 7.4.1.3), with a suite of its days, and waits: the client is the one that
/// ends it, by an alert that says why. The same hello of TLS 1.2 is gone on with.
#[tokio::test]
async fn versions_of_tls_that_are_too_old() {
    const PROTOCOL_VERSION: [u8; 2] = [2, 70];
    for (what, minor, suite) in [
        ("SSL 3", 0, [0, 0x0a]),
        ("TLS 1.0", 1, [0xc0, 0x13]),
        ("TLS 1.1", 2, [0xc0, 0x13]),
        ("TLS 1.2", 3, [0xc0, 0x2f]),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut record = [0; 5];
            stream.read_exact(&mut record).await.unwrap();
            let mut hello = vec![0; usize::from(u16::from_be_bytes([record[3], record[4]]))];
            stream.read_exact(&mut hello).await.unwrap();
            // of this version, a random number, no session, the suite, no compression
            let body = [&[3, minor][..], &[7; 32], &[0], &suite, &[0]].concat();
            let length = u8::try_from(body.len()).unwrap();
            let head = [0x16, 3, minor, 0, length + 4, 2, 0, 0, length];
            stream.write_all(&[&head[..], &body].concat()).await.unwrap();
            let mut said = Vec::new();
            stream.read_to_end(&mut said).await.unwrap();
            said
        });
        let verifier = builder_for(issuer_at(url))
            .fetch_timeout(if minor < 3 { PATIENT } else { IMPATIENT })
            .build()
            .unwrap();
        verifier.refresh_keys().await.unwrap_err();
        let said = server.await.unwrap();
        if minor < 3 {
            assert_said(&verifier, what, "peer is incompatible: ServerDoesNotSupportTls12Or13");
            assert_eq!((said[0], &said[5..]), (0x15, &PROTOCOL_VERSION[..]), "{what}: {said:?}");
        } else {
            assert_said(&verifier, what, "no answer within");
            assert!(!said.starts_with(&[0x15]), "{what}: {said:?}");
        }
    }
}

/// The same lies over TLS: what holds for plain http holds there too.
#[tokio::test]
async fn lies_over_tls() {
    let trusted = authority(|_| ());
    let chain = certificate(LOOPBACK, &trusted, |_| ());
    let hostile = Hostile::serving(Some((acceptor(chain, &["http/1.1"]), trusted.pem()))).await;
    // TLS ends with a word of its own (RFC 8446, 6.1): without it a body of no length may be cut
    let set = hostile.key_set().to_string();
    let head = super::server::head("200 OK", &[], None);
    let with_end = [&head[..], set.as_bytes()].concat();
    hostile.assert_good_answer(KEYS, "until the end", Say::Bytes(with_end)).await;
    let half = super::server::head("200 OK", &[], Some(set.len() + 1));
    let half = Say::Bytes([&half[..], set.as_bytes()].concat());
    hostile.assert_no_answer(KEYS, "half", half, "could not be read").await;
    let spaces = Say::Endless(head, vec![b' '; 16 * 1024]);
    for path in [KEYS, DISCOVERY] {
        hostile.assert_no_answer(path, "endless", spaces.clone(), "more than 1048576").await;
    }
    let taken = hostile.server.taken(4).await;
    assert!(taken.iter().all(|taken| *taken < BOUND), "{taken:?}");
    let plain = hostile.document().to_string().replace("https://", "http://");
    let mut document: serde_json::Value = serde_json::from_str(&plain).unwrap();
    document["issuer"] = hostile.server.url().into();
    let down = super::ok(document.to_string());
    hostile.assert_no_answer(DISCOVERY, "down to plain http", down, "plain http").await;
}

/// HTTP/2 is not spoken: none of its floods (CVE-2024-27316, CVE-2019-9512 and their kin) is listened
/// to, and no log quotes what comes with an error of it (RFC 9113, 6.8).
// rule: fetch-credentials
#[tokio::test]
async fn http2_is_not_spoken() {
    let trusted = authority(|_| ());
    let serving = |protocols| acceptor(certificate(LOOPBACK, &trusted, |_| ()), protocols);
    // where both are to be had it is HTTP/1.1
    let hostile = Hostile::serving(Some((serving(&["h2", "http/1.1"]), trusted.pem()))).await;
    let living = hostile.in_mid_life(PATIENT).await;

    // RFC 7301, 3.2: there is no protocol that both speak
    hostile.server.proves_itself_by(serving(&["h2"]));
    living.refresh_keys().await.unwrap_err();
    assert_said(&living, "HTTP/2 only", "NoApplicationProtocol");

    let words = b"the-words-of-a-server";
    let length = u8::try_from(8 + words.len()).unwrap();
    let go_away = [&[0, 0, length, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11], &words[..]].concat();
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0].to_vec();
    hostile.server.proves_itself_by(serving(&[]));
    for (ended, say) in [(1, go_away), (2, settings)] {
        hostile.server.always_says(Some(Say::Endless(say.clone(), say)));
        living.refresh_keys().await.unwrap_err();
        assert_said(&living, "frames that nobody asked for", "invalid HTTP version");
        assert!(!status(&living).last_error.unwrap().error.contains("words"));
        let taken = hostile.server.taken(ended).await[ended - 1];
        assert!(taken < BOUND, "{taken}");
    }
    hostile.server.always_says(None);
    living.refresh_keys().await.unwrap();
    assert_still_good(&living, &hostile.token(), "HTTP/1.1 again");
}

/// Who goes on after its fetch is over is not listened to: the next fetch is minutes away, and
/// until then what it says is work for nothing.
// rule: connection-bytes
#[tokio::test]
async fn a_connection_ends_soon_after_its_fetch() {
    let hostile = Hostile::start().await;
    let set = hostile.key_set().to_string();
    let length = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", set.len());
    let endless = b"HTTP/1.1 200 OK\r\nx: y".to_vec();
    let whole = [length.as_bytes(), set.as_bytes()].concat();
    for (index, (first, is_good)) in [(endless, false), (whole, true)].into_iter().enumerate() {
        hostile.server.always_says(Some(Say::Drip(first, b"y".to_vec())));
        let issuer = issuer_at_with(
            hostile.server.url(),
            KeySource::jwks(format!("{}{KEYS}", hostile.server.url())),
        );
        let patience = if is_good { PATIENT } else { IMPATIENT };
        let verifier = builder_for(issuer).fetch_timeout(patience).build().unwrap();
        assert_eq!(verifier.judge(hostile.token()).await.is_ok(), is_good);
        let ended = tokio::time::timeout(PATIENT, hostile.server.taken(index + 1)).await;
        assert!(ended.is_ok(), "it goes on, after a fetch that was good: {is_good}");
        // it lives until here, and its client with it
        assert_eq!(verifier.is_ready(), is_good);
    }
}

/// A certificate that goes bad in mid-life: the last good set stays in use, nothing is asked of who
/// shows it, and with a good one again it goes on.
// rule: fetch-credentials
#[tokio::test]
async fn a_certificate_that_goes_bad_in_mid_life() {
    let trusted = authority(|_| ());
    let good = || acceptor(certificate(LOOPBACK, &trusted, |_| ()), &[]);
    let hostile = Hostile::serving(Some((good(), trusted.pem()))).await;
    let living = hostile.in_mid_life(PATIENT).await;
    let expired = certificate(LOOPBACK, &trusted, |params| {
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    let another = certificate(&["other.example"], &trusted, |_| ());
    let unknown = authority(|params| {
        params.distinguished_name.push(DnType::CommonName, "an unknown authority");
    });
    let unknown = certificate(LOOPBACK, &unknown, |_| ());
    for (what, chain, words) in [
        ("expired", expired, "certificate expired"),
        ("another host's", another, "certificate not valid for name \"127.0.0.1\""),
        ("of an unknown authority", unknown, "UnknownIssuer"),
    ] {
        let asked = hostile.server.received_requests().len();
        hostile.server.proves_itself_by(acceptor(chain, &[]));
        living.refresh_keys().await.unwrap_err();
        assert_said(&living, what, &format!("invalid peer certificate: {words}"));
        assert_still_good(&living, &hostile.token(), what);
        assert_eq!(hostile.server.received_requests().len(), asked, "{what}: nothing was asked");
        hostile.server.proves_itself_by(good());
        living.refresh_keys().await.unwrap();
    }
}
