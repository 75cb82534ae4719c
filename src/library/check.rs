//! The rolling check of originals: each is read again now and then and compared with what was recorded, an hour a day in
//! all. What is damaged is brought back from a destination where that has it; nothing is removed.
//!
//! `checks/originals.json` below the storage folder says how far the check is and what it found, so that it goes on after a
//! restart.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tracing::{info, warn};

use super::intake::blocking;
use super::{Library, LibraryError};
use crate::away;
use crate::clock::Moment;
use crate::destination::Destination;
use crate::durable;
use crate::photo::{Photo, PhotoId};

/// Folder and name of what is known of the check, below the storage folder.
const FOLDER: &str = "checks";
const FILE: &str = "originals.json";
/// Version of the written form.
const VERSION: u32 = 1;
/// Photos that are read of the index at once.
const PAGE: usize = 50;
/// Damaged originals that are named.
const MOST_NAMED: usize = 100;
/// How long an interrupted read of one large original may go on before it looks at the time.
const PIECE: usize = 1 << 20;

/// An original that is not as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedOriginal {
    /// The photo.
    pub photo: PhotoId,
    /// Where the original lies, below the storage folder.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
    /// The destination that was asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Destination>,
}

/// One round through all originals.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckRound {
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begun: Option<Moment>,
    /// When it was through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished: Option<Moment>,
    /// Originals that were read.
    pub originals: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Originals that lie at a destination alone.
    pub away: u64,
    /// Originals that are not as they were recorded.
    pub damaged: u64,
    /// The first of these.
    pub damaged_originals: Vec<DamagedOriginal>,
}

/// What is known of the check.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckReport {
    /// Version of the writer.
    pub version: u32,
    /// All photos up to this one were looked at in the round that goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<PhotoId>,
    /// The round that goes on.
    pub current: CheckRound,
    /// The round before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<CheckRound>,
}

impl CheckReport {
    /// How many originals are damaged, as far as it is known.
    pub fn damaged(&self) -> u64 {
        self.current.damaged.max(self.last.as_ref().map_or(0, |last| last.damaged))
    }
}

/// What a look at one original brought.
enum Found {
    Good,
    Away,
    Damaged(String),
    /// The time was over before all of it was read.
    Unfinished,
}

impl Library {
    /// What is known of the check.
    ///
    /// # Errors
    /// When the disk does not answer.
    pub async fn check_report(&self) -> Result<CheckReport, LibraryError> {
        let path = self.report_path();
        blocking(move || Ok(read(&path))).await
    }

    fn report_path(&self) -> PathBuf {
        self.archive.layout().storage().join(FOLDER).join(FILE)
    }

    /// Goes on with the check for about `time`. `openable`: destinations whose files the box can read.
    ///
    /// # Errors
    /// When index or disk fail.
    pub async fn check_originals(&self, time: Duration, openable: &[Destination]) -> Result<CheckReport, LibraryError> {
        let (begun, mut report) = (Instant::now(), self.check_report().await?);
        report.version = VERSION;
        if report.current.begun.is_none() {
            report.current.begun = Some(self.archive.now());
        }
        let mut is_first = true;
        'time: loop {
            let photos = self.archive.store().photos().by_id(report.after, PAGE).await?;
            if photos.is_empty() {
                self.end_round(&mut report);
                break;
            }
            for photo in photos {
                let left = time.saturating_sub(begun.elapsed());
                // One that takes longer than the time is read to its end all the same.
                let left = if is_first { None } else { Some(left) };
                if left.is_some_and(|left| left.is_zero()) {
                    break 'time;
                }
                match self.look_again(&photo, left).await? {
                    Found::Unfinished => break 'time,
                    Found::Away => report.current.away += 1,
                    Found::Good => {
                        report.current.originals += 1;
                        report.current.bytes = report.current.bytes.saturating_add(photo.bytes);
                    }
                    Found::Damaged(reason) => {
                        report.current.originals += 1;
                        self.damaged(&mut report.current, &photo, reason, openable).await?;
                    }
                }
                is_first = false;
                report.after = Some(photo.id);
            }
        }
        let (path, written) = (self.report_path(), report.clone());
        let layout = self.archive.layout().clone();
        blocking(move || {
            layout.create(path.parent().context("a folder")?)?;
            let text = serde_json::to_vec_pretty(&written).context("encode the check")?;
            durable::replace(&path, &text).with_context(|| format!("write {}", path.display()))
        })
        .await?;
        Ok(report)
    }

    fn end_round(&self, report: &mut CheckReport) {
        let mut round = std::mem::take(&mut report.current);
        round.finished = Some(self.archive.now());
        if round.originals > 0 {
            let CheckRound { originals, bytes, damaged, .. } = round;
            info!(originals, bytes, damaged, "all originals of the library were compared with what was recorded");
        }
        (report.last, report.after) = (Some(round), None);
    }

    async fn look_again(&self, photo: &Photo, left: Option<Duration>) -> Result<Found, LibraryError> {
        let (path, bytes, sha256) = (self.original(photo), photo.bytes, photo.sha256.clone());
        blocking(move || Ok(compare(&path, bytes, &sha256, left))).await
    }

    /// Looked at once more, since a photo may have been deleted meanwhile, and a disk may err once.
    async fn damaged(
        &self,
        round: &mut CheckRound,
        photo: &Photo,
        reason: String,
        openable: &[Destination],
    ) -> Result<(), LibraryError> {
        let is_there = self.archive.store().photos().get(photo.id).await?.is_some();
        if !is_there || !matches!(self.look_again(photo, None).await?, Found::Damaged(_)) {
            return Ok(());
        }
        let path = super::release::path_of(photo);
        // Where all are missing, the log need not name each.
        if round.damaged_originals.len() < MOST_NAMED {
            warn!(file = path, reason, "an original is not as it was recorded");
        }
        let asked = openable.first().cloned();
        if let Some(destination) = &asked {
            self.fetch_from(photo, destination).await?;
        }
        round.damaged += 1;
        if round.damaged_originals.len() < MOST_NAMED {
            round.damaged_originals.push(DamagedOriginal { photo: photo.id, path, reason, asked });
        }
        Ok(())
    }
}

/// What is known; nothing where there is nothing that can be read.
fn read(path: &Path) -> CheckReport {
    let known = std::fs::read(path).ok().and_then(|text| serde_json::from_slice::<CheckReport>(&text).ok());
    known.filter(|report| report.version <= VERSION).unwrap_or_default()
}

/// Blocks.
fn compare(path: &Path, bytes: u64, sha256: &str, left: Option<Duration>) -> Found {
    use std::io::Read;
    let begun = Instant::now();
    let mut file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(_) if away::find(path).is_some() => return Found::Away,
        Err(error) => return Found::Damaged(format!("it cannot be opened: {error}")),
    };
    let (mut hash, mut piece, mut read) = (Sha256::new(), vec![0; PIECE], 0);
    loop {
        match file.read(&mut piece) {
            Ok(0) => break,
            Ok(more) => {
                read += more as u64;
                hash.update(piece.get(..more).unwrap_or_default());
            }
            Err(error) => return Found::Damaged(format!("it cannot be read: {error}")),
        }
        if left.is_some_and(|left| begun.elapsed() > left) {
            return Found::Unfinished;
        }
    }
    if read != bytes {
        return Found::Damaged(format!("it has {read} bytes of {bytes}"));
    }
    if hex::encode(hash.finalize()) == sha256 { Found::Good } else { Found::Damaged("its SHA-256 differs".to_owned()) }
}
