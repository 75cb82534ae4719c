//! What was found in parts of a picture, as what is in the picture.

use std::sync::Arc;

use super::super::spec::{Group, OBJECTS, Param, ParamKind, Port, Preset, Result as Gives, Spec};
use super::super::value::{WHOLE, within};
use super::super::{Block, BlockError, Context, Input, Object, Objects, Output, Value};
use crate::detection::BBox;
use crate::execution::Kind;

pub(in super::super) struct Merge;

/// Most things that are compared with each other.
const MOST: usize = 10_000;
/// Within this share of a part of its edge a box ends there.
const ON_EDGE: f32 = 0.005;
/// Within this of the edge of the picture the edge of a part is that: nothing is cut there.
const SAME_EDGE: f32 = 1e-3;

const SHARE: ParamKind = ParamKind::Number { min: 0.01, max: 1.0 };

const SPEC: Spec = Spec {
    name: "merge",
    version: 1,
    group: Group::Objects,
    about: "Joins what was found in tiles or cut-outs of a picture to what is in the picture, each thing once.",
    inputs: &[Port::new("objects", OBJECTS, "The things of all parts.").list()],
    parameters: &[
        Param::new("overlap", SHARE, "Boxes of one label that overlap more than this (intersection over union) are one thing.")
            .or(Preset::Number(0.5)),
        Param::new(
            "within",
            SHARE,
            "A box that the edge of a part cuts off is left out where more of it than this lies in a larger one of its label.",
        )
        .or(Preset::Number(0.6)),
    ],
    outputs: &[Gives::new("objects", Kind::Objects, "The things in shares of the whole picture, best first.")],
};

impl Block for Merge {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, input: &Input<'_>, _: &Context<'_>) -> Result<Output, BlockError> {
        let mut found = Vec::new();
        for value in input.values("objects") {
            if let Value::Objects(Objects { objects, place }) = value {
                found.extend(objects.iter().map(|object| Found::new(object, *place)));
            }
        }
        if found.len() > MOST {
            let message =
                format!("there are {} things to merge, and {MOST} are the most; filter them before", found.len());
            return Err(BlockError::too_large(message));
        }
        let (overlap, share) = (input.settings.number("overlap") as f32, input.settings.number("within") as f32);
        let objects = once(without_pieces(found, share), overlap);
        Ok(Output::of("objects", Value::Objects(Objects { objects, place: WHOLE })))
    }
}

/// A thing in the whole picture.
struct Found {
    object: Object,
    /// The edge of the part in which it was found cuts it off.
    is_cut: bool,
}

impl Found {
    fn new(object: &Object, place: BBox) -> Self {
        let BBox { x, y, w, h } = object.bbox;
        let is_cut = (x <= ON_EDGE && place.x > SAME_EDGE)
            || (y <= ON_EDGE && place.y > SAME_EDGE)
            || (x + w >= 1.0 - ON_EDGE && place.x + place.w < 1.0 - SAME_EDGE)
            || (y + h >= 1.0 - ON_EDGE && place.y + place.h < 1.0 - SAME_EDGE);
        let shape = object.shape.as_ref().map(|shape| Arc::new(shape.within(place)));
        Self { object: Object { bbox: within(object.bbox, place), shape, ..object.clone() }, is_cut }
    }
}

/// The things without those that are a piece of a larger one.
fn without_pieces(mut found: Vec<Found>, share: f32) -> Vec<Found> {
    found.sort_by(|a, b| b.object.bbox.area().total_cmp(&a.object.bbox.area()));
    let mut whole: Vec<Found> = Vec::new();
    for piece in found {
        let is_within = |larger: &Found| {
            larger.object.label == piece.object.label
                && shared(larger.object.bbox, piece.object.bbox) > share * piece.object.bbox.area()
        };
        if !piece.is_cut || !whole.iter().any(is_within) {
            whole.push(piece);
        }
    }
    whole
}

/// Each thing once: of boxes that overlap more than `overlap` one that nothing cuts, else the best. Best first.
fn once(mut found: Vec<Found>, overlap: f32) -> Vec<Object> {
    found.sort_by(|a, b| a.is_cut.cmp(&b.is_cut).then(b.object.score.total_cmp(&a.object.score)));
    let mut kept: Vec<Object> = Vec::new();
    for Found { object, .. } in found {
        match kept.iter_mut().find(|other| other.label == object.label && other.bbox.iou(&object.bbox) > overlap) {
            Some(other) => other.score = other.score.max(object.score),
            None => kept.push(object),
        }
    }
    kept.sort_by(|a, b| b.score.total_cmp(&a.score));
    kept
}

/// What two boxes share.
fn shared(a: BBox, b: BBox) -> f32 {
    let w = (a.x + a.w).min(b.x + b.w) - a.x.max(b.x);
    let h = (a.y + a.h).min(b.y + b.h) - a.y.max(b.y);
    w.max(0.0) * h.max(0.0)
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{Seen, objects, one_objects, run};
    use super::*;

    type Thing<'a> = (&'a str, f32, [f32; 4]);

    const LEFT: [f32; 4] = [0.0, 0.0, 0.6, 1.0];
    const RIGHT: [f32; 4] = [0.4, 0.0, 0.6, 1.0];
    const ALL: [f32; 4] = [0.0, 0.0, 1.0, 1.0];

    fn merged(parts: &[([f32; 4], &[Thing<'_>])]) -> Vec<(String, f32, [f32; 4])> {
        let part = |(place, things): &([f32; 4], &[Thing<'_>])| match objects(things) {
            Value::Objects(objects) => Value::Objects(Objects { place: BBox::from(*place), ..objects }),
            other => other,
        };
        let inputs: Vec<_> = parts.iter().map(|of| ("objects", part(of))).collect();
        let output = run("merge@1", &inputs, "{}", &Seen::nothing()).expect("merged");
        let merged = one_objects(&output, "objects");
        assert_eq!(merged.place, WHOLE);
        let plain = |object: &Object| (object.label.to_string(), object.score, object.bbox.into());
        merged.objects.iter().map(plain).collect()
    }

    fn thing(label: &str, score: f32, bbox: [f32; 4]) -> (String, f32, [f32; 4]) {
        (label.to_owned(), score, bbox)
    }

    #[test]
    fn boxes_are_those_of_the_whole_picture() {
        let found =
            merged(&[(LEFT, &[("dog", 0.5, [0.5, 0.5, 0.1, 0.1])]), (RIGHT, &[("cat", 0.9, [0.5, 0.5, 0.1, 0.1])])]);
        assert_eq!(found, [thing("cat", 0.9, [0.7, 0.5, 0.06, 0.1]), thing("dog", 0.5, [0.3, 0.5, 0.06, 0.1])]);
        assert!(merged(&[]).is_empty() && merged(&[(LEFT, &[])]).is_empty());
    }

    #[test]
    fn what_two_tiles_show_is_there_once_per_label() {
        // 0.45 to 0.55 of the picture, in the coordinates of each tile.
        let (left, right) = ([0.75, 0.2, 0.16, 0.2], [0.0835, 0.2, 0.16, 0.2]);
        let found = merged(&[(LEFT, &[("dog", 0.5, left)]), (RIGHT, &[("dog", 0.8, right), ("cat", 0.4, right)])]);
        let labels: Vec<_> = found.iter().map(|(label, score, _)| (label.as_str(), *score)).collect();
        assert_eq!(labels, [("dog", 0.8), ("cat", 0.4)]);
    }

    #[test]
    fn a_piece_at_the_edge_of_a_tile_gives_way_to_the_whole_thing() {
        // The left tile shows the thing up to its edge at 0.6, the right one all of it.
        let piece = ("bus", 0.95, [0.75, 0.2, 0.25, 0.5]);
        let whole = ("bus", 0.7, [0.0835, 0.2, 0.75, 0.5]);
        let found = merged(&[(LEFT, &[piece]), (RIGHT, &[whole])]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].1, found[0].2[2]), (0.7, 0.45));
        // The same two boxes in one picture are two things: nothing cuts the smaller one.
        assert_eq!(
            merged(&[(ALL, &[("bus", 0.9, [0.45, 0.2, 0.15, 0.5]), ("bus", 0.7, [0.45, 0.2, 0.45, 0.5])])]).len(),
            2
        );
    }
}
