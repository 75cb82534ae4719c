//! Who may come in: users, their roles and cameras, sessions, keys of programs.
//!
//! [`Access`] holds all of it in memory and writes every change to the service's own folder on the system disk, so that a
//! login works while the archive's volume is away. Tokens and recovery codes are kept as hashes, passwords as argon2id.

mod caller;
mod error;
mod files;
mod keys;
mod limit;
mod passwords;
mod proxied;
mod random;
mod sessions;
mod setup;
mod shared_item;
mod shares;
#[cfg(test)]
mod tests;
mod totp;
mod users;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::clock::Clock;

pub use caller::{Caller, CallerKind};
pub use error::AccessError;
pub use keys::{KeyAdded, KeyInfo, NewKey};
pub use limit::Locked;
pub use sessions::{LoggedIn, Login, LoginRefusal, SessionInfo};
pub use setup::SetupRefusal;
pub use shared_item::{SharedAlbum, SharedFile, SharedItem, SharedPhoto};
pub use shares::{NewShare, ShareAdded, ShareInfo, ShareOpened, ShareRefusal};
pub use totp::Enrolment;
pub use users::{FactorProof, NewUser, UserChange, UserInfo};

/// What a user or a key may do, each more than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Looks.
    Viewer,
    /// Looks, and acts on what is there: reviews, pins, retries deliveries, switches detection.
    Operator,
    /// Everything: the configuration, users and keys too.
    Admin,
}

impl Role {
    /// All roles.
    pub const ALL: [Role; 3] = [Role::Viewer, Role::Operator, Role::Admin];

    /// Its name in the API and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// When a camera's pictures may be seen by a caller who does not see all cameras.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grant {
    /// Nothing that was taken before. Absent: everything that is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Nothing that was taken from then on, live pictures included. Absent: no end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl Grant {
    /// Whether a picture of `at` may be seen.
    pub fn covers(&self, at: Timestamp) -> bool {
        self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at < until)
    }

    /// Whether all that was recorded from `from` to `until` may be seen.
    pub fn covers_all(&self, from: Timestamp, until: Timestamp) -> bool {
        self.covers(from) && self.until.is_none_or(|granted| until <= granted)
    }
}

/// Grants by camera; `None`: all cameras at all times.
pub type Cameras = Option<BTreeMap<String, Grant>>;

/// Users, sessions and keys of this box. Cheap to clone. Its methods block on the disk where they change something; those
/// that check a password compute for some 50 ms too.
#[derive(Clone, Debug)]
pub struct Access(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Arc<dyn Clock>,
    files: files::Files,
    /// Held while files are written, and taken before [`Self::state`]: requests are let in while a disk takes its time.
    writing: Mutex<()>,
    /// Never held over the disk.
    state: Mutex<State>,
    hashing: passwords::Hashing,
}

#[derive(Debug, Default)]
struct State {
    /// Why users cannot be read: no login is taken, and nothing is overwritten.
    damage: Option<String>,
    users: users::Users,
    keys: keys::Keys,
    sessions: sessions::Sessions,
    proxied: proxied::Proxied,
    limits: limit::Limits,
    shares: shares::Shares,
    /// Why links cannot be read: none is opened, and nothing is overwritten.
    shares_damage: Option<String>,
    tickets: shares::Tickets,
    setup: Option<String>,
    /// Of callers that were let in because there is no user.
    unprotected: CancellationToken,
}

impl Access {
    /// Opens what lies in `folder`, or begins without users. Where the users cannot be read no one can log in, because a
    /// damaged list must not open the door; what to do is logged.
    pub fn open(folder: &Path, clock: Arc<dyn Clock>) -> Self {
        let files = files::Files::in_folder(folder);
        let (users, keys, damage) = match files.load_users() {
            Ok((users, keys)) => (users, keys, None),
            Err(error) => {
                let reason = format!("{error:#}");
                error!(error = reason, "no one can log in");
                (Default::default(), Default::default(), Some(reason))
            }
        };
        let sessions = if damage.is_none() { files.load_sessions(&users) } else { Default::default() };
        let (shares, shares_damage) = match files.load_shares() {
            Ok(shares) => (shares, None),
            Err(error) => {
                let reason = format!("{error:#}");
                error!(error = reason, "no link to a file can be opened");
                (Default::default(), Some(reason))
            }
        };
        let state = State { damage, users, keys, sessions, shares, shares_damage, ..State::default() };
        Self(Arc::new(Shared {
            clock,
            files,
            writing: Mutex::default(),
            state: Mutex::new(state),
            hashing: passwords::Hashing::default(),
        }))
    }

    /// The caller of a request from the box itself while there is no user, who may do everything until there is one.
    pub fn unprotected(&self) -> Option<Caller> {
        let state = self.0.state.lock();
        let is_open = state.damage.is_none() && state.users.is_empty();
        is_open.then(|| Caller {
            until: state.unprotected.child_token(),
            ..Caller::admin("this box", CallerKind::Unprotected)
        })
    }

    /// Whether there is a user. Without one the page is for programs and people on this box only.
    pub fn has_users(&self) -> bool {
        let state = self.0.state.lock();
        state.damage.is_some() || !state.users.is_empty()
    }
}
