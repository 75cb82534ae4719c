//! On whose behalf a request comes.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{Cameras, Grant, Role};

/// How the caller was recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CallerKind {
    /// A program on this box, by its rights there.
    Local,
    /// A program or a browser on this box while it has no users.
    Unprotected,
    /// A user who is logged in.
    Session,
    /// A program with a key.
    Key,
    /// A user that an identity-aware proxy vouches for.
    Proxy,
}

impl CallerKind {
    /// Its name in the API and the audit log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Unprotected => "unprotected",
            Self::Session => "session",
            Self::Key => "key",
            Self::Proxy => "proxy",
        }
    }
}

/// On whose behalf a request comes, and what it may do.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The user's or the key's name; that of the Unix user on the box itself.
    pub name: Arc<str>,
    /// How it was recognised.
    pub kind: CallerKind,
    /// What it may do.
    pub role: Role,
    /// Which cameras it sees.
    pub cameras: Cameras,
    /// The session, of a user.
    pub session: Option<Arc<str>>,
    /// Ends when the session or key is revoked: long answers end with it.
    pub until: CancellationToken,
}

impl Caller {
    /// One that may do everything, for as long as it likes.
    pub fn admin(name: &str, kind: CallerKind) -> Self {
        let until = CancellationToken::new();
        Self { name: name.into(), kind, role: Role::Admin, cameras: None, session: None, until }
    }

    /// One that shows the token of `camera`, and operates nothing but that.
    pub fn publisher(camera: &str) -> Self {
        let cameras = Some([(camera.into(), Grant::default())].into());
        let caller = Self::admin(&format!("publisher of {camera}"), CallerKind::Key);
        Self { role: Role::Operator, cameras, ..caller }
    }

    /// Whether it may do what needs `role`.
    pub fn may(&self, role: Role) -> bool {
        self.role >= role
    }

    /// Whether it may see a picture that `camera` took at `at`.
    pub fn sees(&self, camera: &str, at: Timestamp) -> bool {
        self.grant(camera).is_some_and(|grant| grant.covers(at))
    }

    /// Whether it may see all that `camera` recorded from `from` to `until`.
    pub fn sees_all(&self, camera: &str, from: Timestamp, until: Timestamp) -> bool {
        self.grant(camera).is_some_and(|grant| grant.covers_all(from, until))
    }

    /// When pictures of `camera` may be seen; `None`: never.
    pub fn grant(&self, camera: &str) -> Option<Grant> {
        self.cameras.as_ref().map_or(Some(Grant::default()), |of| of.get(camera).copied())
    }

    /// Whether it sees all cameras at all times.
    pub fn sees_everything(&self) -> bool {
        self.cameras.is_none()
    }
}
