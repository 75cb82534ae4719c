//! What video there is of a camera, as the account of its time sees it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::archive::times::of_same_boot;
use crate::clock::Moment;
use crate::coverage::{Coverage, Footage, Span, SpanState};
use crate::event::{Clip, Event, OutletDelivery};
use crate::segment::Segment;

/// How far before a time an event may have begun and still reach into it.
pub const LOOK_BACK: SignedDuration = SignedDuration::from_hours(6);
/// An entry of the ledger is written this often while it lasts; until then the box answers for it.
const LEDGER_LAG: Duration = Duration::from_secs(45);
/// Less than this between two segments is no gap.
const SEAM: SignedDuration = SignedDuration::from_secs(1);

/// From when entries of the ledger have to be read so that those that reach into the time after `since` are among
/// them, also the one in progress, of which only a part is written.
pub fn ledger_since(since: Timestamp) -> Timestamp {
    since.checked_sub(LEDGER_LAG).unwrap_or(Timestamp::MIN)
}

/// What `segments`, oldest first, hold; the open one reaches to `now`.
pub fn of_segments(segments: &[Segment], now: Timestamp) -> Vec<Footage> {
    let of_segment = |segment: &Segment| {
        let until = segment.end.as_ref().map_or(now, |end| end.wall);
        Footage { from: segment.start.wall, until, state: Coverage::Recorded }
    };
    let mut footage: Vec<Footage> = segments.iter().map(of_segment).collect();
    close_seams(&mut footage);
    footage
}

/// What the clips of `events` hold or held; `delivered` has for each, in the same order, how far the outlets got.
pub fn of_events(events: &[Event], delivered: &[Vec<OutletDelivery>], now: Timestamp) -> Vec<Footage> {
    let footage = events.iter().zip(delivered).flat_map(|(event, outlets)| {
        of_event(event, now, |clip| OutletDelivery::is_everywhere(outlets, &clip.media.file))
    });
    footage.collect()
}

/// What the files of one clip hold or held; `is_delivered` says whether every destination has a file.
fn of_event(event: &Event, now: Timestamp, is_delivered: impl Fn(&Clip) -> bool) -> Vec<Footage> {
    let from = event.start.wall;
    let of_clip = |clip: &Clip| {
        let state = if is_delivered(clip) { Coverage::Uploaded } else { Coverage::Recorded };
        let length = Duration::from_secs_f64(clip.duration_s.max(0.0));
        Some(Footage { from: clip.start.wall, until: clip.start.wall.checked_add(length).ok()?, state })
    };
    let mut footage: Vec<Footage> = event.clips().filter_map(of_clip).collect();
    close_seams(&mut footage);
    let was_there = event.evicted.iter().any(|gone| gone.media.file.ends_with(".mp4"));
    match &event.end {
        // What the files that are left hold counts for more.
        Some(end) if was_there => footage.push(Footage { from, until: end.wall, state: Coverage::Evicted }),
        // The clip of an event that goes on is being written.
        None if !was_there && footage.is_empty() => {
            footage.push(Footage { from, until: now, state: Coverage::Recorded });
        }
        _ => {}
    }
    footage
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

/// The entry in progress holds until now, as long as this boot wrote it a moment ago. What reports deleted
/// recordings is about the past, whenever it was written.
pub fn answer_for_the_last(spans: &mut [Span], now: &Moment) {
    let Some(span) = spans.iter_mut().rfind(|span| span.state != SpanState::Evicted) else { return };
    let age = now.mono().since(span.until.mono());
    if span.until.boot_id == now.boot_id && age < LEDGER_LAG {
        // In the time that it was reported in, where the clock was set a moment ago.
        span.until = of_same_boot(&span.until, now.mono());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Mono, SimulatedClock};
    use crate::event::{DeliveryState, EventId, FileDelivery};

    #[test]
    fn a_clip_counts_as_uploaded_where_every_destination_confirmed_it() {
        use DeliveryState::{Delivered, Dropped, Failed, NotWanted, Waiting};
        let clock = SimulatedClock::new(Mono(0), Timestamp::UNIX_EPOCH);
        let at = clock.now();
        let event: Event = serde_json::from_value(serde_json::json!({
            "version": 1, "id": EventId::from_bytes([1; 16]), "device": "box", "camera": "yard", "rule": "object",
            "kind": "object", "state": "ended", "label": "person", "score": 0.5, "count": 1, "track": 1, "zones": [],
            "start": at, "end": at,
            "clip": { "file": "clip.mp4", "bytes": 1, "sha256": "aa", "start": at, "duration_s": 5.0, "codec": "h264",
                      "width": 16, "height": 16 },
        }))
        .expect("an event");
        let alerts = OutletDelivery { outlet: "mqtt".into(), state: Dropped, files: Vec::new() };
        let coverage = |states: &[DeliveryState]| {
            let upload = |state: &DeliveryState| {
                let files = [("event.json", Delivered), ("clip.mp4", *state)];
                let files = files.map(|(file, state)| FileDelivery { file: file.into(), state }).to_vec();
                OutletDelivery { outlet: "upload/a".into(), state: *state, files }
            };
            let outlets = [alerts.clone()].into_iter().chain(states.iter().map(upload)).collect();
            of_events(std::slice::from_ref(&event), &[outlets], at.wall)[0].state
        };
        assert_eq!(coverage(&[Delivered, Delivered]), Coverage::Uploaded);
        assert_eq!(coverage(&[]), Coverage::Recorded, "there is no destination");
        for not_there in [Waiting, Failed, Dropped, NotWanted] {
            assert_eq!(coverage(&[Delivered, not_there]), Coverage::Recorded, "{not_there:?}");
        }
    }

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
        assert_eq!(untils(&clock.now()), [30, 30, 30], "it is not current any more");
    }
}
