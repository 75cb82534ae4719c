//! Which thing is which from picture to picture.

use std::sync::Arc;
use std::time::Duration;

use super::super::spec::{Group, OBJECTS, Param, ParamKind, Port, Preset, Result as Gives, Spec};
use super::super::{Block, BlockError, Context, Input, Object, Objects, Output, Value};
use crate::detection::{BBox, Detection, Shape, TrackState};
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

/// A found box and a followed one that overlap more than this are the same thing.
const SAME: f32 = 0.3;

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

/// Outlines and key points of what was found in a picture: the tracker keeps boxes alone.
struct Shapes<'a>(Vec<&'a Detection>);

impl<'a> Shapes<'a> {
    fn of(detections: &'a [Detection]) -> Self {
        Self(detections.iter().filter(|detection| detection.shape.is_some()).collect())
    }

    /// That of the thing in a box, which is one of them and somewhat smoothed.
    fn take(&mut self, label: &str, bbox: BBox) -> Option<Arc<Shape>> {
        let fits = |detection: &Detection| if *detection.label == *label { detection.bbox.iou(&bbox) } else { 0.0 };
        let best = self.0.iter().enumerate().map(|(at, of)| (at, fits(of))).max_by(|a, b| a.1.total_cmp(&b.1));
        let (at, _) = best.filter(|(_, iou)| *iou > SAME)?;
        self.0.swap_remove(at).shape.clone()
    }
}

impl Block for Track {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, input: &Input<'_>, context: &Context<'_>) -> Result<Output, BlockError> {
        let (found, settings) = (input.objects("objects")?, input.settings);
        let detections: Vec<Detection> = found.objects.iter().cloned().map(Detection::from).collect();
        let mut shapes = Shapes::of(&detections);
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
                        let shape = shapes.take(&label, bbox);
                        objects.push(Object { label, score, bbox, track: Some(number), shape });
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
    fn what_is_followed_keeps_its_own_outline() {
        let memory = Memory::default();
        let outline = |x: f32| Arc::new(Shape::Outline(vec![[x, 0.1], [x + 0.1, 0.1], [x, 0.2]]));
        let thing = |x: f32, shape: Option<Arc<Shape>>| Object {
            label: "dog".into(),
            score: 0.9,
            bbox: BBox { x, y: 0.1, w: 0.2, h: 0.2 },
            track: None,
            shape,
        };
        let follow = |tenths: u64, things: Vec<Object>| {
            let place = super::super::super::value::WHOLE;
            let inputs = [("objects", Value::Objects(Objects { objects: things, place }))];
            let at = Mono::default() + Duration::from_millis(100 * tenths);
            let output = run_with("track@1", &inputs, "{}", &Seen::nothing(), &memory, at).expect("followed");
            let mut seen = one_objects(&output, "objects").objects;
            seen.sort_by_key(|object| object.track);
            seen.into_iter().map(|object| object.shape).collect::<Vec<_>>()
        };
        let (left, right) = (outline(0.1), outline(0.6));
        let both = vec![thing(0.1, Some(left.clone())), thing(0.6, Some(right.clone()))];
        assert_eq!(follow(0, both), [Some(left.clone()), Some(right.clone())]);
        // The other way round, a little further, and one without.
        let moved = vec![thing(0.62, Some(right.clone())), thing(0.12, None)];
        assert_eq!(follow(1, moved), [None, Some(right)]);
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
