//! Whatever happens in view, each event starts once and ends once.

use proptest::prelude::*;

use super::*;

fn any_track() -> impl Strategy<Value = Track> {
    let state = prop::sample::select(vec![
        TrackState::Tentative,
        TrackState::Confirmed,
        TrackState::Confirmed,
        TrackState::Confirmed,
        TrackState::Occluded,
        TrackState::Ended,
    ]);
    (0u64..4, state, prop::sample::select(vec!["person", "dog"]), 0.0f32..1.0, 0.2f32..1.0, 0.3f32..1.0).prop_map(
        |(id, state, label, x, y, score)| Track {
            label: label.into(),
            state,
            score,
            median_score: score,
            bbox: BBox::from_corners(x - 0.05, y - 0.2, x + 0.05, y),
            ..person(id, 0.5, 0.5)
        },
    )
}

proptest! {
    #[test]
    fn each_event_starts_once_and_ends_once(
        frames in prop::collection::vec((0u64..2_000_000_000, prop::collection::vec(any_track(), 0..5)), 1..60),
        cooldown in 0u64..3,
    ) {
        let kinds = [
            "when = \"object\"",
            "when = \"object\"\nzone = \"gate\"",
            "when = \"enter\"\nzones = [\"gate\", \"kennel\"]\ninertia = 1",
            "when = \"dwell\"\nzone = \"yard\"\ndwell = \"1s\"\ninertia = 2",
            "when = \"leave\"\nzone = \"gate\"\ninertia = 1",
            "when = \"cross\"\nline = \"fence\"",
            "when = \"count\"\ncount = 2",
            "when = \"activity\"\nzone = \"gate\"",
        ];
        let rules: Vec<Rule> = kinds.iter().zip(0..).map(|(text, i): (_, u32)| {
            Rule { name: format!("rule {i}"), cooldown: Duration::from_secs(cooldown), ..rule(text) }
        }).collect();
        let mut engine = try_engine(&rules).expect("valid");
        let (mut now, mut seen) = (Mono(0), Vec::new());
        for (step, mut tracks) in frames {
            now = now + Duration::from_nanos(step);
            tracks.sort_by_key(|t| t.id);
            tracks.dedup_by_key(|t| t.id);
            for track in tracks.iter_mut().filter(|t| t.state != TrackState::Occluded) {
                track.last_seen = now;
            }
            seen.extend(engine.evaluate(now, noon(), &tracks));
            let open = seen.iter().filter(|s| s.phase == Phase::Start).count()
                - seen.iter().filter(|s| s.phase == Phase::End).count();
            prop_assert_eq!(engine.active(), open);
        }
        seen.extend(engine.end_all(now));
        let of_then = |s: &&Signal| s.kind != EventKind::Activity || s.phase != Phase::End;
        prop_assert!(seen.iter().filter(of_then).is_sorted_by_key(|s| s.at));
        let mut lives: BTreeMap<u64, String> = BTreeMap::new();
        for signal in &seen {
            lives.entry(signal.key).or_default().push_str(&letters(std::slice::from_ref(signal)));
            prop_assert!(signal.phase != Phase::End || !signal.seen);
            prop_assert!(signal.phase != Phase::Start || signal.seen || signal.kind == EventKind::Leave);
        }
        for signal in seen.iter().filter(|s| s.phase == Phase::End) {
            let start = seen.iter().find(|s| s.key == signal.key).expect("a start");
            prop_assert!(start.at <= signal.at);
        }
        for (key, life) in lives {
            let middle = life.strip_prefix('S').and_then(|l| l.strip_suffix('E'));
            prop_assert!(middle.is_some_and(|m| m.chars().all(|c| c == 'U')), "{key}: {life}");
        }
    }
}
