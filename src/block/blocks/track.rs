//! Which thing is which from picture to picture.

use std::time::Duration;

use super::super::spec::{Group, OBJECTS, Param, ParamKind, Port, Preset, Result as Gives, Spec};
use super::super::{Block, BlockError, Context, Input, Object, Objects, Output, Value};
use crate::detection::{Detection, TrackState};
use crate::execution::Kind;
use crate::track::{Config, Tracker};

pub(in super::super) struct Track;

const SPEC: Spec = Spec {
    name: "track",
    version: 1,
    group: Group::Objects,
    about: "Follows things from picture to picture of a stream, and numbers them.",
    inputs: &[Port::new("objects", OBJECTS, "The things in this picture.").single()],
    parameters: &[
        Param::new(
            "min_hits",
            ParamKind::Whole { min: 1.0, max: 100.0 },
            "In how many pictures a thing must be found before it counts.",
        )
        .or(Preset::Number(1.0)),
        Param::new(
            "max_occlusion",
            ParamKind::Number { min: 0.0, max: 3600.0 },
            "How long a thing may be hidden and keeps its number, seconds.",
        )
        .or(Preset::Number(2.0)),
    ],
    outputs: &[
        Gives::new("objects", Kind::Objects, "The things that are seen and count, with their numbers."),
        Gives::new("number", Kind::Number, "How many things are followed, hidden ones too."),
    ],
};

/// What it remembers.
#[derive(Default)]
struct Followed {
    tracker: Option<(Config, Tracker)>,
    /// The highest number that was given, and that of the trackers before this one.
    highest: u64,
    before: u64,
}

impl Followed {
    /// The tracker with this configuration; a new one where it was changed, whose numbers go on.
    fn tracker(&mut self, config: Config) -> &mut Tracker {
        if self.tracker.as_ref().is_some_and(|(known, _)| *known != config) {
            self.tracker = None;
            self.before = self.highest;
        }
        let new = || {
            let tracker = Tracker::new(&config, 0.0);
            (config, tracker)
        };
        &mut self.tracker.get_or_insert_with(new).1
    }
}

impl Block for Track {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, input: &Input<'_>, context: &Context<'_>) -> Result<Output, BlockError> {
        let (found, settings) = (input.objects("objects")?, input.settings);
        let detection = |Object { label, score, bbox, .. }: &Object| Detection {
            label: label.clone(),
            score: *score,
            bbox: *bbox,
            shape: None,
        };
        let detections: Vec<Detection> = found.objects.iter().map(detection).collect();
        // What a model is not sure of was left out before.
        let config = Config {
            max_occlusion: Duration::from_secs_f64(settings.number("max_occlusion")),
            min_hits: settings.whole("min_hits"),
            low_score: 0.0,
            ..Config::default()
        };
        let (mut objects, mut active) = (Vec::new(), 0u32);
        context.remember(|followed: &mut Followed| {
            let tracks = followed.tracker(config).update(context.at, &detections);
            for track in tracks {
                let number = followed.before + track.id;
                followed.highest = followed.highest.max(number);
                match track.state {
                    TrackState::Confirmed => {
                        let (label, score, bbox) = (track.label, track.score, track.bbox);
                        objects.push(Object { label, score, bbox, track: Some(number), shape: None });
                    }
                    TrackState::Occluded => {}
                    TrackState::Tentative | TrackState::Ended => continue,
                }
                active += 1;
            }
        });
        let objects = Value::Objects(Objects { objects, place: found.place });
        Ok(Output::of("objects", objects).and("number", Value::Number(f64::from(active))))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Memory;
    use super::super::super::fixture::{Seen, objects, one_number, one_objects, run_with};
    use super::*;
    use crate::clock::Mono;

    /// Numbers of the things that are seen, and how many are followed.
    fn at(memory: &Memory, tenths: u64, things: &[(&str, f32, [f32; 4])], parameters: &str) -> (Vec<u64>, f64) {
        let at = Mono::default() + Duration::from_millis(100 * tenths);
        let inputs = [("objects", objects(things))];
        let output = run_with("track@1", &inputs, parameters, &Seen::nothing(), memory, at).expect("followed");
        let seen = one_objects(&output, "objects").objects;
        (seen.iter().filter_map(|object| object.track).collect(), one_number(&output, "number"))
    }

    const DOG: (&str, f32, [f32; 4]) = ("dog", 0.5, [0.1, 0.1, 0.2, 0.2]);
    const CAT: (&str, f32, [f32; 4]) = ("cat", 0.3, [0.6, 0.6, 0.2, 0.2]);

    #[test]
    fn a_thing_keeps_its_number_while_it_is_hidden_for_a_short_time() {
        let memory = Memory::default();
        assert_eq!(at(&memory, 0, &[DOG], "{}"), (vec![1], 1.0));
        assert_eq!(at(&memory, 1, &[DOG, CAT], "{}"), (vec![1, 2], 2.0));
        assert_eq!(at(&memory, 2, &[CAT], "{}"), (vec![2], 2.0));
        assert_eq!(at(&memory, 3, &[DOG, CAT], "{}"), (vec![1, 2], 2.0));
        assert_eq!(at(&memory, 40, &[], "{}"), (vec![], 0.0));
        assert_eq!(at(&memory, 41, &[DOG], "{}"), (vec![3], 1.0));
    }

    #[test]
    fn a_thing_counts_once_it_was_found_often_enough() {
        let (memory, twice) = (Memory::default(), r#"{"min_hits": 2}"#);
        assert_eq!(at(&memory, 0, &[DOG], twice), (vec![], 0.0));
        assert_eq!(at(&memory, 1, &[DOG], twice), (vec![1], 1.0));
        // With other parameters it begins again, and does not give a number twice.
        assert_eq!(at(&memory, 2, &[DOG], "{}"), (vec![2], 1.0));
    }
}
