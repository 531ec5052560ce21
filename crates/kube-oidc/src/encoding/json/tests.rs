use super::{object::SkipMembers, parse_object};

fn accepts(text: &str) -> bool {
    parse_object(text, &mut SkipMembers).is_ok()
}

// rule: strict-json
#[test]
fn members_twice_are_refused_at_every_depth_and_after_unescaping() {
    assert!(accepts(r#"{"a":1,"b":{"a":1},"c":[{"a":1},{"a":2}]}"#));
    assert!(!accepts(r#"{"a":1,"a":1}"#));
    assert!(!accepts(r#"{"a":1,"\u0061":1}"#));
    assert!(!accepts(r#"{"x":{"a":1,"a":1}}"#));
    assert!(!accepts(r#"{"x":[[{"a":1,"b":2,"a":3}]]}"#));
}

#[test]
fn members_twice_are_found_among_many() {
    let names: Vec<String> = (0..100).map(|i| format!("\"m{i}\":{i}")).collect();
    let body = names.join(",");
    assert!(accepts(&format!("{{{body}}}")));
    assert!(!accepts(&format!("{{{body},\"m3\":0}}")));
    assert!(!accepts(&format!("{{{body},\"m70\":0}}")));
}

// rule: strict-json
#[test]
fn depth_is_bounded() {
    let nested = |n: usize| format!("{{\"a\":{}1{}}}", "[".repeat(n), "]".repeat(n));
    assert!(accepts(&nested(31)));
    assert!(!accepts(&nested(32)));
    assert!(!accepts(&nested(100_000)));
    let objects = |n: usize| format!("{}1{}", "{\"a\":".repeat(n), "}".repeat(n));
    assert!(accepts(&objects(32)));
    assert!(!accepts(&objects(33)));
}

// rule: strict-json
#[test]
fn number_at_the_greatest_depth_is_accepted() {
    let nested = |value: &str| format!("{{\"a\":{}{value}{}}}", "[".repeat(31), "]".repeat(31));
    for number in ["1", "-1", "1.5", "1e3", "100000000000000000000000", "-0.0", "1e-999"] {
        assert!(accepts(&nested(number)), "{number}");
        assert!(accepts(&format!("{{\"a\":{number}, \"b\":[{number}]}}")), "{number}");
    }
    assert!(!accepts(&nested("{}")));
    assert!(!accepts(&nested("[]")));
    assert!(!accepts(&nested("1e999")));
    assert!(!accepts(&nested("{\"a\":1}")));
}

// rule: strict-json
#[test]
fn reserved_member_names_are_rejected_at_every_depth_and_after_unescaping() {
    for name in [
        "$serde_json::private::RawValue",
        "$serde_json::private::Number",
        "$serde_json::private::",
        r"\u0024serde_json::private::RawValue",
    ] {
        for value in [r#""1""#, r#""{}""#, r#""\u0031""#, "1", "{}"] {
            let object = format!("{{\"{name}\":{value}}}");
            let longer = format!("{{\"x\":0,\"{name}\":{value}}}");
            for object in [object.clone(), longer, format!("{{\"y\":[1,{object}]}}")] {
                assert!(!accepts(&object), "{object}");
                let error = parse_object(&object, &mut SkipMembers).unwrap_err().place();
                assert!(error.contains("begins with `$serde_json::private::`"), "{error}");
            }
        }
    }
    assert!(accepts(r#"{"serde_json::private::RawValue":"","$serde_json":"","$":""}"#));
}

#[test]
fn what_is_no_json_object_is_refused() {
    for text in [
        "",
        "null",
        "[]",
        "\"a\"",
        "{",
        "{}x",
        "{} {}",
        "\u{feff}{}",
        "{\"a\":NaN}",
        "{\"a\":1e999}",
        "{\"a\":01}",
        "{\"a\":\"\\ud800\"}",
        "{\"a\":\"\u{1}\"}",
        "{'a':1}",
        "{\"a\":1,}",
        "{a:1}",
        "{1:1}",
        "{null:1}",
        "{[]:1}",
        "{:1}",
        "{,}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1\"b\":2}",
        "{\"a\":[\"b\"\"c\"]}",
        "{\"a\":[1,]}",
        "{\"a\":[}}",
        "{\"a\":tru}",
        "{\"a\":\"b}",
        "{]",
    ] {
        assert!(!accepts(text), "{text:?}");
    }
    assert!(accepts(" {} \n"));
}
