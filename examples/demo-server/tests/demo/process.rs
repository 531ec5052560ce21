//! The real binary, over TCP.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::{Mutex, mpsc},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How long anything may take that should take no time, on a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo-server"));
    command.args(args);
    for variable in
        ["OIDC_ISSUER", "OIDC_AUDIENCE", "LISTEN_ADDR", "RUST_LOG", "KUBERNETES_SERVICE_HOST"]
    {
        command.env_remove(variable);
    }
    command.env("RUST_BACKTRACE", "1");
    command
}

/// A running server, which ends with the test.
pub(crate) struct Demo {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: Mutex<mpsc::Receiver<String>>,
    pub(crate) address: String,
}

impl Demo {
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut command = command(args);
        command.args(["--listen", "127.0.0.1:0"]);
        Self::spawn(command)
    }

    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let log = BufReader::new(child.stderr.take().unwrap());
        let (send, stderr) = mpsc::channel();
        thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").unwrap_or_else(|| {
            panic!("{line:?} {:?}", stderr.recv_timeout(Duration::from_secs(5)))
        });
        let address = address.to_owned();
        Self { child, stdout, stderr: Mutex::new(stderr), address }
    }

    /// The id of the process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it prints.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(self.stdout.read_line(&mut line).unwrap(), 0);
        line.trim().to_owned()
    }

    /// The next line of the log with this text.
    pub(crate) fn log_line_with(&self, text: &str) -> String {
        let stderr = self.stderr.lock().unwrap();
        loop {
            let line = stderr.recv_timeout(PATIENCE).unwrap();
            if line.contains(text) {
                return line;
            }
        }
    }

    pub(crate) fn get(&self, path: &str, headers: &[&str]) -> Response {
        self.ask(&format!("GET {path}"), &[&["host: demo"], headers].concat(), b"")
    }

    /// A connection on which nothing is waited for for ever.
    pub(crate) fn connect(&self) -> TcpStream {
        let address = self.address.parse().unwrap();
        let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends a request with these headers, and none beside what its end takes.
    pub(crate) fn ask(&self, line: &str, headers: &[&str], body: &[u8]) -> Response {
        let length = body.len();
        let mut head =
            format!("{line} HTTP/1.1\r\nconnection: close\r\ncontent-length: {length}\r\n");
        for header in headers {
            head.push_str(header);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        let mut stream = self.connect();
        stream.write_all(head.as_bytes()).unwrap();
        // one that is too long is answered before its end
        let _ = stream.write_all(body);
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        Response {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    pub(crate) fn whoami(&self, token: &str) -> Response {
        self.get("/whoami", &[&format!("Authorization: Bearer {token}")])
    }

    /// What it prints until the process ends.
    pub(crate) fn printed_to_the_end(mut self) -> String {
        self.child.kill().unwrap();
        let mut text = String::new();
        self.stdout.read_to_string(&mut text).unwrap();
        text
    }

    /// The log until the process ends.
    pub(crate) fn log_to_the_end(mut self) -> String {
        self.child.kill().unwrap();
        let lines: Vec<String> = self.stderr.lock().unwrap().iter().collect();
        lines.join("\n")
    }

    pub(crate) fn terminate(mut self) -> ExitStatus {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Response {
    /// The values of a header.
    pub(crate) fn header(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| *found == name).map(|(_, value)| value).collect()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}
