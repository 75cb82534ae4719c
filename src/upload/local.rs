//! Files on the box, on their way into memory.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;
use md5::{Digest as _, Md5};
use sha2::{Digest as _, Sha256};

use super::link::Failure;

/// The class of failures for which the file on the box is the reason.
pub(super) const LOCAL_FILE: &str = "local_file";

/// All of a file that is sent at once.
#[derive(Clone, Debug)]
pub(super) struct Content {
    pub bytes: Bytes,
    /// What services state of what they hold.
    pub md5: [u8; 16],
}

impl Content {
    fn new(bytes: Vec<u8>) -> Self {
        Self { md5: Md5::digest(&bytes).into(), bytes: bytes.into() }
    }

    /// Of a file of `bytes`.
    ///
    /// # Errors
    /// [`Failure::Item`] when it cannot be read.
    pub(super) async fn read(source: &Path, bytes: u64) -> Result<Self, Failure> {
        let source = source.to_owned();
        blocking(move || Ok(Self::new(part(&source, 0, bytes)?))).await
    }
}

/// Compares the file with what was recorded. Returns its content if asked to `keep` it.
///
/// # Errors
/// [`Failure::Item`] when it is not what was recorded.
pub(super) async fn check(source: &Path, bytes: u64, sha256: &str, keep: bool) -> Result<Option<Content>, Failure> {
    let (source, sha256) = (source.to_owned(), sha256.to_owned());
    blocking(move || {
        let mut file = File::open(&source)?;
        let length = file.metadata()?.len();
        if length != bytes {
            return Err(changed(format!("it has {length} bytes, {bytes} were recorded")));
        }
        let (content, hash) = if keep {
            let mut content = Vec::with_capacity(usize::try_from(bytes).unwrap_or_default());
            file.read_to_end(&mut content)?;
            let hash = Sha256::digest(&content);
            (Some(content), hash)
        } else {
            let mut hasher = Sha256::new();
            std::io::copy(&mut file, &mut hasher)?;
            (None, hasher.finalize())
        };
        let is_same = hex::encode(hash).eq_ignore_ascii_case(&sha256);
        if is_same { Ok(content.map(Content::new)) } else { Err(changed("its SHA-256 differs".to_owned())) }
    })
    .await
}

/// `bytes` of the file from `offset` on.
///
/// # Errors
/// [`Failure::Item`] when they cannot be read.
pub(super) async fn read_part(source: &Path, offset: u64, bytes: u64) -> Result<Vec<u8>, Failure> {
    let source = source.to_owned();
    blocking(move || part(&source, offset, bytes)).await
}

fn part(source: &Path, offset: u64, bytes: u64) -> std::io::Result<Vec<u8>> {
    let mut part = vec![0; usize::try_from(bytes).unwrap_or_default()];
    File::open(source)?.read_exact_at(&mut part, offset)?;
    Ok(part)
}

fn changed(how: String) -> std::io::Error {
    std::io::Error::new(ErrorKind::InvalidData, format!("the local file is not what was recorded: {how}"))
}

/// Reads on a thread that may block. What goes wrong with a local file is the item's own fault.
///
/// # Errors
/// [`Failure::Item`] for what `work` says.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) if error.kind() == ErrorKind::NotFound => {
            Err(Failure::Item(LOCAL_FILE, "the local file is gone".to_owned()))
        }
        Ok(Err(error)) if error.kind() == ErrorKind::InvalidData => Err(Failure::Item(LOCAL_FILE, error.to_string())),
        Ok(Err(error)) => Err(Failure::Item(LOCAL_FILE, format!("the local file cannot be read: {error}"))),
        Err(error) => Err(Failure::Item(LOCAL_FILE, format!("the local file cannot be read: {error}"))),
    }
}
