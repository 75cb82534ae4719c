//! The folder of the models: each with its versions.
//!
//! A version lies in `<name>/<number>/`, with its manifest `<name>.toml` and the files that this names. A model without
//! versions lies beside the others, `<name>.toml` in the folder itself: that is its version 1, unless there is `<name>/1/`.
//! A folder without a manifest is none yet, so a version is copied with its manifest last; what is copied otherwise is
//! recognised by its checksums.
//!
//! `name` means the newest version that can be loaded, `name/2` that one alone.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::model::{Manifest, ModelError, is_plain_name, manifests_in};

/// One version of a model.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// From 1 on; the greatest is the newest.
    pub number: u32,
    /// Where its manifest and its files are.
    pub folder: PathBuf,
}

/// A model as a configuration names it: its name, and its version where one is asked for.
pub fn parse_reference(reference: &str) -> (&str, Option<u32>) {
    match reference.split_once('/') {
        Some((name, number)) => match version_number(number) {
            Some(number) => (name, Some(number)),
            // No name has a slash, so there is no such model.
            None => (reference, None),
        },
        None => (reference, None),
    }
}

/// A whole number from 1 on, written without zeros before it.
fn version_number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number: &u32| *number > 0 && number.to_string() == text)
}

/// The versions that a reference means, the newest first; none where there is no such model. Blocks on the disk.
pub fn versions(dir: &Path, reference: &str) -> Vec<Version> {
    let (name, wanted) = parse_reference(reference);
    if !is_plain_name(name) {
        return Vec::new();
    }
    let entries = fs::read_dir(dir.join(name)).into_iter().flatten().filter_map(Result::ok);
    let of_folder = |entry: fs::DirEntry| {
        let number = version_number(entry.file_name().to_str()?)?;
        Some(Version { number, folder: entry.path() })
    };
    let mut found: Vec<Version> = entries.filter_map(of_folder).filter(|version| has_manifest(version, name)).collect();
    if found.iter().all(|version| version.number != 1) {
        found.push(Version { number: 1, folder: dir.to_owned() });
    }
    found.retain(|version| wanted.is_none_or(|wanted| wanted == version.number) && has_manifest(version, name));
    found.sort_by(|a, b| b.cmp(a));
    found
}

fn has_manifest(version: &Version, name: &str) -> bool {
    version.folder.join(format!("{name}.toml")).exists()
}

/// Names of the models in a folder, sorted; empty where there is no such folder. Blocks on the disk.
pub fn installed(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let with_versions = names.filter(|name| dir.join(name).is_dir() && !versions(dir, name).is_empty());
    let all: BTreeSet<String> = with_versions.chain(manifests_in(dir)).collect();
    all.into_iter().collect()
}

/// Folders of models as they lie above the program: in a prefix, and in the source tree or an archive.
const BESIDE: [&str; 2] = ["share/outpost/models", "models"];
/// How far above the program they are looked for: `target/<triple>/release/outpost` in the source tree.
const ABOVE: usize = 4;

/// The models that came with the program: beside it, in its prefix, or in its source tree.
pub(super) fn of_program() -> Option<PathBuf> {
    let built_in = cfg!(debug_assertions).then(|| Path::new(env!("CARGO_MANIFEST_DIR")));
    of_program_at(&std::env::current_exe().ok()?).or_else(|| built_in.and_then(models_in))
}

fn of_program_at(program: &Path) -> Option<PathBuf> {
    program.ancestors().skip(1).take(ABOVE).find_map(models_in)
}

fn models_in(folder: &Path) -> Option<PathBuf> {
    BESIDE.into_iter().map(|beside| folder.join(beside)).find(|folder| !installed(folder).is_empty())
}

/// The newest version that a reference means and whose manifest can be read, with that. Blocks on the disk.
///
/// # Errors
/// When there is no such model or version, or no manifest of it is right.
pub fn find(dir: &Path, reference: &str) -> Result<(Version, Manifest), ModelError> {
    let (name, _) = parse_reference(reference);
    let mut first = None;
    for version in versions(dir, reference) {
        match Manifest::load(&version.folder, name) {
            Ok(manifest) => return Ok((version, manifest)),
            Err(error) => first = first.or(Some(error)),
        }
    }
    Err(first.unwrap_or_else(|| unknown(dir, reference)))
}

/// There is no such model, or not in this version.
pub fn unknown(dir: &Path, reference: &str) -> ModelError {
    let (name, wanted) = parse_reference(reference);
    let numbers: Vec<u32> = versions(dir, name).iter().map(|version| version.number).rev().collect();
    match wanted {
        Some(version) if !numbers.is_empty() => {
            ModelError::UnknownVersion { name: name.to_owned(), version, dir: dir.to_owned(), versions: numbers }
        }
        _ => ModelError::Unknown { name: reference.to_owned(), dir: dir.to_owned(), installed: installed(dir) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, path: &str) {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("create");
        fs::write(path, "").expect("write");
    }

    #[test]
    fn versions_are_numbered_folders_with_a_manifest_and_the_newest_is_the_greatest() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let dir = dir.path();
        let files = ["m/2/m.toml", "m/10/m.toml", "m/11/m.onnx", "m/03/m.toml", "m/x/m.toml", "m/0/m.toml", "m.toml"];
        files.iter().for_each(|file| write(dir, file));
        let numbers = |reference: &str| versions(dir, reference).iter().map(|v| v.number).collect::<Vec<_>>();
        assert_eq!(numbers("m"), [10, 2, 1]);
        assert_eq!((numbers("m/2"), numbers("m/1"), numbers("m/11")), (vec![2], vec![1], vec![]));
        assert_eq!(versions(dir, "m/1")[0].folder, dir);
        for none in ["m/02", "m/0", "m/-1", "m/2/2", "m/", "/2", "../m", "n", "m/x"] {
            assert!(numbers(none).is_empty(), "{none}");
        }
        write(dir, "m/1/m.toml");
        assert_eq!(versions(dir, "m/1")[0].folder, dir.join("m/1"));
        write(dir, "n/1/other.toml");
        write(dir, "flat.toml");
        assert_eq!(installed(dir), ["flat", "m"]);
    }

    #[test]
    fn the_models_of_a_program_lie_in_its_prefix_beside_it_or_in_its_source_tree() {
        for (program, models) in [
            ("usr/bin/outpost", "usr/share/outpost/models"),
            ("outpost-1.0/outpost", "outpost-1.0/models"),
            ("tree/target/release/outpost", "tree/models"),
            ("tree/target/aarch64-unknown-linux-gnu/release/outpost", "tree/models"),
        ] {
            let dir = tempfile::tempdir().expect("temporary folder");
            let program = dir.path().join(program);
            write(dir.path(), &format!("{models}/README"));
            assert_eq!(of_program_at(&program), None, "no model is there");
            write(dir.path(), &format!("{models}/m.toml"));
            assert_eq!(of_program_at(&program), Some(dir.path().join(models)));
        }
    }

    #[test]
    fn what_is_not_there_is_answered_with_what_is() {
        let dir = tempfile::tempdir().expect("temporary folder");
        write(dir.path(), "m/2/m.toml");
        write(dir.path(), "m/4/m.toml");
        let message = |reference: &str| find(dir.path(), reference).expect_err(reference).to_string();
        assert!(message("m/3").starts_with("model m has no version 3 in /"), "{}", message("m/3"));
        assert!(message("m/3").ends_with("; there are 2, 4"), "{}", message("m/3"));
        assert!(message("n/3").contains("no model named \"n/3\"") && message("n/3").ends_with("there are: m"));
        assert!(message("m").contains("m/4/m.toml: "), "the newest is what is wrong: {}", message("m"));
    }
}
