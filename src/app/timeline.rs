//! A camera's time, put together from the ledger, the segments and the events.

use anyhow::Result;
use jiff::Timestamp;

use super::backend::PageBackend;
use crate::clock::Moment;
use crate::coverage::{Coverage, Footage, Span, compose};
use crate::event::{Event, EventId};
use crate::segment::Segment;
use crate::store::{Query, SegmentQuery};
use crate::web::{Mark, Timeline};

/// Segments in one answer at most.
const SEGMENTS: usize = 10_000;
/// Events in one answer at most.
const EVENTS: usize = 5_000;
/// How far before the asked time an event may have begun and still reach into it.
const LOOK_BACK_H: i64 = 6;
/// An entry of the ledger is written this often while it lasts; until then the box answers for it.
const LEDGER_LAG_S: i64 = 45;

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
        let mut spans = self.store().spans_async(camera, since, until).await?;
        if let Some(last) = spans.last_mut() {
            answer_for(last, &now);
        }
        let mut footage: Vec<Footage> = segments.iter().filter_map(|segment| of_segment(segment, now.wall)).collect();
        footage.extend(self.of_events(&events, now.wall).await?);
        let coverage = compose(since, until, &spans, &footage);
        let reaches = |event: &Event| event.end.as_ref().is_none_or(|end| end.wall >= since);
        let events = events.iter().filter(|event| reaches(event)).map(mark).collect();
        Ok(Timeline { coverage, segments, events })
    }

    /// Events that may touch the time, oldest first.
    async fn events_between(&self, camera: &str, since: Timestamp, until: Timestamp) -> Result<Vec<Event>> {
        let earlier = since.saturating_sub(jiff::SignedDuration::from_hours(LOOK_BACK_H)).unwrap_or(Timestamp::MIN);
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

    async fn of_events(&self, events: &[Event], now: Timestamp) -> Result<Vec<Footage>> {
        let waiting = self.store().waiting(events.iter().map(|event| event.id).collect()).await?;
        let footage = events.iter().zip(waiting).filter_map(|(event, waiting)| {
            if event.clip.is_none() && event.evicted.iter().any(|gone| gone.media.file.ends_with(".mp4")) {
                let until = event.end.as_ref()?.wall;
                return Some(Footage { from: event.start.wall, until, state: Coverage::Evicted });
            }
            let Some(clip) = &event.clip else {
                // The clip of an event that goes on is being written.
                let open = event.end.is_none().then_some(Coverage::Recorded)?;
                return Some(Footage { from: event.start.wall, until: now, state: open });
            };
            let waits = waiting.iter().any(|outbox| outbox.starts_with("upload/"));
            let state = if self.uploads() && !waits { Coverage::Uploaded } else { Coverage::Recorded };
            let length = std::time::Duration::from_secs_f64(clip.duration_s.max(0.0));
            Some(Footage { from: clip.start.wall, until: clip.start.wall.checked_add(length).ok()?, state })
        });
        Ok(footage.collect())
    }
}

fn of_segment(segment: &Segment, now: Timestamp) -> Option<Footage> {
    let until = segment.end.as_ref().map_or(now, |end| end.wall);
    Some(Footage { from: segment.start.wall, until, state: Coverage::Recorded })
}

/// The entry in progress holds until now, as long as this boot wrote it a moment ago.
fn answer_for(span: &mut Span, now: &Moment) {
    let age = now.mono().since(span.until.mono());
    if span.until.boot_id == now.boot_id && age.as_secs() < LEDGER_LAG_S.unsigned_abs() {
        span.until = now.clone();
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
