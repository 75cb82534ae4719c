//! What is kept of users, keys and sessions on the system disk.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::keys::Keys;
use super::sessions::Sessions;
use super::shares::Shares;
use super::users::Users;
use crate::durable;

const USERS: &str = "users.json";
const SESSIONS: &str = "sessions.json";
const SHARES: &str = "links.json";
/// Of the file of users.
const VERSION: u32 = 1;

/// Where the files lie.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct UsersFile {
    version: u32,
    users: Users,
    #[serde(default)]
    keys: Keys,
}

#[derive(Serialize)]
struct UsersFileOut<'a> {
    version: u32,
    users: &'a Users,
    keys: &'a Keys,
}

impl Files {
    /// In `folder`, which nothing but the daemon can read.
    pub(super) fn in_folder(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Users and keys; none where there is no file yet.
    pub(super) fn load_users(&self) -> Result<(Users, Keys)> {
        let file = self.folder.join(USERS);
        let text = match fs::read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Default::default()),
            Err(error) => return Err(error).with_context(|| format!("read the users in {}", file.display())),
        };
        let read: UsersFile = serde_json::from_slice(&text).with_context(|| {
            format!(
                "the users in {} are damaged: put back a copy, or move the file away to begin without users",
                file.display()
            )
        })?;
        if read.version != VERSION {
            bail!(
                "the users in {} are of version {}, this is {VERSION}: use a newer outpost",
                file.display(),
                read.version
            );
        }
        Ok((read.users, read.keys))
    }

    /// Replaces users and keys.
    pub(super) fn save_users(&self, users: &Users, keys: &Keys) -> Result<()> {
        let text = serde_json::to_vec_pretty(&UsersFileOut { version: VERSION, users, keys })?;
        self.save(USERS, &text)
    }

    /// Sessions; a file that cannot be read costs each user one login.
    pub(super) fn load_sessions(&self, users: &Users) -> Sessions {
        let file = self.folder.join(SESSIONS);
        let read = fs::read(&file).map_err(anyhow::Error::from);
        let parsed = read.and_then(|text| Ok(serde_json::from_slice::<Sessions>(&text)?));
        let mut sessions = parsed.unwrap_or_else(|error| {
            if file.exists() {
                warn!(file = %file.display(), error = format!("{error:#}"), "sessions cannot be read, all users log in again");
            }
            Sessions::default()
        });
        sessions.retain_users(|user| users.contains_key(user));
        sessions
    }

    /// Replaces sessions.
    pub(super) fn save_sessions(&self, sessions: &str) -> Result<()> {
        self.save(SESSIONS, sessions.as_bytes())
    }

    /// Replaces sessions where the disk allows: what was ended stays so until a restart otherwise.
    pub(super) fn save_sessions_or_log(&self, sessions: &str) {
        if let Err(error) = self.save_sessions(sessions) {
            warn!(folder = %self.folder.display(), error = format!("{error:#}"), "sessions cannot be written");
        }
    }

    /// Links; none where there is no file yet.
    pub(super) fn load_shares(&self) -> Result<Shares> {
        let file = self.folder.join(SHARES);
        let text = match fs::read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Shares::new()),
            Err(error) => return Err(error).with_context(|| format!("read the links in {}", file.display())),
        };
        let damaged = || format!("the links in {} are damaged: put back a copy, or remove the file", file.display());
        serde_json::from_slice(&text).with_context(damaged)
    }

    /// Replaces links.
    pub(super) fn save_shares(&self, shares: &Shares) -> Result<()> {
        self.save(SHARES, &serde_json::to_vec_pretty(shares)?)
    }

    fn save(&self, name: &str, content: &[u8]) -> Result<()> {
        let file = self.folder.join(name);
        let write = || -> std::io::Result<()> {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
            // The folder may be an older one with other rights.
            fs::set_permissions(&self.folder, fs::Permissions::from_mode(0o700))?;
            durable::replace(&file, content)
        };
        write().with_context(|| format!("write {}", file.display()))
    }
}
