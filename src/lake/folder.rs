//! The lake's files on the box: `<storage>/lake/<table>/date=<yyyy-mm-dd>/<first>_<last>.parquet`, until every
//! destination has them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::civil::Date;
use sha2::{Digest, Sha256};

use super::file;
use super::rows::Rows;
use super::table::Table;
use crate::durable;
use crate::store::Document;
use crate::volume_folder::VolumeFolder;

/// The folder below the storage folder, and the first part of the documents' paths.
pub const FOLDER: &str = "lake";

/// A file of the lake, by its path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Piece {
    pub table: Table,
    pub date: Date,
    /// The number of its first row.
    pub first: i64,
    /// Its own number, above those of its rows. No other file has it.
    pub last: i64,
}

impl Piece {
    /// The document's path.
    pub(super) fn path(&self) -> String {
        let Self { table, date, first, last } = self;
        format!("{FOLDER}/{table}/date={date}/{first}_{last}.parquet")
    }

    fn of(table: Table, date: Date, name: &str) -> Option<Self> {
        let (first, last) = name.strip_suffix(".parquet")?.split_once('_')?;
        Some(Self { table, date, first: first.parse().ok()?, last: last.parse().ok()? })
    }
}

/// The files.
#[derive(Clone, Debug)]
pub(super) struct LakeFolder {
    storage: VolumeFolder,
}

impl LakeFolder {
    pub(super) fn new(storage: &Path) -> Self {
        Self { storage: VolumeFolder::new(storage) }
    }

    /// `<storage>/lake`.
    pub(super) fn folder(&self) -> PathBuf {
        self.storage.path().join(FOLDER)
    }

    /// Where the file lies.
    pub(super) fn locate(&self, piece: &Piece) -> PathBuf {
        self.storage.path().join(piece.path())
    }

    /// Makes the lake's own folder, durably.
    pub(super) fn create(&self) -> Result<()> {
        self.make(&self.folder())
    }

    fn make(&self, folder: &Path) -> Result<()> {
        if folder.is_dir() {
            return Ok(());
        }
        let below = folder.strip_prefix(self.storage.path()).with_context(|| format!("make {}", folder.display()))?;
        self.storage.folder(below).map(drop).with_context(|| format!("create folder {}", folder.display()))
    }

    /// Writes a file, durably.
    pub(super) fn put(&self, piece: &Piece, rows: &Rows) -> Result<Document> {
        let (path, bytes) = (self.locate(piece), file::encode(rows)?);
        self.make(path.parent().context("a file's folder")?)?;
        durable::replace(&path, &bytes).with_context(|| format!("write {}", path.display()))?;
        Ok(Document { path: piece.path(), bytes: bytes.len() as u64, sha256: hex::encode(Sha256::digest(&bytes)) })
    }

    /// The rows of a file.
    pub(super) fn get(&self, piece: &Piece) -> Result<Rows> {
        let path = self.locate(piece);
        let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        file::decode(piece.table, bytes).with_context(|| format!("read {}", path.display()))
    }

    /// All files with their sizes, in order. What a stop left half written is removed.
    pub(super) fn pieces(&self) -> Vec<(Piece, u64)> {
        let mut pieces = Vec::new();
        for table in Table::ALL {
            for folder in entries(&self.folder().join(table.as_str())) {
                let date = folder.file_name().and_then(|name| name.to_str()?.strip_prefix("date=")?.parse().ok());
                let Some(date) = date else { continue };
                for path in entries(&folder) {
                    if path.extension().is_some_and(|extension| extension == "tmp") {
                        let _ = fs::remove_file(&path);
                        continue;
                    }
                    let piece = path.file_name().and_then(|name| Piece::of(table, date, name.to_str()?));
                    let bytes = fs::metadata(&path).map_or(0, |metadata| metadata.len());
                    pieces.extend(piece.map(|piece| (piece, bytes)));
                }
            }
        }
        pieces.sort();
        pieces
    }

    /// Removes a file, and its folder when that is empty then. One that is not there is no error.
    pub(super) fn remove(&self, piece: &Piece) -> Result<()> {
        let path = self.locate(piece);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("delete {}", path.display()));
            }
            _ => {}
        }
        if let Some(folder) = path.parent() {
            // Refused while there are other files in it.
            let _ = fs::remove_dir(folder);
        }
        Ok(())
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}
