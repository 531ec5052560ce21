//! Servers over TCP, each a process with one worker, under the load of one thread of this process:
//! behind our layer, behind another and behind none. They take turns, so that each has a core for
//! itself while it is loaded.

use std::{
    env, fs,
    io::{self, BufRead as _, BufReader, Read as _},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use axum::Router;
use kube_oidc_benches::{
    harness::{Quartiles, print_quartiles},
    inputs::{builder, pod_token, verifier},
    jsonwebtoken_peer::{Backend, use_backend},
    layers::{ours, passed_through, plain},
    peers::oauth2_resource_server,
};
use kube_oidc_testing::TestIssuer;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};

/// How long a server is loaded before it is the next one's turn.
const SLICE: Duration = Duration::from_millis(400);

/// As many connections to each server, which stay open.
const CONNECTIONS: usize = 32;

/// How a good answer begins.
const GOOD: &[u8] = b"HTTP/1.1 200 ";

/// What a server has in front of its route.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Open,
    /// Shows how much of a difference is noise.
    OpenAgain,
    Passing,
    Warm,
    Cold,
    Peer,
}

impl Kind {
    /// In the order of the table.
    const ALL: [Self; 6] =
        [Self::Open, Self::OpenAgain, Self::Passing, Self::Warm, Self::Cold, Self::Peer];

    fn name(self) -> &'static str {
        match self {
            Self::Open => "without auth",
            Self::OpenAgain => "without auth, once more",
            Self::Passing => "a layer that does nothing",
            Self::Warm => "ours, warm",
            Self::Cold => "ours, cold",
            Self::Peer => "`tower-oauth2-resource-server`, aws-lc",
        }
    }

    async fn router(self, issuer: &TestIssuer) -> Router {
        match self {
            Self::Open | Self::OpenAgain => plain(),
            Self::Passing => passed_through(),
            Self::Warm => {
                let verifier = builder(issuer).build().expect("good settings");
                verifier.ready().await;
                ours(verifier)
            }
            Self::Cold => ours(verifier(issuer, 0).await),
            Self::Peer => {
                use_backend(Backend::AwsLc);
                oauth2_resource_server::router(issuer).await
            }
        }
    }
}

/// Serves until the process that started this one closes the standard input. Says where, and a
/// token that is let through, in the first line of the standard output.
async fn serve(kind: Kind) {
    // its thread sleeps once the keys are fetched
    let issuer = TestIssuer::start();
    let token = pod_token(&issuer).mint();
    let router = kind.router(&issuer).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    println!("{address} {token}");
    axum::serve(listener, router).await.expect("a server that goes on");
}

/// A server in a process of its own, and the connections to it.
struct Server {
    process: Child,
    connections: Vec<Connection>,
    slices: Vec<Slice>,
}

impl Server {
    async fn start(place: usize) -> Self {
        let mut process = Command::new(env::current_exe().expect("a path"))
            .args(["serve", &place.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let mut line = String::new();
        let output = process.stdout.take().expect("a standard output");
        BufReader::new(output).read_line(&mut line).expect("a line");
        let (address, token) = line.trim().split_once(' ').expect("an address and a token");
        let request =
            format!("GET / HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\r\n");
        let request: Arc<[u8]> = request.into_bytes().into();
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(Connection::open(address, Arc::clone(&request)).await);
        }
        Self { process, connections, slices: Vec::new() }
    }

    /// Loads it for a while.
    async fn load(&mut self) -> Slice {
        let process = self.process.id().to_string();
        let (server, client) = (on_cpu(&process), on_cpu("self"));
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for mut connection in self.connections.drain(..) {
            tasks.spawn(async move {
                let mut requests = 0_u64;
                while start.elapsed() < SLICE {
                    connection.exchange().await;
                    requests += 1;
                }
                (connection, requests)
            });
        }
        let mut requests = 0;
        while let Some(task) = tasks.join_next().await {
            let (connection, count) = task.expect("a task that ends");
            self.connections.push(connection);
            requests += count;
        }
        let seconds = start.elapsed().as_secs_f64();
        // the time of a thread is told exactly only once it sleeps
        sleep(Duration::from_millis(5)).await;
        Slice {
            rate: requests as f64 / seconds,
            cpu: (on_cpu(&process) - server).as_secs_f64() / requests as f64,
            server_busy: (on_cpu(&process) - server).as_secs_f64() / seconds,
            client_busy: (on_cpu("self") - client).as_secs_f64() / seconds,
        }
    }

    fn all(&self, value: impl Fn(&Slice) -> f64) -> Vec<f64> {
        self.slices.iter().map(value).collect()
    }

    fn median(&self, value: impl Fn(&Slice) -> f64) -> f64 {
        Quartiles::of(self.all(value)).median
    }

    /// Compares it with another one, round by round.
    fn against(&self, other: &Self, value: impl Fn(&Slice) -> f64) -> Quartiles {
        let (ours, theirs) = (self.all(&value), other.all(&value));
        Quartiles::of(ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // closes its standard input, and so ends it
        let _ = self.process.wait();
    }
}

/// What came of a server's turn.
struct Slice {
    /// Requests in a second.
    rate: f64,
    /// Seconds on a CPU for a request.
    cpu: f64,
    /// The part of the time that the server was on a CPU.
    server_busy: f64,
    /// The same of this process.
    client_busy: f64,
}

/// A connection on which one request follows the other.
struct Connection {
    stream: TcpStream,
    request: Arc<[u8]>,
    answer: [u8; 1024],
    /// The length of an answer: they are all alike.
    length: usize,
}

impl Connection {
    async fn open(address: &str, request: Arc<[u8]>) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("an option of TCP");
        let mut connection = Self { stream, request, answer: [0; 1024], length: 0 };
        for _ in 0..500 {
            if connection.first_exchange().await {
                return connection;
            }
            // the server's keys may still be on their way
            sleep(Duration::from_millis(10)).await;
        }
        panic!("no token is let through");
    }

    /// Finds out how long answers are. Whether it was a good one.
    async fn first_exchange(&mut self) -> bool {
        self.stream.write_all(&self.request).await.expect("a connection that stays");
        let mut read = 0;
        loop {
            read += self.read_from(read).await;
            let text = str::from_utf8(&self.answer[..read]).expect("a text");
            if let Some((head, _)) = text.split_once("\r\n\r\n") {
                let body =
                    head.split("\r\n").find_map(|line| line.strip_prefix("content-length: "));
                let body: usize = body.and_then(|body| body.parse().ok()).expect("a length");
                self.length = head.len() + 4 + body;
                break;
            }
        }
        while read < self.length {
            read += self.read_from(read).await;
        }
        self.answer.starts_with(GOOD)
    }

    async fn exchange(&mut self) {
        self.stream.write_all(&self.request).await.expect("a connection that stays");
        let mut read = 0;
        while read < self.length {
            read += self.read_from(read).await;
        }
        assert!(self.answer.starts_with(GOOD), "not 200");
        assert_eq!(read, self.length);
    }

    async fn read_from(&mut self, start: usize) -> usize {
        let read = self.stream.read(&mut self.answer[start..]).await;
        let read = read.expect("a connection that stays");
        assert_ne!(read, 0, "the server closed a connection, or answers at length");
        read
    }
}

/// How long the main thread of a process was on a CPU; where the system does not tell, all of the
/// process, in coarse steps.
fn on_cpu(process: &str) -> Duration {
    let id = if process == "self" { std::process::id().to_string() } else { process.to_owned() };
    let exact = fs::read_to_string(format!("/proc/{id}/task/{id}/schedstat"));
    let exact = exact.ok().and_then(|line| line.split(' ').next()?.parse().ok());
    exact.map_or_else(|| ticks(&id), Duration::from_nanos)
}

fn ticks(id: &str) -> Duration {
    let line = fs::read_to_string(format!("/proc/{id}/stat")).expect("a process");
    // the name may hold anything but ends with the last parenthesis
    let (_, fields) = line.rsplit_once(") ").expect("a name");
    let times = fields.split(' ').skip(11).take(2);
    let ticks: u64 = times.map(|time| time.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * 10)
}

fn print(servers: &[Server]) {
    let [open, _, _, warm, _, peer] = servers else { panic!("not all servers") };
    println!(
        "| server | requests/s | quartiles | CPU of a request | quartiles | µs of CPU | \
         server busy | client busy |"
    );
    println!("| --- | ---: | --- | ---: | --- | ---: | ---: | ---: |");
    for (kind, server) in Kind::ALL.into_iter().zip(servers) {
        let rate = server.against(open, |slice| slice.rate);
        let cpu = server.against(open, |slice| slice.cpu);
        println!(
            "| {} | {:.4} | {:.4} to {:.4} | {:.4} | {:.4} to {:.4} | {:.1} | {:.0} % | {:.0} % |",
            kind.name(),
            rate.median,
            rate.low,
            rate.high,
            cpu.median,
            cpu.low,
            cpu.high,
            1e6 * server.median(|slice| slice.cpu),
            100.0 * server.median(|slice| slice.server_busy),
            100.0 * server.median(|slice| slice.client_busy),
        );
    }
    println!();
    let bars = [
        ("CPU of a request, ours warm / without auth, at most 1.03", warm.against(open, |s| s.cpu)),
        ("requests/s, ours warm / without auth, at least 0.97", warm.against(open, |s| s.rate)),
        ("requests/s, ours warm / the other layer, at least 4.2", warm.against(peer, |s| s.rate)),
        ("CPU of a request, the other layer / ours warm", peer.against(warm, |s| s.cpu)),
    ];
    for (what, quartiles) in bars {
        print_quartiles(what, quartiles);
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [what, place] = &arguments[..]
        && what == "serve"
    {
        return serve(Kind::ALL[place.parse::<usize>().expect("a number")]).await;
    }
    let rounds = arguments.first().and_then(|rounds| rounds.parse().ok()).unwrap_or(15);
    let mut servers = Vec::new();
    for place in 0..Kind::ALL.len() {
        servers.push(Server::start(place).await);
    }
    for server in &mut servers {
        // warm up
        server.load().await;
    }
    for round in 0..rounds {
        for place in 0..servers.len() {
            // not always behind the same one
            let server = &mut servers[(place + round) % Kind::ALL.len()];
            let slice = server.load().await;
            server.slices.push(slice);
        }
    }
    print(&servers);
}
