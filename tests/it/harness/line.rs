//! A line to a server that can be cut, go mute, be slow or be answered by another server, as the links of remote sites.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::port;

/// What passes through a connection of a storm before it breaks, in bytes.
const STORM_PASSES: usize = 700 * 1024;
/// What a portal answers to every request.
const PAGE: &str = "<html><body><h1>Welcome aboard! Please log in.</h1></body></html>";

/// How a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quality {
    /// Everything goes through.
    Good,
    /// Connections break, and new ones are refused as soon as they were made.
    Cut,
    /// Connections stay, and nothing comes through until the line is good again.
    Mute,
    /// So many bytes a second go to the server, over all connections.
    Slow(u64),
    /// A portal on the way answers every request with a web page.
    Portal,
    /// Most requests of HTTP are answered with errors, and connections break in the middle.
    Storm,
    /// What answers of HTTP say of the MD5 of an object is wrong.
    Garbled,
}

/// Passes bytes on to a server on the loopback interface.
#[derive(Debug)]
pub struct Line {
    port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    upstream: u16,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    quality: Quality,
    ended: bool,
    connections: Vec<TcpStream>,
    /// Until when a slow line is taken.
    taken_until: Option<Instant>,
    /// Requests that were answered on the way, or whose answers were changed.
    answered: usize,
    dice: fastrand::Rng,
}

impl Line {
    /// A good one to the server on port `upstream`.
    pub fn start(upstream: u16) -> Self {
        let port = port::free();
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("listen");
        let (quality, dice) = (Quality::Good, fastrand::Rng::with_seed(11));
        let state = State { quality, ended: false, connections: Vec::new(), taken_until: None, answered: 0, dice };
        let shared = Arc::new(Shared { upstream, state: Mutex::new(state), changed: Condvar::new() });
        let acceptor = spawn({
            let shared = shared.clone();
            move || shared.accept(&listener)
        });
        Self { port, shared, acceptor: Some(acceptor) }
    }

    /// Where clients find it.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Makes it good or bad from now on.
    pub fn set(&self, quality: Quality) {
        let mut state = self.shared.state();
        state.quality = quality;
        if matches!(quality, Quality::Cut | Quality::Portal | Quality::Storm) {
            state.hang_up();
        }
        self.shared.changed.notify_all();
    }

    /// How many requests were answered on the way, or had their answers changed, so far.
    pub fn answered(&self) -> usize {
        self.shared.state().answered
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.ended = true;
        state.hang_up();
        drop(state);
        self.shared.changed.notify_all();
        // Wakes the one who accepts.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl State {
    fn hang_up(&mut self) {
        for connection in self.connections.drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while it is held")
    }

    /// Waits while the line is mute. Whether anything may pass then.
    fn is_open(&self) -> bool {
        let mute = |state: &mut State| state.quality == Quality::Mute && !state.ended;
        let state = self.changed.wait_while(self.state(), mute).expect("no panic while it is held");
        state.quality != Quality::Cut && !state.ended
    }

    /// Waits for the turn of `bytes` on a slow line.
    fn wait_for_turn(&self, bytes: usize) {
        let mut state = self.state();
        let Quality::Slow(rate) = state.quality else { return };
        let now = Instant::now();
        let free = state.taken_until.map_or(now, |until| until.max(now));
        let done = free + Duration::from_secs_f64(bytes as f64 / rate as f64);
        state.taken_until = Some(done);
        drop(state);
        std::thread::sleep(done.duration_since(now));
    }

    /// Answers a request in the server's place. Whether it did.
    fn answer(&self, client: &TcpStream) -> std::io::Result<bool> {
        let answer = {
            let mut state = self.state();
            let answer = match (state.quality, state.dice.u8(0..10)) {
                (Quality::Portal, _) => format!("200 OK\r\ncontent-type: text/html\r\ncontent-length: {}", PAGE.len()),
                (Quality::Storm, 0..2) => "503 Service Unavailable\r\ncontent-length: 0".to_owned(),
                (Quality::Storm, 2..4) => "500 Internal Server Error\r\ncontent-length: 0".to_owned(),
                (Quality::Storm, 4) => "429 Too Many Requests\r\ncontent-length: 0".to_owned(),
                // A connection is reset.
                (Quality::Storm, 5) => String::new(),
                _ => return Ok(false),
            };
            state.answered += 1;
            answer
        };
        let mut request = BufReader::new(client);
        let (mut method, mut length, mut line) = (String::new(), 0u64, String::new());
        while request.read_line(&mut line)? > 2 {
            if method.is_empty() {
                method = line.split(' ').next().unwrap_or_default().to_owned();
            }
            if let Some((_, value)) =
                line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            {
                length = value.trim().parse().unwrap_or_default();
            }
            line.clear();
        }
        if answer.is_empty() {
            return Ok(true);
        }
        std::io::copy(&mut request.take(length), &mut std::io::sink())?;
        let page = if answer.starts_with("200") && method != "HEAD" { PAGE } else { "" };
        let mut client = client;
        write!(client, "HTTP/1.1 {answer}\r\nconnection: close\r\n\r\n{page}")?;
        Ok(true)
    }

    /// Changes the first digit of each ETag. Answers are small, so that none lies across two pieces.
    fn garble(&self, bytes: &mut [u8]) {
        const NAME: &[u8] = b"etag: \"";
        for at in 0..bytes.len().saturating_sub(NAME.len()) {
            if bytes[at..at + NAME.len()].eq_ignore_ascii_case(NAME) {
                let digit = &mut bytes[at + NAME.len()];
                *digit = if *digit == b'0' { b'1' } else { b'0' };
                self.state().answered += 1;
            }
        }
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming() {
            if self.state().ended {
                return;
            }
            let Ok(client) = client else { continue };
            let shared = self.clone();
            // A client without a server sees its connection closed.
            spawn(move || shared.connect(client));
        }
    }

    fn connect(self: Arc<Self>, client: TcpStream) -> std::io::Result<()> {
        if !self.is_open() {
            return Ok(());
        }
        if self.answer(&client)? {
            return client.shutdown(Shutdown::Write);
        }
        let server = TcpStream::connect(("127.0.0.1", self.upstream))?;
        {
            let mut state = self.state();
            // Of those that came to their end by themselves nothing is kept.
            state.connections.retain(|connection| connection.peer_addr().is_ok());
            state.connections.extend([client.try_clone()?, server.try_clone()?]);
        }
        let (answers, to_client, back) = (server.try_clone()?, client.try_clone()?, self.clone());
        spawn(move || back.pass(answers, to_client, false));
        self.pass(client, server, true);
        Ok(())
    }

    fn pass(&self, mut from: TcpStream, mut to: TcpStream, upward: bool) {
        let (mut bytes, mut passed) = ([0; 16 * 1024], 0);
        while let Ok(length @ 1..) = from.read(&mut bytes) {
            if upward {
                self.wait_for_turn(length);
            }
            passed += length;
            if !upward && self.state().quality == Quality::Garbled {
                self.garble(&mut bytes[..length]);
            }
            let broke = passed > STORM_PASSES && self.state().quality == Quality::Storm;
            if broke || !self.is_open() || to.write_all(&bytes[..length]).is_err() {
                break;
            }
        }
        for end in [from, to] {
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

/// A thread that ends with its connection, or with the line.
fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    std::thread::Builder::new().name("line".to_owned()).spawn(work).expect("spawn a thread")
}

#[test]
fn a_line_is_good_mute_cut_and_good_again() {
    // Sends everything back, and ends with the test's process.
    let upstream = TcpListener::bind(("127.0.0.1", 0)).expect("listen");
    let port = upstream.local_addr().expect("an address").port();
    spawn(move || {
        for client in upstream.incoming().flatten() {
            spawn(move || std::io::copy(&mut &client, &mut &client));
        }
    });
    let line = Line::start(port);
    let connect = || TcpStream::connect(("127.0.0.1", line.port())).expect("connect");
    let say = |stream: &mut TcpStream| stream.write_all(b"x");
    let hear = |stream: &mut TcpStream| stream.read_exact(&mut [0]);
    let mut first = connect();
    say(&mut first).and_then(|()| hear(&mut first)).expect("there and back");
    line.set(Quality::Mute);
    say(&mut first).expect("no error although it went nowhere");
    first.set_read_timeout(Some(std::time::Duration::from_millis(200))).expect("a limit");
    hear(&mut first).expect_err("mute");
    first.set_read_timeout(Some(super::patient(super::seconds(20)))).expect("a limit");
    line.set(Quality::Good);
    hear(&mut first).expect("late, but there");
    line.set(Quality::Cut);
    hear(&mut first).expect_err("broken");
    let mut second = connect();
    second.set_read_timeout(Some(super::patient(super::seconds(20)))).expect("a limit");
    assert!(say(&mut second).and_then(|()| hear(&mut second)).is_err(), "no server");
    line.set(Quality::Good);
    let mut third = connect();
    say(&mut third).and_then(|()| hear(&mut third)).expect("as if nothing had been");
}
