use super::*;

fn caller(cluster: Option<&str>, namespace: &str, name: &str) -> Verified {
    let claims = ServiceAccountClaims::for_test(namespace, name).with_audience("refunds");
    let verified = Verified::dangerous_without_verification(claims);
    match cluster {
        Some(cluster) => verified.with_cluster(cluster),
        None => verified,
    }
}

fn policy(rule: impl Into<Rule>) -> Policy {
    Policy::new(rule).unwrap()
}

fn allows(rule: impl Into<Rule>, caller: &Verified) -> bool {
    policy(rule).check(caller).is_ok()
}

fn denied(rule: impl Into<Rule>, caller: &Verified) -> Denied {
    policy(rule).check(caller).unwrap_err()
}

#[test]
fn names_are_compared_whole() {
    let caller = caller(None, "payments", "checkout");
    let allows = |namespace: &str, name: &str| {
        allows(in_namespace(namespace).service_account(name), &caller)
    };
    assert!(allows("payments", "checkout"));
    assert!(allows("*", "checkout"));
    assert!(allows("payments", "*"));
    for (namespace, name) in [
        ("payment", "checkout"),
        ("payments2", "checkout"),
        ("payments", "check"),
        ("payments", "checkout2"),
    ] {
        assert!(!allows(namespace, name), "{namespace} {name}");
    }
}

// rule: cluster-names
#[test]
fn a_name_belongs_to_a_cluster() {
    let (blue, green) = (caller(Some("blue"), "ns", "sa"), caller(Some("green"), "ns", "sa"));
    let of_blue = Callers::cluster("blue").namespace("ns").service_account("sa");
    assert!(allows(of_blue.clone(), &blue));
    assert!(!allows(of_blue.clone(), &green));
    assert!(!allows(of_blue, &caller(None, "ns", "sa")));

    let unnamed = in_namespace("ns");
    for caller in [&blue, &green] {
        let denied = denied(unnamed.clone(), caller).to_string();
        assert!(denied.contains("the rule names no cluster"), "{denied}");
        assert!(!allows(unnamed.clone().not(), caller), "nor by its negation");
        assert!(allows(in_any_cluster().namespace("ns"), caller));
    }
    assert!(allows(unnamed, &caller(None, "ns", "sa")));

    // a rule for a cluster is undecided for a caller whose cluster has no name
    let denied = denied(Callers::cluster("blue"), &caller(None, "ns", "sa"));
    assert!(denied.to_string().contains("with_cluster"));
    assert!(!allows(Callers::cluster("blue").namespace("ns").not(), &caller(None, "ns", "sa")));
    assert!(allows(Callers::cluster("blue").namespace("ns").not(), &green));
}

#[test]
fn presence_audience_cluster_and_own_checks() {
    let plain = caller(Some("blue"), "ns", "sa");
    let with_pod = ServiceAccountClaims::for_test("ns", "sa").with_pod("p", "uid");
    let with_pod = Verified::dangerous_without_verification(with_pod);
    assert!(!allows(in_any_cluster().bound_to_pod(), &plain));
    assert!(allows(in_any_cluster().bound_to_pod(), &with_pod));
    assert!(!allows(in_any_cluster().bound_to_node(), &with_pod));
    assert!(allows(Rule::audience("refunds"), &plain));
    assert!(!allows(Rule::audience("refund"), &plain));
    assert!(!allows(Rule::audience("refunds"), &with_pod));
    assert!(allows(Rule::cluster("blue"), &plain));
    assert!(!allows(Rule::cluster("green"), &plain));
    let is_sa = Rule::when("the caller is sa", |caller| caller.service_account().name() == "sa");
    assert!(allows(is_sa, &plain));
    assert!(!allows(Rule::when("never", |_| false), &plain));
}

// rule: policy-by-node
#[test]
fn caller_is_allowed_on_its_own_node_only() {
    let on = |node: &str| {
        let claims = ServiceAccountClaims::for_test("logging", "agent").with_node(node, "uid");
        Verified::dangerous_without_verification(claims)
    };
    let rule = in_namespace("logging").service_account("agent").on_node("worker-1");
    assert!(allows(rule.clone(), &on("worker-1")));
    assert!(!allows(rule.clone().not(), &on("worker-1")));
    for other in ["worker-10", "worker", "WORKER-1", "worker-1.example", "1"] {
        assert!(!allows(rule.clone(), &on(other)), "{other}");
        assert!(allows(rule.clone().not(), &on(other)), "{other}");
    }
    let denied = denied(rule.clone(), &on("worker-2")).to_string();
    assert!(denied.ends_with(r#"in the namespace "logging" on the node "worker-1""#), "{denied}");
    // the same name twice is valid, and the cluster counts too
    assert!(allows(rule.clone().on_node("worker-1"), &on("worker-1")));
    assert!(!allows(rule, &on("worker-1").with_cluster("blue")));
    let blue = Callers::cluster("blue").on_node("worker-1");
    assert!(allows(blue.clone(), &on("worker-1").with_cluster("blue")));
    assert!(!allows(blue, &on("worker-1").with_cluster("green")));
}

// rule: policy-by-node
#[test]
fn token_without_a_node_is_undecided() {
    let without = caller(None, "logging", "agent");
    for rule in [in_namespace("logging"), in_namespace("other"), in_any_cluster()] {
        let rule = Rule::from(rule.on_node("worker-1"));
        for rule in [rule.clone(), rule.clone().not(), rule.clone().not().not()] {
            let denied = denied(rule, &without).to_string();
            assert!(denied.contains("the token names no node"), "{denied}");
        }
        assert!(allows(rule.or(in_namespace("logging")), &without));
    }
}

#[test]
fn rules_are_combined_by_three_valued_logic() {
    let caller = caller(None, "payments", "checkout");
    let yes = || Rule::from(in_namespace("payments"));
    let no = || Rule::from(in_namespace("x"));
    // the token names no node
    let unknown = || Rule::from(in_namespace("payments").on_node("worker-1"));
    for (rule, allowed, negation_allowed) in [
        (yes(), true, false),
        (no(), false, true),
        (unknown(), false, false),
        (yes().and(yes()), true, false),
        (yes().and(no()), false, true),
        (yes().and(unknown()), false, false),
        (no().and(unknown()), false, true),
        (unknown().and(no()), false, true),
        (unknown().and(unknown()), false, false),
        (no().or(yes()), true, false),
        (no().or(no()), false, true),
        (unknown().or(yes()), true, false),
        (yes().or(unknown()), true, false),
        (no().or(unknown()), false, false),
        (yes().or(no()).and(no().not()), true, false),
        (yes().and(unknown().not()), false, false),
        (Rule::any([in_namespace("x"), in_namespace("payments")]), true, false),
        (Rule::all([in_namespace("payments"), in_namespace("*")]), true, false),
        (Rule::all([in_namespace("payments"), in_namespace("x")]), false, true),
    ] {
        assert_eq!(allows(rule.clone(), &caller), allowed, "{rule}");
        assert_eq!(allows(rule.clone().not(), &caller), negation_allowed, "not {rule}");
        assert_eq!(allows(rule.clone().not().not(), &caller), allowed, "not not {rule}");
    }
}

// rule: policy-valid
#[test]
fn invalid_rule_makes_no_policy() {
    let nothing = || Vec::<Rule>::new();
    let sound = || in_namespace("payments");
    let invalid: [(Rule, &str); 24] = [
        (sound().on_node("a").on_node("b").into(), r#"conflicting node names "a" and "b""#),
        (sound().on_node("").into(), r#"invalid node """#),
        (sound().on_node(" worker-1").into(), r#"invalid node " worker-1""#),
        (sound().on_node("Worker-1").into(), "invalid node"),
        (sound().on_node("*").into(), "invalid node"),
        (Callers::cluster("prod-*").into(), "invalid cluster"),
        (Callers::cluster("blue ").into(), "invalid cluster"),
        (Rule::audience("refunds\n"), "invalid audience"),
        (sound().namespace("*").into(), "conflicting namespace names"),
        (
            sound().service_account("a").service_account("b").into(),
            "conflicting service account names",
        ),
        (Rule::any(nothing()), "missing rules"),
        (Rule::all(nothing()), "missing rules"),
        (in_namespace("").into(), "invalid namespace"),
        (in_namespace(" payments").into(), "invalid namespace"),
        (in_namespace("Payments").into(), "invalid namespace"),
        (in_namespace("pay*").into(), "invalid namespace"),
        (in_namespace("**").into(), "invalid namespace"),
        (sound().service_account("a/b").into(), "invalid service account"),
        (sound().service_account("").into(), "invalid service account"),
        (in_any_cluster().service_account("checkout").into(), "missing namespace"),
        (Callers::cluster("").into(), "invalid cluster"),
        (Callers::cluster("*").into(), "invalid cluster"),
        (Rule::cluster(" "), "invalid cluster"),
        (Rule::audience(""), "invalid audience"),
    ];
    for (rule, text) in invalid {
        let error = Policy::new(rule.clone()).unwrap_err();
        assert!(error.to_string().starts_with(text), "{error}");
        // with a sound rule, and negated, the fault is the same
        for rule in [
            rule.clone().not(),
            rule.clone().not().not(),
            rule.clone().and(sound()),
            rule.clone().or(sound()),
            sound().or(rule.clone()),
            Rule::any([rule.clone()]),
            Rule::all([sound().into(), rule.clone().not()]),
        ] {
            assert_eq!(Policy::new(rule.clone()).unwrap_err(), error, "{rule}");
        }
    }
}

#[test]
fn every_fault_is_named() {
    let rule = in_namespace("Pay").service_account("a/b").or(Rule::audience("").not());
    let error = Policy::new(rule.and(Rule::any(Vec::<Rule>::new()))).unwrap_err();
    assert!(matches!(&error, PolicyError::Multiple(errors) if errors.len() == 4), "{error:?}");
    assert_eq!(
        error.to_string(),
        "invalid namespace \"Pay\"; expected a DNS label, or `*` for any; \
         invalid service account \"a/b\"; expected a DNS subdomain, or `*` for any; \
         invalid audience \"\"; expected a name without `*` and surrounding white space; \
         missing rules; `any` and `all` need at least one"
    );
    let rule = in_namespace("a").namespace("b").namespace("b").namespace("C").service_account("");
    let error = Policy::new(rule).unwrap_err();
    assert!(matches!(&error, PolicyError::Multiple(errors) if errors.len() == 4), "{error:?}");
}

#[test]
fn the_rule_that_refused_is_named() {
    let caller = caller(None, "payments", "checkout");
    let rule = in_namespace("payments")
        .and(in_namespace("payments").service_account("refunds").or(Rule::audience("x")));
    assert_eq!(
        denied(rule, &caller).rule(),
        r#"(callers of the service account "refunds" in the namespace "payments" or for the audience "x")"#
    );
    assert_eq!(
        policy(Rule::audience("x").and(Rule::audience("y").not())).to_string(),
        r#"(for the audience "x" and not for the audience "y")"#
    );
    let rule = Rule::when("a\nb", |_| false).not().not();
    assert_eq!(
        denied(rule, &caller).to_string(),
        r#""system:serviceaccount:payments:checkout" is not allowed: only not not when "a\nb""#
    );
}

#[test]
fn a_long_policy_is_said_once_and_cut() {
    let caller = caller(None, "payments", "checkout");
    let long = (0..500).fold(Rule::from(in_namespace("first")), |rule, number| {
        rule.or(in_namespace(format!("n-{number}")))
    });
    let reason = denied(long.clone(), &caller);
    assert!(reason.rule().len() <= 1024 + '…'.len_utf8());
    assert!(reason.rule().contains("first"));
    // the hint of a part that is far in is found
    let reason = denied(long.or(Callers::cluster("blue")), &caller).to_string();
    assert!(reason.contains("the caller's cluster has no name"), "{reason}");
}

#[test]
fn a_rule_is_cut_where_it_is_too_long_and_not_before() {
    let long = |last| {
        let parts = (0..14).map(|number| format!("{number:060}")).chain(["x".repeat(last)]);
        Rule::any(parts.map(|words| Rule::when(words, |_| false)))
    };
    let rule_of =
        |rule: Rule| denied(rule, &caller(None, "payments", "checkout")).rule().to_owned();
    let missing = 1_024 - long(0).to_string().len();
    assert_eq!(rule_of(long(missing)), long(missing).to_string());
    assert_eq!(rule_of(long(missing + 1)).chars().last(), Some('…'));
}
