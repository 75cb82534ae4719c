//! A line to a server that can be cut or go mute, as the links of remote sites do.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

use super::port;

/// How a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quality {
    /// Everything goes through.
    Good,
    /// Connections break, and new ones are refused as soon as they were made.
    Cut,
    /// Connections stay, and nothing comes through until the line is good again.
    Mute,
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
}

impl Line {
    /// A good one to the server on port `upstream`.
    pub fn start(upstream: u16) -> Self {
        let port = port::free();
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("listen");
        let state = State { quality: Quality::Good, ended: false, connections: Vec::new() };
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
        if quality == Quality::Cut {
            state.hang_up();
        }
        self.shared.changed.notify_all();
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
        self.state.lock().expect("nobody panics while holding it")
    }

    /// Waits while the line is mute. Whether anything may pass then.
    fn is_open(&self) -> bool {
        let mute = |state: &mut State| state.quality == Quality::Mute && !state.ended;
        let state = self.changed.wait_while(self.state(), mute).expect("nobody panics while holding it");
        state.quality == Quality::Good && !state.ended
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming() {
            if self.state().ended {
                return;
            }
            let Ok(client) = client else { continue };
            let shared = self.clone();
            // Who finds nobody there sees the connection closed.
            spawn(move || shared.connect(client));
        }
    }

    fn connect(self: Arc<Self>, client: TcpStream) -> std::io::Result<()> {
        if !self.is_open() {
            return Ok(());
        }
        let server = TcpStream::connect(("127.0.0.1", self.upstream))?;
        {
            let mut state = self.state();
            // Of those that came to their end by themselves nobody needs to know any more.
            state.connections.retain(|connection| connection.peer_addr().is_ok());
            state.connections.extend([client.try_clone()?, server.try_clone()?]);
        }
        let (answers, to_client, back) = (server.try_clone()?, client.try_clone()?, self.clone());
        spawn(move || back.pass(answers, to_client));
        self.pass(client, server);
        Ok(())
    }

    fn pass(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut bytes = [0; 16 * 1024];
        while let Ok(length @ 1..) = from.read(&mut bytes) {
            if !self.is_open() || to.write_all(&bytes[..length]).is_err() {
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
    say(&mut first).expect("nobody says that it went nowhere");
    first.set_read_timeout(Some(std::time::Duration::from_millis(200))).expect("a limit");
    hear(&mut first).expect_err("mute");
    first.set_read_timeout(Some(super::seconds(20))).expect("a limit");
    line.set(Quality::Good);
    hear(&mut first).expect("late, but there");
    line.set(Quality::Cut);
    hear(&mut first).expect_err("broken");
    let mut second = connect();
    second.set_read_timeout(Some(super::seconds(20))).expect("a limit");
    assert!(say(&mut second).and_then(|()| hear(&mut second)).is_err(), "nobody there");
    line.set(Quality::Good);
    let mut third = connect();
    say(&mut third).and_then(|()| hear(&mut third)).expect("as if nothing had been");
}
