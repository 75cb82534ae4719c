//! The index of the library against what lies on the disk.

use std::path::Path;

use anyhow::Result;

use super::contents::{each_content, photos_in};
use super::layout::LibraryLayout;
use crate::archive::{Layout, measure};
use crate::away;
use crate::photo::Photo;
use crate::store::Store;

/// Photos of the index that are asked for at a time.
const PAGE: usize = 500;

/// What was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Photos on the disk.
    pub photos: u64,
    /// Originals.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Compares the photos on the disk below `storage` with those of `store`, where there is one, and changes nothing. `differs`
/// gets what differs, and how. `deep`: originals are read, and compared with their SHA-256. Blocks.
///
/// # Errors
/// When index or disk fail, or what `differs` says.
pub fn compare(
    storage: &Path,
    store: Option<&Store>,
    deep: bool,
    differs: &mut dyn FnMut(&str, &str) -> Result<()>,
) -> Result<Compared> {
    let layout = LibraryLayout::new(&Layout::new(storage));
    let mut compared = Compared::default();
    each_content(&layout, |folder| {
        let mut is_first = true;
        for (path, photo) in photos_in(folder)? {
            let name = path.strip_prefix(storage).unwrap_or(&path).display().to_string();
            compared.photos += 1;
            let photo = match photo {
                Ok((photo, _)) => photo,
                Err(failure) => {
                    differs(&name, &format!("damaged: {failure:#}"))?;
                    continue;
                }
            };
            match store.map(|store| store.photos().get(photo.id).wait()).transpose()? {
                Some(None) => differs(&name, "not in the index")?,
                Some(Some(known)) if short(&known) != short(&photo) => {
                    differs(&name, "the index does not say what the sidecar says")?
                }
                _ => {}
            }
            if std::mem::take(&mut is_first) {
                original(folder, storage, &photo, deep, &mut compared, differs)?;
            }
        }
        Ok(())
    })?;
    if let Some(store) = store {
        unknown(&layout, store, differs)?;
    }
    Ok(compared)
}

/// A photo without what the index may keep a part of only.
fn short(photo: &Photo) -> Photo {
    let mut photo = Photo { seen: None, ..photo.clone() };
    (photo.facts.description, photo.facts.keywords) = (None, Vec::new());
    photo
}

fn original(
    folder: &Path,
    storage: &Path,
    photo: &Photo,
    deep: bool,
    compared: &mut Compared,
    differs: &mut dyn FnMut(&str, &str) -> Result<()>,
) -> Result<()> {
    let path = folder.join(&photo.file);
    let name = path.strip_prefix(storage).unwrap_or(&path).display().to_string();
    let bytes = match std::fs::metadata(&path) {
        Ok(about) => about.len(),
        Err(_) if away::find(&path).is_some() => return Ok(()),
        Err(error) => return differs(&name, &error.to_string()),
    };
    compared.files += 1;
    compared.bytes += bytes;
    if bytes != photo.bytes {
        return differs(&name, &format!("{bytes} bytes, {} in its sidecar", photo.bytes));
    }
    if !deep {
        return Ok(());
    }
    match measure(folder, &photo.file) {
        Ok(measured) if measured.sha256 == photo.sha256 => Ok(()),
        Ok(_) => differs(&name, "its SHA-256 is not the one of its folder"),
        Err(error) => differs(&name, &format!("{error:#}")),
    }
}

/// Photos of the index that are not on the disk.
fn unknown(layout: &LibraryLayout, store: &Store, differs: &mut dyn FnMut(&str, &str) -> Result<()>) -> Result<()> {
    let mut after = None;
    loop {
        let page = store.photos().by_id(after, PAGE).wait()?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.id);
        for photo in &page {
            if !layout.content(&photo.sha256).join(Photo::sidecar_name(photo.id)).is_file() {
                differs(&format!("photo {}", photo.id), "in the index, but not on the disk")?;
            }
        }
    }
}
