//! The box at this moment, for the page, MQTT, probes and metrics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use parking_lot::Mutex;

use super::configured::CameraUse;
use super::context::Context;
use super::queues::QueueService;
use crate::archive::space::Marks;
use crate::archive::volume;
use crate::clock::Mono;
use crate::destination::Destination;
use crate::health::{PageCertificate, PipelineHealth, StoreHealth, StoreState};
use crate::metrics;
use crate::status::{
    BoxStatus, CameraStatus, DetectUse, DiskStatus, Forecast, ForecastFacts, ForecastKind, Limit, LoadStatus,
    RecordUse, SessionsStatus,
};
use crate::store::{Class, PhotoUsage, Stats};
use crate::zone;

/// Knows how the box is.
#[derive(Clone)]
pub struct StatusService {
    context: Arc<Context>,
    queues: QueueService,
    today: Arc<Mutex<Today>>,
}

/// The events of the day, as they were counted last.
#[derive(Debug, Default)]
struct Today {
    /// Of which day, and of which state of the index.
    of: Option<(Timestamp, u64)>,
    counted: Option<Mono>,
    counts: BTreeMap<Arc<str>, u64>,
}

/// Events of the day are not counted more often.
const COUNTED_EVERY: Duration = Duration::from_secs(5);

impl StatusService {
    pub(super) fn new(context: Arc<Context>, queues: QueueService) -> Self {
        Self { context, queues, today: Arc::default() }
    }

    /// The box at this moment.
    ///
    /// # Errors
    /// When the index is out of service.
    pub async fn read(&self) -> Result<BoxStatus> {
        let context = &*self.context;
        let (stats, today) = (context.store().stats().await?, self.today().await?);
        let (clock, configured) = (&context.clock, context.configured());
        let (now, load) = (clock.mono(), context.health.load());
        Ok(BoxStatus {
            device: context.device.clone(),
            site: context.site.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s: now.since(context.started).as_secs(),
            time: clock.wall(),
            time_quality: clock.quality(),
            cameras: self.cameras().into_iter().map(|camera| with_events(camera, &today)).collect(),
            has_cameras: !configured.uses.is_empty(),
            models: context.health.models(),
            outlets: configured.outlets.iter().map(|name| self.queues.status(name, &stats)).collect(),
            load: LoadStatus { level: load.level, level_for_s: now.since(load.since).as_secs(), reason: load.reason },
            store: self.store_health(),
            disk: self.disk(Some(&stats)).await,
            events_total: Some(stats.events),
            config: context.config.status(),
            certificate: context.health.certificate(),
            damaged_originals: context.health.damaged_originals(),
            reading: context.health.reading(),
        })
    }

    /// Events of each camera since midnight.
    async fn today(&self) -> Result<BTreeMap<Arc<str>, u64>> {
        let (clock, events) = (&self.context.clock, self.context.store().events());
        let midnight = midnight(clock.wall());
        let (of, at) = (Some((midnight, events.revision())), clock.mono());
        {
            let known = self.today.lock();
            let is_new = known.counted.is_some_and(|counted| at.since(counted) < COUNTED_EVERY);
            let is_same_day = known.of.is_some_and(|(day, _)| day == midnight);
            if known.of == of || (is_new && is_same_day) {
                return Ok(known.counts.clone());
            }
        }
        let counts = events.counts_since(midnight).await?;
        *self.today.lock() = Today { of, counted: Some(at), counts: counts.clone() };
        Ok(counts)
    }

    /// The cameras at this moment, in the order of their names.
    pub fn cameras(&self) -> Vec<CameraStatus> {
        let (health, now) = (&self.context.health, self.context.clock.mono());
        let cameras = health.cameras();
        let statuses = cameras.iter().map(|(name, camera)| {
            let webrtc = health.sessions(name).map(|sessions| SessionsStatus::new(sessions, now));
            CameraStatus { webrtc, ..CameraStatus::new(name.clone(), camera, now) }
        });
        let (configured, switches) = (self.context.configured(), self.context.control.switches());
        let at = self.context.clock.wall();
        let with_uses = statuses.map(|status| {
            let name = status.name.as_ref();
            let CameraUse { detect, record, .. } = configured.uses.get(name).cloned().unwrap_or_default();
            let detect = match detect {
                DetectUse::On if !switches.detects(name, at) => DetectUse::SwitchedOff,
                other => other,
            };
            let record = match record {
                RecordUse::Events | RecordUse::Continuous if !switches.records(name) => RecordUse::SwitchedOff,
                other => other,
            };
            CameraStatus { detect, record, ..status }
        });
        with_uses.collect()
    }

    /// What the pipeline of a camera does; `None` where it has none, or that has seen no picture yet.
    pub fn pipeline(&self, camera: &str) -> Option<PipelineHealth> {
        self.context.health.cameras().remove(camera).and_then(|camera| camera.pipeline)
    }

    /// Notes the certificate of the page; `None`: it speaks HTTP.
    pub fn note_certificate(&self, certificate: Option<PageCertificate>) {
        self.context.health.set_certificate(certificate);
    }

    /// Whether the box does its work; if not, why. Gives what it lacks all the same.
    ///
    /// # Errors
    /// The reason.
    pub async fn ready(&self) -> Result<Option<&'static str>, String> {
        self.context.store().stats().await.map_err(|e| e.to_string())?;
        let stalled = self.context.heartbeats.stalled();
        match stalled.iter().find(|part| part.critical) {
            Some(part) => Err(format!("{} shows no life for {} s", part.name, part.silent_for.as_secs())),
            None => Ok(self.context.configured().uses.is_empty().then_some("no camera yet")),
        }
    }

    /// All metrics as OpenMetrics text.
    ///
    /// # Errors
    /// When the index is out of service.
    pub async fn metrics(&self) -> Result<String> {
        let (stats, disk) = (self.context.store().stats().await?, self.disk(None).await);
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let values = &self.context.metrics;
        for queue in &stats.outboxes {
            values.queue_items.get_or_create(&metrics::outlet(queue.name.as_str())).set(gauge(queue.items));
        }
        for class in Class::ALL {
            let bytes = stats.held.get(&class).map_or(0, |held| held.bytes);
            values.held_bytes.get_or_create(&metrics::class(class.as_str())).set(gauge(bytes));
        }
        self.measure_library().await?;
        let store = self.store_health();
        values.rebuild_left.set(gauge(store.rebuild_total.saturating_sub(store.rebuilt)));
        values.index_full.set(i64::from(store.state == StoreState::Full));
        values.disk_free_bytes.set(gauge(disk.free_bytes));
        values.disk_size_bytes.set(gauge(disk.size_bytes));
        Ok(values.encode()?)
    }

    /// Counts of all users together: a private photo is in none of its owner's own.
    async fn measure_library(&self) -> Result<()> {
        let values = &self.context.metrics;
        let usages = self.context.store().photos().usages().await?;
        let sum = |of: fn(&PhotoUsage) -> u64| i64::try_from(usages.values().map(of).sum::<u64>()).unwrap_or(i64::MAX);
        values.library_photos.set(sum(|usage| usage.photos));
        values.library_bytes.set(sum(|usage| usage.bytes));
        values.library_quota_percent.clear();
        for (owner, usage) in &usages {
            if let Some(quota) = self.context.configured().library.quota_of(owner) {
                let percent = usage.bytes.saturating_mul(100) / quota;
                let value = values.library_quota_percent.get_or_create(&metrics::owner(owner));
                value.set(i64::try_from(percent).unwrap_or(i64::MAX));
            }
        }
        Ok(())
    }

    async fn disk(&self, stats: Option<&Stats>) -> DiskStatus {
        let (archive, health) = (self.context.volume.archive(), &self.context.health);
        let (path, level) = (archive.layout().storage().to_owned(), archive.level());
        // In the spool it is written, on a volume in trouble it is not.
        let is_written = health.volume_trouble().is_none() || health.is_spooling();
        let text = path.display().to_string();
        // A network mount that hangs must hang this thread only.
        let space = tokio::task::spawn_blocking(move || volume::space(&path)).await;
        let space = space.ok().and_then(Result::ok);
        let (free_bytes, size_bytes) = space.map_or((0, 0), |space| (space.free_bytes, space.size_bytes));
        DiskStatus {
            path: text,
            free_bytes,
            size_bytes,
            archive_bytes: stats.map(|stats| stats.held.values().map(|held| held.bytes).sum()),
            quota_bytes: self.context.configured().retention.quota(),
            forecast: stats.map(|stats| self.forecast(stats, free_bytes, size_bytes)).unwrap_or_default(),
            left_out: health.left_out(),
            keeps_continuous: is_written && level.has_continuous(),
            keeps_clips: is_written && level.has_clips(),
            trouble: health.volume_trouble(),
            spooling: health.is_spooling(),
        }
    }

    /// When the volume is full. The spool is there for a while only.
    fn forecast(&self, stats: &Stats, free_bytes: u64, size_bytes: u64) -> Forecast {
        let (configured, health) = (self.context.configured(), &self.context.health);
        if health.is_spooling() {
            return Forecast::default();
        }
        let (pace, retention) = (health.pace(), &configured.retention);
        let kind = |class: Class| ForecastKind {
            held: stats.held.get(&class).map_or(0, |held| held.bytes),
            written: pace.written.get(class.as_str()).copied().unwrap_or_default(),
            age: retention.age(class),
        };
        let kinds = Class::ALL.map(kind).to_vec();
        let held: u64 = kinds.iter().map(|kind| kind.held).sum();
        let quota = retention.quota().map(|quota| (quota.saturating_sub(held), Limit::Quota));
        let keep = Marks::new(size_bytes, retention.min_free).keep;
        let disk = (size_bytes > 0).then(|| (free_bytes.saturating_sub(keep), Limit::Disk));
        let left = quota.into_iter().chain(disk).min_by_key(|(left, _)| *left);
        let delivers = configured.outlets.iter().any(Destination::takes_files);
        Forecast::of(&ForecastFacts { kinds, measured: pace.over, left, delivers })
    }

    /// What the parts noted of the index, with what only the store itself knows.
    fn store_health(&self) -> StoreHealth {
        let health = self.context.health.store();
        if self.context.store().is_full() { StoreHealth { state: StoreState::Full, ..health } } else { health }
    }
}

fn with_events(camera: CameraStatus, today: &BTreeMap<Arc<str>, u64>) -> CameraStatus {
    CameraStatus { events_today: Some(today.get(&camera.name).copied().unwrap_or_default()), ..camera }
}

/// When the day of `now` began in the zone of the box, from which the events of today are counted.
pub fn midnight(now: Timestamp) -> Timestamp {
    now.to_zoned(zone::local()).start_of_day().map_or(now, |midnight| midnight.timestamp())
}
