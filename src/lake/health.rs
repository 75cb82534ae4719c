//! Rows of how the box is: samples are kept in a journal on the disk, `lake/health.jsonl`, until they are written.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::QueueStatusOf;
use super::rows::{Rows, Value};
use crate::clock::{Clock, Moment, Mono};
use crate::destination::Destination;
use crate::health::CameraState;
use crate::status::{BoxStatus, QueueStatus};
use crate::store::Stats;

/// The journal in the lake's folder.
const JOURNAL: &str = "health.jsonl";
/// The largest journal, bytes; samples that find no room in it are left out.
const LARGEST: u64 = 4 << 20;

/// How the box is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Sample {
    pub recorded: i64,
    pub at: Moment,
    uptime_s: f64,
    free_bytes: Option<u64>,
    resident_bytes: Option<u64>,
    temperature_c: Option<f64>,
    load_level: Option<String>,
    cameras: u64,
    cameras_online: u64,
    left_out: Option<String>,
    outlets: Vec<Outlet>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Outlet {
    name: String,
    online: Option<bool>,
    items: u64,
    bytes: u64,
    dead_letters: u64,
}

impl From<QueueStatus> for Outlet {
    fn from(queue: QueueStatus) -> Self {
        let QueueStatus { name, online, items, bytes, dead_letters, .. } = queue;
        Self { name, online, items, bytes, dead_letters }
    }
}

/// What a sample is taken of.
pub(super) struct Gauges<'a> {
    pub status: &'a BoxStatus,
    pub queue_status: &'a QueueStatusOf,
    /// The uploads, also those whose queues never held anything.
    pub uploads: Vec<&'a Destination>,
    pub started: Mono,
    pub clock: &'a dyn Clock,
}

impl Gauges<'_> {
    pub(super) fn sample(&self, recorded: i64, stats: &Stats) -> Sample {
        let (at, status) = (self.clock.now(), self.status);
        let cameras = || status.cameras.iter().map(|camera| &camera.health);
        let reading = status.reading.unwrap_or_default();
        let others = stats.outboxes.iter().map(|queue| &queue.name);
        let others = others.filter(|name| **name != Destination::Lake && !self.uploads.contains(name));
        let outlet = |name: &Destination| Outlet::from((self.queue_status)(name, stats));
        Sample {
            recorded,
            uptime_s: at.mono().since(self.started).as_secs_f64(),
            at,
            free_bytes: status.disk.known_free_bytes(),
            resident_bytes: reading.memory_bytes,
            temperature_c: reading.temperature_c,
            load_level: match Value::word(&status.load.level) {
                Value::Text(word) => word,
                _ => None,
            },
            cameras: cameras()
                .filter(|camera| !matches!(camera.state, CameraState::Finished | CameraState::Idle))
                .count() as u64,
            cameras_online: cameras().filter(|camera| camera.gives_pictures()).count() as u64,
            left_out: status.disk.left_out.map(str::to_owned),
            outlets: self.uploads.iter().copied().chain(others).map(outlet).collect(),
        }
    }
}

/// Samples that no file has yet.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    /// When the first of them was taken.
    oldest: Option<Moment>,
}

impl Journal {
    pub(super) fn open(lake: &Path) -> Self {
        let mut journal = Self { path: lake.join(JOURNAL), oldest: None };
        journal.oldest = journal.samples().first().map(|sample| sample.at.clone());
        journal
    }

    pub(super) fn oldest(&self) -> Option<&Moment> {
        self.oldest.as_ref()
    }

    /// Keeps a sample, durably.
    pub(super) fn keep(&mut self, sample: &Sample) -> Result<()> {
        if fs::metadata(&self.path).is_ok_and(|metadata| metadata.len() > LARGEST) {
            return Ok(());
        }
        // A line that a power cut tore is ended by the line break that comes first.
        let text = serde_json::to_string(sample).context("encode a sample of the box's health")?;
        let mut file = OpenOptions::new().create(true).append(true).open(&self.path);
        let keep = |file: &mut File| file.write_all(format!("\n{text}\n").as_bytes()).and_then(|()| file.sync_data());
        file.as_mut()
            .map_err(|error| std::io::Error::other(error.to_string()))
            .and_then(keep)
            .context("keep a sample")?;
        self.oldest.get_or_insert_with(|| sample.at.clone());
        Ok(())
    }

    /// All samples, oldest first. What a power cut tore is left out.
    pub(super) fn samples(&self) -> Vec<Sample> {
        let Ok(file) = File::open(&self.path) else { return Vec::new() };
        BufReader::new(file).lines().map_while(Result::ok).filter_map(|line| serde_json::from_str(&line).ok()).collect()
    }

    /// Forgets them: files have them.
    pub(super) fn clear(&mut self) -> Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("delete {}", self.path.display()));
            }
            _ => self.oldest = None,
        }
        Ok(())
    }
}

impl Sample {
    /// The day, in UTC.
    pub(super) fn date(&self) -> Date {
        self.at.wall.to_zoned(TimeZone::UTC).date()
    }
}

/// Adds a row for each outlet, or one where there is none.
pub(super) fn push(rows: &mut Rows, sample: &Sample) -> Result<()> {
    let outlets: Vec<Option<&Outlet>> = match sample.outlets.as_slice() {
        [] => vec![None],
        outlets => outlets.iter().map(Some).collect(),
    };
    for outlet in outlets {
        rows.push([
            ("recorded", Value::Int(Some(sample.recorded))),
            ("sampled_at", Value::time(sample.at.wall)),
            ("time_quality", Value::word(&sample.at.time_quality)),
            ("boot", Value::text(&*sample.at.boot_id)),
            ("boot_s", Value::real(sample.at.mono().as_secs_f64())),
            ("uptime_s", Value::real(sample.uptime_s)),
            ("free_bytes", Value::count(sample.free_bytes)),
            ("resident_bytes", Value::count(sample.resident_bytes)),
            ("temperature_c", Value::real(sample.temperature_c)),
            ("load_level", Value::Text(sample.load_level.clone())),
            ("cameras", Value::count(sample.cameras)),
            ("cameras_online", Value::count(sample.cameras_online)),
            ("left_out", Value::Text(sample.left_out.clone())),
            ("outlet", Value::Text(outlet.map(|outlet| outlet.name.clone()))),
            ("outlet_online", Value::flag(outlet.and_then(|outlet| outlet.online))),
            ("queue_items", Value::count(outlet.map(|outlet| outlet.items))),
            ("queue_bytes", Value::count(outlet.map(|outlet| outlet.bytes))),
            ("dead_letters", Value::count(outlet.map(|outlet| outlet.dead_letters))),
        ])?;
    }
    Ok(())
}
