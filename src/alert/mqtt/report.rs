//! The payloads of the topics `health` and `queue`: the status of the box in the words that brokers keep.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::status::{BoxStatus, QueueStatus};

/// How the box is doing.
#[derive(Serialize)]
pub(super) struct BoxPayload<'a> {
    version: &'a str,
    uptime_s: u64,
    /// Trust in its wall clock.
    time_quality: String,
    /// How much it does.
    load: String,
    /// Why it does not do everything; empty where it does.
    load_reason: &'a str,
    /// Share of all cores that the daemon uses, 0 to 1.
    cpu: Option<f64>,
    /// Memory that the daemon uses, bytes.
    memory_bytes: Option<u64>,
    /// Hottest sensor, degrees Celsius.
    temperature_c: Option<f64>,
    /// Free bytes on the archive's volume.
    disk_free_bytes: Option<u64>,
    disk_size_bytes: Option<u64>,
    /// Seconds until it is full at the present pace; null where that is not known, or it does not fill up.
    disk_full_in_s: Option<u64>,
    /// What is wrong with that volume, in words.
    disk_trouble: Option<&'a str>,
    /// Events on the box.
    events: u64,
}

impl<'a> BoxPayload<'a> {
    pub(super) fn of(status: &'a BoxStatus) -> Self {
        let (free, reading) = (status.disk.known_free_bytes(), status.reading.unwrap_or_default());
        Self {
            version: &status.version,
            uptime_s: status.uptime_s,
            time_quality: status.time_quality.to_string(),
            load: status.load.level.to_string(),
            load_reason: &status.load.reason,
            cpu: reading.cpu,
            memory_bytes: reading.memory_bytes,
            temperature_c: reading.temperature_c,
            disk_free_bytes: free,
            disk_size_bytes: free.map(|_| status.disk.size_bytes),
            disk_full_in_s: status.disk.forecast.in_s,
            disk_trouble: status.disk.trouble.as_deref(),
            events: status.events_total.unwrap_or_default(),
        }
    }
}

/// An outlet and its queue.
#[derive(Serialize)]
pub(super) struct QueuePayload<'a> {
    items: u64,
    /// Size of the items, where they are files.
    bytes: u64,
    /// Seconds that the oldest has waited.
    oldest_s: Option<u64>,
    dead_letters: u64,
    /// Whether the last exchange worked; null before the first.
    online: Option<bool>,
    /// Why not, in words.
    error: Option<&'a str>,
    /// What works less well than it could, in words.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    remarks: &'a [String],
}

impl<'a> QueuePayload<'a> {
    fn of(queue: &'a QueueStatus) -> Self {
        Self {
            items: queue.items,
            bytes: queue.bytes,
            oldest_s: queue.oldest_wait_s,
            dead_letters: queue.dead_letters,
            online: queue.online,
            error: queue.last_error.as_deref(),
            remarks: &queue.remarks,
        }
    }

    /// All outlets, by name.
    pub(super) fn all(status: &'a BoxStatus) -> BTreeMap<&'a str, Self> {
        status.outlets.iter().map(|queue| (queue.name.as_str(), Self::of(queue))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Reading;
    use crate::status::{CameraCoverage, DiskStatus, fixture};

    /// What brokers keep and Home Assistant reads: names, order and what is left out.
    #[test]
    fn the_json_of_a_report_is_what_programs_know() {
        let status = BoxStatus {
            version: "7".to_owned(),
            uptime_s: 1,
            events_total: Some(4),
            reading: Some(Reading { cpu: Some(0.5), memory_bytes: Some(2), ..Reading::default() }),
            disk: DiskStatus { free_bytes: 3, size_bytes: 5, ..DiskStatus::default() },
            ..fixture::status()
        };
        let expected = concat!(
            r#"{"version":"7","uptime_s":1,"time_quality":"synchronised","load":"normal","load_reason":"","cpu":0.5,"#,
            r#""memory_bytes":2,"temperature_c":null,"disk_free_bytes":3,"disk_size_bytes":5,"disk_full_in_s":null,"#,
            r#""disk_trouble":null,"events":4}"#,
        );
        let json = |status: &BoxStatus| serde_json::to_string(&BoxPayload::of(status)).expect("JSON");
        assert_eq!(json(&status), expected);
        let of_no_disk = BoxStatus { disk: DiskStatus::default(), ..status.clone() };
        let unknown = expected.replace(r#"bytes":3"#, r#"bytes":null"#).replace(r#"bytes":5"#, r#"bytes":null"#);
        assert_eq!(json(&of_no_disk), unknown);
        let silent = QueueStatus {
            online: None,
            oldest_wait_s: Some(60),
            items: 3,
            bytes: 9,
            dead_letters: 1,
            ..fixture::queue("mqtt")
        };
        let failing = QueueStatus {
            online: Some(false),
            last_error: Some("gone".to_owned()),
            remarks: vec!["old".to_owned()],
            name: "a".to_owned(),
            ..silent.clone()
        };
        let status = BoxStatus { outlets: vec![silent, failing], ..status };
        let expected = concat!(
            r#"{"a":{"items":3,"bytes":9,"oldest_s":60,"dead_letters":1,"online":false,"error":"gone","remarks":["old"]},"#,
            r#""mqtt":{"items":3,"bytes":9,"oldest_s":60,"dead_letters":1,"online":null,"error":null}}"#,
        );
        assert_eq!(serde_json::to_string(&QueuePayload::all(&status)).expect("JSON"), expected);
        let coverage = CameraCoverage { day: "2026-11-22".to_owned(), recorded_s: 7, ..CameraCoverage::default() };
        let expected = r#"{"day":"2026-11-22","recorded_s":7,"watched_s":0,"offline_s":0,"shed_s":0,"stopped_s":0}"#;
        assert_eq!(serde_json::to_string(&coverage).expect("JSON"), expected);
    }
}
