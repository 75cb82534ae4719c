//! Logins and what follows from one: a session, known by a token in a cookie.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::error::AccessError;
use super::limit::{self, Locked};
use super::users::LONGEST_NAME;
use super::{Access, Caller, CallerKind, Role, State, random};

/// A session without a request for this long is over.
const IDLE: SignedDuration = SignedDuration::from_hours(7 * 24);
/// No session is older.
const LONGEST: SignedDuration = SignedDuration::from_hours(30 * 24);
/// A token is replaced after this time.
const TOKEN_FOR: SignedDuration = SignedDuration::from_hours(24);
/// The token before is still good for so long: requests may be on their way.
const OVERLAP: SignedDuration = SignedDuration::from_secs(60);
/// Sessions of one user at most; the one that was used least lately ends.
const MOST_OF_USER: usize = 50;
/// How often the time of the last request is written down.
const WRITTEN_EVERY: Duration = Duration::from_secs(10 * 60);
/// What is kept of a browser's own description, bytes.
const LONGEST_AGENT: usize = 200;
/// Addresses from which a user logged in that are remembered.
const KNOWN_ADDRESSES: usize = 20;

/// A session as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Session {
    user: String,
    /// Hash of the token.
    hash: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hash_before: Option<String>,
    token_since: Timestamp,
    created: Timestamp,
    last_used: Timestamp,
    address: IpAddr,
    agent: String,
    second_factor: bool,
    #[serde(skip)]
    until: CancellationToken,
}

/// Sessions by their public id, and from where users logged in before.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Sessions {
    open: BTreeMap<String, Session>,
    /// The newest last.
    known_addresses: BTreeMap<String, Vec<IpAddr>>,
    #[serde(skip)]
    written: Option<crate::clock::Mono>,
}

/// What is shown for a login.
#[derive(Clone, Debug)]
pub struct Login<'a> {
    /// The user's name.
    pub name: &'a str,
    /// The password.
    pub password: &'a str,
    /// A code of an app, or a recovery code.
    pub code: Option<&'a str>,
    /// From where.
    pub address: IpAddr,
    /// The browser's description of itself.
    pub agent: &'a str,
}

/// Why a login was refused.
#[derive(Debug, thiserror::Error)]
pub enum LoginRefusal {
    /// Name or password is wrong, or the user is disabled: which one is not said.
    #[error("the name or the password is wrong")]
    Wrong,
    /// The password is right; a code is needed too.
    #[error("a code of the authenticator app is needed, or a recovery code")]
    CodeNeeded,
    /// The password is right, the code is not.
    #[error("the code is wrong, was used before or is from another time")]
    WrongCode,
    /// Too many tries failed.
    #[error("too many tries failed: try again in {} s", .0.wait.as_secs().max(1))]
    Locked(Locked),
    /// The disk or the system refused.
    #[error("{0}")]
    Failed(AccessError),
}

/// A login that succeeded.
#[derive(Clone, Debug)]
pub struct LoggedIn {
    /// What the browser shows from now on.
    pub token: String,
    /// On whose behalf.
    pub caller: Caller,
}

/// A session as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SessionInfo {
    /// Its public id.
    pub id: String,
    /// Whose it is.
    pub user: String,
    /// When the user logged in.
    pub created: Timestamp,
    /// When the last request came.
    pub last_used: Timestamp,
    /// From where the user logged in.
    pub address: IpAddr,
    /// The browser, as it calls itself.
    pub agent: String,
    /// Whether a code was asked for.
    pub second_factor: bool,
}

impl Sessions {
    /// Ends the sessions of `user` but for `except`.
    pub(super) fn end_of_user(&mut self, user: &str, except: Option<&str>) {
        self.open.retain(|id, session| {
            let stays = session.user != user || except == Some(id);
            if !stays {
                session.until.cancel();
            }
            stays
        });
    }

    /// Forgets sessions of users who are gone; what the file of sessions says is not believed beyond that.
    pub(super) fn retain_users(&mut self, is_user: impl Fn(&str) -> bool) {
        self.open.retain(|_, session| is_user(&session.user));
        self.known_addresses.retain(|user, _| is_user(user));
    }

    fn know(&mut self, user: &str, address: IpAddr) {
        let known = self.known_addresses.entry(user.to_owned()).or_default();
        known.retain(|of| *of != address);
        known.push(address);
        let excess = known.len().saturating_sub(KNOWN_ADDRESSES);
        known.drain(..excess);
    }
}

impl Session {
    fn is_over(&self, now: Timestamp) -> bool {
        // A clock that went back ends nothing.
        now.duration_since(self.last_used) > IDLE || now.duration_since(self.created) > LONGEST
    }

    fn info(&self, id: &str) -> SessionInfo {
        let Self { user, created, last_used, address, agent, second_factor, .. } = self.clone();
        SessionInfo { id: id.to_owned(), user, created, last_used, address, agent, second_factor }
    }

    fn has_token(&self, hash: &str, now: Timestamp) -> bool {
        let before = self.hash_before.as_deref().filter(|_| now.duration_since(self.token_since) <= OVERLAP);
        self.hash == hash || before == Some(hash)
    }
}

impl Access {
    /// Lets a user in who shows the right password, and a code where one is asked for. Computes for some 50 ms.
    ///
    /// # Errors
    /// Why not.
    pub fn log_in(&self, login: &Login<'_>) -> Result<LoggedIn, LoginRefusal> {
        let address = limit::prefix(login.address);
        let mono = self.0.clock.mono();
        // No user has a longer name; failures are counted by it.
        if login.name.len() > LONGEST_NAME {
            return Err(LoginRefusal::Wrong);
        }
        let (kept, is_known) = {
            let state = self.0.state.lock();
            let known = state.sessions.known_addresses.get(login.name);
            let is_known = known.is_some_and(|known| known.contains(&address));
            state.limits.admit(login.name, address, is_known, mono).map_err(LoginRefusal::Locked)?;
            let user = state.users.get(login.name).filter(|user| !user.disabled);
            (user.map(|user| user.password.clone()), is_known)
        };
        let is_right = self.0.hashing.verify(login.password, kept.as_deref());
        let outcome = if is_right { self.check_code(login) } else { Err(LoginRefusal::Wrong) };
        if matches!(outcome, Err(LoginRefusal::Wrong | LoginRefusal::WrongCode)) {
            self.0.state.lock().limits.failed(login.name, address, is_known, mono);
        }
        outcome?;
        self.open_session(login, kept.as_deref())
    }

    /// Whether the code is right, where one is asked for.
    fn check_code(&self, login: &Login<'_>) -> Result<(), LoginRefusal> {
        let (now, is_trusted) = self.time();
        let asks = |state: &State| state.users.get(login.name).is_some_and(|user| user.second_factor.is_some());
        if !asks(&self.0.state.lock()) {
            return Ok(());
        }
        let code = login.code.map(str::trim).filter(|code| !code.is_empty()).ok_or(LoginRefusal::CodeNeeded)?;
        // A code that was taken is written down, so that it is not taken again after a restart.
        let taken = self.change_users(|state| {
            let factor = state.users.get_mut(login.name).and_then(|user| user.second_factor.as_mut());
            Ok(factor.is_some_and(|factor| factor.take(code, now, is_trusted)))
        });
        if taken.map_err(LoginRefusal::Failed)? { Ok(()) } else { Err(LoginRefusal::WrongCode) }
    }

    fn open_session(&self, login: &Login<'_>, password: Option<&str>) -> Result<LoggedIn, LoginRefusal> {
        let fail = |error: anyhow::Error| LoginRefusal::Failed(AccessError::Failed(error));
        let (token, id) = (random::token().map_err(fail)?, random::id().map_err(fail)?);
        let now = self.0.clock.wall();
        let _turn = self.0.writing.lock();
        let caller = {
            let mut state = self.0.state.lock();
            // It may have been changed meanwhile.
            let user =
                state.users.get(login.name).filter(|user| !user.disabled && Some(user.password.as_str()) == password);
            let second_factor = user.ok_or(LoginRefusal::Wrong)?.second_factor.is_some();
            let session = Session {
                user: login.name.to_owned(),
                hash: random::hash(&token),
                hash_before: None,
                token_since: now,
                created: now,
                last_used: now,
                address: login.address,
                agent: login.agent.chars().filter(|c| !c.is_control()).take(LONGEST_AGENT).collect(),
                second_factor,
                until: CancellationToken::new(),
            };
            state.sessions.open.insert(id.clone(), session);
            state.sessions.know(login.name, limit::prefix(login.address));
            state.limits.succeeded(login.name, limit::prefix(login.address));
            end_excess(&mut state, login.name);
            caller(&state, &id).ok_or(LoginRefusal::Wrong)?
        };
        if let Err(error) = self.0.files.save_sessions(&self.written_sessions()) {
            self.0.state.lock().sessions.open.remove(&id);
            return Err(fail(error));
        }
        Ok(LoggedIn { token, caller })
    }

    /// On whose behalf a browser comes that shows `token`, and the token that it shows from now on, where that is another.
    /// Does not block on the disk: [`Access::write_sessions`] does, when [`Access::is_write_due`] says so.
    pub fn of_session(&self, token: &str) -> Option<(Caller, Option<String>)> {
        let (hash, now) = (random::hash(token), self.0.clock.wall());
        let mut state = self.0.state.lock();
        let (id, session) = state.sessions.open.iter_mut().find(|(_, session)| session.has_token(&hash, now))?;
        let id = id.clone();
        if session.is_over(now) {
            session.until.cancel();
            state.sessions.open.remove(&id);
            return None;
        }
        session.last_used = session.last_used.max(now);
        let is_due = session.hash == hash && now.duration_since(session.token_since) > TOKEN_FOR;
        let next = random::token().ok().filter(|_| is_due);
        if let Some(next) = &next {
            session.hash_before = Some(std::mem::replace(&mut session.hash, random::hash(next)));
            session.token_since = now;
            state.sessions.written = None;
        }
        let caller = caller(&state, &id)?;
        Some((caller, next))
    }

    /// Whether times or tokens of sessions changed that are to be written now; says so once for each time.
    pub fn is_write_due(&self) -> bool {
        let now = self.0.clock.mono();
        let written = &mut self.0.state.lock().sessions.written;
        let is_due = written.is_none_or(|at| now.since(at) > WRITTEN_EVERY);
        if is_due {
            *written = Some(now);
        }
        is_due
    }

    /// Writes sessions as they are.
    pub fn write_sessions(&self) {
        let _turn = self.0.writing.lock();
        self.0.files.save_sessions_or_log(&self.written_sessions());
    }

    /// Sessions as they are written.
    pub(super) fn written_sessions(&self) -> String {
        // Names, times and hashes can always be written.
        serde_json::to_string(&self.0.state.lock().sessions).unwrap_or_default()
    }

    /// Sessions of `user`, or of all; the newest first.
    pub fn sessions(&self, user: Option<&str>) -> Vec<SessionInfo> {
        let (state, now) = (self.0.state.lock(), self.0.clock.wall());
        let open = state.sessions.open.iter();
        let wanted = open.filter(|(_, s)| user.is_none_or(|user| s.user == user) && !s.is_over(now));
        let mut found: Vec<SessionInfo> = wanted.map(|(id, session)| session.info(id)).collect();
        found.sort_by_key(|session| std::cmp::Reverse(session.last_used));
        found
    }

    /// Ends a session, of `user` only where one is given; what goes on in it ends.
    ///
    /// # Errors
    /// When there is none with this id. A disk that refuses is logged: the session is over all the same, until a restart.
    pub fn end_session(&self, id: &str, user: Option<&str>) -> Result<SessionInfo, AccessError> {
        let _turn = self.0.writing.lock();
        let session = {
            let open = &mut self.0.state.lock().sessions.open;
            let is_theirs = open.get(id).is_some_and(|session| user.is_none_or(|user| session.user == user));
            if is_theirs { open.remove(id) } else { None }
        };
        let session = session.ok_or_else(|| AccessError::unknown("session", id))?;
        session.until.cancel();
        self.0.files.save_sessions_or_log(&self.written_sessions());
        Ok(session.info(id))
    }
}

fn caller(state: &State, id: &str) -> Option<Caller> {
    let session = state.sessions.open.get(id)?;
    let user = state.users.get(&session.user).filter(|user| !user.disabled)?;
    Some(Caller {
        name: session.user.as_str().into(),
        kind: CallerKind::Session,
        role: user.role,
        cameras: user.cameras.clone(),
        session: Some(Arc::from(id)),
        until: session.until.child_token(),
    })
}

/// Ends sessions beyond the most that a user may have.
fn end_excess(state: &mut State, user: &str) {
    let open = state.sessions.open.iter().filter(|(_, session)| session.user == user);
    let mut of_user: Vec<_> = open.map(|(id, session)| (session.last_used, id.clone())).collect();
    of_user.sort_unstable();
    let excess = of_user.len().saturating_sub(MOST_OF_USER);
    for (_, id) in of_user.into_iter().take(excess) {
        if let Some(session) = state.sessions.open.remove(&id) {
            session.until.cancel();
        }
    }
}

/// Roles are compared in the order in which they are declared.
const _: () = assert!((Role::Viewer as u8) < (Role::Operator as u8) && (Role::Operator as u8) < (Role::Admin as u8));
