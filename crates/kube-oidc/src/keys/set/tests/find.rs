//! The choice of a key for a token, with a `kid` or without.

use super::*;

// rule: key-limits
#[test]
fn different_keys_of_one_kid_are_all_tried() {
    let signers: Vec<Signer> = (0..5).map(|_| Signer::ed25519()).collect();
    let mut keys: Vec<Value> = signers.iter().map(|signer| signer.named("a\nb")).collect();
    // the first one again is no fifth key; one for another algorithm has room of its own
    keys.insert(3, keys[0].clone());
    let ec = Signer::ec(Algorithm::Es256);
    keys.push(ec.named("a\nb"));
    let (set, skipped) = parse_keys(&keys).unwrap();
    let tried: Vec<bool> = signers
        .iter()
        .map(|signer| {
            verifies(&set, Some("a\nb"), Algorithm::EdDsa, &signer.sign(Algorithm::EdDsa, MESSAGE))
        })
        .collect();
    assert_eq!(tried, [true, true, true, true, false]);
    assert_eq!(texts(&skipped), [r#"key "a\nb": too many different keys have its kid"#]);
    assert!(verifies(&set, Some("a\nb"), Algorithm::Es256, &ec.sign(Algorithm::Es256, MESSAGE)));
    assert_eq!(set.len(), 5);
}

#[test]
fn a_key_of_another_kid_does_not_verify() {
    let (one, two) = (Signer::ed25519(), Signer::ed25519());
    let set = whole(&[one.named("one"), two.named("two")]);
    let signature = one.sign(Algorithm::EdDsa, MESSAGE);
    assert!(verifies(&set, Some("one"), Algorithm::EdDsa, &signature));
    assert!(!verifies(&set, Some("two"), Algorithm::EdDsa, &signature));
}

#[test]
fn a_token_without_kid_gets_the_only_key_that_fits() {
    let (ed25519, ec) = (Signer::ed25519(), Signer::ec(Algorithm::Es256));
    // a key may have no name either
    let set = whole(&[ed25519.jwk(), ec.named("a"), Signer::ec(Algorithm::Es384).named("b")]);
    assert!(verifies(&set, None, Algorithm::EdDsa, &ed25519.sign(Algorithm::EdDsa, MESSAGE)));
    assert!(verifies(&set, None, Algorithm::Es256, &ec.sign(Algorithm::Es256, MESSAGE)));
    assert_eq!(set.find(None, Algorithm::Rs256).unwrap_err(), NoKey::NoneFits);
    let set = whole(&[ec.named("a"), Signer::ec(Algorithm::Es256).named("b")]);
    assert_eq!(set.find(None, Algorithm::Es256).unwrap_err(), NoKey::Ambiguous);
}

// rule: empty-kid
#[test]
fn equal_keys_under_several_names_count_as_one_without_a_kid() {
    let (one, other) = (Signer::rsa(), Signer::ec(Algorithm::Es256));
    let signature = one.sign(Algorithm::Rs256, MESSAGE);
    let nameless = one.jwk();
    let unnamed = |kid: Value| {
        let mut key = one.jwk();
        key["kid"] = kid;
        key
    };
    for (twin, names) in [
        (nameless, 2),
        // as AWS's amazon-eks-pod-identity-webhook/self-hosted writes it
        (unnamed(json!("")), 2),
        (unnamed(Value::Null), 2),
        (one.named("b"), 2),
        // one that may sign less is the same key
        (with(&one.named("b"), &json!({ "alg": "RS256" })), 2),
        (one.named("a"), 1),
    ] {
        let set = whole(&[one.named("a"), twin.clone(), other.named("c")]);
        assert_eq!(set.len(), names + 1, "{twin}");
        for kid in [None, Some("a")] {
            assert!(verifies(&set, kid, Algorithm::Rs256, &signature), "{twin}");
        }
        assert_eq!(set.find(Some(""), Algorithm::Rs256).unwrap_err(), NoKey::UnknownKid);
    }
    let (ed25519, rival) = (Signer::ed25519(), Signer::ed25519());
    for keys in [
        [ed25519.named("a"), ed25519.jwk(), rival.jwk()],
        [ed25519.named("a"), ed25519.named("b"), rival.named("c")],
        [rival.named("a"), ed25519.named("b"), ed25519.named("c")],
    ] {
        assert_eq!(whole(&keys).find(None, Algorithm::EdDsa).unwrap_err(), NoKey::Ambiguous);
    }
}

#[test]
fn names_of_a_key_are_those_of_its_numbers() {
    let (one, other) = (Signer::ed25519(), Signer::ed25519());
    let set = whole(&[one.named("b"), one.jwk(), one.named("a"), other.named("c")]);
    let names = |kid| {
        let fitting = set.find(Some(kid), Algorithm::EdDsa).unwrap();
        set.names_of(&fitting.keys[0]).collect::<Vec<_>>()
    };
    assert_eq!((names("a"), names("b"), names("c")), (vec!["a", "b"], vec!["a", "b"], vec!["c"]));
}

#[test]
fn a_kid_is_compared_whole_and_exactly() {
    let set = whole(&[Signer::ed25519().named("key-1"), Signer::ed25519().jwk()]);
    for kid in ["", "key", "key-", "key-1 ", "KEY-1", "key-11", "\u{feff}key-1"] {
        let found = set.find(Some(kid), Algorithm::EdDsa).map(|_| ());
        assert_eq!(found, Err(NoKey::UnknownKid), "{kid:?}");
    }
    assert_eq!(set.find(Some("key-1"), Algorithm::Rs256).unwrap_err(), NoKey::OtherAlgorithm);
}

#[test]
fn the_keys_that_are_found_know_their_kid() {
    let set = whole(&[Signer::ed25519().named("a"), Signer::ec(Algorithm::Es256).jwk()]);
    let kid = |kid, algorithm| set.find(kid, algorithm).unwrap().kid();
    assert_eq!(kid(Some("a"), Algorithm::EdDsa), Some("a"));
    // of a token that names none, too
    assert_eq!(kid(None, Algorithm::EdDsa), Some("a"));
    assert_eq!(kid(None, Algorithm::Es256), None);
}

#[test]
fn a_key_in_two_sets_is_found_by_its_numbers() {
    let (shared, other) = (Signer::ed25519(), Signer::ed25519());
    let one = whole(&[other.named("shared"), shared.named("a")]);
    let two = whole(&[shared.named("b"), Signer::ed25519().named("c")]);
    assert_eq!(one.shared_with(&two).and_then(Key::kid), Some("a"));
    assert_eq!(two.shared_with(&one).and_then(Key::kid), Some("b"));
    // a name is not what makes a key
    assert!(one.shared_with(&whole(&[Signer::ed25519().named("a")])).is_none());
}

// rule: key-limits
#[test]
fn the_limit_of_a_kid_is_exact() {
    let (one, two) = ("k".repeat(1024), "k".repeat(1025));
    let signer = Signer::ed25519();
    let (set, skipped) = parse_keys(&[signer.named(&one), signer.named(&two)]).unwrap();
    assert!(set.find(Some(&one), Algorithm::EdDsa).is_ok());
    assert_eq!(set.find(Some(&two), Algorithm::EdDsa).unwrap_err(), NoKey::UnknownKid);
    let shown = format!("key \"{}\"…: its kid is longer than 1024 bytes", "k".repeat(64));
    assert_eq!(texts(&skipped), [shown]);
}
