//! A camera's time, put together from the ledger, the segments and the events.

use anyhow::Result;
use jiff::Timestamp;

use super::backend::PageBackend;
use crate::clock::Moment;
use crate::coverage::{Coverage, Footage, Span, SpanState, compose};
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
/// Less than this between two segments is no gap.
const SEAM: jiff::SignedDuration = jiff::SignedDuration::from_secs(1);

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
        answer_for_the_last(&mut spans, &now);
        let mut footage: Vec<Footage> = segments.iter().map(|segment| of_segment(segment, now.wall)).collect();
        close_seams(&mut footage);
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

fn of_segment(segment: &Segment, now: Timestamp) -> Footage {
    let until = segment.end.as_ref().map_or(now, |end| end.wall);
    Footage { from: segment.start.wall, until, state: Coverage::Recorded }
}

/// Between the last picture of one segment and the first of the next there is no more than between any two
/// pictures; how long a picture lasts is only guessed.
fn close_seams(footage: &mut [Footage]) {
    for i in 1..footage.len() {
        let Some([before, after]) = footage.get_mut(i - 1..=i) else { return };
        if before.until < after.from && after.from.duration_since(before.until) < SEAM {
            before.until = after.from;
        }
    }
}

/// The entry in progress holds until now, as long as this boot wrote it a moment ago. What tells of deleted
/// recordings is about the past, whenever it was written.
fn answer_for_the_last(spans: &mut [Span], now: &Moment) {
    let Some(span) = spans.iter_mut().rfind(|span| span.state != SpanState::Evicted) else { return };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Mono, SimulatedClock};
    use std::time::Duration;

    #[test]
    fn seams_between_segments_are_closed_and_gaps_are_not() {
        let at = |ms: i64| Timestamp::from_millisecond(1_790_000_000_000 + ms).expect("a time");
        let piece = |from, until| Footage { from: at(from), until: at(until), state: Coverage::Recorded };
        let mut footage = vec![piece(0, 4900), piece(5000, 10_100), piece(10_000, 15_000), piece(17_000, 20_000)];
        close_seams(&mut footage);
        let ends: Vec<Timestamp> = footage.iter().map(|piece| piece.until).collect();
        assert_eq!(ends, [at(5000), at(10_100), at(15_000), at(20_000)]);
        close_seams(&mut []);
    }

    #[test]
    fn the_entry_in_progress_reaches_to_now_and_an_old_or_a_deleted_one_does_not() {
        let clock = SimulatedClock::new(Mono(0), Timestamp::UNIX_EPOCH);
        let begin = clock.now();
        clock.advance(Duration::from_secs(30));
        let written = clock.now();
        let span = |state| {
            let id = EventId::from_bytes([0; 16]);
            Span { id, camera: "yard".into(), state, reason: None, from: begin.clone(), until: written.clone() }
        };
        let untils = |now: &Moment| {
            let mut spans = [span(SpanState::Offline), span(SpanState::Watched), span(SpanState::Evicted)];
            answer_for_the_last(&mut spans, now);
            spans.map(|span| span.until.wall.as_second())
        };
        clock.advance(Duration::from_secs(20));
        assert_eq!(untils(&clock.now()), [30, 50, 30]);
        clock.advance(Duration::from_secs(60));
        assert_eq!(untils(&clock.now()), [30, 30, 30], "nobody answers for it any more");
    }
}
