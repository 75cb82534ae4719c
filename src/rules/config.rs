//! Rules as people write them, and what is wrong with them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::de::{SeqAccess, Visitor, value::SeqAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize};

use crate::event::EventKind;
use crate::schedule::Schedule;

use super::line::{Direction, Line};
use super::zone::Zone;

/// Names farther away than this are no slip of the finger.
const NEAR_NAME: f64 = 0.6;

/// A rule: `[[camera.<name>.rules]]`. What it waits for is `when`:
///
/// - `"activity"`: objects are in view (with `zones`: in one of them) that are new or move. One event for all of them
///   together. Ends when nothing has moved for a while (what stands still for 10 s counts no more, and 5 s without the
///   rest end it), or when it has lasted as long as the longest clip: what still goes on is another event. Where objects
///   stood is remembered for 30 min, so that one which the model loses and finds again is nothing new.
/// - `"object"`: an object is in view (with `zones`: has come into one of them). Starts once per object, ends when
///   the object is gone.
/// - `"enter"`: an object came into one of the `zones`. Ends when it has left them all or is gone; coming back
///   starts a new event.
/// - `"dwell"`: an object has been in the `zones` (without zones: in view) for the time `dwell`. Ends like `"enter"`.
/// - `"leave"`: an object that was in the `zones` has left them all, or has vanished at the picture's edge while in
///   one. Momentary: it ends in the instant in which it starts.
/// - `"cross"`: an object crossed one of the `lines` in the given `direction`. Momentary.
/// - `"count"`: at least `count` objects are in the `zones` (without zones: in view) at once. Ends when there have
///   been fewer for 2 s.
///
/// An object is in a zone when the middle of its box's lower edge is. Only confirmed tracks start events, and only
/// in a frame in which they were really detected. The filters (labels, score, area, ratio) and the schedule decide
/// about starting only: what has started goes on. An object that does not pass yet starts its event as soon as it
/// passes, as long as the condition holds; so does one that was kept back by the schedule or the cooldown, except
/// for the momentary kinds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// Name, shown in events and alerts; unique within the camera. Required.
    pub name: String,
    /// What it waits for: `"object"`, `"activity"`, `"enter"`, `"dwell"`, `"leave"`, `"cross"` or `"count"`. Default:
    /// `"object"`.
    pub when: EventKind,
    /// Zones of this camera, any of which will do; one name or a list (`zone` is read, too). Needed by `"enter"`
    /// and `"leave"`. Default: the whole picture.
    #[serde(alias = "zone", deserialize_with = "one_or_many")]
    pub zones: Vec<String>,
    /// Lines of this camera, any of which will do; one name or a list (`line` is read, too). Needed by `"cross"`.
    #[serde(alias = "line", deserialize_with = "one_or_many")]
    pub lines: Vec<String>,
    /// Which way over the lines counts: `"both"`, `"forward"` (from the left to the right when looking from
    /// the line's `from` to its `to`) or `"backward"`. Default: `"both"`.
    pub direction: Direction,
    /// Labels that it is about; one name or a list. Default: all that the model knows.
    #[serde(alias = "label", deserialize_with = "one_or_many")]
    pub labels: Vec<String>,
    /// Least median of the object's last three scores (missing ones count as 0), 0..1. Default: 0.5.
    pub min_score: f32,
    /// Least share of the picture that the box covers, 0..1. Default: 0.
    pub min_area: f32,
    /// Greatest share of the picture that the box covers, 0..1. Default: 1.
    pub max_area: f32,
    /// Least width divided by height of the box, in pixels. Default: 0.
    pub min_ratio: f32,
    /// Greatest width divided by height of the box, in pixels. Default: 100.
    pub max_ratio: f32,
    /// How long the object must stay; needed by `"dwell"`, for it alone.
    #[serde(
        with = "jiff::fmt::serde::unsigned_duration::friendly::compact::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub dwell: Option<Duration>,
    /// How many objects at once; needed by `"count"`, for it alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// Frames for which the object must be in a zone to count as inside, and out of it to count as outside; a frame
    /// the other way takes one back. Default: 3.
    pub inertia: u32,
    /// After an event has started, no other of this rule and the same label starts for so long. Default: 0s.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub cooldown: Duration,
    /// When events may start, local time: a list such as `["mon-fri 18:00-07:00", "sat,sun"]`. Default: always.
    pub schedule: Schedule,
    /// Alerts of this rule that are older when they could be sent are reported in a digest, not one by one; `0s`: never.
    /// Default: `max_age` of the broker or webhook.
    #[serde(
        with = "jiff::fmt::serde::unsigned_duration::friendly::compact::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub alert_max_age: Option<Duration>,
}

impl Default for Rule {
    fn default() -> Self {
        Self {
            name: String::new(),
            when: EventKind::Object,
            zones: Vec::new(),
            lines: Vec::new(),
            direction: Direction::Both,
            labels: Vec::new(),
            min_score: 0.5,
            min_area: 0.0,
            max_area: 1.0,
            min_ratio: 0.0,
            max_ratio: 100.0,
            dwell: None,
            count: None,
            inertia: 3,
            cooldown: Duration::ZERO,
            schedule: Schedule::default(),
            alert_max_age: None,
        }
    }
}

impl Rule {
    /// The rule by which each object is an event.
    pub fn each_object() -> Self {
        Self { name: "object".to_owned(), ..Self::default() }
    }

    /// The rule of a camera for which none is configured: one event for all that goes on.
    pub fn any_activity() -> Self {
        Self { name: "activity".to_owned(), when: EventKind::Activity, ..Self::default() }
    }

    fn validate(&self, zones: &BTreeMap<String, Zone>, lines: &BTreeMap<String, Line>) -> Result<(), String> {
        for zone in &self.zones {
            known("zone", zone, zones)?;
        }
        for line in &self.lines {
            known("line", line, lines)?;
        }
        self.validate_kind()?;
        let shares = [("min_score", self.min_score), ("min_area", self.min_area), ("max_area", self.max_area)];
        if let Some((key, value)) = shares.iter().find(|(_, value)| !(0.0..=1.0).contains(value)) {
            return Err(format!("{key} = {value} must be from 0 to 1"));
        }
        let spans = [("area", self.min_area, self.max_area), ("ratio", self.min_ratio, self.max_ratio)];
        for (what, min, max) in spans {
            // Written so that what is no number fails, too.
            if !(min >= 0.0 && max >= min) {
                return Err(format!("min_{what} = {min} and max_{what} = {max} leave nothing between them"));
            }
        }
        if !(1..=1000).contains(&self.inertia) {
            return Err(format!("inertia = {} must be from 1 to 1000 frames", self.inertia));
        }
        Ok(())
    }

    /// Each kind needs its own keys, and a key that the kind does not know is a misunderstanding.
    fn validate_kind(&self) -> Result<(), String> {
        let kind = self.when;
        let quoted = serde_json::to_string(&kind).unwrap_or_default();
        let needs = |is_needed: bool, key: &str, is_there: bool| match (is_needed, is_there) {
            (true, false) => Err(format!("when = {quoted} needs {key}")),
            _ => Ok(()),
        };
        let takes = |is_taken: bool, key: &str, is_there: bool| match (is_taken, is_there) {
            (false, true) => Err(format!("{key} means nothing for when = {quoted}, remove it")),
            _ => Ok(()),
        };
        if kind == EventKind::Alert {
            return Err(
                "when = \"alert\" is for pipelines: take object, activity, enter, dwell, leave, cross or count"
                    .to_owned(),
            );
        }
        needs(matches!(kind, EventKind::Enter | EventKind::Leave), "zones", !self.zones.is_empty())?;
        needs(kind == EventKind::Cross, "lines", !self.lines.is_empty())?;
        needs(kind == EventKind::Dwell, "dwell, such as \"10s\"", self.dwell.is_some_and(|d| !d.is_zero()))?;
        needs(kind == EventKind::Count, "count, at least 1", self.count.is_some_and(|n| n > 0))?;
        takes(kind != EventKind::Cross, "zones", !self.zones.is_empty())?;
        takes(kind == EventKind::Cross, "lines", !self.lines.is_empty())?;
        takes(kind == EventKind::Cross, "direction", self.direction != Direction::Both)?;
        takes(kind == EventKind::Dwell, "dwell", self.dwell.is_some())?;
        takes(kind == EventKind::Count, "count", self.count.is_some())
    }
}

/// Something that is wrong with the zones, lines or rules of a camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where: the key below that of the camera, such as `rules.0`.
    pub key: String,
    /// The rule or line by name, such as `rule "gate"`; empty where the reason says it.
    pub of: String,
    /// What, and what would be right.
    pub reason: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let between = if self.of.is_empty() { "" } else { ": " };
        write!(f, "{}{between}{}", self.of, self.reason)
    }
}

/// Checks the zones, lines and rules of one camera against each other. Of each rule and line the first that is wrong.
pub fn mistakes(zones: &BTreeMap<String, Zone>, lines: &BTreeMap<String, Line>, rules: &[Rule]) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let mut note = |key: String, of: String, reason: String| mistakes.push(Mistake { key, of, reason });
    for (key, has_empty) in [("zones", has_empty_name(zones)), ("lines", has_empty_name(lines))] {
        if has_empty {
            note(key.to_owned(), String::new(), "a zone or line has an empty name".to_owned());
        }
    }
    for (name, line) in lines {
        if let Err(reason) = line.validate() {
            note(format!("lines.{name}"), format!("line {name:?}"), reason);
        }
    }
    let mut names = BTreeSet::new();
    for (number, rule) in rules.iter().enumerate() {
        let key = format!("rules.{number}");
        if rule.name.trim().is_empty() {
            note(key.clone(), String::new(), format!("rule number {} has no name", number + 1));
        } else if !names.insert(rule.name.as_str()) {
            note(format!("{key}.name"), String::new(), format!("two rules are named {:?}", rule.name));
        }
        if let Err(reason) = rule.validate(zones, lines) {
            note(key, format!("rule {:?}", rule.name), reason);
        }
    }
    mistakes
}

fn has_empty_name<T>(all: &BTreeMap<String, T>) -> bool {
    all.keys().any(|name| name.trim().is_empty())
}

fn known<T>(what: &str, name: &str, all: &BTreeMap<String, T>) -> Result<(), String> {
    if all.contains_key(name) {
        return Ok(());
    }
    let near = all.keys().map(|key| (strsim::jaro_winkler(key, name), key)).max_by(|a, b| a.0.total_cmp(&b.0));
    match near {
        None => Err(format!("unknown {what} {name:?}, this camera has none")),
        Some((likeness, key)) if likeness >= NEAR_NAME => {
            Err(format!("unknown {what} {name:?}, did you mean {key:?}?"))
        }
        Some(_) => {
            let keys: Vec<_> = all.keys().map(|key| format!("{key:?}")).collect();
            Err(format!("unknown {what} {name:?}, this camera has {}", keys.join(", ")))
        }
    }
}

/// Reads `"a"` like `["a"]`.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct OneOrMany;
    impl<'de> Visitor<'de> for OneOrMany {
        type Value = Vec<String>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a name or a list of names")
        }
        fn visit_str<E>(self, name: &str) -> Result<Vec<String>, E> {
            Ok(vec![name.to_owned()])
        }
        fn visit_seq<A: SeqAccess<'de>>(self, names: A) -> Result<Vec<String>, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(names))
        }
    }
    deserializer.deserialize_any(OneOrMany)
}
