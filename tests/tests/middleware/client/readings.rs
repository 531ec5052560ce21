//! How often a token file is read, as the kernel sees it.

use std::{
    fs,
    mem::MaybeUninit,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::SystemTime,
};

use super::{storm::storm, *};
use http::header::AUTHORIZATION;
use rustix::{
    fd::OwnedFd,
    fs::{
        CWD, Mode,
        inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags},
    },
    io::Errno,
};
use tower_kube_oidc::clock::ManualClock;

/// Counts how often a file is opened, as the kernel sees it.
struct Openings(OwnedFd);

impl Openings {
    fn of(file: &Path) -> Self {
        let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        // equal events in a row are told as one, so one opening is told apart by its end
        let flags = WatchFlags::OPEN | WatchFlags::CLOSE_NOWRITE;
        inotify::add_watch(&watch, fs::canonicalize(file).unwrap(), flags).unwrap();
        Self(watch)
    }

    /// Since this was asked last.
    fn count(&self) -> usize {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = Reader::new(&self.0, &mut buffer);
        let mut count = 0;
        loop {
            match events.next() {
                Ok(event) => count += usize::from(event.events().contains(ReadFlags::OPEN)),
                Err(Errno::AGAIN) => return count,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_calls_read_the_file_once_in_a_minute() {
    let issuer = TestIssuer::start();
    let server = http_callee(&issuer).await;
    let volume = Volume::holding(minted(&issuer).mint());
    let clock = ManualClock::at(SystemTime::now());
    let layer = volume.layer().clock(clock.clone()).for_origin(origin(&server.url()));
    let openings = Openings::of(&volume.token_file());
    assert_eq!(openings.count(), 0);
    drop(fs::read(volume.token_file()));
    drop(fs::read(volume.token_file()));
    assert_eq!(openings.count(), 2, "so they are counted");
    for (seconds, read) in [(0, 1), (59, 0), (1, 1), (600, 1)] {
        clock.advance(Duration::from_secs(seconds));
        storm(&layer, &server.url(), 1000).await;
        assert_eq!(openings.count(), read);
    }
}

/// A token file that lets itself be read once, when it is told to; whoever else opens it waits
/// for ever.
struct Once(PathBuf);

impl Once {
    fn publish(volume: &Volume) -> Self {
        volume.swap(|file| rustix::fs::mkfifoat(CWD, file, Mode::RWXU).unwrap());
        Self(fs::canonicalize(volume.token_file()).unwrap())
    }

    /// Waits until somebody has opened the file.
    fn opened(&self) -> fs::File {
        let (path, (tell, told)) = (self.0.clone(), mpsc::channel());
        thread::spawn(move || tell.send(fs::File::options().write(true).open(path)));
        told.recv_timeout(MINUTE).expect("somebody who reads the file").unwrap()
    }
}

#[test]
fn one_call_reads_the_file_and_the_others_do_not_wait_for_it_while_they_have_a_token() {
    let issuer = TestIssuer::start();
    let (old, new) = (minted(&issuer).mint(), minted(&issuer).service_account("a", "b").mint());
    let volume = Volume::new();
    volume.held.lock().unwrap().extend([old.clone().into(), new.clone().into()]);
    let clock = ManualClock::at(SystemTime::now());
    let orders = "https://orders.shop.svc";
    let layer = volume.layer().clock(clock.clone()).for_origin(origin(orders));
    let (tell, told) = mpsc::channel();
    // on threads, as who reads a file stops all else on its thread
    let call = |times: usize| {
        let (layer, tell) = (layer.clone(), tell.clone());
        thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let echo = tower::service_fn(async |request: Request<()>| {
                Ok::<_, std::convert::Infallible>(request.headers()[AUTHORIZATION].clone())
            });
            for _ in 0..times {
                let request = Request::get(orders).body(()).unwrap();
                let sent = runtime.block_on(layer.layer(echo).oneshot(request));
                tell.send(sent.map(|value| value.to_str().unwrap().to_owned())).unwrap();
            }
        });
    };
    let sent = || {
        let answer = told.recv_timeout(MINUTE).expect("a call that does not wait for ever");
        answer.unwrap().split_off("Bearer ".len())
    };

    // the first token: everybody needs it
    let file = Once::publish(&volume);
    (0..8).for_each(|_| call(125));
    let mut writer = file.opened();
    std::io::Write::write_all(&mut writer, old.as_bytes()).unwrap();
    drop(writer);
    (0..1000).for_each(|_| assert_eq!(sent(), old));

    // another one: one call fetches it
    let file = Once::publish(&volume);
    clock.advance(MINUTE);
    call(1);
    let mut writer = file.opened();
    (0..8).for_each(|_| call(125));
    (0..1000).for_each(|_| assert_eq!(sent(), old));
    std::io::Write::write_all(&mut writer, new.as_bytes()).unwrap();
    drop(writer);
    // a call does not wait for longer than a second, which may be over
    let first = sent();
    assert!(first == new || first == old);
    volume.publish(&new);
    clock.advance(MINUTE);
    call(1);
    assert_eq!(sent(), new);
}
