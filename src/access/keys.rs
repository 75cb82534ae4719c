//! Keys of programs: shown once, kept as hashes.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::error::{AccessError, check_cameras};
use super::{Access, Caller, CallerKind, Cameras, Role, random};
use crate::clock::Moment;

/// What keys begin with, so that scanners for leaked secrets find them.
pub(super) const PREFIX: &str = "outpost_key_";
/// Keys of one box at most.
const MOST_KEYS: usize = 1000;
/// Longest name, bytes.
const LONGEST_NAME: usize = 100;

/// A key as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Key {
    name: String,
    hash: String,
    role: Role,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cameras: Cameras,
    created: Timestamp,
    /// The same on all clocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    made: Option<Moment>,
    created_by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<Timestamp>,
    /// Since the daemon started, or as it was when a change was last written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_used: Option<Timestamp>,
    #[serde(skip)]
    until: CancellationToken,
}

/// Keys by their public id.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Keys(BTreeMap<String, Key>);

/// A key to be made.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Which cameras it sees; absent: all.
    #[serde(default)]
    pub cameras: Cameras,
    /// When it ends; absent: never.
    #[serde(default)]
    pub expires: Option<Timestamp>,
}

/// A key as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyInfo {
    /// Its public id.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Which cameras it sees; null: all.
    pub cameras: Cameras,
    /// When it was made.
    pub created: Timestamp,
    /// By which user.
    pub created_by: String,
    /// When it ends.
    pub expires: Option<Timestamp>,
    /// When it was used last.
    pub last_used: Option<Timestamp>,
}

/// A key that was made.
#[derive(Clone, Debug, Serialize)]
pub struct KeyAdded {
    /// What is shown of it later too.
    #[serde(flatten)]
    pub info: KeyInfo,
    /// The key itself, which is not shown again.
    pub key: String,
}

impl Key {
    fn info(&self, id: &str) -> KeyInfo {
        let Self { name, role, cameras, created, created_by, expires, last_used, .. } = self.clone();
        KeyInfo { id: id.to_owned(), name, role, cameras, created, created_by, expires, last_used }
    }
}

impl Keys {
    /// Ends what goes on with the keys that `user` made: it may see less now.
    pub(super) fn interrupt_of(&mut self, user: &str) {
        for key in self.0.values_mut().filter(|key| key.created_by == user) {
            key.until.cancel();
            key.until = CancellationToken::new();
        }
    }
}

impl Access {
    /// All keys.
    pub fn keys(&self) -> Vec<KeyInfo> {
        self.0.state.lock().keys.0.iter().map(|(id, key)| key.info(id)).collect()
    }

    /// Makes a key.
    ///
    /// # Errors
    /// A name that is not taken, an end in the past, a disk that refuses.
    pub fn add_key(&self, new: NewKey, by: &str) -> Result<KeyAdded, AccessError> {
        let NewKey { name, role, cameras, expires } = new;
        if name.trim().is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
            let why = format!("{name:?} is no name for a key: say what it is for, in {LONGEST_NAME} bytes at most");
            return Err(AccessError::Refused(why));
        }
        check_cameras(role, &cameras)?;
        if let Some(end) = expires {
            self.check_end("key", end, None)?;
        }
        let made = self.0.clock.now();
        let (id, token) = (random::id()?, random::token()?);
        let secret = format!("{PREFIX}{id}_{token}");
        let until = CancellationToken::new();
        let hash = random::hash(&secret);
        let created_by = by.to_owned();
        let key = Key {
            name,
            hash,
            role,
            cameras,
            created: made.wall,
            made: Some(made),
            created_by,
            expires,
            last_used: None,
            until,
        };
        let info = key.info(&id);
        self.change_users(|state| {
            if state.keys.0.len() >= MOST_KEYS {
                return Err(AccessError::refused(format!(
                    "there are {MOST_KEYS} keys, which is the most: remove some"
                )));
            }
            state.keys.0.insert(id, key);
            Ok(())
        })?;
        Ok(KeyAdded { info, key: secret })
    }

    /// Removes a key; what goes on with it ends.
    ///
    /// # Errors
    /// When there is none with this id, or the disk refuses.
    pub fn remove_key(&self, id: &str) -> Result<KeyInfo, AccessError> {
        self.change_users(|state| {
            let key = state.keys.0.remove(id).ok_or_else(|| AccessError::unknown("key", id))?;
            key.until.cancel();
            Ok(key.info(id))
        })
    }

    /// On whose behalf a program comes that shows `secret`; `None` for what is no key, or not any more.
    pub fn of_key(&self, secret: &str) -> Option<Caller> {
        let id = secret.strip_prefix(PREFIX)?.split_once('_')?.0;
        let now = self.0.clock.wall();
        let mut state = self.0.state.lock();
        let key = state.keys.0.get_mut(id)?;
        let is_over = key.expires.is_some_and(|end| self.is_over(end, key.made.as_ref()));
        // Both are hashes, so the time of the comparison says nothing about the key.
        if key.hash != random::hash(secret) || is_over {
            return None;
        }
        key.last_used = Some(now);
        Some(Caller {
            name: key.name.as_str().into(),
            kind: CallerKind::Key,
            role: key.role,
            cameras: key.cameras.clone(),
            session: None,
            until: key.until.child_token(),
        })
    }
}
