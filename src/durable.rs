//! Small files that survive a power cut: write beside, fsync, rename, fsync the folder.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Replaces `file` with `content`, so that after a power cut either the old or the new content is there.
///
/// # Errors
/// When the file system refuses; the old content is then still there.
pub fn replace(file: &Path, content: &[u8]) -> io::Result<()> {
    let draft = file.with_added_extension("tmp");
    let write = || -> io::Result<()> {
        let mut out = File::create(&draft)?;
        out.write_all(content)?;
        out.sync_all()?;
        fs::rename(&draft, file)
    };
    write().inspect_err(|_| {
        // On a full volume half a file is space that others need.
        let _ = fs::remove_file(&draft);
    })?;
    file.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}
