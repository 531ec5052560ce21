//! Requests that are too big.

use super::*;

/// Heads of many sizes, and what is said of each: nothing stands for a connection that is closed
/// while its head is still being sent.
fn big_heads(siege: &Siege) -> Vec<(String, Vec<Option<u16>>)> {
    let head = |rest: &str| format!("GET /whoami HTTP/1.1\r\nhost: demo\r\n{rest}\r\n\r\n");
    let bearer = |token: &str| head(&format!("authorization: Bearer {token}"));
    let good = &siege.good;
    let many = |count: usize, line: &str| vec![line; count].join("\r\n");
    let too_long = || vec![Some(431), None];
    let signature = good.rsplit_once('.').unwrap().1;
    vec![
        (bearer(good), vec![Some(200)]),
        (head(&format!("x: {}", "a".repeat(1024 * 1024))), too_long()),
        (bearer(&"a".repeat(1024 * 1024)), too_long()),
        (head(&format!("{}: b", "a".repeat(1024 * 1024))), too_long()),
        (head(&many(10_000, "x: y")), too_long()),
        (head(&many(10_000, &format!("authorization: Bearer {signature}"))), too_long()),
        (head(&many(90, &format!("authorization: Bearer {good}"))), vec![Some(400)]),
        // beside those of others
        (bearer(&format!("{good}\r\n{}", many(90, "x: y"))), vec![Some(200)]),
        (bearer(&"a".repeat(17 * 1024)), vec![Some(401)]),
        (bearer(&format!("{good}{}", "a".repeat(17 * 1024 - good.len()))), vec![Some(401)]),
        // spaces are none of the token, however many
        (bearer(&format!("{}{good}", " ".repeat(17 * 1024))), vec![Some(200)]),
        (bearer(&format!("{good}{}", " ".repeat(17 * 1024))), vec![Some(200)]),
        (bearer(&"a.".repeat(8 * 1024)), vec![Some(401)]),
        (bearer(&"a".repeat(300 * 1024)), vec![Some(401)]),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(60 * 1024)), vec![Some(404)]),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(1024 * 1024)), too_long()),
        (format!("{} / HTTP/1.1\r\n\r\n", "A".repeat(1024 * 1024)), too_long()),
    ]
}

#[test]
fn what_is_too_big_is_refused() {
    let siege = Siege::begin(&[]);
    let heads = big_heads(&siege);
    siege.besides("big heads", 24, |served| {
        for round in 0..5 {
            let mut wires = Vec::new();
            for (head, expected) in &heads {
                let mut wire = Wire::to(&siege.demo);
                // which may be answered, and closed, before its end
                let _ = wire.try_send(head);
                wires.push((wire, head, expected));
            }
            for (mut wire, head, expected) in wires {
                let status = wire.answer().map(|answer| answer.status);
                assert!(expected.contains(&status), "{round} {head:.60}: {status:?}");
            }
            served.wait_for_more(1);
        }
    });
    siege.end();
}

#[test]
fn a_head_is_not_held_beyond_its_limit() {
    let siege = Siege::begin(&[]);
    siege.besides("50 heads of up to 64 MiB", 48, |_| {
        let chunk = "a".repeat(64 * 1024);
        let mut wires: Vec<(Wire, usize)> = (0..50).map(|_| (Wire::to(&siege.demo), 0)).collect();
        for (wire, _) in &mut wires {
            wire.send("GET /whoami HTTP/1.1\r\nx: ");
        }
        while !wires.is_empty() {
            wires.retain_mut(|(wire, sent)| {
                *sent += chunk.len();
                assert!(*sent < 64 * 1024 * 1024, "a head that does not end is read");
                wire.try_send(&chunk).is_ok()
            });
        }
    });
    siege.end();
}
