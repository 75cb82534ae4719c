//! What is published of the device beside its events, and what can be switched there.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, bail};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Serialize;

use crate::control::Control;
use crate::event::Event;
use crate::frame::Frame;

/// What is known of the device beside its alerts.
#[derive(Clone)]
pub struct DeviceContext {
    /// Where it stands, for people; may be empty.
    pub site: Arc<str>,
    /// All cameras that are used.
    pub cameras: Vec<Camera>,
    /// Names of the upload destinations.
    pub uploads: Vec<String>,
    /// What can be switched.
    pub control: Control,
    /// What can be published.
    pub status: Arc<dyn StatusProvider>,
    /// Where is kept what was announced to Home Assistant, so that it can be taken back. None: in memory only.
    pub announced: Option<PathBuf>,
}

/// A camera as the broker knows it.
#[derive(Clone, Debug, Default)]
pub struct Camera {
    /// Name in the config.
    pub name: Arc<str>,
    /// Labels that are looked for; empty where all are.
    pub labels: Vec<Arc<str>>,
    /// Names of its zones.
    pub zones: Vec<Arc<str>>,
    /// Whether anything is looked for, by the config.
    pub detects: bool,
    /// Whether video is kept, by the config.
    pub records: bool,
}

/// What the rest of the daemon knows.
pub trait StatusProvider: Send + Sync + 'static {
    /// The box at present. May take as long as the index takes to answer.
    fn report(&self) -> BoxFuture<'_, Result<Report>>;
    /// The newest picture of a camera, unless it is old.
    fn picture(&self, camera: &str) -> Option<Frame>;
    /// Where the picture of an event lies.
    fn still(&self, event: &Event) -> Option<PathBuf>;
}

/// No status.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoStatus;

impl StatusProvider for NoStatus {
    fn report(&self) -> BoxFuture<'_, Result<Report>> {
        async { bail!("nothing is known") }.boxed()
    }

    fn picture(&self, _: &str) -> Option<Frame> {
        None
    }

    fn still(&self, _: &Event) -> Option<PathBuf> {
        None
    }
}

/// The box at one moment.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Itself.
    pub health: BoxReport,
    /// Its outlets, by name.
    pub queues: BTreeMap<String, QueueReport>,
    /// What became of today so far, by camera.
    pub coverage: BTreeMap<Arc<str>, CameraCoverage>,
}

/// How the box is doing.
#[derive(Clone, Debug, Default, Serialize)]
pub struct BoxReport {
    /// Version of the software.
    pub version: &'static str,
    /// Seconds since the daemon started.
    pub uptime_s: u64,
    /// Trust in its wall clock.
    pub time_quality: String,
    /// How much it does.
    pub load: String,
    /// Why it does not do everything; empty where it does.
    pub load_reason: String,
    /// Share of all cores that the daemon uses, 0 to 1.
    pub cpu: Option<f64>,
    /// Memory that the daemon uses, bytes.
    pub memory_bytes: Option<u64>,
    /// Hottest sensor, degrees Celsius.
    pub temperature_c: Option<f64>,
    /// Free bytes on the archive's volume.
    pub disk_free_bytes: Option<u64>,
    /// Its size.
    pub disk_size_bytes: Option<u64>,
    /// What is wrong with that volume, in words.
    pub disk_trouble: Option<String>,
    /// Events on the box.
    pub events: u64,
}

/// An outlet and its queue.
#[derive(Clone, Debug, Default, Serialize)]
pub struct QueueReport {
    /// Items that wait.
    pub items: u64,
    /// Their size, where they are files.
    pub bytes: u64,
    /// Seconds that the oldest has waited.
    pub oldest_s: Option<u64>,
    /// Items that were given up.
    pub dead_letters: u64,
    /// Whether the last exchange worked; null before the first.
    pub online: Option<bool>,
    /// Why not, in words.
    pub error: Option<String>,
    /// What works less well than it could, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
}

/// What became of a camera's day so far, seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CameraCoverage {
    /// The day, UTC.
    pub day: String,
    /// There is video, or there was.
    pub recorded_s: i64,
    /// There were pictures, and nothing was to be recorded.
    pub watched_s: i64,
    /// The camera gave no pictures.
    pub offline_s: i64,
    /// There were pictures that the box could not keep.
    pub shed_s: i64,
    /// The box did not run.
    pub stopped_s: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What brokers keep and Home Assistant reads: names, order and what is left out.
    #[test]
    fn the_json_of_a_report_is_what_programs_know() {
        let health = BoxReport {
            version: "7",
            uptime_s: 1,
            time_quality: "synchronised".to_owned(),
            load: "normal".to_owned(),
            load_reason: String::new(),
            cpu: Some(0.5),
            memory_bytes: Some(2),
            temperature_c: None,
            disk_free_bytes: Some(3),
            disk_size_bytes: None,
            disk_trouble: None,
            events: 4,
        };
        let expected = concat!(
            r#"{"version":"7","uptime_s":1,"time_quality":"synchronised","load":"normal","load_reason":"","cpu":0.5,"#,
            r#""memory_bytes":2,"temperature_c":null,"disk_free_bytes":3,"disk_size_bytes":null,"disk_trouble":null,"#,
            r#""events":4}"#,
        );
        assert_eq!(serde_json::to_string(&health).expect("JSON"), expected);
        let queue = QueueReport { items: 3, bytes: 9, oldest_s: Some(60), dead_letters: 1, ..QueueReport::default() };
        let plain = r#"{"items":3,"bytes":9,"oldest_s":60,"dead_letters":1,"online":null,"error":null}"#;
        assert_eq!(serde_json::to_string(&queue).expect("JSON"), plain);
        let queue = QueueReport {
            online: Some(false),
            error: Some("gone".to_owned()),
            remarks: vec!["old".to_owned()],
            ..queue
        };
        let full =
            r#"{"items":3,"bytes":9,"oldest_s":60,"dead_letters":1,"online":false,"error":"gone","remarks":["old"]}"#;
        assert_eq!(serde_json::to_string(&queue).expect("JSON"), full);
        let coverage = CameraCoverage { day: "2026-11-22".to_owned(), recorded_s: 7, ..CameraCoverage::default() };
        let expected = r#"{"day":"2026-11-22","recorded_s":7,"watched_s":0,"offline_s":0,"shed_s":0,"stopped_s":0}"#;
        assert_eq!(serde_json::to_string(&coverage).expect("JSON"), expected);
    }
}
