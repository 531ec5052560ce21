//! One token, cold and warm, beside the check of its signature alone and `jsonwebtoken`.

use kube_oidc_benches::{
    harness::{Contestant, report},
    inputs::{ALGORITHMS, RawCheck, builder, pod_token, verifier, verify},
    jsonwebtoken_peer::{Backend, Decoder, use_backend},
};
use kube_oidc_testing::{SigningKey, TestIssuer};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let rounds = std::env::args().nth(1).and_then(|rounds| rounds.parse().ok()).unwrap_or(100);
    let mut keys: Vec<(&str, SigningKey)> = ALGORITHMS
        .into_iter()
        .map(|algorithm| (algorithm.name(), SigningKey::generate(algorithm)))
        .collect();
    keys.insert(1, ("RS256, 4096 bits", SigningKey::generate_rsa_4096()));
    for (name, key) in keys {
        let issuer = TestIssuer::start();
        issuer.rotate_to(key.clone());
        let token = pod_token(&issuer).mint();
        let raw = RawCheck::of(&token, &key);
        let cold = verifier(&issuer, 0).await;
        let warm = verifier(&issuer, 1_000).await;
        let digests = builder(&issuer).token_cache_digests().build().expect("good settings");
        digests.ready().await;
        let (peer, pure) = (Decoder::of(&issuer, &key), Decoder::of(&issuer, &key));
        report(
            &format!("{name}, a token of {} bytes", token.len()),
            rounds,
            &mut [
                Contestant::new("the check of the signature alone", || raw.check()),
                Contestant::new("ours, cold", || verify(&cold, &token)),
                Contestant::new("ours, warm", || verify(&warm, &token)),
                Contestant::new("ours, warm, by digest", || verify(&digests, &token)),
                Contestant::new("`jsonwebtoken`, aws-lc", || {
                    use_backend(Backend::AwsLc);
                    peer.decode(&token)
                }),
                Contestant::new("`jsonwebtoken`, pure Rust", || {
                    use_backend(Backend::RustCrypto);
                    pure.decode(&token)
                }),
            ],
        );
    }
}
