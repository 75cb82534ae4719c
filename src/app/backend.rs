//! What the page shows, read from the store and the board.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;

use super::volume_session::CurrentVolume;
use crate::archive::{Archive, volume};
use crate::clock::{Moment, Mono};
use crate::config::Config;
use crate::control::Control;
use crate::event::{Event, EventId, OutletDelivery};
use crate::frame::LatestFrame;
use crate::health::{OutletHealth, StoreHealth, StoreState};
use crate::load::Reading;
use crate::metrics;
use crate::pipeline::Shared;
use crate::segment::{Segment, SegmentId};
use crate::store::{Class, OutboxStats, Query, Stats, Store};
use crate::web::{
    self, CameraStatus, DiskStatus, EventQuery, EventRecord, Live, LoadStatus, OutletStatus, QueueAction, QueueAnswer,
    QueueCommand, QueueItem, QueueQuery, Refusal, Status, Timeline,
};

/// A frame older than this is not shown as live, unless such pauses are usual for its camera.
const FRESH: Duration = Duration::from_secs(10);

pub(super) struct PageBackend {
    shared: Shared,
    current: CurrentVolume,
    quota: Option<u64>,
    outboxes: Vec<String>,
    frames: BTreeMap<String, Arc<LatestFrame>>,
    started: Mono,
}

impl PageBackend {
    pub(super) fn new(
        shared: &Shared,
        current: &CurrentVolume,
        config: &Config,
        frames: BTreeMap<String, Arc<LatestFrame>>,
    ) -> Self {
        Self {
            shared: shared.clone(),
            current: current.clone(),
            quota: Some(config.retention.max_bytes).filter(|bytes| *bytes > 0),
            outboxes: config.outlets(),
            frames,
            started: shared.clock.mono(),
        }
    }

    pub(super) fn store(&self) -> Store {
        self.current.store()
    }

    pub(super) fn control(&self) -> Control {
        self.shared.control.clone()
    }

    pub(super) fn archive(&self) -> Archive {
        self.current.archive()
    }

    /// What the gauges of the box say; nothing without sensors.
    pub(super) fn reading(&self) -> Reading {
        self.shared.health.reading().unwrap_or_default()
    }

    pub(super) fn now(&self) -> Moment {
        self.shared.clock.now()
    }

    async fn disk(&self, stats: Option<&Stats>) -> DiskStatus {
        let path = self.current.archive().layout().storage().to_owned();
        let text = path.display().to_string();
        // A network mount that hangs must hang this thread only.
        let space = tokio::task::spawn_blocking(move || volume::space(&path)).await;
        let space = space.ok().and_then(Result::ok);
        DiskStatus {
            path: text,
            free_bytes: space.map_or(0, |space| space.free_bytes),
            size_bytes: space.map_or(0, |space| space.size_bytes),
            archive_bytes: stats.map(|stats| stats.held.values().map(|held| held.bytes).sum()),
            quota_bytes: self.quota,
            left_out: self.shared.health.left_out(),
            trouble: self.shared.health.volume_trouble(),
            spooling: self.shared.health.is_spooling(),
        }
    }

    /// Every configured outlet, in the order of the configuration, with its queue.
    fn outlets(&self, stats: &Stats, now: Mono) -> Vec<OutletStatus> {
        let known = self.shared.health.outlets();
        let outlet = |name: &String| {
            let silent = || OutletHealth {
                name: name.clone(),
                online: None,
                since: self.started,
                last_error: None,
                remarks: Vec::new(),
                transfers: None,
            };
            let health = known.iter().find(|outlet| outlet.name == *name).cloned().unwrap_or_else(silent);
            let mut status = OutletStatus::new(&health, now);
            if let Some(queue) = stats.outboxes.iter().find(|queue| queue.name == *name) {
                status.queued_items = queue.items;
                status.queued_bytes = queue.bytes;
                status.oldest_wait_s = self.oldest_wait(queue);
                status.dead_letters = queue.dead_letters;
            }
            status.estimate();
            status
        };
        self.outboxes.iter().map(outlet).collect()
    }

    /// The board's entry, with what only the store itself knows.
    fn store_health(&self) -> StoreHealth {
        let health = self.shared.health.store();
        if self.store().is_full() { StoreHealth { state: StoreState::Full, ..health } } else { health }
    }

    /// By the boot clock where the item is of this boot, by the wall where it is older.
    fn oldest_wait(&self, queue: &OutboxStats) -> Option<u64> {
        let (created, now) = (queue.oldest.as_ref()?, self.shared.clock.now());
        if created.boot_id == now.boot_id {
            return Some(now.mono().since(created.mono()).as_secs());
        }
        u64::try_from(now.wall.as_second() - created.wall.as_second()).ok()
    }

    /// With how far each configured outlet got, in the order of the configuration.
    async fn records(&self, events: Vec<Event>) -> Result<Vec<EventRecord>> {
        let deliveries = self.store().deliveries_async(&events).await?;
        let record = |(event, mut delivery): (Event, Vec<OutletDelivery>)| {
            delivery.sort_by_key(|of| self.outboxes.iter().position(|name| *name == of.outlet));
            EventRecord { event, delivery }
        };
        Ok(events.into_iter().zip(deliveries).map(record).collect())
    }
}

impl web::Backend for PageBackend {
    fn status(&self) -> BoxFuture<'_, Result<Status>> {
        async move {
            let stats = self.store().stats_async().await?;
            let (clock, health) = (&self.shared.clock, self.shared.health.cameras());
            let (now, load) = (clock.mono(), self.shared.health.load());
            Ok(Status {
                device: self.shared.device.clone(),
                site: self.shared.site.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                uptime_s: now.since(self.started).as_secs(),
                time: clock.wall(),
                time_quality: clock.quality(),
                cameras: health.iter().map(|(name, camera)| CameraStatus::new(name.clone(), camera, now)).collect(),
                models: self.shared.health.models(),
                outlets: self.outlets(&stats, now),
                load: LoadStatus {
                    level: load.level,
                    level_for_s: now.since(load.since).as_secs(),
                    reason: load.reason,
                },
                store: self.store_health(),
                disk: self.disk(Some(&stats)).await,
                events_total: stats.events,
            })
        }
        .boxed()
    }

    fn events(&self, query: EventQuery) -> BoxFuture<'_, Result<Vec<EventRecord>>> {
        async move {
            let EventQuery { camera, label, before, limit } = query;
            let query = Query { camera, label, before, limit, ..Query::default() };
            let events = self.store().events_async(&query).await?;
            self.records(events).await
        }
        .boxed()
    }

    fn event(&self, id: EventId) -> BoxFuture<'_, Result<Option<EventRecord>>> {
        async move {
            let event = self.store().event_async(id).await?;
            Ok(self.records(event.into_iter().collect()).await?.pop())
        }
        .boxed()
    }

    fn media<'a>(&'a self, id: EventId, file: &'a str) -> BoxFuture<'a, Result<Option<PathBuf>>> {
        async move {
            let event = self.store().event_async(id).await?;
            Ok(event.map(|event| self.current.archive().layout().folder(&event.camera, id).join(file)))
        }
        .boxed()
    }

    fn timeline<'a>(
        &'a self,
        camera: &'a str,
        since: Timestamp,
        until: Timestamp,
    ) -> BoxFuture<'a, Result<Option<Timeline>>> {
        async move {
            // A camera that is not configured any more still has a past.
            let known = self.frames.contains_key(camera);
            let timeline = self.timeline_of(camera, since, until).await?;
            let empty = timeline.segments.is_empty() && timeline.events.is_empty();
            Ok((known || !empty).then_some(timeline))
        }
        .boxed()
    }

    fn segment<'a>(&'a self, camera: &'a str, id: SegmentId) -> BoxFuture<'a, Result<Option<PathBuf>>> {
        async move {
            let segment = self.store().segment_async(camera, id).await?;
            let folder = self.current.archive().layout().recordings(camera);
            Ok(segment.map(|segment| folder.join(Segment::file_name(segment.id))))
        }
        .boxed()
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), String>> {
        async move {
            self.store().stats_async().await.map_err(|e| e.to_string())?;
            let stalled = self.shared.heartbeats.stalled();
            match stalled.iter().find(|part| part.critical) {
                Some(part) => Err(format!("{} shows no life for {} s", part.name, part.silent_for.as_secs())),
                None => Ok(()),
            }
        }
        .boxed()
    }

    fn metrics(&self) -> BoxFuture<'_, Result<String>> {
        async move {
            let (stats, disk) = (self.store().stats_async().await?, self.disk(None).await);
            let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
            let values = &self.shared.metrics;
            for queue in &stats.outboxes {
                values.queue_items.get_or_create(&metrics::outlet(&queue.name)).set(gauge(queue.items));
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
        .boxed()
    }

    fn queue(&self, query: QueueQuery) -> BoxFuture<'_, Result<Option<Vec<QueueItem>>>> {
        self.items_of(query).boxed()
    }

    fn command(
        &self,
        action: QueueAction,
        command: QueueCommand,
    ) -> BoxFuture<'_, Result<Result<QueueAnswer, Refusal>>> {
        self.carry_out(action, command).boxed()
    }

    fn live(&self, camera: &str) -> Live {
        let Some(latest) = self.frames.get(camera) else { return Live::Unknown };
        let now = self.shared.clock.mono();
        let Some(frame) = latest.get(now, Duration::MAX) else { return Live::NoSignal };
        let is_live = now.since(frame.at) <= self.shared.health.silence_of(camera, FRESH);
        if is_live { Live::Picture(frame) } else { Live::Past(frame) }
    }
}
