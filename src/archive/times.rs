//! Wall times by today's knowledge of the clock, for what was noted when that knew less.

use jiff::SignedDuration;

use crate::clock::{Clock, Moment, Mono, TimeQuality};
use crate::event::Event;

/// A correction smaller than this is not worth writing anything again.
const WORTH_IT: SignedDuration = SignedDuration::from_millis(500);
/// A clock that deviates by less was not set: the two clocks are not read in one instant, and boxes are busy.
const TORN: SignedDuration = SignedDuration::from_secs(2);

/// The instant `at` of the boot that `known` belongs to.
pub fn of_same_boot(known: &Moment, at: Mono) -> Moment {
    let wall = known.wall + at.since(known.mono()) - known.mono().since(at);
    Moment { wall, mono_ns: at.0, ..known.clone() }
}

/// The moment by today's knowledge, where it is of this boot and that knowledge is better: an unsynchronised clock that
/// vouches for and that is set again says nothing of what it showed before. Returns whether that changed it.
pub fn correct(clock: &dyn Clock, moment: &mut Moment) -> bool {
    if moment.boot_id != clock.boot_id() {
        return false;
    }
    let now = clock.moment(moment.mono());
    if !knows_better(now.time_quality, moment.time_quality) {
        return false;
    }
    let changed = now.wall.duration_since(moment.wall).abs() >= WORTH_IT || now.time_quality != moment.time_quality;
    if changed {
        *moment = now;
    }
    changed
}

/// Whether a clock of quality `now` may change what was said when it was of quality `then`.
fn knows_better(now: TimeQuality, then: TimeQuality) -> bool {
    now < then || now == TimeQuality::Synchronised
}

/// Whether the wall clock was set since it said `earlier`, while neither time was synchronised: what is said
/// at `at` does not continue what was said then.
pub fn is_torn(clock: &dyn Clock, earlier: &Moment, at: Mono) -> bool {
    let now = clock.moment(at);
    let deviation = now.wall.duration_since(of_same_boot(earlier, at).wall).abs();
    deviation >= TORN && !knows_better(now.time_quality, earlier.time_quality)
}

/// Puts `moment` into the time that `start` is given in, so that what lies between them is as long as it was.
/// Returns whether that changed it.
fn follow(start: &Moment, moment: &mut Moment) -> bool {
    if moment.boot_id != start.boot_id || moment.time_quality < start.time_quality {
        return false;
    }
    let followed = of_same_boot(start, moment.mono());
    let changed = followed.wall.duration_since(moment.wall).abs() >= WORTH_IT;
    if changed {
        *moment = followed;
    }
    changed
}

/// Corrects each of `moments`. Returns whether that changed one.
pub fn correct_all<'a>(clock: &dyn Clock, moments: impl Iterator<Item = &'a mut Moment>) -> bool {
    let changed = moments.map(|moment| correct(clock, moment)).filter(|changed| *changed);
    changed.count() > 0
}

/// All moments of an event by today's knowledge. Returns whether that changed one.
pub fn correct_event(clock: &dyn Clock, event: &mut Event) -> bool {
    let best = event.best.iter_mut().map(|best| &mut best.at);
    let clip = event.clip.iter_mut().chain(&mut event.more_clips).map(|clip| &mut clip.start);
    let changed = correct(clock, &mut event.start);
    let start = &event.start;
    event.end.as_mut().into_iter().chain(best).chain(clip).fold(changed, |changed, moment| {
        // Where the clock was set in the middle of an event, it goes on in the time that it began in.
        correct(clock, moment) | follow(start, moment) | changed
    })
}
