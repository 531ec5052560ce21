use super::*;

fn caller(cluster: Option<&str>, namespace: &str, name: &str) -> Verified {
    let claims = ServiceAccountClaims::for_test(namespace, name).with_audience("refunds");
    let verified = Verified::dangerous_without_verification(claims);
    match cluster {
        Some(cluster) => verified.with_cluster(cluster),
        None => verified,
    }
}

fn allows(policy: impl Into<Policy>, caller: &Verified) -> bool {
    policy.into().check(caller).is_ok()
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
        ("PAYMENTS", "checkout"),
        ("pay*", "checkout"),
        ("payments", "check*"),
        ("payments", "check"),
        ("payments", "**"),
        (" payments", "checkout"),
        ("", "checkout"),
        ("payments", ""),
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
        let denied = Policy::from(unnamed.clone()).check(caller).unwrap_err();
        assert!(denied.to_string().contains("it names no cluster"), "{denied}");
        assert!(!allows(unnamed.clone().not(), caller), "nor by its negation");
        assert!(allows(in_any_cluster().namespace("ns"), caller));
    }
    assert!(allows(unnamed, &caller(None, "ns", "sa")));

    // a rule for a cluster says nothing of a caller whose cluster has no name
    let denied = Policy::from(Callers::cluster("blue")).check(&caller(None, "ns", "sa"));
    assert!(denied.unwrap_err().to_string().contains("with_cluster"));
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
    assert!(allows(Policy::audience("refunds"), &plain));
    assert!(!allows(Policy::audience("refund"), &plain));
    assert!(!allows(Policy::audience("refunds"), &with_pod));
    assert!(allows(Policy::cluster("blue"), &plain));
    assert!(!allows(Policy::cluster("green"), &plain));
    assert!(allows(
        Policy::when("the caller is sa", |who| who.service_account().name() == "sa"),
        &plain
    ));
    assert!(!allows(Policy::when("never", |_| false), &plain));
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
    let denied = Policy::from(rule.clone()).check(&on("worker-2")).unwrap_err().to_string();
    assert!(denied.ends_with(r#"in the namespace "logging" on the node "worker-1""#), "{denied}");
    // the same name twice is no slip, and the cluster counts too
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
        let rule = Policy::from(rule.on_node("worker-1"));
        for rule in [rule.clone(), rule.clone().not(), rule.clone().not().not()] {
            let denied = rule.check(&without).unwrap_err().to_string();
            assert!(denied.contains("the token names no node"), "{denied}");
        }
        assert!(allows(rule.or(in_namespace("logging")), &without));
    }
}

#[test]
fn joined() {
    let caller = caller(None, "payments", "checkout");
    let (yes, no) = (|| Policy::from(in_namespace("payments")), || Policy::from(in_namespace("x")));
    for (policy, expected) in [
        (yes().and(yes()), true),
        (yes().and(no()), false),
        (no().or(yes()), true),
        (no().or(no()), false),
        (no().not(), true),
        (yes().not(), false),
        (yes().or(no()).and(no().not()), true),
        (Policy::any([in_namespace("x"), in_namespace("payments")]), true),
        (Policy::all([in_namespace("payments"), in_namespace("*")]), true),
        (Policy::all([in_namespace("payments"), in_namespace("x")]), false),
    ] {
        assert_eq!(allows(policy.clone(), &caller), expected, "{policy}");
    }
}

#[test]
fn a_slip_allows_nobody_and_is_an_error() {
    let caller = caller(None, "payments", "checkout");
    let nothing = || Vec::<Policy>::new();
    let slips: [(Policy, &str); 22] = [
        (in_namespace("payments").on_node("a").on_node("b").into(), "node is named twice"),
        (in_namespace("payments").on_node("").into(), "name of a node"),
        (in_namespace("payments").on_node(" worker-1").into(), "name of a node"),
        (in_namespace("payments").on_node("Worker-1").into(), "name of a node"),
        (in_namespace("payments").on_node("*").into(), "name of a node"),
        (Callers::cluster("prod-*").into(), "cluster"),
        (Callers::cluster("blue ").into(), "cluster"),
        (Policy::audience("refunds\n"), "audience"),
        (in_namespace("payments").namespace("*").into(), "named twice"),
        (in_namespace("payments").service_account("a").service_account("b").into(), "named twice"),
        (Policy::any(nothing()), "no rules"),
        (Policy::all(nothing()), "no rules"),
        (in_namespace("").into(), "namespace"),
        (in_namespace(" ").into(), "namespace"),
        (in_namespace("Payments").into(), "namespace"),
        (in_namespace("pay*").into(), "namespace"),
        (in_namespace("payments").service_account("a/b").into(), "service account"),
        (in_any_cluster().service_account("checkout").into(), "needs a namespace"),
        (Callers::cluster("").into(), "cluster"),
        (Callers::cluster("*").into(), "cluster"),
        (Policy::cluster(" "), "cluster"),
        (Policy::audience(""), "audience"),
    ];
    for (slip, text) in slips {
        let error = slip.validate().unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
        let denied = slip.check(&caller).unwrap_err().to_string();
        assert!(denied.contains(&error), "{denied}");
        assert!(!allows(slip.clone().not(), &caller), "not {slip}");
        assert_eq!(slip.clone().not().validate().unwrap_err().to_string(), error);
        let denied = slip.clone().not().check(&caller).unwrap_err().to_string();
        assert!(denied.contains(&error), "{denied}");
        assert!(!allows(slip.clone().not().not(), &caller), "not not {slip}");
        assert!(!allows(slip.clone().and(in_namespace("payments")), &caller));
        assert!(slip.clone().or(in_namespace("payments")).validate().is_err());
        // the sound half still serves
        assert!(allows(slip.or(in_namespace("payments")), &caller));
    }
}

#[test]
fn the_rule_that_refused_is_named() {
    let caller = caller(None, "payments", "checkout");
    let policy = in_namespace("payments")
        .and(in_namespace("payments").service_account("refunds").or(Policy::audience("x")));
    let denied = policy.check(&caller).unwrap_err();
    assert_eq!(
        denied.rule(),
        r#"(callers of the service account "refunds" in the namespace "payments" or for the audience "x")"#
    );
    assert_eq!(
        Policy::audience("x").and(Policy::audience("y").not()).to_string(),
        r#"(for the audience "x" and not for the audience "y")"#
    );
    let policy = Policy::when("a\nb", |_| false).not().not();
    assert_eq!(
        policy.check(&caller).unwrap_err().to_string(),
        r#""system:serviceaccount:payments:checkout" is not allowed: only not not when "a\nb""#
    );
}

#[test]
fn a_long_policy_is_said_once_and_cut() {
    let long = (0..500).fold(Policy::from(in_namespace("first")), |policy, number| {
        policy.or(in_namespace(format!("n-{number}")))
    });
    let denied = long.check(&caller(None, "payments", "checkout")).unwrap_err();
    assert!(denied.rule().len() <= 1024 + '…'.len_utf8());
    assert!(denied.rule().contains("first"));
    // the hint of a part that is far in is found
    let policy = long.or(in_namespace(""));
    let denied = policy.check(&caller(None, "payments", "checkout")).unwrap_err().to_string();
    assert!(denied.contains("cannot be the name of a namespace"), "{denied}");
}

#[test]
fn a_rule_is_cut_where_it_is_too_long_and_not_before() {
    let long = |last| {
        let parts = (0..14).map(|number| format!("{number:060}")).chain(["x".repeat(last)]);
        Policy::any(parts.map(|words| Policy::when(words, |_| false)))
    };
    let rule_of = |policy: &Policy| {
        let denied = policy.check(&caller(None, "payments", "checkout")).unwrap_err();
        denied.rule().to_owned()
    };
    let missing = 1_024 - long(0).to_string().len();
    assert_eq!(rule_of(&long(missing)), long(missing).to_string());
    assert_eq!(rule_of(&long(missing + 1)).chars().last(), Some('…'));
}
