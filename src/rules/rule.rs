//! One rule at work: when an event of it begins, changes and ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::DateTime;

use crate::clock::Mono;
use crate::detection::{Track, TrackState};
use crate::event::EventKind;
use crate::schedule::Schedule;

use super::Signal;
use super::activity::Activity;
use super::config::Rule;
use super::cooldown::Cooldown;
use super::crowd::{Crowd, joined};
use super::line::{Direction, Line};
use super::occurrence::{Look, Occurrence};
use super::watch::{Sight, Watch};

/// What holds for all rules in one evaluation.
pub(super) struct Moment<'e> {
    pub now: Mono,
    pub local: DateTime,
    /// Schedules do not count.
    pub anytime: bool,
    /// Width divided by height of the picture.
    pub aspect: f32,
    pub zone_names: &'e [Arc<str>],
    pub last_key: &'e mut u64,
    pub out: &'e mut Vec<Signal>,
}

/// A rule and what it watches.
#[derive(Debug)]
pub(super) struct RuleRun {
    name: Arc<str>,
    kind: EventKind,
    /// Indices of its zones among the camera's.
    zones: Vec<usize>,
    lines: Vec<Line>,
    direction: Direction,
    filter: Filter,
    dwell: Duration,
    count: usize,
    inertia: u32,
    starts: Starts,
    watches: BTreeMap<u64, Watch>,
    crowd: Crowd,
    activity: Activity,
    /// An activity that goes on for longer goes on in another event.
    longest: Duration,
}

/// Which objects a rule is about.
#[derive(Debug)]
struct Filter {
    labels: Vec<String>,
    min_score: f32,
    area: std::ops::RangeInclusive<f32>,
    ratio: std::ops::RangeInclusive<f32>,
}

impl Filter {
    fn allows(&self, label: &str) -> bool {
        self.labels.is_empty() || self.labels.iter().any(|l| l == label)
    }

    fn passes(&self, track: &Track, aspect: f32) -> bool {
        let ratio = if track.bbox.h > 0.0 { track.bbox.w / track.bbox.h * aspect } else { 0.0 };
        self.allows(&track.label)
            && track.median_score >= self.min_score
            && self.area.contains(&track.bbox.area())
            && self.ratio.contains(&ratio)
    }
}

/// When events may start.
#[derive(Debug)]
struct Starts {
    schedule: Schedule,
    cooldown: Cooldown,
}

impl Starts {
    fn try_start(&mut self, label: &Arc<str>, moment: &Moment) -> bool {
        (moment.anytime || self.schedule.is_active(moment.local)) && self.cooldown.try_start(label, moment.now)
    }
}

impl RuleRun {
    /// From a valid rule.
    pub(super) fn new(rule: &Rule, zone_names: &[Arc<str>], lines: &BTreeMap<String, Line>, longest: Duration) -> Self {
        let is_own = |name: &Arc<str>| rule.zones.iter().any(|own| **own == **name);
        Self {
            name: rule.name.as_str().into(),
            kind: rule.when,
            zones: (0..zone_names.len()).filter(|&zone| zone_names.get(zone).is_some_and(is_own)).collect(),
            lines: rule.lines.iter().filter_map(|name| lines.get(name)).cloned().collect(),
            direction: rule.direction,
            filter: Filter {
                labels: rule.labels.clone(),
                min_score: rule.min_score,
                area: rule.min_area..=rule.max_area,
                ratio: rule.min_ratio..=rule.max_ratio,
            },
            dwell: rule.dwell.unwrap_or_default(),
            count: usize::try_from(rule.count.unwrap_or(1)).unwrap_or(usize::MAX),
            inertia: rule.inertia,
            starts: Starts { schedule: rule.schedule.clone(), cooldown: Cooldown::new(rule.cooldown) },
            watches: BTreeMap::new(),
            crowd: Crowd::default(),
            activity: Activity::default(),
            longest,
        }
    }

    pub(super) fn evaluate(&mut self, moment: &mut Moment, sights: &[Sight]) {
        self.drop_gone(moment, sights);
        for sight in sights {
            let (zones, lines) = (moment.zone_names.len(), self.lines.len());
            let mut watch = self.watches.remove(&sight.track.id).unwrap_or_else(|| Watch::new(zones, lines));
            watch.see(moment.now, sight, &self.zones, self.inertia);
            self.judge(moment, sight, &mut watch);
            self.watches.insert(sight.track.id, watch);
        }
        match self.kind {
            EventKind::Count => self.judge_crowd(moment, sights),
            EventKind::Activity => self.judge_activity(moment, sights),
            _ => {}
        }
    }

    pub(super) fn end_all(&mut self, now: Mono, out: &mut Vec<Signal>) {
        let watched = std::mem::take(&mut self.watches).into_values().filter_map(|watch| watch.event);
        let together = [std::mem::take(&mut self.crowd).event, self.activity.event.take()];
        for event in watched.chain(together.into_iter().flatten()) {
            event.end(now, out);
        }
    }

    pub(super) fn active(&self) -> usize {
        let watched = self.watches.values().filter(|watch| watch.event.is_some()).count();
        watched + usize::from(self.crowd.event.is_some()) + usize::from(self.activity.event.is_some())
    }

    /// Forgets tracks that are gone; a rule about leaving reports those that went over the picture's edge.
    fn drop_gone(&mut self, moment: &mut Moment, sights: &[Sight]) {
        let is_gone = |id: &u64| !sights.iter().any(|sight| sight.track.id == *id);
        let gone: Vec<u64> = self.watches.keys().copied().filter(is_gone).collect();
        for id in gone {
            let Some(mut watch) = self.watches.remove(&id) else { continue };
            if let Some(event) = watch.event.take() {
                event.end(moment.now, moment.out);
            }
            if let Some(look) = watch.went_over_the_edge().filter(|_| self.kind == EventKind::Leave) {
                self.report_momentary(moment, look, &watch);
            }
        }
    }

    fn judge(&mut self, moment: &mut Moment, sight: &Sight, watch: &mut Watch) {
        let passes = sight.can_start() && self.filter.passes(sight.track, moment.aspect);
        let (is_inside, is_here) = (watch.is_inside(&self.zones), watch.is_here(&self.zones));
        match self.kind {
            EventKind::Object | EventKind::Enter => self.judge_stay(moment, sight, watch, passes && is_here),
            EventKind::Dwell => {
                let is_long = watch.stayed(moment.now, &self.zones, sight.track) >= self.dwell;
                self.judge_stay(moment, sight, watch, passes && is_here && is_long);
            }
            EventKind::Leave => {
                if is_inside && passes {
                    watch.qualified = Some(sight.look());
                } else if !is_inside && let Some(before) = watch.qualified.take() {
                    // It is the object that it was inside, whatever the detector takes it for now.
                    self.report_momentary(moment, Look { label: before.label, ..sight.look() }, watch);
                }
            }
            EventKind::Cross => {
                watch.see_lines(moment.now, sight, &self.lines, self.direction);
                if passes && watch.take_crossing(moment.now) {
                    self.report_momentary(moment, sight.look(), watch);
                }
            }
            EventKind::Count | EventKind::Activity => {
                let look = if passes { Some(sight.look()) } else { watch.qualified.take() };
                watch.qualified = look.filter(|_| is_inside);
            }
            // A rule of this kind is refused.
            EventKind::Alert => {}
        }
    }

    /// Events that go on for as long as a track, or its stay in a zone.
    fn judge_stay(&mut self, moment: &mut Moment, sight: &Sight, watch: &mut Watch, may_start: bool) {
        if watch.is_over(self.kind, &self.zones) {
            watch.is_reported = false;
            if let Some(event) = watch.event.take() {
                event.end(moment.now, moment.out);
            }
            return;
        }
        if let Some(mut event) = watch.event.take() {
            let zones = watch.zones(moment.zone_names);
            event.update(moment.now, sight.look(), zones, |label| self.filter.allows(label), moment.out);
            watch.event = Some(event);
        } else if may_start && !watch.is_reported && self.starts.try_start(&sight.track.label, moment) {
            watch.is_reported = true;
            let zones = watch.zones(moment.zone_names).collect();
            watch.event = Some(self.start(moment, sight.look(), zones));
        }
    }

    fn start(&self, moment: &mut Moment, look: Look, zones: Vec<Arc<str>>) -> Occurrence {
        *moment.last_key += 1;
        let identity = (*moment.last_key, self.name.clone(), self.kind);
        Occurrence::start(identity, moment.now, look, zones, moment.out)
    }

    /// Reports an event that is over as soon as it starts.
    fn report_momentary(&mut self, moment: &mut Moment, look: Look, watch: &Watch) {
        if self.starts.try_start(&look.label, moment) {
            let zones = watch.zones(moment.zone_names).collect();
            self.start(moment, look, zones).end(moment.now, moment.out);
        }
    }

    /// Objects that pass the filters where the rule looks, of which `is_wanted` holds.
    fn members<'s, 't>(&self, sights: &'s [Sight<'t>], is_wanted: impl Fn(u64) -> bool) -> Vec<&'s Sight<'t>> {
        let is_member = |sight: &&Sight| {
            let is_believed = matches!(sight.track.state, TrackState::Confirmed | TrackState::Occluded);
            let watch = self.watches.get(&sight.track.id);
            is_believed && watch.is_some_and(|watch| watch.qualified.is_some()) && is_wanted(sight.track.id)
        };
        sights.iter().filter(is_member).collect()
    }

    /// The zones in which one of `members` is.
    fn zones_of(&self, members: &[&Sight], names: &[Arc<str>]) -> Vec<Arc<str>> {
        let holds =
            |zone: &usize| members.iter().any(|s| self.watches.get(&s.track.id).is_some_and(|w| w.is_in(*zone)));
        (0..names.len()).filter(holds).filter_map(|zone| names.get(zone).cloned()).collect()
    }

    fn judge_crowd(&mut self, moment: &mut Moment, sights: &[Sight]) {
        let members = self.members(sights, |_| true);
        let is_enough = members.len() >= self.count;
        if let Some(over) = self.crowd.see(moment.now, is_enough) {
            over.end(moment.now, moment.out);
        }
        let looks: Vec<Look> = members.iter().map(|sight| sight.look()).collect();
        let Some(look) = joined(&looks) else { return };
        let zones = self.zones_of(&members, moment.zone_names);
        if let Some(event) = &mut self.crowd.event {
            event.update(moment.now, look, zones.into_iter(), |label| self.filter.allows(label), moment.out);
        } else if is_enough && look.is_seen && self.starts.try_start(&look.label, moment) {
            self.crowd.event = Some(self.start(moment, look, zones));
        }
    }

    fn judge_activity(&mut self, moment: &mut Moment, sights: &[Sight]) {
        self.activity.see(moment.now, sights);
        let members = self.members(sights, |track| self.activity.moves(track, moment.now));
        if let Some((over, at)) = self.activity.go_on(moment.now, !members.is_empty(), self.longest) {
            over.end(at, moment.out);
        }
        let looks: Vec<Look> = members.iter().map(|sight| sight.look()).collect();
        let Some(look) = joined(&looks) else { return };
        let (look, zones) = (self.activity.named(look, &looks), self.zones_of(&members, moment.zone_names));
        if let Some(event) = &mut self.activity.event {
            event.update(moment.now, look, zones.into_iter(), |label| self.filter.allows(label), moment.out);
        } else if look.is_seen && self.starts.try_start(&look.label, moment) {
            let event = self.start(moment, look, zones);
            self.activity.start(moment.now, event);
        }
    }
}
