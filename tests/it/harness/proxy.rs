//! A TCP proxy in front of a server. It can break, go mute, be slow or answer in the server's place, as the links of
//! remote sites; and it can cut an upload in the middle, at a given request, and list the requests that went through.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::port;

/// What passes through a connection of a storm before it breaks, in bytes.
const STORM_PASSES: usize = 700 * 1024;
/// What a portal answers to every request.
const PAGE: &str = "<html><body><h1>Welcome aboard! Please log in.</h1></body></html>";

/// How a proxy passes bytes on.
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
    /// So many bytes a second come from the server, over all connections.
    SlowBack(u64),
    /// A portal on the way answers every request with a web page.
    Portal,
    /// Most requests of HTTP are answered with errors, and connections break in the middle.
    Storm,
    /// What answers of HTTP say of the MD5 of an object is wrong.
    Garbled,
}

/// A request that was passed on.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub body_bytes: u64,
}

impl Request {
    /// The path alone.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// Passes bytes on to a server on the loopback interface.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    upstream: u16,
    /// Whether what goes to the server is read as HTTP/1.1, so that there can be a trap.
    reads_requests: bool,
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
    /// What the query of a part's request contains, and the how manyth part of one object is not let through.
    trap: Option<(String, usize)>,
    /// Path of the object whose part sprang the trap; nothing is let through from then on.
    shut_on: Option<String>,
    seen: HashMap<String, usize>,
    passed: Vec<Request>,
    /// Bytes that went to the server.
    carried: u64,
}

impl Proxy {
    /// A good one to the server on port `upstream`.
    pub fn start(upstream: u16) -> Self {
        Self::with(upstream, None)
    }

    /// A good one that shuts by itself before the `nth` request for one object whose query contains `part`.
    pub fn shuts_before(upstream: u16, part: &str, nth: usize) -> Self {
        Self::with(upstream, Some((part.to_owned(), nth)))
    }

    fn with(upstream: u16, trap: Option<(String, usize)>) -> Self {
        let port = port::free();
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("listen");
        let reads_requests = trap.is_some();
        let state = State {
            quality: Quality::Good,
            ended: false,
            connections: Vec::new(),
            taken_until: None,
            answered: 0,
            dice: fastrand::Rng::with_seed(11),
            trap,
            shut_on: None,
            seen: HashMap::new(),
            passed: Vec::new(),
            carried: 0,
        };
        let shared = Arc::new(Shared { upstream, reads_requests, state: Mutex::new(state), changed: Condvar::new() });
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

    /// How many bytes went to the server so far.
    pub fn carried(&self) -> u64 {
        self.shared.state().carried
    }

    /// Path of the object on whose part it shut, once it has.
    pub fn shut_on(&self) -> Option<String> {
        self.shared.state().shut_on.clone()
    }

    /// Lets everything through from now on.
    pub fn open(&self) {
        let mut state = self.shared.state();
        (state.trap, state.shut_on) = (None, None);
    }

    /// All requests that went through, in order, where it has or had a trap.
    pub fn passed(&self) -> Vec<Request> {
        self.shared.state().passed.clone()
    }
}

impl Drop for Proxy {
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

    /// Whether a request may pass. The one that springs the trap, and all after it, may not.
    fn admit(&mut self, request: &Request) -> bool {
        if let Some((part, nth)) = &self.trap
            && self.shut_on.is_none()
            && request.target.contains(part.as_str())
        {
            let seen = self.seen.entry(request.path().to_owned()).or_default();
            *seen += 1;
            if *seen == *nth {
                self.shut_on = Some(request.path().to_owned());
                self.hang_up();
            }
        }
        if self.shut_on.is_some() {
            return false;
        }
        self.passed.push(request.clone());
        true
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Waits while the line is mute. Whether anything may pass then.
    fn is_open(&self) -> bool {
        let mute = |state: &mut State| state.quality == Quality::Mute && !state.ended;
        let mut state = self.state();
        self.changed.wait_while(&mut state, mute);
        state.quality != Quality::Cut && state.shut_on.is_none() && !state.ended
    }

    /// Waits for the turn of `bytes` on a slow line.
    fn wait_for_turn(&self, bytes: usize, upward: bool) {
        let mut state = self.state();
        let ((Quality::Slow(rate), true) | (Quality::SlowBack(rate), false)) = (state.quality, upward) else { return };
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
            if state.shut_on.is_some() || state.ended {
                return Ok(());
            }
            // Of those that came to their end by themselves nothing is kept.
            state.connections.retain(|connection| connection.peer_addr().is_ok());
            state.connections.extend([client.try_clone()?, server.try_clone()?]);
        }
        let (answers, to_client, back) = (server.try_clone()?, client.try_clone()?, self.clone());
        spawn(move || back.pass(answers, to_client, false));
        if self.reads_requests {
            let _ = self.forward(&client, &server);
            return server.shutdown(Shutdown::Both);
        }
        self.pass(client, server, true);
        Ok(())
    }

    /// Passes whole requests on, as long as they may.
    fn forward(&self, client: &TcpStream, mut server: &TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(client);
        while let Some((head, request)) = read_head(&mut reader)? {
            if !self.state().admit(&request) {
                break;
            }
            server.write_all(&head)?;
            std::io::copy(&mut reader.by_ref().take(request.body_bytes), &mut server)?;
        }
        Ok(())
    }

    fn pass(&self, mut from: TcpStream, mut to: TcpStream, upward: bool) {
        let (mut bytes, mut passed) = ([0; 16 * 1024], 0);
        while let Ok(length @ 1..) = from.read(&mut bytes) {
            self.wait_for_turn(length, upward);
            passed += length;
            if !upward && self.state().quality == Quality::Garbled {
                self.garble(&mut bytes[..length]);
            }
            let broke = passed > STORM_PASSES && self.state().quality == Quality::Storm;
            if broke || !self.is_open() || to.write_all(&bytes[..length]).is_err() {
                break;
            }
            if upward {
                self.state().carried += length as u64;
            }
        }
        for end in [from, to] {
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

/// A thread that ends with its connection, or with the proxy.
fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    std::thread::Builder::new().name("proxy".to_owned()).spawn(work).expect("spawn a thread")
}

/// The next request up to its body; `None` at the end of the connection.
fn read_head(reader: &mut impl BufRead) -> std::io::Result<Option<(Vec<u8>, Request)>> {
    let mut head = Vec::new();
    loop {
        let begun = head.len();
        if reader.read_until(b'\n', &mut head)? == 0 {
            return Ok(None);
        }
        if matches!(&head[begun..], b"\r\n") {
            break;
        }
    }
    let text = std::str::from_utf8(&head).map_err(|e| Error::new(ErrorKind::InvalidData, e))?;
    let mut words = text.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let request =
        Request { method: method.to_owned(), target: target.to_owned(), body_bytes: length.unwrap_or_default() };
    Ok(Some((head, request)))
}

#[test]
fn a_proxy_is_good_mute_cut_and_good_again() {
    // Sends everything back, and ends with the test's process.
    let upstream = TcpListener::bind(("127.0.0.1", 0)).expect("listen");
    let port = upstream.local_addr().expect("an address").port();
    spawn(move || {
        for client in upstream.incoming().flatten() {
            spawn(move || std::io::copy(&mut &client, &mut &client));
        }
    });
    let proxy = Proxy::start(port);
    let connect = || TcpStream::connect(("127.0.0.1", proxy.port())).expect("connect");
    let say = |stream: &mut TcpStream| stream.write_all(b"x");
    let hear = |stream: &mut TcpStream| stream.read_exact(&mut [0]);
    let mut first = connect();
    say(&mut first).and_then(|()| hear(&mut first)).expect("there and back");
    proxy.set(Quality::Mute);
    say(&mut first).expect("no error although it went nowhere");
    first.set_read_timeout(Some(std::time::Duration::from_millis(200))).expect("a limit");
    hear(&mut first).expect_err("mute");
    first.set_read_timeout(Some(super::patient(super::seconds(20)))).expect("a limit");
    proxy.set(Quality::Good);
    hear(&mut first).expect("late, but there");
    proxy.set(Quality::Cut);
    hear(&mut first).expect_err("broken");
    let mut second = connect();
    second.set_read_timeout(Some(super::patient(super::seconds(20)))).expect("a limit");
    assert!(say(&mut second).and_then(|()| hear(&mut second)).is_err(), "no server");
    proxy.set(Quality::Good);
    let mut third = connect();
    say(&mut third).and_then(|()| hear(&mut third)).expect("as if nothing had been");
}

#[test]
fn a_proxy_shuts_before_the_second_part_and_opens_again() {
    // Answers every request, and ends with the test's process.
    let upstream = TcpListener::bind(("127.0.0.1", 0)).expect("listen");
    let port = upstream.local_addr().expect("an address").port();
    spawn(move || {
        for client in upstream.incoming().flatten() {
            spawn(move || {
                let mut reader = BufReader::new(&client);
                while let Ok(Some((_, request))) = read_head(&mut reader) {
                    let _ = std::io::copy(&mut reader.by_ref().take(request.body_bytes), &mut std::io::sink());
                    let _ = (&client).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
                }
            });
        }
    });
    let proxy = Proxy::shuts_before(port, "part=", 2);
    let put = |target: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", proxy.port())).expect("connect");
        // The proxy may hang up while it is being written to.
        let _ = write!(stream, "PUT {target} HTTP/1.1\r\nContent-Length: 4\r\n\r\ndata");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).is_ok() && &answer == b"HTTP/1.1 200"
    };
    assert!(put("/a?part=1") && put("/b?part=1") && put("/a"));
    assert!(!put("/a?part=2") && !put("/b"));
    assert_eq!(proxy.shut_on().as_deref(), Some("/a"));
    proxy.open();
    assert!(put("/a?part=2"));
    let passed: Vec<String> = proxy.passed().into_iter().map(|request| request.target).collect();
    assert_eq!(passed, ["/a?part=1", "/b?part=1", "/a", "/a?part=2"]);
    assert!(proxy.passed().iter().all(|request| request.method == "PUT" && request.body_bytes == 4));
}
