//! Logins by an identity-aware proxy, which sends a signed token (JWT) with each request that it lets through.
//!
//! Nothing is believed because it comes from the proxy: only its signature counts, so a request that goes around it has no
//! more rights than its own token. The proxy's keys are read again from time to time, and when a token names one that is
//! not known; a copy on the disk serves where they cannot be reached.

#[cfg(test)]
pub(super) mod fixture;
mod key_set;
mod refusal;
mod settings;
mod source;
mod token;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use axum::http::{HeaderMap, HeaderName, header};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tracing::{info, warn};

use crate::access::{Access, Caller};
use crate::clock::{Clock, Mono, TimeQuality};
use key_set::KeySet;
use refusal::Refusal;
use source::Source;
use token::{Expected, Now};

pub use settings::Config;

/// The copy of the keys, in the page's folder.
const COPY: &str = "proxy-keys.json";
/// How often keys are fetched from an address, and how soon again when that failed.
const FETCH_EVERY: Duration = Duration::from_secs(3600);
const FETCH_AGAIN: Duration = Duration::from_secs(60);
/// How often a file with keys is read, and how seldom keys are asked for at least, whatever tokens come.
const LEAST_PAUSE: Duration = Duration::from_secs(10);
/// How long a request with a token of an unknown key waits for other keys.
const WAITED_FOR_KEYS: Duration = Duration::from_secs(3);
/// How often logins are ended whose tokens are over, and what is known of the time is written.
const TIDY_EVERY: Duration = Duration::from_secs(30);
/// How far what is written of the time may be behind, seconds.
const WRITTEN_BEHIND: i64 = 600;

/// Judges the tokens of a proxy.
#[derive(Debug)]
pub(super) struct ProxyLogin {
    config: Config,
    header: HeaderName,
    source: Source,
    copy: PathBuf,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    wanted: Notify,
    /// How often the keys were read, or tried to be.
    reads: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    keys: Arc<KeySet>,
    /// What the keys were read from.
    text: Vec<u8>,
    /// Seconds since 1970 that had passed at a moment of the boot clock, by a clock that was right or a token.
    known: Option<(i64, Mono)>,
    written: i64,
    is_failing: bool,
}

impl ProxyLogin {
    /// `None` where none is configured. The copy of the keys lies in `folder`.
    pub(super) fn new(config: Option<&Config>, folder: &Path, clock: &Arc<dyn Clock>) -> Option<Arc<Self>> {
        let config = config?.clone();
        Some(Arc::new(Self {
            // A configuration in use was checked.
            header: config.header_name().ok()?,
            source: Source::of(&config),
            copy: folder.join(COPY),
            clock: clock.clone(),
            state: Mutex::default(),
            wanted: Notify::new(),
            reads: watch::Sender::new(0),
            config,
        }))
    }

    /// The issuer of the tokens.
    pub(super) fn issuer(&self) -> &str {
        &self.config.issuer
    }

    /// Whether the token is in `header`.
    pub(super) fn is_in(&self, header: &HeaderName) -> bool {
        self.header == *header
    }

    /// The token of a request; `None` where it has none. What is sent twice is no token.
    pub(super) fn token<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let mut shown = headers.get_all(&self.header).iter();
        let (first, None) = (shown.next()?, shown.next()) else { return Some("") };
        let text = first.to_str().unwrap_or_default().trim();
        let bearer = text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        match bearer {
            Some((_, token)) if self.header == header::AUTHORIZATION && Access::is_key(token.trim()) => None,
            Some((_, token)) => Some(token.trim()),
            None if self.header == header::AUTHORIZATION => None,
            None => Some(text),
        }
    }

    /// On whose behalf a request with `token` comes. Waits a moment for other keys where its key is not known.
    ///
    /// # Errors
    /// Why it is not taken.
    pub(super) async fn judge(&self, access: &Access, token: &str) -> Result<Caller, Refusal> {
        let mut reads = self.reads.subscribe();
        match self.read(access, token) {
            Err(Refusal::UnknownKey) => {}
            judged => return judged,
        }
        self.wanted.notify_one();
        // Without an answer in time the keys are as they were.
        let _ = tokio::time::timeout(WAITED_FOR_KEYS, reads.changed()).await;
        self.read(access, token)
    }

    fn read(&self, access: &Access, token: &str) -> Result<Caller, Refusal> {
        let Config { issuer, audience, claim, users, unknown_users, leeway, .. } = &self.config;
        let leeway = i64::try_from(leeway.as_secs()).unwrap_or_default();
        let now = self.now();
        let keys = self.state.lock().keys.clone();
        let stated = token::read(token, &keys, Expected { issuer, audience, claim, leeway }, now)?;
        if let Some(made) = stated.made {
            self.learn_time(made);
        }
        let name = users.get(&stated.name).unwrap_or(&stated.name);
        access.of_proxy(name, *unknown_users, stated.ends.saturating_add(leeway)).ok_or(Refusal::NoUser)
    }

    /// What is known of the time. The latest that is known of goes on with the boot clock.
    fn now(&self) -> Now {
        let (wall, is_trusted) = (self.clock.wall().as_second(), self.clock.quality() == TimeQuality::Synchronised);
        if is_trusted {
            self.learn_time(wall);
        }
        Now { wall, is_trusted, at_least: self.at_least() }
    }

    fn at_least(&self) -> i64 {
        let mono = self.clock.mono();
        let passed = |since: Mono| i64::try_from(mono.since(since).as_secs()).unwrap_or(i64::MAX);
        self.state.lock().known.map_or(0, |(time, since)| time.saturating_add(passed(since)))
    }

    fn learn_time(&self, time: i64) {
        if time > self.at_least() {
            let mono = self.clock.mono();
            self.state.lock().known = Some((time, mono));
        }
    }

    /// Keeps the keys up to date, and ends logins whose tokens are over, for ever.
    pub(super) async fn keep_current(&self, access: &Access) {
        self.use_copy().await;
        futures::future::join(self.follow_keys(), self.tidy(access)).await;
    }

    async fn follow_keys(&self) {
        loop {
            let is_read = self.read_keys().await;
            self.reads.send_modify(|reads| *reads += 1);
            let pause = match (&self.source, is_read) {
                (Source::File(_), _) => LEAST_PAUSE,
                (Source::Address { .. }, true) => FETCH_EVERY,
                (Source::Address { .. }, false) => FETCH_AGAIN,
            };
            tokio::time::sleep(LEAST_PAUSE).await;
            let rest = pause.saturating_sub(LEAST_PAUSE);
            let _ = tokio::time::timeout(rest, self.wanted.notified()).await;
        }
    }

    async fn tidy(&self, access: &Access) {
        loop {
            tokio::time::sleep(TIDY_EVERY).await;
            let Now { wall, is_trusted, at_least } = self.now();
            access.end_proxied(if is_trusted { wall } else { at_least });
            if at_least > self.state.lock().written.saturating_add(WRITTEN_BEHIND) {
                self.write_copy().await;
            }
        }
    }

    /// Reads the keys; where that fails, those before go on. Says whether it was possible.
    async fn read_keys(&self) -> bool {
        let read = self.source.read().await;
        let (keys, text) = match read {
            Ok(read) => read,
            Err(error) => {
                let was_failing = std::mem::replace(&mut self.state.lock().is_failing, true);
                if !was_failing {
                    let error = format!("{error:#}");
                    warn!(error, "the keys of the proxy cannot be read, those that are known go on");
                }
                return false;
            }
        };
        let is_new = {
            let mut state = self.state.lock();
            let (is_new, was_failing) = (state.text != text, std::mem::take(&mut state.is_failing));
            (state.keys, state.text) = (Arc::new(keys), text);
            is_new || was_failing
        };
        if is_new {
            info!(from = self.source.name(), "the keys of the proxy were read");
            self.write_copy().await;
        }
        true
    }

    /// Begins with the keys of the last start.
    async fn use_copy(&self) {
        let (copy, from) = (self.copy.clone(), self.source.name());
        // Without a copy there are no keys until they are read.
        let kept = tokio::task::spawn_blocking(move || source::kept(&copy, &from)).await;
        if let Ok(Ok((keys, text, at_least))) = kept {
            self.learn_time(at_least);
            let mut state = self.state.lock();
            (state.keys, state.text, state.written) = (Arc::new(keys), text, at_least);
        }
    }

    async fn write_copy(&self) {
        let at_least = self.now().at_least;
        let text = self.state.lock().text.clone();
        if text.is_empty() {
            return;
        }
        let (copy, from) = (self.copy.clone(), self.source.name());
        let written = tokio::task::spawn_blocking(move || source::keep(&copy, &from, &text, at_least)).await;
        match written {
            Ok(Ok(())) => self.state.lock().written = at_least,
            Ok(Err(error)) => {
                let error = format!("{error:#}");
                warn!(error, "the keys of the proxy cannot be kept for times when it is out of reach");
            }
            // The daemon is stopping.
            Err(_) => {}
        }
    }
}
