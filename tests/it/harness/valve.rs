//! A way to a server that can be shut in the middle of an upload, and that knows what went through.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use super::port;

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

/// Passes HTTP/1.1 requests on to a server on the loopback interface.
#[derive(Debug)]
pub struct Valve {
    port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    upstream: u16,
    ended: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What the query of a part's request contains, and the how manyth part of one object finds the valve shut.
    trap: Option<(String, usize)>,
    /// Path of the object whose part sprang the trap.
    shut_on: Option<String>,
    seen: HashMap<String, usize>,
    passed: Vec<Request>,
    connections: Vec<TcpStream>,
}

impl Valve {
    /// Opens one to the server on port `upstream`. It shuts by itself before the `nth` request for one object
    /// whose query contains `part`.
    pub fn start(upstream: u16, part: &str, nth: usize) -> Self {
        let port = port::free();
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("listen");
        let state = State { trap: Some((part.to_owned(), nth)), ..State::default() };
        let shared = Arc::new(Shared { upstream, ended: AtomicBool::new(false), state: Mutex::new(state) });
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

    /// Path of the object on whose part it shut, once it has.
    pub fn shut_on(&self) -> Option<String> {
        self.shared.state().shut_on.clone()
    }

    /// Lets everything through from now on.
    pub fn open(&self) {
        let mut state = self.shared.state();
        (state.trap, state.shut_on) = (None, None);
    }

    /// All that went through, in order.
    pub fn passed(&self) -> Vec<Request> {
        self.shared.state().passed.clone()
    }
}

impl Drop for Valve {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.shared.state().hang_up();
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
        self.state.lock().expect("no panic while it is held")
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming() {
            if self.ended.load(Ordering::SeqCst) {
                return;
            }
            // A client without a server sees its connection closed.
            let Ok(client) = client else { continue };
            let shared = self.clone();
            spawn(move || shared.connect(client));
        }
    }

    fn connect(&self, client: TcpStream) -> Result<()> {
        let server = TcpStream::connect(("127.0.0.1", self.upstream))?;
        {
            let mut state = self.state();
            if state.shut_on.is_some() || self.ended.load(Ordering::SeqCst) {
                return Ok(());
            }
            state.connections.extend([client.try_clone()?, server.try_clone()?]);
        }
        let (mut answers, mut to_client) = (server.try_clone()?, client.try_clone()?);
        spawn(move || {
            let _ = std::io::copy(&mut answers, &mut to_client);
            let _ = to_client.shutdown(Shutdown::Both);
        });
        let _ = self.forward(&client, &server);
        server.shutdown(Shutdown::Both)
    }

    fn forward(&self, client: &TcpStream, mut server: &TcpStream) -> Result<()> {
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
}

/// A thread that ends with its connection, or with the valve.
fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    std::thread::Builder::new().name("valve".to_owned()).spawn(work).expect("spawn a thread")
}

/// The next request up to its body; `None` at the end of the connection.
fn read_head(reader: &mut impl BufRead) -> Result<Option<(Vec<u8>, Request)>> {
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
fn a_valve_shuts_before_the_second_part_and_opens_again() {
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
    let valve = Valve::start(port, "part=", 2);
    let put = |target: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", valve.port())).expect("connect");
        // The valve may hang up while it is being written to.
        let _ = write!(stream, "PUT {target} HTTP/1.1\r\nContent-Length: 4\r\n\r\ndata");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).is_ok() && &answer == b"HTTP/1.1 200"
    };
    assert!(put("/a?part=1") && put("/b?part=1") && put("/a"));
    assert!(!put("/a?part=2") && !put("/b"));
    assert_eq!(valve.shut_on().as_deref(), Some("/a"));
    valve.open();
    assert!(put("/a?part=2"));
    let passed: Vec<String> = valve.passed().into_iter().map(|request| request.target).collect();
    assert_eq!(passed, ["/a?part=1", "/b?part=1", "/a", "/a?part=2"]);
    assert!(valve.passed().iter().all(|request| request.method == "PUT" && request.body_bytes == 4));
}
