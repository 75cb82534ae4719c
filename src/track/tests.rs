//! The tracker against scripted objects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::*;
use crate::detection::{BBox, TrackState};
use proptest::prelude::*;

fn at(seconds: f32) -> Mono {
    Mono((f64::from(seconds) * 1e9) as u64 + 1_000_000_000)
}

fn thing(label: &str, score: f32, x: f32, y: f32, w: f32, h: f32) -> Detection {
    Detection {
        label: label.into(),
        score,
        bbox: BBox::from_corners(x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0),
        shape: None,
    }
}

fn person(x: f32, y: f32) -> Detection {
    thing("person", 0.8, x, y, 0.08, 0.24)
}

/// Runs a script (time, detections) and returns all reports.
fn run(config: &Config, script: impl IntoIterator<Item = (f32, Vec<Detection>)>) -> Vec<Vec<Track>> {
    let mut tracker = Tracker::new(config, 0.4);
    script.into_iter().map(|(t, detections)| tracker.update(at(t), &detections)).collect()
}

fn ids(reports: &[Vec<Track>]) -> BTreeSet<u64> {
    reports.iter().flatten().map(|t| t.id).collect()
}

fn every(step: f32, until: f32) -> impl Iterator<Item = f32> {
    (0..).map(move |i| i as f32 * step).take_while(move |t| *t < until)
}

#[test]
fn a_straight_walk_is_one_track_from_tentative_to_ended() {
    let walk = every(0.2, 4.0).map(|t| (t, vec![person(0.1 + 0.2 * t, 0.5)]));
    let gone = [(4.2, vec![]), (5.0, vec![]), (6.5, vec![]), (7.0, vec![])];
    let reports = run(&Config::default(), walk.chain(gone));
    assert_eq!(ids(&reports), BTreeSet::from([1]));
    let states: Vec<_> = reports.iter().map(|r| r.first().map(|t| t.state)).collect();
    assert_eq!(states[..3], [Some(TrackState::Tentative), Some(TrackState::Tentative), Some(TrackState::Confirmed)]);
    assert!(states[3..20].iter().all(|s| *s == Some(TrackState::Confirmed)), "{states:?}");
    let last = [Some(TrackState::Occluded), Some(TrackState::Occluded), Some(TrackState::Ended), None];
    assert_eq!(states[20..], last);
    assert_eq!((reports[22][0].first_seen, reports[22][0].last_seen), (at(0.0), at(3.8)));
    let [x, _] = reports[19][0].bbox.centre();
    assert!((x - 0.86).abs() < 0.02, "the box keeps up: {x}");
}

#[test]
fn one_id_survives_what_happens_to_people() {
    type Script = Vec<(f32, Vec<Detection>)>;
    let irregular = [0.0, 0.05, 0.1, 0.9, 1.0, 1.9, 2.0, 2.05, 3.2, 3.4, 4.6];
    let cases: Vec<(&str, Script)> = vec![
        (
            "hidden for a second and a half",
            every(0.2, 6.0)
                .map(|t| (t, if (2.0..3.5).contains(&t) { vec![] } else { vec![person(0.1 + 0.12 * t, 0.5)] }))
                .collect(),
        ),
        (
            "stops while hidden",
            every(0.2, 6.0)
                .map(|t| (t, if (2.0..3.2).contains(&t) { vec![] } else { vec![person(0.1 + 0.12 * t.min(2.2), 0.5)] }))
                .collect(),
        ),
        (
            "stop and go",
            every(0.2, 9.0).map(|t| (t, vec![person(0.1 + 0.15 * (t.min(2.0) + (t - 5.0).max(0.0)), 0.5)])).collect(),
        ),
        ("irregular looks", irregular.map(|t| (t, vec![person(0.1 + 0.1 * t, 0.4)])).to_vec()),
        ("one look a second", every(1.0, 8.0).map(|t| (t, vec![person(0.1 + 0.1 * t, 0.5)])).collect()),
        (
            "taken for a dog now and then",
            every(0.2, 6.0)
                .map(|t| {
                    let label = if (t * 5.0).round() as i32 % 3 == 2 { "dog" } else { "person" };
                    (t, vec![thing(label, 0.7, 0.1 + 0.1 * t, 0.5, 0.08, 0.24)])
                })
                .collect(),
        ),
        (
            "half hidden, so scoring low",
            every(0.2, 6.0)
                .map(|t| (t, vec![thing("person", if t > 2.0 { 0.2 } else { 0.8 }, 0.1 + 0.1 * t, 0.5, 0.08, 0.24)]))
                .collect(),
        ),
        (
            "small and fast, never overlapping itself",
            every(0.2, 2.0).map(|t| (t, vec![thing("bird", 0.6, 0.05 + 0.25 * t, 0.3, 0.03, 0.03)])).collect(),
        ),
        (
            "jumping box",
            every(0.2, 6.0)
                .map(|t| {
                    let jitter = 0.01 * ((t * 37.0).sin());
                    (t, vec![thing("person", 0.8, 0.3 + jitter, 0.5 - jitter, 0.08 + jitter, 0.24 - jitter)])
                })
                .collect(),
        ),
        (
            "stands still during a minute without detection",
            every(0.2, 2.0)
                .chain([62.0, 62.2, 122.0])
                .map(|t| (t, vec![person(if t > 100.0 { 0.31 } else { 0.3 }, 0.5)]))
                .collect(),
        ),
    ];
    for (name, script) in cases {
        let reports = run(&Config::default(), script);
        assert_eq!(ids(&reports), BTreeSet::from([1]), "{name}");
        let label = &reports.last().expect("reports")[0].label;
        assert!(**label == *"person" || name.starts_with("small"), "{name}: {label}");
    }
}

#[test]
fn crossing_people_keep_their_ids() {
    for (step, merged) in [(0.1, false), (0.2, true), (0.4, true)] {
        let (mut first, mut last) = (BTreeMap::new(), BTreeMap::new());
        let mut tracker = Tracker::new(&Config::default(), 0.4);
        for t in every(step, 6.0) {
            // They pass each other at t = 3, one a little nearer to the camera.
            let (a, b) = (person(0.2 + 0.1 * t, 0.5), person(0.8 - 0.1 * t, 0.53));
            let is_merged = merged && a.bbox.iou(&b.bbox) > 0.45;
            let tracks = tracker.update(at(t), &if is_merged { vec![a.clone()] } else { vec![a.clone(), b.clone()] });
            for track in tracks {
                let near = |d: &Detection| (track.bbox.centre()[0] - d.bbox.centre()[0]).abs() < 0.03;
                let side = if near(&a) && !near(&b) {
                    'a'
                } else if near(&b) && !near(&a) {
                    'b'
                } else {
                    continue;
                };
                first.entry(side).or_insert(track.id);
                last.insert(side, track.id);
            }
        }
        assert_eq!(first, last, "step {step}, merged {merged}");
        assert_eq!(first.values().collect::<BTreeSet<_>>().len(), 2);
    }
}

#[test]
fn another_object_is_another_track() {
    // A person leaves to the right; a second later a dog sits where the person was first seen.
    let walk = every(0.2, 3.0).map(|t| (t, vec![person(0.3 + 0.2 * t, 0.5)]));
    let dog = every(0.2, 1.0).map(|t| (4.0 + t, vec![thing("dog", 0.8, 0.9, 0.5, 0.08, 0.2)]));
    let reports = run(&Config::default(), walk.chain(dog));
    assert_eq!(ids(&reports), BTreeSet::from([1, 2]));
    // After a gap without detection, only overlap counts.
    let later = run(&Config::default(), [(0.0, vec![person(0.3, 0.5)]), (60.0, vec![person(0.5, 0.5)])]);
    assert_eq!(ids(&later), BTreeSet::from([1, 2]));
}

#[test]
fn repeated_boxes_of_one_object_make_one_track() {
    let script = every(0.2, 2.0).map(|t| {
        let dog = thing("dog", 0.7, 0.5, 0.5, 0.081, 0.24);
        (t, vec![person(0.5, 0.5), thing("person", 0.6, 0.502, 0.5, 0.08, 0.24), dog])
    });
    let reports = run(&Config::default(), script);
    assert_eq!(ids(&reports), BTreeSet::from([1]));
}

#[test]
fn a_speck_of_low_score_begins_nothing() {
    let reports =
        run(&Config::default(), every(0.2, 2.0).map(|t| (t, vec![thing("person", 0.35, 0.5, 0.5, 0.1, 0.2)])));
    assert_eq!(ids(&reports), BTreeSet::new());
}

#[test]
fn the_median_takes_missing_scores_as_nothing() {
    let scores = [0.9, 0.6, 0.7, 0.2, 0.95];
    let script = scores
        .iter()
        .zip(0_u8..)
        .map(|(&score, i)| (f32::from(i) * 0.2, vec![thing("person", score, 0.5, 0.5, 0.1, 0.2)]));
    let config = Config { min_hits: 1, ..Config::default() };
    let medians: Vec<_> = run(&config, script).iter().map(|r| (r[0].median_score, r[0].score)).collect();
    assert_eq!(medians, [(0.0, 0.9), (0.6, 0.6), (0.7, 0.7), (0.6, 0.2), (0.7, 0.95)]);
}

#[test]
fn the_camera_going_away_ends_every_track_and_ids_go_on() {
    let mut tracker = Tracker::new(&Config::default(), 0.4);
    tracker.update(at(0.0), &[person(0.2, 0.5), person(0.7, 0.5)]);
    let ended = tracker.end_all();
    assert!(ended.len() == 2 && ended.iter().all(|t| t.state == TrackState::Ended) && tracker.active() == 0);
    assert_eq!(tracker.update(at(1.0), &[person(0.2, 0.5)])[0].id, 3);
}

#[test]
fn config_is_written_as_read_and_checked() {
    let config: Config = toml::from_str("max_occlusion = \"1500ms\"\nmin_hits = 2\n").expect("valid");
    assert_eq!((config.max_occlusion, config.min_hits), (Duration::from_millis(1500), 2));
    assert_eq!(toml::from_str::<Config>(&toml::to_string(&config).expect("toml")).expect("again"), config);
    let bad = [
        Config { min_hits: 0, ..config.clone() },
        Config { low_score: 1.6, ..config.clone() },
        Config { match_iou: f32::NAN, ..config.clone() },
        Config { max_jump: -1.0, ..config.clone() },
    ];
    assert!(bad.iter().all(|c| c.validate().is_err()) && config.validate().is_ok());
}

fn any_number() -> impl Strategy<Value = f32> {
    prop_oneof![12 => 0.0f32..1.0, 1 => -2.0f32..3.0, 1 => prop::sample::select(vec![f32::NAN, f32::INFINITY, -0.0, 1e30])]
}

fn any_detection() -> impl Strategy<Value = Detection> {
    let label = prop::sample::select(vec!["person", "dog", "car"]);
    (label, any_number(), any_number(), any_number(), any_number(), any_number()).prop_map(
        |(label, score, x, y, w, h)| Detection {
            label: Arc::from(label),
            score,
            bbox: BBox { x, y, w: w * 0.5, h: h * 0.5 },
            shape: None,
        },
    )
}

proptest! {
    #[test]
    fn tracks_stay_sound_whatever_is_detected(
        frames in prop::collection::vec((0u64..3_000_000_000, any::<bool>(), prop::collection::vec(any_detection(), 0..8)), 1..40)
    ) {
        let mut tracker = Tracker::new(&Config::default(), 0.4);
        let (mut now, mut alive, mut ended, mut highest) = (Mono(0), BTreeSet::new(), BTreeSet::new(), 0);
        let last = (60_000_000_000, false, vec![]);
        for (step, back, detections) in frames.into_iter().chain([last]) {
            now = if back { Mono(now.0.saturating_sub(step / 4)) } else { now + Duration::from_nanos(step) };
            let tracks = tracker.update(now, &detections);
            let seen: BTreeSet<u64> = tracks.iter().map(|t| t.id).collect();
            prop_assert_eq!(seen.len(), tracks.len(), "ids are unique");
            prop_assert!(alive.is_subset(&seen), "no track goes without an end");
            let confirmed = tracks.iter().filter(|t| t.state == TrackState::Confirmed).count();
            prop_assert!(confirmed <= detections.len(), "at most one track per detection");
            for track in &tracks {
                let b = track.bbox;
                prop_assert!([b.x, b.y, b.w, b.h].iter().all(|v| (0.0..=1.0).contains(v)), "{b:?}");
                prop_assert!((0.0..=1.0).contains(&track.median_score) && (0.0..=1.0).contains(&track.score));
                prop_assert!(!ended.contains(&track.id), "ended once");
                prop_assert!(alive.contains(&track.id) || track.id > highest, "ids are never used again");
            }
            highest = highest.max(seen.last().copied().unwrap_or(0));
            let over = tracks.iter().filter(|t| t.state == TrackState::Ended).map(|t| t.id);
            ended.extend(over);
            alive = seen.difference(&ended).copied().collect();
        }
        prop_assert!(alive.is_empty() && tracker.active() == 0);
    }
}
