//! Alerts to send, and a queue in memory that holds them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::queue::Queue;
use super::{Item, Taken};
use crate::clock::{Clock, SystemClock};
use crate::event::{Clip, Event, EventId, EventState, MediaFile, Phase, fixture};

#[derive(Default)]
pub(in crate::alert) struct FakeQueue {
    pub(in crate::alert) rows: Mutex<Rows>,
    pub(in crate::alert) updates: Notify,
}

#[derive(Default)]
pub(in crate::alert) struct Rows {
    pub(in crate::alert) waiting: BTreeMap<u64, Item>,
    pub(in crate::alert) leased: BTreeSet<u64>,
    pub(in crate::alert) acked: Vec<u64>,
    pub(in crate::alert) rejected: Vec<(u64, String)>,
    /// Given back without a lease.
    not_leased: Vec<u64>,
}

impl Rows {
    /// Fails the task that gives back what it does not hold, and the test at its next look.
    fn end_lease(&mut self, seq: u64) {
        if !self.leased.remove(&seq) {
            self.not_leased.push(seq);
            panic!("{seq} was not leased");
        }
    }
}

impl FakeQueue {
    pub(in crate::alert) fn put(&self, seqs: impl IntoIterator<Item = u64>) {
        self.put_at(&SystemClock::new(), "yard", seqs);
    }

    /// Alerts of `camera` that come at the present of `clock`.
    pub(in crate::alert) fn put_at(&self, clock: &dyn Clock, camera: &str, seqs: impl IntoIterator<Item = u64>) {
        let mut rows = self.rows.lock();
        for seq in seqs {
            let mut item = item(clock, seq, Phase::Start);
            item.event.camera = camera.into();
            rows.waiting.insert(seq, item);
        }
        self.updates.notify_one();
    }

    pub(in crate::alert) fn look<T>(&self, f: impl FnOnce(&Rows) -> T) -> T {
        let rows = self.rows.lock();
        assert!(rows.not_leased.is_empty(), "were not leased: {:?}", rows.not_leased);
        f(&rows)
    }
}

impl Queue for FakeQueue {
    fn lease(&self, max: usize) -> BoxFuture<'_, Result<Vec<Taken>>> {
        async move {
            let mut rows = self.rows.lock();
            let free = rows.waiting.values().filter(|item| !rows.leased.contains(&item.seq));
            let items: Vec<Item> = free.take(max).cloned().collect();
            rows.leased.extend(items.iter().map(|item| item.seq));
            Ok(items.into_iter().map(|item| Taken::Alert(Box::new(item))).collect())
        }
        .boxed()
    }

    fn ack(&self, seq: u64) -> BoxFuture<'_, Result<()>> {
        async move {
            let mut rows = self.rows.lock();
            rows.end_lease(seq);
            rows.waiting.remove(&seq);
            rows.acked.push(seq);
            Ok(())
        }
        .boxed()
    }

    fn release(&self, seq: u64) -> BoxFuture<'_, Result<()>> {
        async move {
            self.rows.lock().end_lease(seq);
            Ok(())
        }
        .boxed()
    }

    fn reject<'a>(&'a self, seq: u64, reason: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            let mut rows = self.rows.lock();
            rows.end_lease(seq);
            rows.waiting.remove(&seq);
            rows.rejected.push((seq, reason.to_owned()));
            Ok(())
        }
        .boxed()
    }

    fn wait(&self) -> BoxFuture<'_, ()> {
        self.updates.notified().boxed()
    }
}

fn file(name: &str) -> MediaFile {
    MediaFile::new(name, 1000, "00".repeat(32))
}

/// An alert about an event at camera `yard`.
pub(in crate::alert) fn item(clock: &dyn Clock, seq: u64, phase: Phase) -> Item {
    let now = clock.now();
    let id = EventId::from_bytes(u128::from(seq).to_be_bytes());
    let event = Event {
        site: "gate".into(),
        rule: "person-in-yard".into(),
        state: EventState::Ended,
        score: 0.875,
        track: 3,
        zones: vec!["drive".into()],
        end: Some(now.clone()),
        clip: Some(Clip {
            media: file("clip.mp4"),
            start: now.clone(),
            duration_s: 12.5,
            codec: "h264".into(),
            width: 1920,
            height: 1080,
            truncated: false,
        }),
        pictures: vec![file("snapshot.jpg"), file("thumb.jpg")],
        filed: Some("2026/11/22".into()),
        ..fixture::event(id, "yard", now.clone())
    };
    Item { seq, phase, event, created: now }
}
