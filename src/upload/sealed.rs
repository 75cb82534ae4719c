//! Copies that only the holder of a private key can read, for destinations with `seal_to`.
//!
//! A sealed copy differs each time that it is made, and an upload that goes on after a restart has to go on with the same
//! bytes. So the copy is a file, `<storage>/sealed/<name>/<number of the item>-<hash>.age`: made once, whole and synced before
//! it has its name, and deleted when the destination has it, or when a failed upload left nothing to go on from. The hash
//! is of the file's own and of the keys, so that a file or keys that changed make another copy.

use std::fs::{self, File};
use std::io::{BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tracing::{debug, info};

use super::config::{Config, SEALED_SUFFIX};
use super::link::Failure;
use super::local::LOCAL_FILE;
use crate::durable;
use crate::seal::{self, Recipient};
use crate::store::Outbox;
use crate::volume_folder::VolumeFolder;

/// Where the copies of all destinations lie, below the storage folder.
const FOLDER: &str = "sealed";
/// Room that is left to the recorders, in bytes: without more than that no copy is made.
const LEFT_FREE: u64 = 64 << 20;

/// Makes sealed copies for one destination.
#[derive(Clone, Debug)]
pub(super) struct Sealer {
    recipients: Arc<[Recipient]>,
    storage: VolumeFolder,
    /// Below the storage folder.
    folder: PathBuf,
}

/// What is sent in place of a file.
#[derive(Debug)]
pub(super) struct Copy {
    pub path: PathBuf,
    pub bytes: u64,
    /// It was made just now: an upload that was begun has other bytes.
    pub is_fresh: bool,
}

impl Sealer {
    /// `None` for a destination that does not seal.
    pub(super) fn new(name: &str, config: &Config, storage: &Path) -> Option<Self> {
        let recipients: Vec<Recipient> = config.seal_to.iter().filter_map(|key| key.parse().ok()).collect();
        (!recipients.is_empty()).then(|| Self {
            recipients: recipients.into(),
            storage: VolumeFolder::new(storage),
            folder: Path::new(FOLDER).join(name),
        })
    }

    /// The sealed copy of `source` (whose hash is `sha256`) for item `seq`.
    ///
    /// # Errors
    /// [`Failure::Held`] where there is no room for it; it is tried again later.
    pub(super) async fn copy(&self, seq: u64, source: &Path, sha256: &str) -> Result<Copy, Failure> {
        let (sealer, source, path) = (self.clone(), source.to_owned(), self.path(seq, sha256));
        let made = tokio::task::spawn_blocking(move || sealer.make(&source, path)).await;
        let failed = |error: &dyn std::fmt::Display| Failure::Item(LOCAL_FILE, format!("it cannot be sealed: {error}"));
        match made {
            Ok(Ok(copy)) => Ok(copy),
            Ok(Err(error)) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                Err(Failure::Held(format!("no room for a sealed copy: {error}")))
            }
            Ok(Err(error)) => Err(failed(&error)),
            Err(error) => Err(failed(&error)),
        }
    }

    fn folder(&self) -> PathBuf {
        self.storage.path().join(&self.folder)
    }

    fn path(&self, seq: u64, sha256: &str) -> PathBuf {
        let mut hash = Sha256::new_with_prefix(sha256);
        self.recipients.iter().for_each(|recipient| hash.update(recipient.to_string()));
        let hash = hex::encode(hash.finalize());
        self.folder().join(format!("{seq}-{}{SEALED_SUFFIX}", hash.get(..16).unwrap_or_default()))
    }

    fn make(&self, source: &Path, path: PathBuf) -> std::io::Result<Copy> {
        if let Ok(metadata) = fs::metadata(&path) {
            return Ok(Copy { path, bytes: metadata.len(), is_fresh: false });
        }
        let folder = self.storage.folder(&self.folder)?;
        let (plain, draft) = (File::open(source)?, path.with_extension("tmp"));
        let needed = plain.metadata()?.len().saturating_add(LEFT_FREE);
        if durable::free_bytes(&folder)?.is_some_and(|free| free < needed) {
            return Err(ErrorKind::StorageFull.into());
        }
        durable::replace_with(&path, &draft, |out| seal::seal(&self.recipients, &mut BufReader::new(plain), out))?;
        let bytes = fs::metadata(&path)?.len();
        Ok(Copy { path, bytes, is_fresh: true })
    }

    /// Deletes the copy of item `seq`, unless an upload of it has begun and goes on later.
    pub(super) async fn settle(&self, seq: u64, arrived: bool, outbox: &Outbox) {
        if arrived || matches!(outbox.progress(seq).await, Ok(None)) {
            self.remove(move |number| number == seq).await;
        }
    }

    /// Deletes copies of items that an earlier run left and that no upload goes on with. Nothing must be on its way.
    pub(super) async fn tidy(&self, outbox: &Outbox) {
        let mut unwanted = Vec::new();
        for number in numbers(&self.folder()).into_iter().map(|(number, _)| number) {
            if matches!(outbox.progress(number).await, Ok(None)) {
                unwanted.push(number);
            }
        }
        if !unwanted.is_empty() {
            info!(copies = unwanted.len(), "sealed copies that are not needed any more are deleted");
            self.remove(move |number| unwanted.contains(&number)).await;
        }
    }

    async fn remove(&self, is_unwanted: impl Fn(u64) -> bool + Send + 'static) {
        let folder = self.folder();
        let work = move || {
            for (_, path) in numbers(&folder).into_iter().filter(|(number, _)| is_unwanted(*number)) {
                if let Err(error) = fs::remove_file(&path) {
                    debug!(%error, file = %path.display(), "a sealed copy could not be deleted");
                }
            }
        };
        let _ = tokio::task::spawn_blocking(work).await;
    }
}

/// The copies in a folder, and drafts of them, with the numbers of their items.
fn numbers(folder: &Path) -> Vec<(u64, PathBuf)> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|file| file.path());
    let number = |path: &PathBuf| path.file_name()?.to_str()?.split_once('-')?.0.parse().ok();
    files.filter_map(|path| Some((number(&path)?, path))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asset::MediaKind;
    use crate::seal::{Identity, unseal};
    use crate::upload::config::is_sealed;

    const SECRET: &str = "AGE-SECRET-KEY-1UXKHPXPKKJ0XL8Y4LHS5J9ELD30Z89H4H9NKF58VXUGTPLKQH5ASXY2TD5";
    const PUBLIC: &str = "age17tctezfxjgml292qdg5xtxhnqdw5aky0tcw56qg99gkk2g9nrv0q6zl7rl";

    #[tokio::test]
    async fn a_copy_is_made_once_and_opened_by_its_key() {
        let dir = tempfile::tempdir().expect("tempdir");
        let source = dir.path().join("clip.mp4");
        fs::write(&source, b"moving pictures").expect("write");
        let config = Config { seal_to: vec![PUBLIC.to_owned()], ..Config::default() };
        let sealer = Sealer::new("cloud", &config, dir.path()).expect("it seals");
        let first = sealer.copy(7, &source, "aa").await.expect("a copy");
        let again = sealer.copy(7, &source, "aa").await.expect("a copy");
        assert_eq!((first.is_fresh, again.is_fresh, &again.path), (true, false, &first.path));
        let changed = sealer.copy(7, &source, "bb").await.expect("a copy");
        assert!(changed.is_fresh && changed.path != first.path, "the file changed");
        let key: Identity = SECRET.parse().expect("a key");
        let (mut plain, bytes) = (Vec::new(), fs::read(&first.path).expect("a copy"));
        unseal(&[key], &*bytes, &mut plain).expect("open");
        assert_eq!((plain.as_slice(), bytes.len() as u64), (b"moving pictures".as_slice(), first.bytes));
        sealer.remove(|number| number == 7).await;
        assert_eq!(numbers(&sealer.folder), Vec::new());
    }

    #[test]
    fn what_it_is_found_by_is_not_sealed_and_without_keys_nothing_is() {
        assert!(is_sealed(MediaKind::Clip) && is_sealed(MediaKind::Thumbnail) && !is_sealed(MediaKind::EventSidecar));
        assert!(
            is_sealed(MediaKind::Original) && is_sealed(MediaKind::PhotoSidecar) && !is_sealed(MediaKind::LakeTable)
        );
        assert!(Sealer::new("cloud", &Config::default(), Path::new("/srv")).is_none());
    }
}
