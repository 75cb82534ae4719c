//! What was told of events that go on, so that an update can say what changed.
//!
//! In memory only: after a restart the first update of an event comes without a past.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use serde::Serialize;

use crate::event::{Event, EventId, EventState};

use super::Item;

/// Events that are remembered at most.
const EVENTS: usize = 256;
/// Tellings of one event that are remembered at most. More than may be on the line, since these may be repeated.
const TELLINGS: usize = 32;

/// The part of an event that updates change.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Told {
    state: EventState,
    label: Arc<str>,
    score: f32,
    count: u32,
    zones: Vec<Arc<str>>,
}

impl Told {
    pub(super) fn of(event: &Event) -> Self {
        let Event { state, label, score, count, zones, .. } = event;
        Self { state: *state, label: label.clone(), score: *score, count: *count, zones: zones.clone() }
    }
}

/// The last tellings of the last events.
#[derive(Debug, Default)]
pub(super) struct History {
    events: HashMap<EventId, VecDeque<(u64, Told)>>,
    order: VecDeque<EventId>,
}

impl History {
    /// Notes that `item` is being told; gives what was told of its event before that. A repeat gets what the
    /// first try got.
    pub(super) fn telling(&mut self, item: &Item) -> Option<Told> {
        let id = item.event.id;
        if !self.events.contains_key(&id) {
            if self.order.len() >= EVENTS
                && let Some(oldest) = self.order.pop_front()
            {
                self.events.remove(&oldest);
            }
            self.order.push_back(id);
        }
        let tellings = self.events.entry(id).or_default();
        let before = tellings.iter().rev().find(|(seq, _)| *seq < item.seq).map(|(_, told)| told.clone());
        if tellings.back().is_none_or(|(last, _)| *last < item.seq) {
            tellings.push_back((item.seq, Told::of(&item.event)));
            if tellings.len() > TELLINGS {
                tellings.pop_front();
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
    fn a_telling_knows_the_one_before_it_also_when_it_is_repeated() {
        let clock = SimulatedClock::new(Mono(0), jiff::Timestamp::UNIX_EPOCH);
        let told = |seq, count| {
            let mut item = fixture::item(&clock, seq, Phase::Update);
            item.event.id = EventId::from_bytes([7; 16]);
            item.event.count = count;
            item
        };
        let mut history = History::default();
        let items = [told(1, 10), told(2, 20), told(5, 50)];
        for _ in 0..2 {
            let before = items.iter().map(|item| history.telling(item).map(|told| told.count));
            assert_eq!(before.collect::<Vec<_>>(), [None, Some(10), Some(20)]);
        }
        for seq in 10..1000 {
            history.telling(&fixture::item(&clock, seq, Phase::Start));
        }
        assert_eq!(history.telling(&items[2]), None, "what lies far back is forgotten");
        assert!(history.events.len() <= EVENTS && history.order.len() <= EVENTS);
    }
}
