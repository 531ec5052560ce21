//! Many connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::*;

/// As many files as may be open in this process, and in those that it starts.
fn raise_open_files() -> u64 {
    const WANTED: u64 = 10_000;
    let limit = getrlimit(Resource::Nofile);
    let current = limit.current.unwrap_or(WANTED);
    let wanted = WANTED.min(limit.maximum.unwrap_or(WANTED));
    if wanted <= current {
        return current;
    }
    let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
    if setrlimit(Resource::Nofile, raised).is_ok() { wanted } else { current }
}

#[test]
fn thousands_of_connections_are_served_beside_each_other() {
    let files = raise_open_files();
    // other tests of this process have files open too
    let count = usize::try_from(files.saturating_sub(600).min(2_000)).unwrap();
    if count < 1_000 {
        println!("not run: thousands of connections, since only {files} files may be open");
        return;
    }
    let siege = Siege::begin(&["--max-connections", "9000", "--idle-timeout", "60s"]);
    let what = format!("{count} connections, where {files} files may be open");
    // 48 KiB for each
    siege.besides(&what, count * 48 / 1024, |served| crowd(&siege, count, served));
    siege.end();
}

/// Connections in every state, all of which are answered in the end.
fn crowd(siege: &Siege, count: usize, served: &Served) {
    let request = whoami(&siege.good);
    let (begin, rest) = request.split_at(request.len() / 2);
    let open = |index: usize| {
        let mut wire = Wire::to(&siege.demo);
        match index % 3 {
            0 => {}
            1 => wire.send(begin),
            _ => {
                wire.send(&request);
                assert_good(&wire.answer().unwrap());
            }
        }
        wire
    };
    let mut wires: Vec<Wire> = (0..count).map(open).collect();
    served.wait_for_more(50);
    let held = Held::by(&siege.demo);
    assert!(held.descriptors == 0 || held.descriptors >= count, "{held:?}");
    for (index, wire) in wires.iter_mut().enumerate() {
        wire.send(if index % 3 == 1 { rest } else { &request });
    }
    for wire in &mut wires {
        assert_good(&wire.answer().unwrap());
    }
}

#[test]
fn with_more_connections_than_may_be_open_others_get_their_turn() {
    let siege = Siege::begin(&["--max-connections", "50", "--idle-timeout", "2s"]);
    let what = "100 connections where 50 may be open";
    siege.with_callers(&[Caller::Keeps], what, 16, |served| {
        let silent: Vec<Wire> = (0..100).map(|_| Wire::to(&siege.demo)).collect();
        served.wait_for_more(20);
        let held = Held::by(&siege.demo);
        assert!(held.descriptors <= siege.before.descriptors + 50, "{held:?}");
        // after all who came before
        let start = Instant::now();
        assert_good(&siege.demo.whoami(&siege.good));
        println!("whoever came last was served after {:?}", start.elapsed());
        for wire in silent {
            assert_eq!(wire.answers().len(), 0);
        }
    });
    siege.end();
}

#[cfg(target_os = "linux")]
#[test]
fn a_server_that_is_out_of_files_serves_on_and_recovers() {
    use rustix::process::{Pid, prlimit};

    let siege = Siege::begin(&["--max-connections", "9000", "--idle-timeout", "60s"]);
    let pid = Pid::from_raw(siege.demo.id().try_into().unwrap());
    let few = siege.before.descriptors + 50;
    let few = Rlimit { current: Some(few as u64), maximum: None };
    let limit = getrlimit(Resource::Nofile);
    prlimit(pid, Resource::Nofile, Rlimit { maximum: limit.maximum, ..few }).unwrap();
    let what = "120 connections where files are for 50";
    siege.with_callers(&[Caller::Keeps], what, 16, |served| {
        let wires: Vec<Wire> = (0..120).map(|_| Wire::to(&siege.demo)).collect();
        siege.demo.log_line_with("no connection can be accepted");
        served.wait_for_more(50);
        drop(wires);
    });
    siege.end();
}
