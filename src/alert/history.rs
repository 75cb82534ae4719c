//! What was published about events in progress, so that an update can say what changed.
//!
//! In memory only: after a restart the first update of an event comes without a past.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use serde::Serialize;

use crate::event::{Event, EventId, EventState};

use super::Item;

/// Events that are remembered at most.
const EVENTS: usize = 256;
/// Publications of one event that are remembered at most. More than may be on the line, since these may be repeated.
const PUBLICATIONS: usize = 32;

/// The part of an event that updates change.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Published {
    state: EventState,
    label: Arc<str>,
    score: f32,
    count: u32,
    zones: Vec<Arc<str>>,
}

impl Published {
    pub(super) fn of(event: &Event) -> Self {
        let Event { state, label, score, count, zones, .. } = event;
        Self { state: *state, label: label.clone(), score: *score, count: *count, zones: zones.clone() }
    }
}

/// The last publications of the last events.
#[derive(Debug, Default)]
pub(super) struct History {
    events: HashMap<EventId, VecDeque<(u64, Published)>>,
    order: VecDeque<EventId>,
}

impl History {
    /// Notes that `item` is being published; gives what was published about its event before that. A repeat gets what the
    /// first try got.
    pub(super) fn publishing(&mut self, item: &Item) -> Option<Published> {
        let id = item.event.id;
        if !self.events.contains_key(&id) {
            if self.order.len() >= EVENTS
                && let Some(oldest) = self.order.pop_front()
            {
                self.events.remove(&oldest);
            }
            self.order.push_back(id);
        }
        let publications = self.events.entry(id).or_default();
        let before = publications.iter().rev().find(|(seq, _)| *seq < item.seq).map(|(_, published)| published.clone());
        if publications.back().is_none_or(|(last, _)| *last < item.seq) {
            publications.push_back((item.seq, Published::of(&item.event)));
            if publications.len() > PUBLICATIONS {
                publications.pop_front();
            }
        }
        before
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use crate::clock::{Mono, SimulatedClock};
    use crate::event::Phase;

    #[test]
    fn a_publishing_knows_the_one_before_it_also_when_it_is_repeated() {
        let clock = SimulatedClock::new(Mono(0), jiff::Timestamp::UNIX_EPOCH);
        let published = |seq, count| {
            let mut item = fixture::item(&clock, seq, Phase::Update);
            item.event.id = EventId::from_bytes([7; 16]);
            item.event.count = count;
            item
        };
        let mut history = History::default();
        let items = [published(1, 10), published(2, 20), published(5, 50)];
        for _ in 0..2 {
            let before = items.iter().map(|item| history.publishing(item).map(|published| published.count));
            assert_eq!(before.collect::<Vec<_>>(), [None, Some(10), Some(20)]);
        }
        for seq in 10..1000 {
            history.publishing(&fixture::item(&clock, seq, Phase::Start));
        }
        assert_eq!(history.publishing(&items[2]), None, "what lies far back is forgotten");
        assert!(history.events.len() <= EVENTS && history.order.len() <= EVENTS);
    }
}
