//! Which clips hold which stretch of a camera's time: events that overlap share the video of one.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Mono;
use crate::event::{EventId, SharedClip};

/// A stretch of time that one file of an event's clip holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// The event in whose folder the file is.
    pub event: EventId,
    pub file: String,
    /// When its first picture was taken.
    pub from: Mono,
    /// When its last one ended, as far as it is written.
    pub until: Mono,
}

/// How long the last picture of a file is shown is a guess: what begins within this goes on from it.
const SEAM: Duration = Duration::from_millis(200);

/// The clips of a camera that are complete, as far back as another event may reach.
#[derive(Debug)]
pub(crate) struct Holders {
    complete: VecDeque<Piece>,
    keep: Duration,
}

impl Holders {
    pub(crate) fn new(keep: Duration) -> Self {
        Self { complete: VecDeque::new(), keep }
    }

    /// Files that are complete from now on.
    pub(crate) fn add(&mut self, pieces: impl IntoIterator<Item = Piece>) {
        self.complete.extend(pieces);
        let newest = self.complete.iter().map(|piece| piece.until).max().unwrap_or_default();
        self.complete.retain(|piece| newest.since(piece.until) <= self.keep);
    }

    /// Up to when the time from `from` on is held without a gap, by them or by `open` ones; `from` where it is not.
    pub(crate) fn reach(&self, from: Mono, open: &[Piece]) -> Mono {
        let (mut reached, mut of) = (from, None);
        // Each step takes in at least one more of them.
        loop {
            // Between two files of one event there are no pictures.
            let is_next = |piece: &&Piece| piece.from <= reached + SEAM || Some(piece.event) == of;
            let further = self.complete.iter().chain(open).filter(|piece| piece.until > reached);
            let Some(piece) = further.filter(is_next).min_by_key(|piece| piece.from) else { return reached };
            (reached, of) = (piece.until, Some(piece.event));
        }
    }

    /// Forgets the files for which `is_there` does not hold any more.
    pub(crate) fn keep(&mut self, is_there: impl Fn(&Piece) -> bool) {
        self.complete.retain(is_there);
    }

    /// The fewest parts of clips of other events than `own`, complete or among `open`, that hold the time from `from` to
    /// `until`, in order and each moment once. `start`: of the event.
    pub(crate) fn parts(
        &self,
        (own, start): (EventId, Mono),
        (from, until): (Mono, Mono),
        open: &[Piece],
    ) -> Vec<SharedClip> {
        let mut parts = self.cover((own, start), (from, until), open);
        parts.truncate(MOST_PARTS);
        parts
    }

    /// Whether an event can name no further part of other events' clips than those that hold the time from `from` to `until`.
    pub(crate) fn is_full(&self, own: EventId, (from, until): (Mono, Mono), open: &[Piece]) -> bool {
        self.cover((own, from), (from, until), open).len() >= MOST_PARTS
    }

    fn cover(&self, (own, start): (EventId, Mono), (from, until): (Mono, Mono), open: &[Piece]) -> Vec<SharedClip> {
        // Of pictures that refer to later ones a file may hold the first before the time at which it was written.
        let has_time = |piece: &&Piece| piece.from < piece.until && piece.until > from && piece.from < until;
        let is_held = |piece: &&Piece| piece.event != own && has_time(piece);
        let pieces: Vec<&Piece> = self.complete.iter().chain(open).filter(is_held).collect();
        let (mut parts, mut reached): (Vec<(Mono, Mono, &Piece)>, Mono) = (Vec::new(), from);
        while reached < until {
            // Of those that go on here the one that goes on for the longest, else the next one behind the gap.
            let goes_on = pieces.iter().filter(|piece| piece.from <= reached && piece.until > reached);
            let next = || pieces.iter().filter(|piece| piece.from > reached).min_by_key(|piece| piece.from);
            let Some(piece) = goes_on.max_by_key(|piece| piece.until).or_else(next) else { break };
            let mut begin = piece.from.max(reached);
            // A file begins with a key frame: from there on it is taken, where the part before can end there.
            if let Some((_, end, _)) =
                parts.last_mut().filter(|(before, end, _)| *before < piece.from && *end > piece.from)
            {
                (*end, begin) = (piece.from, piece.from);
            }
            reached = piece.until.min(until);
            parts.push((begin, reached, piece));
        }
        let named = |(begin, end, piece): (Mono, Mono, &Piece)| SharedClip {
            event: piece.event,
            file: piece.file.clone(),
            after_s: millis(begin.since(start)) - millis(start.since(begin)),
            offset_s: millis(begin.since(piece.from)),
            duration_s: millis(end.since(begin)),
        };
        parts.into_iter().map(named).collect()
    }
}

/// In seconds, to the millisecond: a row of the index has little room.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

/// Most parts that an event names beside its own clips: it has to fit into a row of the index.
pub(crate) const MOST_PARTS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn id(n: u8) -> EventId {
        EventId::from_bytes([n; 16])
    }

    fn piece(n: u8, from: u64, until: u64) -> Piece {
        Piece { event: id(n), file: "clip.mp4".into(), from: Mono(from * SECOND), until: Mono(until * SECOND) }
    }

    fn parts(holders: &Holders, own: u8, from: u64, until: u64, open: &[Piece]) -> Vec<(u8, u64, f64, f64)> {
        let span = (Mono(from * SECOND), Mono(until * SECOND));
        let parts = holders.parts((id(own), Mono(0)), span, open);
        let of = |part: &SharedClip| {
            (part.event.to_bytes()[0], part.start(Mono(0)).0 / SECOND, part.offset_s, part.duration_s)
        };
        parts.iter().map(of).collect()
    }

    #[test]
    fn each_moment_is_named_once_in_order_and_none_of_ones_own() {
        let mut holders = Holders::new(Duration::from_secs(1000));
        holders.add([piece(1, 10, 20), piece(2, 19, 30)]);
        let open = [piece(3, 28, 40), piece(4, 35, 36)];
        // Each from the key frame on with which its file begins.
        assert_eq!(parts(&holders, 9, 15, 35, &open), [(1, 15, 5.0, 4.0), (2, 19, 0.0, 9.0), (3, 28, 0.0, 7.0)]);
        assert_eq!(parts(&holders, 3, 15, 35, &open), [(1, 15, 5.0, 4.0), (2, 19, 0.0, 11.0)]);
        assert_eq!(parts(&holders, 9, 50, 60, &open), []);
        assert_eq!(parts(&holders, 9, 0, 12, &open), [(1, 10, 0.0, 2.0)]);
        // One that goes on beside two others takes the place of both.
        let longer = [piece(5, 18, 33), piece(3, 28, 40)];
        assert_eq!(parts(&holders, 9, 15, 35, &longer), [(1, 15, 5.0, 3.0), (5, 18, 0.0, 10.0), (3, 28, 0.0, 7.0)]);
        // The first pictures of a file may be written before the time that they show.
        let early = [Piece { until: Mono(49 * SECOND), ..piece(7, 50, 60) }, piece(8, 50, 50)];
        assert_eq!(parts(&holders, 9, 45, 60, &early), []);
    }

    #[test]
    fn an_event_names_as_many_parts_as_a_row_has_room_for() {
        let mut holders = Holders::new(Duration::from_secs(1000));
        holders.add((1..=6).map(|n| piece(n, u64::from(n) * 10, u64::from(n) * 10 + 10)));
        let is_full = |from: u64, until: u64| holders.is_full(id(9), (Mono(from * SECOND), Mono(until * SECOND)), &[]);
        assert_eq!((is_full(10, 40), is_full(10, 41), is_full(25, 55)), (false, true, true));
        assert_eq!(parts(&holders, 9, 10, 70, &[]).len(), 4);
    }

    #[test]
    fn what_is_held_without_a_gap_is_known_as_far_back_as_it_is_kept() {
        let mut holders = Holders::new(Duration::from_secs(60));
        holders.add([piece(1, 10, 20), piece(2, 20, 30), piece(3, 31, 40)]);
        let reach = |holders: &Holders, from: u64| holders.reach(Mono(from * SECOND), &[]).0 / SECOND;
        let second = Piece { file: "clip-2.mp4".into(), ..piece(3, 45, 50) };
        assert_eq!(holders.reach(Mono(32 * SECOND), std::slice::from_ref(&second)).0 / SECOND, 50, "of one event");
        let near = Piece { from: Mono(40 * SECOND + 100_000_000), ..piece(7, 40, 44) };
        assert_eq!(holders.reach(Mono(32 * SECOND), &[near]).0 / SECOND, 44, "the end is a guess");
        assert_eq!(holders.reach(Mono(31 * SECOND - 500_000), &[]).0 / SECOND, 40, "times are written in milliseconds");
        assert_eq!(
            (reach(&holders, 12), reach(&holders, 25), reach(&holders, 30), reach(&holders, 5)),
            (30, 30, 30, 5)
        );
        holders.add([piece(4, 85, 95)]);
        assert_eq!((reach(&holders, 12), reach(&holders, 32), reach(&holders, 90)), (12, 40, 95));
        assert_eq!(holders.reach(Mono(5 * SECOND), &[piece(6, 4, 8)]), Mono(8 * SECOND));
    }
}
