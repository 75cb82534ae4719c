//! The rule engine against scripted tracks.

mod activity;
mod lives;

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use jiff::civil::date;

const STEP_MS: u64 = 200;
/// An activity goes on in another event after so long.
const LONGEST: Duration = Duration::from_secs(120);

/// A camera with a zone "gate" (the right third), a zone "yard" (the lower half), and a line in the middle that runs
/// upwards.
fn places() -> (BTreeMap<String, Zone>, BTreeMap<String, Line>) {
    #[derive(serde::Deserialize)]
    struct Camera {
        zones: BTreeMap<String, Zone>,
        lines: BTreeMap<String, Line>,
    }
    let camera: Camera = toml::from_str(
        "[zones.gate]\npoints = [[0.66, 0], [1, 0], [1, 1], [0.66, 1]]\n\
         [zones.yard]\npoints = [[0, 0.5], [1, 0.5], [1, 1], [0, 1]]\n\
         [zones.kennel]\nlabels = [\"dog\"]\npoints = [[0, 0], [0.2, 0], [0.2, 1], [0, 1]]\n\
         [lines.fence]\nfrom = [0.5, 0.9]\nto = [0.5, 0.1]\n",
    )
    .expect("valid");
    (camera.zones, camera.lines)
}

fn rule(text: &str) -> Rule {
    toml::from_str(&format!("name = \"r\"\n{text}")).expect("readable rule")
}

fn try_engine(rules: &[Rule]) -> Result<RuleEngine, String> {
    let (zones, lines) = places();
    RuleEngine::new(&zones, &lines, rules, LONGEST)
}

/// A monday noon.
fn noon() -> DateTime {
    date(2026, 6, 1).at(12, 0, 0, 0)
}

struct Scene {
    engine: RuleEngine,
    frame: u64,
    local: DateTime,
}

impl Scene {
    fn new(text: &str) -> Self {
        Self { engine: try_engine(&[rule(text)]).expect("valid rule"), frame: 0, local: noon() }
    }

    /// One frame. Tracks that are confirmed or tentative were detected in it.
    fn show(&mut self, tracks: &[Track]) -> Vec<Signal> {
        self.frame += 1;
        let now = Mono(self.frame * STEP_MS * 1_000_000);
        let mut tracks = tracks.to_vec();
        for track in &mut tracks {
            if matches!(track.state, TrackState::Confirmed | TrackState::Tentative) {
                track.last_seen = now;
            }
        }
        self.engine.evaluate(now, self.local, &tracks)
    }

    /// Many frames with one track each; what was seen in each, as letters: S, U, E.
    fn seen(&mut self, frames: impl IntoIterator<Item = Track>) -> Vec<String> {
        frames.into_iter().map(|track| letters(&self.show(&[track]))).collect()
    }
}

fn letters(signals: &[Signal]) -> String {
    signals
        .iter()
        .map(|s| match s.phase {
            Phase::Start => 'S',
            Phase::Update => 'U',
            Phase::End => 'E',
        })
        .collect()
}

/// A person of a tenth by three tenths whose feet are at `x`, `y`.
fn person(id: u64, x: f32, y: f32) -> Track {
    Track {
        id,
        label: "person".into(),
        state: TrackState::Confirmed,
        bbox: BBox { x: x - 0.05, y: y - 0.3, w: 0.1, h: 0.3 },
        score: 0.8,
        median_score: 0.8,
        first_seen: Mono(STEP_MS * 1_000_000),
        last_seen: Mono(0),
    }
}

fn with_state(track: Track, state: TrackState) -> Track {
    Track { state, ..track }
}

fn repeat(track: Track, times: usize) -> impl Iterator<Item = Track> {
    std::iter::repeat_n(track, times)
}

#[test]
fn an_event_of_each_object() {
    let (zones, lines) = places();
    let mut engine = RuleEngine::new(&zones, &lines, &[Rule::each_object()], LONGEST).expect("valid");
    let signals = engine.evaluate(Mono(1), noon(), &[person(7, 0.4, 0.4), person(9, 0.8, 0.4)]);
    let seen: Vec<_> = signals.iter().map(|s| (s.key, s.phase, &*s.rule, s.kind, s.track, s.seen)).collect();
    assert_eq!(
        seen,
        [
            (1, Phase::Start, "object", EventKind::Object, 7, true),
            (2, Phase::Start, "object", EventKind::Object, 9, true),
        ]
    );
    assert_eq!(engine.active(), 2);
}

#[test]
fn an_object_is_reported_once_from_its_confirmation_to_its_end() {
    let mut scene = Scene::new("");
    let p = person(1, 0.4, 0.4);
    let script = [TrackState::Tentative, TrackState::Confirmed, TrackState::Confirmed, TrackState::Occluded]
        .into_iter()
        .chain([TrackState::Confirmed, TrackState::Occluded, TrackState::Ended]);
    let seen = scene.seen(script.map(|state| with_state(p.clone(), state)));
    assert_eq!(seen, ["", "S", "", "", "", "", "E"]);
    assert_eq!(scene.show(&[]), []);
}

#[test]
fn a_track_that_is_missing_has_ended() {
    let mut scene = Scene::new("");
    scene.show(&[person(1, 0.4, 0.4)]);
    let signals = scene.show(&[]);
    assert_eq!(letters(&signals), "E");
    assert!(!signals[0].seen && signals[0].key == 1);
}

#[test]
fn filters_decide_which_objects_matter() {
    // The box is 0.1 x 0.3: area 0.03; in pixels of a 16:9 picture its ratio is 0.59.
    let cases = [
        ("labels = [\"person\", \"dog\"]", true),
        ("label = \"dog\"", false),
        ("min_score = 0.8", true),
        ("min_score = 0.81", false),
        ("min_area = 0.029", true),
        ("min_area = 0.031", false),
        ("max_area = 0.029", false),
        ("min_ratio = 0.58\nmax_ratio = 0.6", true),
        ("min_ratio = 0.6", false),
        ("max_ratio = 0.58", false),
        ("zone = \"gate\"", false),
        ("zones = [\"gate\", \"yard\"]", true),
        ("zone = \"kennel\"", false),
        ("schedule = [\"mon 11:00-13:00\"]", true),
        ("schedule = [\"tue\"]", false),
    ];
    for (text, starts) in cases {
        let seen = Scene::new(text).seen(repeat(person(1, 0.1, 0.7), 5));
        assert_eq!(seen.concat().matches('S').count(), usize::from(starts), "{text}");
    }
    let mut square_picture = Scene::new("min_ratio = 0.32\nmax_ratio = 0.34");
    square_picture.engine.set_picture_size(500, 500);
    assert_eq!(letters(&square_picture.show(&[person(1, 0.4, 0.4)])), "S");
}

#[test]
fn an_object_with_zones_goes_on_when_it_leaves_them() {
    let mut scene = Scene::new("zone = \"gate\"");
    let seen = scene.seen(
        repeat(person(1, 0.4, 0.4), 2).chain(repeat(person(1, 0.8, 0.4), 3)).chain(repeat(person(1, 0.4, 0.4), 6)),
    );
    assert_eq!(seen, ["", "", "", "", "S", "", "", "", "", "", ""]);
}

#[test]
fn entering_takes_inertia_and_coming_back_is_another_event() {
    let mut scene = Scene::new("when = \"enter\"\nzone = \"gate\"");
    let (out, inside) = (person(1, 0.4, 0.4), person(1, 0.8, 0.4));
    let seen = scene.seen(
        repeat(out.clone(), 2)
            .chain(repeat(inside.clone(), 4))
            .chain(repeat(out.clone(), 1))
            .chain(repeat(inside.clone(), 2))
            .chain(repeat(out.clone(), 4))
            .chain(repeat(inside.clone(), 3)),
    );
    assert_eq!(seen, ["", "", "", "", "S", "", "", "", "", "", "", "E", "", "", "", "S"]);
    let ended = scene.show(&[with_state(inside, TrackState::Ended)]);
    assert_eq!((letters(&ended).as_str(), ended[0].key), ("E", 2));
}

#[test]
fn who_passes_late_is_reported_late() {
    let mut scene = Scene::new("when = \"enter\"\nzone = \"gate\"\nmin_score = 0.7");
    let inside = person(1, 0.8, 0.4);
    let unsure = Track { median_score: 0.5, ..inside.clone() };
    let hidden = with_state(inside.clone(), TrackState::Occluded);
    let script = repeat(person(1, 0.4, 0.4), 1).chain(repeat(unsure, 4)).chain(repeat(hidden, 2));
    assert_eq!(scene.seen(script).concat(), "");
    assert_eq!(letters(&scene.show(&[inside])), "S");
}

#[test]
fn predictions_neither_enter_nor_leave() {
    let mut scene = Scene::new("when = \"enter\"\nzone = \"gate\"");
    let (out, inside) = (person(1, 0.4, 0.4), person(1, 0.8, 0.4));
    let hidden = |track: &Track| repeat(with_state(track.clone(), TrackState::Occluded), 5);
    let seen = scene.seen(repeat(out.clone(), 1).chain(hidden(&inside)).chain(repeat(inside.clone(), 3)));
    assert_eq!(seen, ["", "", "", "", "", "", "", "", "S"]);
    assert_eq!(scene.seen(hidden(&out).chain(repeat(inside, 2))).concat(), "");
}

#[test]
fn dwelling_counts_from_the_first_frame_inside_and_through_short_occlusion() {
    let mut scene = Scene::new("when = \"dwell\"\nzone = \"gate\"\ndwell = \"2s\"");
    let inside = person(1, 0.8, 0.4);
    let hidden = with_state(inside.clone(), TrackState::Occluded);
    let seen = scene.seen(
        repeat(inside.clone(), 4)
            .chain(repeat(hidden, 3))
            .chain(repeat(inside, 5))
            .chain(repeat(person(1, 0.4, 0.4), 3)),
    );
    assert_eq!(seen, ["", "", "", "", "", "", "", "", "", "", "S", "", "", "", "E"]);
    // Passing through is not dwelling.
    let mut passing = Scene::new("when = \"dwell\"\nzone = \"gate\"\ndwell = \"2s\"");
    let seen = passing.seen(repeat(person(1, 0.8, 0.4), 9).chain(repeat(person(1, 0.4, 0.4), 9)));
    assert_eq!(seen.concat(), "");
    // Without zones: in view.
    let seen = Scene::new("when = \"dwell\"\ndwell = \"1s\"").seen(repeat(person(1, 0.4, 0.4), 7));
    assert_eq!(seen, ["", "", "", "", "", "S", ""]);
}

#[test]
fn leaving_is_reported_when_it_happens_and_over_the_pictures_edge() {
    let text = "when = \"leave\"\nzone = \"gate\"";
    let inside = person(1, 0.8, 0.6);
    let mut scene = Scene::new(text);
    let seen = scene.seen(repeat(inside.clone(), 4).chain(repeat(person(1, 0.4, 0.6), 4)));
    assert_eq!(seen, ["", "", "", "", "", "", "SE", ""]);
    // Vanishing in the middle of the zone is not leaving it.
    let seen = Scene::new(text).seen(repeat(inside.clone(), 4).chain([with_state(inside, TrackState::Ended)]));
    assert_eq!(seen.concat(), "");
    let at_edge = person(1, 0.95, 0.6);
    let mut scene = Scene::new(text);
    scene.seen(repeat(at_edge.clone(), 4));
    let signals = scene.show(&[with_state(at_edge, TrackState::Ended)]);
    assert_eq!((letters(&signals).as_str(), signals[0].seen), ("SE", false));
    // An object that was never inside cannot leave.
    let seen = Scene::new(text)
        .seen(repeat(person(1, 0.4, 0.6), 4).chain([with_state(person(1, 0.04, 0.6), TrackState::Ended)]));
    assert_eq!(seen.concat(), "");
}

#[test]
fn crossing_is_reported_in_the_wanted_direction() {
    let there = || [0.40, 0.45, 0.499, 0.55, 0.60].map(|x| person(1, x, 0.5)).into_iter();
    let back = || there().rev();
    let cases = [("both", "SESE"), ("forward", "SE"), ("backward", "SE")];
    for (direction, expected) in cases {
        let mut scene = Scene::new(&format!("when = \"cross\"\nline = \"fence\"\ndirection = \"{direction}\""));
        let first = scene.seen(there()).concat();
        assert_eq!(first, if direction == "backward" { "" } else { "SE" }, "{direction}");
        assert_eq!(first + &scene.seen(back()).concat(), expected, "{direction}");
    }
}

#[test]
fn a_crossing_waits_for_its_track_to_be_believed_but_not_for_ever() {
    for (frames, expected) in [(5, "SE"), (20, "")] {
        let mut scene = Scene::new("when = \"cross\"\nline = \"fence\"");
        let unsure = |x| with_state(person(1, x, 0.5), TrackState::Tentative);
        scene.seen([unsure(0.4), unsure(0.6)].into_iter().chain(repeat(unsure(0.7), frames)));
        assert_eq!(letters(&scene.show(&[person(1, 0.7, 0.5)])), expected);
    }
}

#[test]
fn a_crowd_is_reported_when_it_gathers_grows_and_is_gone_for_a_while() {
    let mut scene = Scene::new("when = \"count\"\ncount = 2\nzone = \"gate\"\ninertia = 1");
    let (a, b, c, far) = (person(1, 0.8, 0.5), person(2, 0.9, 0.5), person(3, 0.7, 0.5), person(4, 0.3, 0.5));
    assert_eq!(scene.show(&[a.clone(), far.clone()]), []);
    let start = scene.show(&[a.clone(), b.clone(), far.clone()]);
    let [signal] = start.as_slice() else { panic!("{start:?}") };
    assert_eq!((signal.phase, signal.count, signal.track, signal.seen), (Phase::Start, 2, 2, true));
    assert!(
        (signal.bbox.x - 0.75).abs() < 1e-5 && (signal.bbox.w - 0.2).abs() < 1e-5,
        "around both: {:?}",
        signal.bbox
    );
    assert_eq!(signal.zones.iter().map(|z| &**z).collect::<Vec<_>>(), ["gate", "yard"]);
    let more = scene.show(&[a.clone(), b.clone(), c.clone()]);
    assert_eq!((letters(&more).as_str(), more[0].count), ("U", 3));
    assert_eq!(letters(&scene.show(&[a.clone(), b.clone()])), "");
    for _ in 0..9 {
        assert_eq!(letters(&scene.show(std::slice::from_ref(&a))), "", "a short gap is forgiven");
    }
    assert_eq!(letters(&scene.show(&[a.clone(), b])), "");
    let gone: Vec<_> = (0..12).map(|_| letters(&scene.show(std::slice::from_ref(&a)))).collect();
    assert_eq!(gone.concat(), "E");
    assert_eq!(gone[10], "E", "after two seconds");
}

#[test]
fn a_rule_keeps_quiet_for_its_cooldown_and_then_reports_what_is_still_there() {
    let mut scene = Scene::new("cooldown = \"2s\"");
    let (a, b) = (person(1, 0.3, 0.4), person(2, 0.6, 0.4));
    let dog = Track { label: "dog".into(), ..person(3, 0.5, 0.4) };
    assert_eq!(letters(&scene.show(std::slice::from_ref(&a))), "S");
    assert_eq!(letters(&scene.show(&[a.clone(), b.clone(), dog.clone()])), "S", "another label is free to start");
    let later: Vec<_> = (0..10).map(|_| letters(&scene.show(&[a.clone(), b.clone(), dog.clone()]))).collect();
    assert_eq!(later.concat(), "S");
    assert_eq!(later[8], "S");
    // What is over in an instant is not seen afterwards.
    let mut fence = Scene::new("when = \"cross\"\nline = \"fence\"\ncooldown = \"2s\"");
    let path = (0..20).map(|i| person(1, if i % 2 == 0 { 0.4 } else { 0.6 }, 0.5));
    assert_eq!(fence.seen(path).iter().filter(|t| *t == "SE").count(), 2);
}

#[test]
fn the_schedule_rules_starts_only() {
    let mut scene = Scene::new("schedule = [\"mon 12:00-13:00\"]");
    let p = person(1, 0.4, 0.4);
    scene.local = date(2026, 6, 1).at(11, 59, 59, 0);
    assert_eq!(letters(&scene.show(std::slice::from_ref(&p))), "");
    scene.local = date(2026, 6, 1).at(12, 0, 0, 0);
    assert_eq!(letters(&scene.show(std::slice::from_ref(&p))), "S", "it starts with the schedule");
    scene.local = date(2026, 6, 1).at(13, 0, 0, 0);
    let better = Track { score: 0.95, median_score: 0.95, ..p };
    assert_eq!(letters(&scene.show(&[better])), "U", "what has started goes on");
    assert_eq!(letters(&scene.show(&[])), "E");
}

#[test]
fn only_what_is_worth_reporting_is_reported() {
    let base = Track { score: 0.6, median_score: 0.6, ..person(1, 0.4, 0.4) };
    let sized = |factor: f32, score: f32| {
        let (w, h) = (0.1 * factor, 0.3 * factor);
        let bbox = BBox { x: 0.4 - w / 2.0, y: 0.4 - h, w, h };
        Track { bbox, score, ..base.clone() }
    };
    let dog = Track { label: "dog".into(), ..base.clone() };
    let in_yard = Track { bbox: BBox { x: 0.35, y: 0.4, w: 0.1, h: 0.3 }, ..base.clone() };
    let hidden = with_state(sized(1.0, 0.99), TrackState::Occluded);
    let cases: Vec<(&str, Vec<Track>, &str)> = vec![
        ("a better score", vec![sized(1.0, 0.66)], "U"),
        ("hardly better", vec![sized(1.0, 0.64)], ""),
        ("better and better", vec![sized(1.0, 0.66), sized(1.0, 0.69), sized(1.0, 0.72)], "UU"),
        ("notably larger", vec![sized(1.2, 0.6)], "U"),
        ("hardly larger", vec![sized(1.05, 0.6)], ""),
        ("larger but much less sure", vec![sized(1.2, 0.5)], ""),
        ("never in a circle", [sized(1.2, 0.6), sized(1.0, 0.66)].into_iter().cycle().take(20).collect(), "U"),
        ("a prediction", vec![hidden], ""),
        ("another zone", repeat(in_yard, 5).collect(), "U"),
        ("another label", vec![dog.clone(), dog], "U"),
    ];
    for (name, after, expected) in cases {
        let mut scene = Scene::new("labels = [\"person\", \"dog\"]");
        let seen = scene.seen([base.clone()].into_iter().chain(after)).concat();
        assert_eq!(seen, format!("S{expected}"), "{name}");
    }
    let mut person_only = Scene::new("label = \"person\"");
    person_only.show(std::slice::from_ref(&base));
    let cat = Track { label: "cat".into(), score: 0.9, median_score: 0.9, ..base };
    let signals = person_only.show(&[cat]);
    assert_eq!(&*signals[0].label, "person", "an event never takes a label that its rule is not about");
    assert!((signals[0].score - 0.9).abs() < 1e-6 && signals[0].seen);
}

#[test]
fn end_all_ends_everything_once() {
    let mut scene = Scene::new("");
    scene.show(&[person(1, 0.3, 0.5), person(2, 0.8, 0.5)]);
    let ended = scene.engine.end_all(Mono(5));
    assert_eq!(letters(&ended), "EE");
    assert!(ended.iter().all(|s| s.at == Mono(STEP_MS * 1_000_000)), "time does not run backwards");
    assert!(scene.engine.active() == 0 && scene.engine.end_all(Mono(6)).is_empty());
    assert_eq!(scene.show(&[person(1, 0.3, 0.5)])[0].key, 3);
}

#[test]
fn what_is_wrong_with_a_config_is_named() {
    let cases = [
        ("zone = \"gat\"", "rule \"r\": unknown zone \"gat\", did you mean \"gate\"?"),
        ("zone = \"zzz\"", "unknown zone \"zzz\", this camera has \"gate\", \"kennel\", \"yard\""),
        ("when = \"cross\"\nline = \"fense\"", "unknown line \"fense\", did you mean \"fence\"?"),
        ("when = \"enter\"", "when = \"enter\" needs zones"),
        ("when = \"leave\"", "when = \"leave\" needs zones"),
        ("when = \"cross\"", "needs lines"),
        ("when = \"dwell\"\nzone = \"gate\"", "when = \"dwell\" needs dwell, such as"),
        ("when = \"count\"", "needs count"),
        ("when = \"count\"\ncount = 0", "needs count"),
        ("dwell = \"3s\"", "dwell means nothing for when = \"object\""),
        ("direction = \"forward\"", "direction means nothing"),
        ("line = \"fence\"", "lines means nothing"),
        ("min_score = 50", "min_score = 50 must be from 0 to 1"),
        ("min_area = 0.5\nmax_area = 0.1", "min_area = 0.5 and max_area = 0.1 leave nothing"),
        ("min_ratio = nan", "min_ratio = NaN"),
        ("inertia = 0", "inertia = 0 must be"),
    ];
    for (text, expected) in cases {
        let error = try_engine(&[rule(text)]).expect_err(text);
        assert!(error.contains(expected), "{text}: {error}");
    }
    let named = |name: &str| Rule { name: name.to_owned(), ..Rule::default() };
    assert_eq!(try_engine(&[named("a"), named(" ")]).expect_err("empty"), "rule number 2 has no name");
    assert_eq!(try_engine(&[named("a"), named("a")]).expect_err("twice"), "two rules are named \"a\"");
    let (zones, mut lines) = places();
    lines.insert("short".to_owned(), Line { from: [0.1, 0.1], to: [0.1, 0.1] });
    let error = RuleEngine::new(&zones, &lines, &[], LONGEST).expect_err("no line");
    assert!(error.starts_with("line \"short\":"), "{error}");
    assert!(toml::from_str::<Zone>("points = [[0, 0], [1, 1]]").is_err());
    assert!(toml::from_str::<Rule>("name = \"a\"\nzoness = \"b\"").is_err());
}

#[test]
fn a_rule_is_written_as_read() {
    let text = "when = \"dwell\"\nzones = [\"gate\", \"yard\"]\nlabels = \"person\"\ndwell = \"1m\"\ncooldown = \"30s\"\nschedule = [\"sat,sun\"]";
    let rule = rule(text);
    assert_eq!((rule.dwell, rule.cooldown), (Some(Duration::from_secs(60)), Duration::from_secs(30)));
    assert_eq!((rule.labels.as_slice(), rule.zones.len()), (["person".to_owned()].as_slice(), 2));
    assert_eq!(toml::from_str::<Rule>(&toml::to_string(&rule).expect("toml")).expect("again"), rule);
}
