//! What alerts report about the box beside its events, read from the store and the board.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::ToSpan;
use jiff::tz::TimeZone;

use super::backend::PageBackend;
use crate::alert::{self, BoxReport, CameraCoverage, QueueReport, Report};
use crate::config;
use crate::coverage::{Coverage, Interval};
use crate::event::Event;
use crate::frame::Frame;
use crate::record::RecordMode;
use crate::web::{Backend, Live, OutletStatus, Status};

/// Stills of an event, the most useful first.
const STILLS: [&str; 3] = ["snapshot-boxes.jpg", "snapshot.jpg", "thumb.jpg"];

impl alert::StatusProvider for PageBackend {
    fn report(&self) -> BoxFuture<'_, Result<Report>> {
        async move {
            let status = self.status().await?;
            let mut coverage = BTreeMap::new();
            for camera in &status.cameras {
                coverage.insert(camera.name.clone(), self.coverage_of_today(&camera.name).await?);
            }
            let queues = status.outlets.iter().map(|outlet| (outlet.name.clone(), queue(outlet))).collect();
            Ok(Report { health: self.health(&status), queues, coverage })
        }
        .boxed()
    }

    fn picture(&self, camera: &str) -> Option<Frame> {
        match self.live(camera) {
            Live::Picture(frame) => Some(frame),
            Live::Past(_) | Live::NoSignal | Live::Unknown => None,
        }
    }

    fn still(&self, event: &Event) -> Option<PathBuf> {
        let has = |name: &&str| event.pictures.iter().any(|picture| picture.file == **name);
        let still = STILLS.into_iter().find(has)?;
        Some(self.archive().layout().folder(&event.camera, event.id).join(still))
    }
}

impl PageBackend {
    fn health(&self, status: &Status) -> BoxReport {
        let reading = self.reading();
        // Some file systems know neither; then both are 0.
        let known = |bytes| (status.disk.size_bytes > 0).then_some(bytes);
        BoxReport {
            version: env!("CARGO_PKG_VERSION"),
            uptime_s: status.uptime_s,
            time_quality: status.time_quality.to_string(),
            load: status.load.level.to_string(),
            load_reason: status.load.reason.clone(),
            cpu: reading.cpu,
            memory_bytes: reading.memory_bytes,
            temperature_c: reading.temperature_c,
            disk_free_bytes: known(status.disk.free_bytes),
            disk_size_bytes: known(status.disk.size_bytes),
            disk_trouble: status.disk.trouble.clone(),
            events: status.events_total,
        }
    }

    async fn coverage_of_today(&self, camera: &str) -> Result<CameraCoverage> {
        let now = self.now().wall;
        let day = now.to_zoned(TimeZone::UTC).date();
        let since = day.to_zoned(TimeZone::UTC)?.timestamp();
        let until = since.checked_add(24.hours())?.min(now);
        let intervals = self.timeline_of(camera, since, until).await?.coverage;
        Ok(CameraCoverage { day: day.to_string(), ..sum_up(&intervals) })
    }
}

fn sum_up(intervals: &[Interval]) -> CameraCoverage {
    let mut sums: BTreeMap<Coverage, Duration> = BTreeMap::new();
    for interval in intervals {
        let lasted = interval.until.duration_since(interval.from);
        *sums.entry(interval.state).or_default() += Duration::try_from(lasted).unwrap_or_default();
    }
    let seconds = |states: &[Coverage]| {
        let sum: Duration = states.iter().filter_map(|state| sums.get(state)).sum();
        i64::try_from(sum.as_secs()).unwrap_or(i64::MAX)
    };
    CameraCoverage {
        day: String::new(),
        recorded_s: seconds(&[Coverage::Recorded, Coverage::Uploaded, Coverage::Evicted]),
        watched_s: seconds(&[Coverage::Watched]),
        offline_s: seconds(&[Coverage::Offline]),
        shed_s: seconds(&[Coverage::Shed]),
        stopped_s: seconds(&[Coverage::Stopped]),
    }
}

fn queue(outlet: &OutletStatus) -> QueueReport {
    QueueReport {
        items: outlet.queued_items,
        bytes: outlet.queued_bytes,
        oldest_s: outlet.oldest_wait_s,
        dead_letters: outlet.dead_letters,
        online: outlet.online,
        error: outlet.last_error.clone(),
        remarks: outlet.remarks.clone(),
    }
}

/// A camera as alerts know it. Where all labels count, those that zones and rules name are known beforehand.
pub(super) fn camera(name: &str, config: &config::Camera) -> alert::Camera {
    let of_zones = config.zones.values().flat_map(|zone| &zone.labels);
    let of_rules = config.rules.iter().flat_map(|rule| &rule.labels);
    let mut labels: Vec<Arc<str>> = config.detect.labels.iter().map(|label| label.as_str().into()).collect();
    if labels.is_empty() {
        labels = of_zones.chain(of_rules).map(|label| label.as_str().into()).collect();
        labels.sort();
        labels.dedup();
    }
    alert::Camera {
        name: name.into(),
        labels,
        zones: config.zones.keys().map(|zone| zone.as_str().into()).collect(),
        detects: config.detect.enabled && !config.detect.model.is_empty(),
        records: config.record.mode != RecordMode::Off,
    }
}

/// Rules whose alerts have an age of their own.
pub(super) fn rule_ages(config: &config::Config) -> alert::RuleAges {
    let of_camera = |(camera, config): (&String, &config::Camera)| {
        let camera: Arc<str> = camera.as_str().into();
        let own = config.rules.iter().filter_map(|rule| Some((rule.name.as_str().into(), rule.alert_max_age?)));
        own.map(|(rule, age): (Arc<str>, Duration)| ((camera.clone(), rule), age)).collect::<Vec<_>>()
    };
    config.camera.iter().flat_map(of_camera).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_is_summed_up_by_what_became_of_it() {
        let at = |second| jiff::Timestamp::from_second(second).expect("in range");
        let interval = |from, until, state| Interval { from: at(from), until: at(until), state, reason: None };
        let intervals = [
            interval(0, 10, Coverage::Stopped),
            interval(10, 30, Coverage::Recorded),
            interval(30, 35, Coverage::Offline),
            interval(35, 135, Coverage::Uploaded),
            interval(135, 136, Coverage::Shed),
            interval(136, 140, Coverage::Watched),
            interval(140, 141, Coverage::Evicted),
        ];
        let expected = CameraCoverage {
            day: String::new(),
            recorded_s: 121,
            watched_s: 4,
            offline_s: 5,
            shed_s: 1,
            stopped_s: 10,
        };
        assert_eq!(sum_up(&intervals), expected);
    }

    #[test]
    fn rules_with_an_age_of_their_own_are_found() {
        let text = "[camera.yard.source]\nurl = \"rtsp://h/m\"\n[[camera.yard.rules]]\nname = \"a\"\nalert_max_age = \"5m\"\n\
                    [[camera.yard.rules]]\nname = \"b\"\nlabels = [\"car\"]\n";
        let config = config::Config::parse(text).expect("parse");
        let expected = [(("yard".into(), "a".into()), Duration::from_secs(300))];
        assert_eq!(rule_ages(&config), expected.into());
        assert_eq!(camera("yard", &config.camera["yard"]).labels, ["car".into()]);
    }
}
