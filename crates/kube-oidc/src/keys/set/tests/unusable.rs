//! Keys that cannot be used, and the reasons that are given for them.

use super::*;

/// An odd number of so many bits, which is as good as a modulus for who only looks at it.
fn odd_number(bits: usize) -> String {
    let mut bytes = vec![0x5a; bits.div_ceil(8)];
    let top = (bits - 1) % 8;
    bytes[0] = 1 << top;
    *bytes.last_mut().unwrap() |= 1;
    b64(&bytes)
}

/// The RSA key with another exponent.
fn with_exponent(e: u64) -> Value {
    let bytes = e.to_be_bytes();
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    with(&Signer::rsa().jwk(), &json!({ "kid": "k", "e": b64(&bytes[zeros..]) }))
}

/// The texts of keys that cannot be used, and a part of the reason that is given for each.
fn unusable() -> Vec<(String, &'static str)> {
    let rsa = Signer::rsa().named("k");
    let ec = Signer::ec(Algorithm::Es256).named("k");
    let p384 = Signer::ec(Algorithm::Es384).named("k");
    let ed25519 = Signer::ed25519().named("k");
    let Signer::Rsa(pair) = Signer::rsa() else { panic!("an RSA key") };
    let mut even = modulus(pair);
    *even.last_mut().unwrap() &= !1;
    let x = base64url::decode(ec["x"].as_str().unwrap()).unwrap();
    let mut off_curve = base64url::decode(ec["y"].as_str().unwrap()).unwrap();
    off_curve[31] ^= 1;
    let padded = format!("{}=", ec["x"].as_str().unwrap());
    let twice = rsa.to_string().replacen("\"n\":", "\"n\":\"AQAB\",\"n\":", 1);
    let changed = |key: &Value, members: Value| with(key, &members).to_string();
    let zeros = b64(&[0; 32]);
    vec![
        (json!({ "kty": "oct", "kid": "k", "k": "c2VjcmV0" }).to_string(), "type"),
        (json!({ "kty": "oct", "kid": "k", "k": "c2VjcmV0", "alg": "HS256" }).to_string(), "type"),
        (changed(&rsa, json!({ "kty": null })), "type"),
        (changed(&rsa, json!({ "kty": "rsa" })), "type"),
        (changed(&ec, json!({ "crv": null })), "type"),
        (changed(&ec, json!({ "crv": "secp256k1" })), "type"),
        (changed(&ed25519, json!({ "crv": "Ed448" })), "type"),
        (changed(&rsa, json!({ "use": "enc" })), "use or key_ops"),
        (changed(&rsa, json!({ "use": "" })), "use or key_ops"),
        (changed(&rsa, json!({ "key_ops": ["sign"] })), "use or key_ops"),
        (changed(&rsa, json!({ "use": "enc", "key_ops": [] })), "use or key_ops"),
        (changed(&rsa, json!({ "key_ops": [""] })), "use or key_ops"),
        (changed(&rsa, json!({ "key_ops": "" })), "use or key_ops"),
        (changed(&rsa, json!({ "use": [] })), "not a well-formed"),
        (changed(&rsa, json!({ "key_ops": [null] })), "not a well-formed"),
        (changed(&rsa, json!({ "use": "sig", "key_ops": ["encrypt"] })), "use or key_ops"),
        (changed(&rsa, json!({ "alg": "ES256" })), "not a supported signature algorithm"),
        (changed(&rsa, json!({ "alg": "HS256" })), "not a supported signature algorithm"),
        (changed(&rsa, json!({ "alg": "RSA-OAEP" })), "not a supported signature algorithm"),
        (changed(&rsa, json!({ "alg": "none" })), "not a supported signature algorithm"),
        (changed(&ec, json!({ "alg": "ES384" })), "not a supported signature algorithm"),
        (changed(&p384, json!({ "alg": "ES256" })), "not a supported signature algorithm"),
        (changed(&ed25519, json!({ "alg": "ES256" })), "not a supported signature algorithm"),
        (changed(&rsa, json!({ "n": odd_number(1024) })), "its modulus has 1024 bits"),
        (changed(&rsa, json!({ "n": odd_number(2047) })), "its modulus has 2047 bits"),
        (changed(&rsa, json!({ "n": odd_number(8193) })), "its modulus has 8193 bits"),
        (changed(&rsa, json!({ "n": "AAAA" })), "its modulus has 0 bits"),
        (changed(&rsa, json!({ "n": b64(&even) })), "its modulus is even"),
        (changed(&rsa, json!({ "n": null })), "missing `n`"),
        (changed(&rsa, json!({ "n": "" })), "missing `n`"),
        (changed(&rsa, json!({ "n": "a+b/" })), "invalid `n`: a character outside"),
        (changed(&rsa, json!({ "n": "a+b=" })), "invalid `n`: a character outside"),
        (changed(&rsa, json!({ "n": "AQAB=" })), "invalid `n`: padded"),
        (changed(&rsa, json!({ "n": "AQABA" })), "invalid `n`: base64url with bits left over"),
        (changed(&rsa, json!({ "e": null })), "missing `e`"),
        (changed(&rsa, json!({ "e": "AQ==" })), "invalid `e`: padded"),
        (changed(&rsa, json!({ "e": "AQA B" })), "invalid `e`: a character outside"),
        (changed(&rsa, json!({ "e": "AA" })), "its exponent"),
        (with_exponent(1).to_string(), "its exponent"),
        (with_exponent(3).to_string(), "its exponent"),
        (with_exponent(65_535).to_string(), "its exponent"),
        (with_exponent(65_538).to_string(), "its exponent"),
        (with_exponent(0x2_0000_0001).to_string(), "its exponent"),
        (with_exponent(0x1_0000_0000_0001).to_string(), "its exponent"),
        (changed(&rsa, json!({ "e": b64(&[1, 0, 0, 0, 0, 0, 1, 0, 1]) })), "its exponent"),
        (changed(&ec, json!({ "x": null })), "missing `x`"),
        (changed(&ec, json!({ "x": padded })), "invalid `x`: padded"),
        (changed(&ec, json!({ "x": b64(&x[1..]) })), "invalid `x`: 31 bytes instead of 32"),
        (
            changed(&ec, json!({ "x": b64(&[&[0], &x[..]].concat()) })),
            "invalid `x`: 33 bytes instead of 32",
        ),
        (changed(&ec, json!({ "y": null })), "missing `y`"),
        (changed(&ec, json!({ "y": "+/" })), "invalid `y`: a character outside"),
        (changed(&p384, json!({ "y": b64(&[1; 47]) })), "invalid `y`: 47 bytes instead of 48"),
        (changed(&ec, json!({ "y": b64(&off_curve) })), "no public key"),
        (changed(&ec, json!({ "x": zeros, "y": zeros })), "no public key"),
        (changed(&ed25519, json!({ "x": null })), "missing `x`"),
        (changed(&ed25519, json!({ "x": format!("{}=", b64(&[1; 32])) })), "invalid `x`: padded"),
        (changed(&ed25519, json!({ "x": "AQ/B" })), "invalid `x`: a character outside"),
        (changed(&ed25519, json!({ "x": b64(&[1; 31]) })), "invalid `x`: 31 bytes instead of 32"),
        (changed(&ed25519, json!({ "x": b64(&[1; 33]) })), "invalid `x`: 33 bytes instead of 32"),
        (changed(&ed25519, json!({ "x": zeros })), "small order"),
        (changed(&rsa, json!({ "alg": 256 })), "not a well-formed JSON Web Key"),
        (changed(&rsa, json!({ "key_ops": { "verify": true } })), "not a well-formed"),
        (twice, "not a well-formed"),
    ]
}

#[cfg(not(feature = "ml-dsa"))]
#[test]
fn without_its_feature_ml_dsa_is_an_unknown_type() {
    let good = Signer::ed25519().named("good");
    for (alg, length) in [("ML-DSA-44", 1312), ("ML-DSA-65", 1952), ("ML-DSA-87", 2592)] {
        let key = json!({ "kty": "AKP", "kid": "k", "alg": alg, "pub": b64(&vec![1; length]) });
        let (set, skipped) = parse_keys(&[key, good.clone()]).unwrap();
        assert_eq!(set.len(), 1, "{alg}");
        assert_eq!(texts(&skipped), [r#"key "k": its type (kty, crv) is not supported"#], "{alg}");
    }
}

#[test]
fn a_key_that_cannot_be_used_is_named_and_breaks_nothing() {
    let good = Signer::ed25519();
    let signature = good.sign(Algorithm::EdDsa, MESSAGE);
    for (bad, reason) in unusable() {
        let document = format!(r#"{{"keys":[{bad},{}]}}"#, good.named("good"));
        let (set, skipped) = parse(&document).unwrap();
        assert_eq!(set.len(), 1, "{bad}");
        assert!(verifies(&set, Some("good"), Algorithm::EdDsa, &signature), "{bad}");
        assert_eq!(skipped.len(), 1, "{bad}");
        let text = skipped[0].to_string();
        // a member that is wrong may stand before the name
        let named = text.starts_with(r#"key "k": "#) || text.starts_with("key number 1: ");
        assert!(named && text.contains(reason), "{text:?} for {bad}");
    }
}

#[test]
fn what_is_no_key_at_all_is_counted_and_breaks_nothing() {
    let good = Signer::ed25519().named("good");
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let kid_twice = good.to_string().replacen('}', r#","\u006bid":"bad"}"#, 1);
    let number = good.to_string().replacen("\"good\"", "17", 1);
    let surrogate = good.to_string().replacen("\"good\"", r#""\ud800""#, 1);
    for bad in ["null", "17", "true", "\"key\"", "[]", "{}", &deep, &kid_twice, &number, &surrogate]
    {
        let (set, skipped) = parse(&format!(r#"{{"keys":[{good},{bad}]}}"#)).unwrap();
        assert_eq!(set.len(), 1);
        let [skipped] = &texts(&skipped)[..] else { panic!("{skipped:?}") };
        let named = skipped.starts_with("key number 2: ") || skipped.starts_with("key \"good\": ");
        assert!(named, "{skipped}");
    }
}

#[test]
fn the_reason_for_a_skipped_key_shows_no_more_than_a_line_of_the_issuers_text() {
    let good = Signer::ed25519().named("good");
    let long = "x".repeat(100_000);
    for bad in [
        json!(long),
        json!({ "kty": "RSA", "kid": long }),
        json!({ "kty": "EC", "crv": "P-256", "kid": "k", "alg": { "x": long } }),
        json!({ "kty": "RSA", "kid": "k", "key_ops": [[long]] }),
        json!({ "kty": long, "kid": "k" }),
    ] {
        let (_, skipped) = parse_keys(&[good.clone(), bad]).unwrap();
        let [text] = &texts(&skipped)[..] else { panic!("{} are skipped", skipped.len()) };
        assert!(text.len() < 300, "{} bytes", text.len());
    }
}

// rule: key-limits
#[test]
fn the_limits_of_an_rsa_key_are_exact() {
    let rsa = Signer::rsa().named("k");
    for bits in [2048, 8192] {
        whole(&[with(&rsa, &json!({ "n": odd_number(bits) }))]);
    }
    for e in [65_537, 65_539, 0x1_0000_0001, 0x1_ffff_ffff] {
        assert_eq!(whole(&[with_exponent(e)]).len(), 1, "{e}");
    }
}

/// The y of the points whose order is 8 or less, as a decoder may be given them: 0 and 1, also as
/// they are modulo 2^255 - 19, -1, and two others (`ge25519_has_small_order` of libsodium).
fn y_of_small_order() -> Vec<[u8; 32]> {
    let y = |low: u8, middle: u8, high: u8| {
        let mut y = [middle; 32];
        (y[0], y[31]) = (low, high);
        y
    };
    let of_order_8 = [
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    ];
    let mut all: Vec<_> = of_order_8.iter().map(|y| hex(y).try_into().unwrap()).collect();
    all.extend([y(0, 0, 0), y(1, 0, 0)]);
    all.extend([0xec, 0xed, 0xee].map(|low| y(low, 0xff, 0x7f)));
    all
}

#[test]
fn a_point_of_small_order_is_no_key_and_its_neighbours_may_be() {
    let has_small_order = |x: &[u8; 32]| {
        let key = json!({ "kty": "OKP", "crv": "Ed25519", "x": b64(x) });
        match parse_keys(&[key]) {
            Err(KeySetError::NoUsableKey(skipped)) => texts(&skipped)[0].contains("small order"),
            other => {
                other.unwrap();
                false
            }
        }
    };
    let small = y_of_small_order();
    for y in &small {
        for sign in [0, 0x80] {
            let mut x = *y;
            x[31] |= sign;
            assert!(has_small_order(&x), "{x:x?}");
        }
        for (at, bit) in (0..32).flat_map(|at| (0..8).map(move |bit| (at, 1 << bit))) {
            let mut x = *y;
            x[at] ^= bit;
            let mut without_sign = x;
            without_sign[31] &= 0x7f;
            assert_eq!(has_small_order(&x), small.contains(&without_sign), "{x:x?}");
        }
    }
}
