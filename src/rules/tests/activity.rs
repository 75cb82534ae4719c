//! All that goes on at a time, as one event.

use super::*;

fn labelled(track: Track, label: &str) -> Track {
    Track { label: label.into(), ..track }
}

/// Without any rule.
fn scene() -> Scene {
    Scene { engine: try_engine(&[]).expect("valid"), frame: 0, local: noon() }
}

impl Scene {
    /// Shows what `tracks` gives for each frame of `seconds`. Gives what was reported.
    fn play(&mut self, seconds: u64, tracks: impl Fn(u64) -> Vec<Track>) -> Vec<Signal> {
        (0..seconds * 1000 / STEP_MS).flat_map(|frame| self.show(&tracks(frame))).collect()
    }
}

/// A person who walks up and down, and where after `frame` frames.
fn walking(id: u64, frame: u64) -> Track {
    let place = (frame % 40) as f32;
    person(id, 0.2 + 0.01 * place.min(40.0 - place), 0.4)
}

fn steps(signals: &[Signal]) -> Vec<(u64, Phase)> {
    signals.iter().filter(|signal| signal.phase != Phase::Update).map(|signal| (signal.key, signal.phase)).collect()
}

#[test]
fn without_rules_all_that_goes_on_is_one_event_with_the_labels_of_all() {
    let mut scene = scene();
    let signals = scene.show(&[person(7, 0.4, 0.4), person(9, 0.8, 0.4)]);
    let [start] = signals.as_slice() else { panic!("{signals:?}") };
    assert_eq!((&*start.rule, start.kind, start.phase), ("activity", EventKind::Activity, Phase::Start));
    assert_eq!((start.count, start.labels.as_slice()), (2, ["person".into()].as_slice()));
    assert!(start.seen && start.bbox.w > 0.4, "around both: {:?}", start.bbox);
    let dog = labelled(person(10, 0.1, 0.9), "dog");
    let signals = scene.show(&[person(7, 0.4, 0.4), person(9, 0.8, 0.4), dog]);
    let [more] = signals.as_slice() else { panic!("{signals:?}") };
    assert_eq!((more.key, more.phase, more.count), (start.key, Phase::Update, 3));
    assert_eq!((&*more.label, more.labels.len(), &*more.labels[1]), ("person", 2, "dog"));
    assert_eq!(scene.engine.active(), 1);
}

#[test]
fn thirty_objects_in_a_minute_one_after_the_other_are_one_event() {
    let mut scene = scene();
    // Each is in view for a second, and the next one comes a second later.
    let passing = |frame: u64| (frame % 10 < 5).then(|| walking(frame / 10 + 1, frame)).into_iter().collect();
    let signals = scene.play(60, passing);
    assert_eq!(steps(&signals), [(1, Phase::Start)]);
    let last = Mono(scene.frame * STEP_MS * 1_000_000);
    let signals = scene.play(10, |_| Vec::new());
    assert_eq!(steps(&signals), [(1, Phase::End)]);
    let end = signals.last().expect("an end");
    let before_the_end = last.since(end.at);
    assert!(
        before_the_end >= Duration::from_millis(800) && before_the_end <= Duration::from_secs(2),
        "{before_the_end:?}"
    );
    assert_eq!(steps(&scene.play(1, |frame| vec![walking(100, frame)])), [(2, Phase::Start)]);
}

#[test]
fn what_stands_still_ends_the_activity_and_is_nothing_new_when_it_was_lost() {
    let mut scene = scene();
    let parks = |frame: u64| vec![person(1, 0.2 + 0.02 * frame.min(20) as f32, 0.4)];
    let signals = scene.play(30, parks);
    assert_eq!(steps(&signals), [(1, Phase::Start), (1, Phase::End)], "it stood still after 4 s");
    let length = signals.last().expect("an end").at.since(signals[0].at);
    assert!((13..=15).contains(&length.as_secs()), "{length:?}");
    // The model loses it again and again; each time the tracker takes it for another one.
    for id in 2..20 {
        assert_eq!(steps(&scene.play(3, |_| Vec::new())), []);
        assert_eq!(steps(&scene.play(2, |_| vec![person(id, 0.602, 0.4)])), [], "{id}");
    }
    assert_eq!(steps(&scene.play(1, |frame| vec![person(19, 0.602 + 0.02 * frame as f32, 0.4)])), [(2, Phase::Start)]);
}

#[test]
fn what_flickers_at_one_place_is_an_event_once() {
    let mut scene = scene();
    let flickers = |frame: u64| (frame % 10 < 3).then(|| person(frame / 10 + 1, 0.5, 0.5)).into_iter().collect();
    let signals = scene.play(300, flickers);
    assert_eq!(steps(&signals), [(1, Phase::Start), (1, Phase::End)]);
    // Elsewhere it is new.
    assert_eq!(steps(&scene.play(1, |_| vec![person(9999, 0.8, 0.9)])), [(2, Phase::Start)]);
}

#[test]
fn what_is_forgotten_is_new_again() {
    let mut scene = scene();
    assert_eq!(steps(&scene.play(1, |_| vec![person(1, 0.5, 0.5)])), [(1, Phase::Start)]);
    assert_eq!(steps(&scene.play(31 * 60, |_| Vec::new())), [(1, Phase::End)]);
    assert_eq!(steps(&scene.play(1, |_| vec![person(2, 0.5, 0.5)])), [(2, Phase::Start)]);
}

#[test]
fn what_goes_on_for_long_goes_on_in_another_event_without_a_gap() {
    let mut scene = scene();
    let signals = scene.play(300, |frame| vec![walking(1, frame)]);
    let wanted = [(1, Phase::Start), (1, Phase::End), (2, Phase::Start), (2, Phase::End), (3, Phase::Start)];
    assert_eq!(steps(&signals), wanted);
    let turns: Vec<&Signal> = signals.iter().filter(|signal| signal.phase != Phase::Update).collect();
    assert_eq!((turns[1].at.since(turns[0].at), turns[2].at), (LONGEST, turns[1].at));
    assert_eq!(scene.engine.end_all(Mono(u64::MAX)).len(), 1);
}

#[test]
fn the_label_is_that_of_most_objects_at_once_and_does_not_waver() {
    let mut scene = scene();
    let dogs = |frame| vec![labelled(walking(1, frame), "dog"), labelled(walking(2, frame + 20), "dog")];
    let seen = |signals: Vec<Signal>| signals.last().map(|signal| signal.label.to_string());
    assert_eq!(seen(scene.play(2, |frame| vec![walking(3, frame)])).as_deref(), Some("person"));
    assert_eq!(seen(scene.play(2, dogs)).as_deref(), Some("dog"));
    let signals = scene.play(4, |frame| vec![walking(3, frame)]);
    assert!(signals.iter().all(|signal| &*signal.label == "dog"), "{signals:?}");
}

#[test]
fn a_rule_of_this_kind_looks_for_its_labels_in_its_zones_at_its_times() {
    let mut gate = Scene::new("when = \"activity\"\nzone = \"gate\"\nlabel = \"person\"\ncooldown = \"1m\"\n");
    assert_eq!(steps(&gate.play(3, |frame| vec![walking(1, frame)])), [], "not in the zone");
    let dog = |frame| labelled(person(2, 0.7 + 0.01 * (frame % 10) as f32, 0.4), "dog");
    assert_eq!(steps(&gate.play(3, |frame| vec![dog(frame)])), [], "another label");
    let inside = |frame: u64| vec![person(3, 0.7 + 0.01 * (frame % 20) as f32, 0.4), dog(frame)];
    let signals = gate.play(3, inside);
    assert_eq!(steps(&signals), [(1, Phase::Start)]);
    assert_eq!((signals[0].count, &*signals[0].zones[0]), (1, "gate"));
    assert_eq!(steps(&gate.play(8, |_| Vec::new())), [(1, Phase::End)]);
    let again = |frame: u64| vec![person(4, 0.7 + 0.01 * (frame % 20) as f32, 0.4)];
    assert_eq!(steps(&gate.play(3, again)), [], "the cooldown");
    assert!(try_engine(&[rule("when = \"activity\"\ncount = 2\n")]).is_err());
}
