//! What survives a power cut: small files are written beside, synced, renamed, and the folder is synced.
//!
//! The only place where folders are synced and where a file system is asked how full it is: not every one can do the
//! first, and not every one knows the second.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use parking_lot::Mutex;
use tracing::warn;

/// Replaces `file` with `content`, so that after a power cut either the old or the new content is there.
///
/// # Errors
/// When the file system refuses; the old content is then still there.
pub fn replace(file: &Path, content: &[u8]) -> io::Result<()> {
    replace_with(file, &file.with_added_extension("tmp"), |out| out.write_all(content))
}

/// Replaces `file` with what `fill` writes. It is written to `draft`, in the same folder, and gets its name when all of
/// it is on the disk.
///
/// # Errors
/// What `fill` says, or when the file system refuses; the old content is then still there, and no draft.
pub fn replace_with<E: From<io::Error>>(
    file: &Path,
    draft: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> Result<(), E>,
) -> Result<(), E> {
    let write = || -> Result<(), E> {
        let mut out = BufWriter::new(File::create(draft)?);
        fill(&mut out)?;
        out.flush()?;
        out.get_ref().sync_all()?;
        Ok(fs::rename(draft, file)?)
    };
    write().inspect_err(|_| {
        // On a full volume half a file is space that others need.
        let _ = fs::remove_file(draft);
    })?;
    // A file without a folder in its name lies in the current one.
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(sync_folder(folder)?)
}

/// Makes the names in `folder` durable. Where the file system has no such operation, its volume stays usable; what that
/// costs is logged once for each volume.
///
/// # Errors
/// When the folder cannot be opened, or its disk fails.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    sync_handle(&File::open(folder)?)
}

/// The same for a folder that is open.
///
/// # Errors
/// When its disk fails.
pub fn sync_handle(folder: &File) -> io::Result<()> {
    match folder.sync_all() {
        Err(error) if is_unsupported(&error) => {
            if folder.metadata().is_ok_and(|about| is_first_of(about.dev())) {
                warn!(
                    %error,
                    "this file system cannot sync folders: after a power cut the files that were made last may be missing, \
                     although they were reported as recorded; a volume with ext4, XFS or Btrfs has no such gap"
                );
            }
            Ok(())
        }
        outcome => outcome,
    }
}

/// Whether a file system says in one of its ways that folders are not synced there. The folder is open, so that neither
/// a wrong descriptor nor a lack of rights can be meant: FUSE and SMB file systems answer so for want of something
/// better. A failing, full or read-only disk answers otherwise.
fn is_unsupported(error: &io::Error) -> bool {
    // ENOTSUP is EOPNOTSUPP on Linux.
    let answers = [libc::EINVAL, libc::ENOSYS, libc::EOPNOTSUPP, libc::ENOTTY, libc::EBADF, libc::EACCES];
    error.raw_os_error().is_some_and(|errno| answers.contains(&errno))
}

/// Whether nothing was said of this device yet.
fn is_first_of(device: u64) -> bool {
    static KNOWN: Mutex<BTreeSet<u64>> = Mutex::new(BTreeSet::new());
    KNOWN.lock().insert(device)
}

/// Bytes that may still be used where `path` lies. `None` where the file system does not know: mounted object stores
/// and some shares give zeros for everything.
///
/// # Errors
/// When the file system does not answer.
pub fn free_bytes(path: &Path) -> io::Result<Option<u64>> {
    let stat = rustix::fs::statvfs(path)?;
    Ok((stat.f_blocks > 0).then(|| stat.f_bavail.saturating_mul(stat.f_frsize)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Works with: disks | file systems that cannot sync folders | records, and logs once what a power cut may cost
    #[test]
    fn a_folder_that_cannot_be_synced_is_no_failure_and_one_that_is_not_there_is() {
        // The kernel has no sync for it, and answers EINVAL as network shares do.
        let proc = Path::new("/proc");
        let answer = File::open(proc).and_then(|folder| folder.sync_all()).expect_err("not supported");
        assert_eq!(answer.raw_os_error(), Some(libc::EINVAL));
        sync_folder(proc).expect("not supported is no failure");
        assert!(!is_first_of(fs::metadata(proc).expect("look").dev()), "it was said");
        sync_folder(Path::new("/no/such/folder")).expect_err("missing");
        for errno in [libc::EIO, libc::EROFS, libc::ENOSPC, libc::EDQUOT, libc::ESTALE] {
            assert!(!is_unsupported(&io::Error::from_raw_os_error(errno)), "{errno}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_completed_leaves_the_old_one_and_no_draft() {
        let folder = tempfile::tempdir().expect("temp dir");
        let (file, draft) = (folder.path().join("note"), folder.path().join("note.part"));
        replace_with(&file, &draft, |out| out.write_all(b"old")).expect("write");
        let refused = replace_with(&file, &draft, |out| {
            out.write_all(b"ne")?;
            Err(io::Error::other("the source is damaged"))
        });
        assert_eq!(refused.expect_err("refused").to_string(), "the source is damaged");
        assert_eq!((fs::read(&file).expect("read"), draft.exists()), (b"old".to_vec(), false));
        replace(&file, b"new").expect("write");
        assert_eq!(fs::read(&file).expect("read"), b"new");
    }

    #[test]
    fn a_file_system_without_sizes_has_no_known_free_space() {
        // It has no blocks.
        assert_eq!(free_bytes(Path::new("/proc")).expect("statvfs"), None);
        assert!(free_bytes(Path::new("/")).expect("statvfs").is_some());
    }
}
