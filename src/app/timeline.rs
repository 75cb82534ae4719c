//! A camera's time, put together from the ledger, the segments and the events.

use anyhow::Result;
use jiff::Timestamp;

use super::backend::PageBackend;
use crate::coverage::compose;
use crate::coverage_export::footage;
use crate::event::{Event, EventId};
use crate::store::{Query, SegmentQuery};
use crate::web::{Mark, Timeline};

/// Segments in one answer at most.
const SEGMENTS: usize = 10_000;
/// Events in one answer at most.
const EVENTS: usize = 5_000;

impl PageBackend {
    pub(super) async fn timeline_of(&self, camera: &str, since: Timestamp, until: Timestamp) -> Result<Timeline> {
        let now = self.now();
        let until = until.min(now.wall).max(since);
        let query = SegmentQuery {
            camera: camera.to_owned(),
            since: Some(since),
            until: Some(until),
            before: None,
            limit: SEGMENTS,
        };
        let segments = self.store().segments_async(&query).await?;
        let events = self.events_between(camera, since, until).await?;
        let mut spans = self.store().spans_async(camera, footage::ledger_since(since), until).await?;
        footage::answer_for_the_last(&mut spans, &now);
        let mut footage = footage::of_segments(&segments, now.wall);
        let delivered = self.store().deliveries_async(&events).await?;
        footage.extend(footage::of_events(&events, &delivered, now.wall));
        let coverage = compose(since, until, &spans, &footage);
        let reaches = |event: &Event| event.end.as_ref().is_none_or(|end| end.wall >= since);
        let events = events.iter().filter(|event| reaches(event)).map(mark).collect();
        Ok(Timeline { coverage, segments, events })
    }

    /// Events that may touch the time, oldest first.
    async fn events_between(&self, camera: &str, since: Timestamp, until: Timestamp) -> Result<Vec<Event>> {
        let earlier = since.saturating_sub(footage::LOOK_BACK).unwrap_or(Timestamp::MIN);
        let mut events: Vec<Event> = Vec::new();
        let mut before: Option<EventId> = None;
        while events.len() < EVENTS {
            let query = Query {
                camera: Some(camera.to_owned()),
                since: Some(earlier),
                until: Some(until),
                before,
                limit: 500,
                ..Query::default()
            };
            let page = self.store().events_async(&query).await?;
            let Some(last) = page.last() else { break };
            before = Some(last.id);
            events.extend(page);
        }
        events.reverse();
        Ok(events)
    }
}

fn mark(event: &Event) -> Mark {
    Mark {
        id: event.id,
        label: event.label.clone(),
        rule: event.rule.clone(),
        start: event.start.wall,
        end: event.end.as_ref().map(|end| end.wall),
    }
}
