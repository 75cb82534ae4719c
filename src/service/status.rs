//! The box at this moment, for the page, MQTT, probes and metrics.

use std::sync::Arc;

use anyhow::Result;

use super::configured::CameraUse;
use super::context::Context;
use super::queues::QueueService;
use crate::archive::volume;
use crate::health::{StoreHealth, StoreState};
use crate::metrics;
use crate::status::{BoxStatus, CameraStatus, DetectUse, DiskStatus, LoadStatus, RecordUse};
use crate::store::{Class, Stats};

/// Knows how the box is.
#[derive(Clone)]
pub struct StatusService {
    context: Arc<Context>,
    queues: QueueService,
}

impl StatusService {
    pub(super) fn new(context: Arc<Context>, queues: QueueService) -> Self {
        Self { context, queues }
    }

    /// The box at this moment.
    ///
    /// # Errors
    /// When the index is out of service.
    pub async fn read(&self) -> Result<BoxStatus> {
        let context = &*self.context;
        let stats = context.store().stats().await?;
        let (clock, configured) = (&context.clock, context.configured());
        let (now, load) = (clock.mono(), context.health.load());
        Ok(BoxStatus {
            device: context.device.clone(),
            site: context.site.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s: now.since(context.started).as_secs(),
            time: clock.wall(),
            time_quality: clock.quality(),
            cameras: self.cameras(),
            models: context.health.models(),
            outlets: configured.outlets.iter().map(|name| self.queues.status(name, &stats)).collect(),
            load: LoadStatus { level: load.level, level_for_s: now.since(load.since).as_secs(), reason: load.reason },
            store: self.store_health(),
            disk: self.disk(Some(&stats)).await,
            events_total: stats.events,
            config: context.config.status(),
            reading: context.health.reading(),
        })
    }

    /// The cameras at this moment, in the order of their names.
    pub fn cameras(&self) -> Vec<CameraStatus> {
        let (cameras, now) = (self.context.health.cameras(), self.context.clock.mono());
        let statuses = cameras.iter().map(|(name, camera)| CameraStatus::new(name.clone(), camera, now));
        let (configured, switches) = (self.context.configured(), self.context.control.switches());
        let at = self.context.clock.wall();
        let with_uses = statuses.map(|status| {
            let name = status.name.as_ref();
            let CameraUse { detect, record } = configured.uses.get(name).copied().unwrap_or_default();
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

    /// Whether the box does its work; if not, why.
    ///
    /// # Errors
    /// The reason.
    pub async fn ready(&self) -> Result<(), String> {
        self.context.store().stats().await.map_err(|e| e.to_string())?;
        let stalled = self.context.heartbeats.stalled();
        match stalled.iter().find(|part| part.critical) {
            Some(part) => Err(format!("{} shows no life for {} s", part.name, part.silent_for.as_secs())),
            None => Ok(()),
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
        let store = self.store_health();
        values.rebuild_left.set(gauge(store.rebuild_total.saturating_sub(store.rebuilt)));
        values.index_full.set(i64::from(store.state == StoreState::Full));
        values.disk_free_bytes.set(gauge(disk.free_bytes));
        values.disk_size_bytes.set(gauge(disk.size_bytes));
        Ok(values.encode()?)
    }

    async fn disk(&self, stats: Option<&Stats>) -> DiskStatus {
        let (path, health) = (self.context.volume.archive().layout().storage().to_owned(), &self.context.health);
        let text = path.display().to_string();
        // A network mount that hangs must hang this thread only.
        let space = tokio::task::spawn_blocking(move || volume::space(&path)).await;
        let space = space.ok().and_then(Result::ok);
        DiskStatus {
            path: text,
            free_bytes: space.map_or(0, |space| space.free_bytes),
            size_bytes: space.map_or(0, |space| space.size_bytes),
            archive_bytes: stats.map(|stats| stats.held.values().map(|held| held.bytes).sum()),
            quota_bytes: self.context.configured().quota_bytes,
            left_out: health.left_out(),
            trouble: health.volume_trouble(),
            spooling: health.is_spooling(),
        }
    }

    /// What the parts noted of the index, with what only the store itself knows.
    fn store_health(&self) -> StoreHealth {
        let health = self.context.health.store();
        if self.context.store().is_full() { StoreHealth { state: StoreState::Full, ..health } } else { health }
    }
}
