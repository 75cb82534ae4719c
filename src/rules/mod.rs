//! Does it matter?
//!
//! Rules turn tracks into events. Each rule watches each track (or, for `count`, all together) and says when an
//! event starts, when something worth an update changes, and when it ends. [`Rule`] documents what rules mean.
//!
//! Of each key there is exactly one [`Phase::Start`], then any number of [`Phase::Update`]s, then at most one
//! [`Phase::End`]; after [`RuleEngine::end_all`] exactly one.

mod activity;
mod config;
mod cooldown;
mod crowd;
mod line;
mod occurrence;
mod rule;
#[cfg(test)]
mod tests;
mod watch;
mod zone;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::DateTime;

use crate::clock::Mono;
use crate::detection::{BBox, Track, TrackState};
use crate::event::{EventKind, Phase};

pub use config::{Mistake, Rule, mistakes};
pub use line::{Direction, Line};
pub use zone::Zone;

use rule::{Moment, RuleRun};
use watch::Sight;

/// One step in the life of an event, before it has an id, wall time and media.
#[derive(Clone, Debug, PartialEq)]
pub struct Signal {
    /// Which event: unique per occurrence within this engine, counting up from 1.
    pub key: u64,
    /// Start, update or end.
    pub phase: Phase,
    /// Name of the rule.
    pub rule: Arc<str>,
    /// What happened.
    pub kind: EventKind,
    /// Class of the object; the commonest one for [`EventKind::Count`] and [`EventKind::Activity`].
    pub label: Arc<str>,
    /// Highest median score so far, 0..1.
    pub score: f32,
    /// Most objects at once so far for [`EventKind::Count`] and [`EventKind::Activity`]; else 1.
    pub count: u32,
    /// Labels of all objects so far for those two, in the order in which they came; else none.
    pub labels: Vec<Arc<str>>,
    /// The track that it is about; the newest one for those two.
    pub track: u64,
    /// Where; around all objects for those two. The last known place at the end.
    pub bbox: BBox,
    /// Whether `bbox` is a real detection of this frame, not a prediction: then, and only then, is this frame a
    /// look worth keeping. A start is (but for an object that left over the picture's edge); an end never.
    pub seen: bool,
    /// Score of the last detection, 0..1: of this frame if `seen`.
    pub frame_score: f32,
    /// Zones of the camera (not only the rule's) that the object was in so far, in order of entering.
    pub zones: Vec<Arc<str>>,
    /// When: the `now` of the evaluation; for an activity that is over, when something went on last.
    pub at: Mono,
}

/// The rules of one camera at work.
#[derive(Debug)]
pub struct RuleEngine {
    zone_names: Vec<Arc<str>>,
    zones: Vec<Zone>,
    rules: Vec<RuleRun>,
    /// Width divided by height of the picture.
    aspect: f32,
    /// Schedules do not count.
    anytime: bool,
    /// When each track was last detected, as of the last evaluation.
    last_seen: BTreeMap<u64, Mono>,
    last_key: u64,
    last_now: Mono,
}

impl RuleEngine {
    /// An engine for one camera. Without rules all that goes on is an event ([`Rule::any_activity`]). An activity that goes on
    /// for longer than `longest` goes on in another event.
    ///
    /// # Errors
    /// What is wrong with a zone, line or rule, by name: an unknown zone or line (with the nearest known name), a
    /// repeated or empty name, a key that is missing or means nothing for the kind of rule, a value out of range.
    pub fn new(
        zones: &BTreeMap<String, Zone>,
        lines: &BTreeMap<String, Line>,
        rules: &[Rule],
        longest: Duration,
    ) -> Result<RuleEngine, String> {
        if let Some(mistake) = mistakes(zones, lines, rules).first() {
            return Err(mistake.to_string());
        }
        let zone_names: Vec<Arc<str>> = zones.keys().map(|name| name.as_str().into()).collect();
        let default = [Rule::any_activity()];
        let rules = if rules.is_empty() { &default } else { rules };
        Ok(Self {
            rules: rules.iter().map(|rule| RuleRun::new(rule, &zone_names, lines, longest)).collect(),
            zones: zones.values().cloned().collect(),
            zone_names,
            aspect: 16.0 / 9.0,
            anytime: false,
            last_seen: BTreeMap::new(),
            last_key: 0,
            last_now: Mono::default(),
        })
    }

    /// Sets the size of the camera's picture, which ratio filters are reckoned with; 16:9 until set.
    pub fn set_picture_size(&mut self, width: u32, height: u32) {
        if width > 0 && height > 0 {
            self.aspect = width as f32 / height as f32;
        }
    }

    /// Whether events may start at any time from now on, whatever the schedules of the rules say.
    pub fn ignore_schedules(&mut self, anytime: bool) {
        self.anytime = anytime;
    }

    /// The zones, with their names.
    pub fn zones(&self) -> impl Iterator<Item = (&Arc<str>, &Zone)> {
        self.zone_names.iter().zip(&self.zones)
    }

    /// Judges the tracks as the tracker left them at `now`, all of them: a track that is missing is gone. `local`
    /// is the local time that schedules are checked against. Time that runs backwards counts as standing still.
    pub fn evaluate(&mut self, now: Mono, local: DateTime, tracks: &[Track]) -> Vec<Signal> {
        let now = now.max(self.last_now);
        self.last_now = now;
        let alive = tracks.iter().filter(|track| track.state != TrackState::Ended);
        let sights: Vec<Sight> = alive.map(|track| self.sight(track)).collect();
        self.last_seen = sights.iter().map(|sight| (sight.track.id, sight.track.last_seen)).collect();
        let mut out = Vec::new();
        for rule in &mut self.rules {
            let mut moment = Moment {
                now,
                local,
                anytime: self.anytime,
                aspect: self.aspect,
                zone_names: &self.zone_names,
                last_key: &mut self.last_key,
                out: &mut out,
            };
            rule.evaluate(&mut moment, &sights);
        }
        out
    }

    /// Ends everything that goes on: the camera is gone, or the box stops. The engine may be used again.
    pub fn end_all(&mut self, now: Mono) -> Vec<Signal> {
        let now = now.max(self.last_now);
        self.last_now = now;
        self.last_seen.clear();
        let mut out = Vec::new();
        for rule in &mut self.rules {
            rule.end_all(now, &mut out);
        }
        out
    }

    /// Events that have started and not ended.
    pub fn active(&self) -> usize {
        self.rules.iter().map(RuleRun::active).sum()
    }

    fn sight<'t>(&self, track: &'t Track) -> Sight<'t> {
        let is_fresh = self.last_seen.get(&track.id).is_none_or(|&last| track.last_seen > last);
        let ground = track.bbox.bottom_centre();
        let hits = self.zones.iter().map(|zone| zone.holds(&track.label, ground)).collect();
        Sight { track, is_fresh, hits }
    }
}
