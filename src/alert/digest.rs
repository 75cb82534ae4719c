//! One message that stands for many alerts of one camera which became too old to be published one by one.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use serde::Serialize;

use crate::clock::Moment;
use crate::event::EventId;

use super::age::Limits;
use super::{Item, Post, Taken};

/// Events that a digest names at most.
const IDS: usize = 100;

/// Something to be sent in one message.
#[derive(Clone, Debug)]
pub(super) enum Parcel {
    Alert(Box<Item>),
    Digest(Box<Digest>),
    /// Values of an execution.
    Post(Box<Post>),
}

/// In whose lane values of executions go.
static EXECUTIONS: LazyLock<Arc<str>> = LazyLock::new(|| "executions".into());

impl Parcel {
    /// The alerts that it stands for, oldest first.
    pub(super) fn seqs(&self) -> Vec<u64> {
        match self {
            Self::Alert(item) => vec![item.seq],
            Self::Digest(digest) => digest.seqs.clone(),
            Self::Post(post) => vec![post.seq],
        }
    }

    /// In what lane it goes, one behind the other: that of its camera.
    pub(super) fn camera(&self) -> &Arc<str> {
        match self {
            Self::Alert(item) => &item.event.camera,
            Self::Digest(digest) => &digest.camera,
            Self::Post(_) => &EXECUTIONS,
        }
    }
}

/// What is published for the alerts that it stands for.
#[derive(Clone, Debug)]
pub(super) struct Digest {
    camera: Arc<str>,
    seqs: Vec<u64>,
    labels: BTreeMap<EventId, Arc<str>>,
    from: Moment,
    until: Moment,
}

/// A digest in the form in which it is sent.
#[derive(Debug, Serialize)]
pub(super) struct Published<'a> {
    camera: &'a str,
    first_seq: u64,
    alerts: usize,
    events: usize,
    labels: BTreeMap<&'a str, usize>,
    from: &'a Moment,
    until: &'a Moment,
    ids: Vec<EventId>,
    ids_complete: bool,
    /// Where the box publishes those that are not named.
    #[serde(skip_serializing_if = "Option::is_none")]
    more: Option<String>,
}

impl Digest {
    fn new(first: &Item) -> Self {
        let (event, from) = (&first.event, first.event.start.clone());
        let until = from.clone();
        Self { camera: event.camera.clone(), seqs: Vec::new(), labels: BTreeMap::new(), from, until }
    }

    fn add(&mut self, item: &Item) {
        let event = &item.event;
        self.seqs.push(item.seq);
        self.labels.insert(event.id, event.label.clone());
        let latest = event.end.as_ref().unwrap_or(&item.created);
        if is_before(&event.start, &self.from) {
            self.from = event.start.clone();
        }
        if is_before(&self.until, latest) {
            self.until = latest.clone();
        }
    }

    /// The number of the last alert that it stands for.
    pub(super) fn seq(&self) -> u64 {
        self.seqs.last().copied().unwrap_or_default()
    }

    pub(super) fn published(&self) -> Published<'_> {
        let mut labels = BTreeMap::new();
        for label in self.labels.values() {
            *labels.entry(&**label).or_default() += 1;
        }
        let left_out = self.labels.len().saturating_sub(IDS);
        let ids: Vec<EventId> = self.labels.keys().skip(left_out).copied().collect();
        let oldest = ids.first().filter(|_| left_out > 0);
        Published {
            camera: &self.camera,
            first_seq: self.seqs.first().copied().unwrap_or_default(),
            alerts: self.seqs.len(),
            events: self.labels.len(),
            labels,
            from: &self.from,
            until: &self.until,
            more: oldest.map(|oldest| format!("/api/v1/events?camera={}&before={oldest}", self.camera)),
            ids,
            ids_complete: left_out == 0,
        }
    }
}

/// By the boot clock where it can, else by the wall.
fn is_before(a: &Moment, b: &Moment) -> bool {
    if a.boot_id == b.boot_id { a.mono_ns < b.mono_ns } else { a.wall < b.wall }
}

/// Sorts alerts, given oldest first, into those that are published one by one and one digest per camera.
#[derive(Debug)]
pub(super) struct Sorting<'a> {
    limits: &'a Limits,
    now: Moment,
    parcels: Vec<Parcel>,
    /// Where the digest of a camera is among the parcels.
    digests: BTreeMap<Arc<str>, usize>,
    alone: usize,
    overdue: usize,
}

impl<'a> Sorting<'a> {
    pub(super) fn new(limits: &'a Limits, now: Moment) -> Self {
        Self { limits, now, parcels: Vec::new(), digests: BTreeMap::new(), alone: 0, overdue: 0 }
    }

    /// Returns whether any of `items` is too old to be published by itself.
    pub(super) fn take(&mut self, items: Vec<Taken>) -> bool {
        let before = self.overdue;
        for taken in items {
            let item = match taken {
                Taken::Alert(item) => item,
                // No digest stands for values.
                Taken::Post(post) => {
                    self.alone += 1;
                    self.parcels.push(Parcel::Post(Box::new(post)));
                    continue;
                }
            };
            if !self.limits.is_overdue(&item, &self.now) {
                self.alone += 1;
                self.parcels.push(Parcel::Alert(item));
                continue;
            }
            self.overdue += 1;
            let place = *self.digests.entry(item.event.camera.clone()).or_insert_with(|| {
                self.parcels.push(Parcel::Digest(Box::new(Digest::new(&item))));
                self.parcels.len() - 1
            });
            if let Some(Parcel::Digest(digest)) = self.parcels.get_mut(place) {
                digest.add(&item);
            }
        }
        self.overdue > before
    }

    /// Alerts that will be published one by one, and those that will not.
    pub(super) fn taken(&self) -> (usize, usize) {
        (self.alone, self.overdue)
    }

    pub(super) fn finish(self) -> Vec<Parcel> {
        self.parcels
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::fixture;
    use super::*;
    use crate::clock::{Clock, Mono, SimulatedClock};
    use crate::event::Phase;

    fn shown(parcels: &[Parcel]) -> Vec<(String, Vec<u64>)> {
        let kind = |parcel: &Parcel| match parcel {
            Parcel::Alert(_) => "alert",
            Parcel::Digest(_) => "digest",
            Parcel::Post(_) => "post",
        };
        parcels.iter().map(|p| (format!("{} {}", kind(p), p.camera()), p.seqs())).collect()
    }

    #[test]
    fn old_alerts_become_one_digest_a_camera_at_the_place_of_the_first() {
        let clock = SimulatedClock::new(Mono(0), jiff::Timestamp::UNIX_EPOCH);
        let item = |seq, camera: &str| {
            let mut item = fixture::item(&clock, seq, Phase::Start);
            item.event.camera = camera.into();
            item
        };
        let items = |items: Vec<Item>| items.into_iter().map(|item| Taken::Alert(Box::new(item))).collect();
        let old = items(vec![item(1, "gate"), item(2, "yard"), item(3, "gate")]);
        clock.advance(Duration::from_secs(61));
        let new = items(vec![item(4, "yard"), item(5, "gate")]);
        let limits = Limits { max_age: Duration::from_secs(60), rules: Arc::default() };
        let mut sorting = Sorting::new(&limits, clock.now());
        assert!(sorting.take(old) && !sorting.take(new));
        let expected = [("digest gate", vec![1, 3]), ("digest yard", vec![2]), ("alert yard", vec![4])]
            .into_iter()
            .chain([("alert gate", vec![5])]);
        let expected: Vec<_> = expected.map(|(kind, seqs)| (kind.to_owned(), seqs)).collect();
        assert_eq!((sorting.taken(), shown(&sorting.finish())), ((2, 3), expected));
    }

    #[test]
    fn a_digest_counts_events_by_label_and_names_the_newest() {
        let clock = SimulatedClock::new(Mono(0), jiff::Timestamp::UNIX_EPOCH);
        let limits = Limits { max_age: Duration::from_secs(1), rules: Arc::default() };
        // 120 events with a start and an end each, a third of them cars.
        let published = |event: u64, phase| {
            let mut item = fixture::item(&clock, 2 * event + u64::from(phase == Phase::End), phase);
            item.event.id = EventId::from_bytes(u128::from(event).to_be_bytes());
            item.event.label = if event.is_multiple_of(3) { "car" } else { "person" }.into();
            item
        };
        let mut items = Vec::new();
        for event in 0..120 {
            items.push(Taken::Alert(Box::new(published(event, Phase::Start))));
            clock.advance(Duration::from_secs(60));
            items.push(Taken::Alert(Box::new(published(event, Phase::End))));
        }
        clock.advance(Duration::from_secs(2));
        let mut sorting = Sorting::new(&limits, clock.now());
        sorting.take(items);
        let parcels = sorting.finish();
        let [Parcel::Digest(digest)] = parcels.as_slice() else { panic!("{parcels:?}") };
        let json = serde_json::to_value(digest.published()).expect("JSON");
        assert_eq!((&json["alerts"], &json["events"]), (&240.into(), &120.into()));
        assert_eq!((&json["labels"]["car"], &json["labels"]["person"]), (&40.into(), &80.into()));
        assert_eq!((&json["first_seq"], digest.seq()), (&0.into(), 239));
        assert_eq!((&json["from"]["mono_ns"], &json["until"]["mono_ns"]), (&0.into(), &7_200_000_000_000_u64.into()));
        let ids = json["ids"].as_array().expect("ids");
        assert_eq!((ids.len(), json["ids_complete"] == false), (IDS, true));
        let oldest = EventId::from_bytes(20_u128.to_be_bytes());
        assert_eq!(ids[0], oldest.to_string());
        assert_eq!(json["more"], format!("/api/v1/events?camera=yard&before={oldest}"));
    }
}
