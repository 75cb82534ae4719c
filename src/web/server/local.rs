//! The local socket: programs on the box ask by it, with the rights of their user and group.

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::Instant;

use crate::web::peer::Peer;

/// Readable and writable by the daemon's user, and by its group where the operator or the service chose the place: the group
/// of the service has no other members than those who are to use it.
const FOR_GROUP: u32 = 0o660;
const FOR_OWNER: u32 = 0o600;
/// The longest path of a socket, in bytes.
const LONGEST_PATH: usize = 107;
/// What is added to the name while it is made.
const DRAFT: &str = "new";

/// How long the page of before may take to give it up.
const HANDED_OVER_WITHIN: Duration = Duration::from_secs(2);
const TRY_EVERY: Duration = Duration::from_millis(50);

/// A socket that is listened on; its file goes with it.
#[derive(Debug)]
pub(in crate::web) struct LocalSocket {
    listener: UnixListener,
    /// Its file, and what that is; none where another program made it.
    file: Option<(PathBuf, (u64, u64))>,
}

impl LocalSocket {
    /// Opens `path`. What a daemon left there that is gone is replaced; one that lives keeps its socket. Only the
    /// daemon's user may connect, or its group too where `is_for_group`.
    ///
    /// # Errors
    /// When it cannot be opened; says why, and what to do.
    pub(in crate::web) async fn bind(path: &Path, is_for_group: bool) -> Result<Self> {
        let mode = if is_for_group { FOR_GROUP } else { FOR_OWNER };
        let draft = path.with_added_extension(DRAFT);
        if draft.as_os_str().len() > LONGEST_PATH {
            bail!("the path {} is too long for a socket: set web.socket to a shorter one", path.display());
        }
        let until = Instant::now() + HANDED_OVER_WITHIN;
        while is_served(path).await {
            if Instant::now() >= until {
                bail!("another daemon listens on {}: end it, or set web.socket to another path", path.display());
            }
            tokio::time::sleep(TRY_EVERY).await;
        }
        let is_other = |found: &std::fs::Metadata| !is_socket(found);
        if std::fs::symlink_metadata(path).is_ok_and(|found| is_other(&found)) {
            bail!("{} is no socket: remove it, or set web.socket to another path", path.display());
        }
        let open = || -> io::Result<(UnixListener, (u64, u64))> {
            remove(&draft)?;
            let listener = UnixListener::bind(&draft)?;
            std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(mode))?;
            let found = std::fs::symlink_metadata(&draft)?;
            std::fs::rename(&draft, path)?;
            Ok((listener, (found.dev(), found.ino())))
        };
        let opened = open().inspect_err(|_| drop(remove(&draft)));
        let (listener, id) = opened.with_context(|| format!("open the local socket {}", path.display()))?;
        Ok(Self { listener, file: Some((path.to_owned(), id)) })
    }

    /// One that the service manager opened.
    pub(in crate::web) fn inherited(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self { listener: UnixListener::from_std(listener)?, file: None })
    }

    /// The next connection, and who made it.
    pub(super) async fn accept(&self) -> io::Result<(UnixStream, Peer)> {
        let (stream, _) = self.listener.accept().await?;
        let by = stream.peer_cred()?;
        Ok((stream, Peer::Local { uid: by.uid(), gid: by.gid() }))
    }
}

impl Drop for LocalSocket {
    fn drop(&mut self) {
        let Some((path, id)) = &self.file else { return };
        // Before the listener goes: as long as it is there, no other daemon puts its socket in this place.
        if std::fs::symlink_metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == *id) {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn is_socket(found: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    found.file_type().is_socket()
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether anyone listens there.
async fn is_served(path: &Path) -> bool {
    match UnixStream::connect(path).await {
        Ok(_) => true,
        // Its queue is full.
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}
