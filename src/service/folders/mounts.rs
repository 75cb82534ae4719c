//! Cards and sticks that are mounted.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

/// What the kernel says is mounted.
const MOUNTS: &str = "/proc/self/mountinfo";

/// A mounted volume whose files may be imported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImportSource {
    /// Where it is mounted.
    pub path: PathBuf,
    /// Its file system, such as `exfat`.
    pub file_system: String,
    /// Its size, where it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Bytes of it that are used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
}

/// The volumes that are mounted below `roots`, by path. Blocks.
pub(super) fn sources(roots: &[PathBuf]) -> Result<Vec<ImportSource>> {
    let text = std::fs::read_to_string(MOUNTS).with_context(|| format!("read {MOUNTS}"))?;
    let mut sources: Vec<ImportSource> = mounted(&text, roots)
        .map(|(path, file_system)| {
            let size = rustix::fs::statvfs(&path).ok();
            let bytes = size.as_ref().map(|size| size.f_blocks.saturating_mul(size.f_frsize));
            let free = size.as_ref().map(|size| size.f_bfree.saturating_mul(size.f_frsize));
            let used = bytes.zip(free).map(|(bytes, free)| bytes.saturating_sub(free));
            ImportSource { path, file_system, bytes, used }
        })
        .collect();
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources.dedup_by(|a, b| a.path == b.path);
    Ok(sources)
}

/// Mount point and file system of each volume below `roots` (proc(5), mountinfo).
fn mounted<'a>(text: &'a str, roots: &'a [PathBuf]) -> impl Iterator<Item = (PathBuf, String)> + 'a {
    text.lines().filter_map(|line| {
        let (place, volume) = line.split_once(" - ")?;
        let path = PathBuf::from(unescaped(place.split(' ').nth(4)?));
        let file_system = volume.split(' ').next()?.to_owned();
        roots.iter().any(|root| path.starts_with(root)).then_some((path, file_system))
    })
}

/// Blanks, tabs, line ends and backslashes are written as three octal digits.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        let code = others.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = others.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = others;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The folder that is meant by `path`, where it lies below one of `roots`: links are followed first. Blocks.
///
/// # Errors
/// One sentence: what is wrong with it.
pub(super) fn allowed(path: &Path, roots: &[PathBuf]) -> Result<PathBuf, String> {
    let places = || roots.iter().map(|root| root.display().to_string()).collect::<Vec<_>>().join(", ");
    let outside = || format!("{} does not lie below {}: see library.import_from", path.display(), places());
    // Nothing is said of what lies elsewhere, not even whether it is there.
    if !roots.iter().any(|root| path.starts_with(root)) {
        return Err(outside());
    }
    let real = path.canonicalize().map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let is_below = roots.iter().filter_map(|root| root.canonicalize().ok()).any(|root| real.starts_with(root));
    match is_below {
        true if real.is_dir() => Ok(real),
        true => Err(format!("{} is no folder", path.display())),
        false => Err(outside()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
98 22 8:17 / /media/EOS\\040DIGITAL rw,nosuid - exfat /dev/sdb1 rw,errors=remount-ro
99 22 0:50 / /mnt rw - nfs4 nas:/x rw
a line that says nothing
";

    #[test]
    fn volumes_below_the_roots_are_found() {
        let roots = ["/media".into(), "/mnt".into(), "/run/media".into()];
        let found: Vec<_> = mounted(TEXT, &roots).collect();
        let expected = [("/media/EOS DIGITAL", "exfat"), ("/mnt", "nfs4")];
        assert_eq!(found, expected.map(|(path, kind)| (PathBuf::from(path), kind.to_owned())));
        assert!(sources(&[PathBuf::from("/")]).expect("read").iter().any(|source| source.path == Path::new("/")));
    }

    #[test]
    fn what_is_escaped_is_read_and_the_rest_stays() {
        assert_eq!(unescaped("a\\134b\\011c\\"), "a\\b\tc\\");
        assert_eq!(unescaped("\\9x9 春"), "\\9x9 春");
    }

    #[test]
    fn only_folders_below_the_roots_are_imported() {
        let folder = tempfile::tempdir().expect("folder");
        let base = folder.path().canonicalize().expect("path");
        let at = |name: &str| base.join(name);
        std::fs::create_dir_all(at("media/card/DCIM")).expect("folder");
        std::fs::create_dir_all(at("secret")).expect("folder");
        std::fs::write(at("media/card/a.txt"), "a").expect("write");
        std::os::unix::fs::symlink(at("secret"), at("media/card/link")).expect("link");
        let roots = [at("media")];
        assert_eq!(allowed(&at("media/card/DCIM"), &roots), Ok(at("media/card/DCIM")));
        for (path, reason) in [
            ("secret", "does not lie below"),
            ("media/card/link", "does not lie below"),
            ("media/card/../../secret", "does not lie below"),
            ("media/card/none", "cannot be read"),
            ("media/card/a.txt", "is no folder"),
            ("none", "does not lie below"),
        ] {
            let refused = allowed(&at(path), &roots).expect_err(path);
            assert!(refused.contains(reason), "{path}: {refused}");
        }
    }
}
