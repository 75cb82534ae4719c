//! What was found, drawn into the picture.

use super::super::lettering::Line;
use super::super::pixels::{Rectangle, fill};
use super::super::spec::{Group, IMAGE, OBJECTS, Param, ParamKind, Port, Preset, REGIONS, Result as Gives, Spec};
use super::super::{Block, BlockError, Context, Input, Object, Output, Region, Value};
use crate::detection::{BBox, Shape};
use crate::execution::Kind;
use crate::frame::Rgb;

pub(in super::super) struct Draw;

const SPEC: Spec = Spec {
    name: "draw",
    version: 1,
    group: Group::Picture,
    about: "Draws boxes around things, with labels, and the outlines of areas.",
    inputs: &[
        Port::new("image", IMAGE, "The picture."),
        Port::new("objects", OBJECTS, "The things in it.").optional(),
        Port::new("regions", REGIONS, "Areas of it.").optional(),
    ],
    parameters: &[
        Param::new("colour", ParamKind::Colour, "The colour of the boxes.").or(Preset::Text("#ffb000")),
        Param::new("region_colour", ParamKind::Colour, "The colour of the outlines of areas.")
            .or(Preset::Text("#00a0ff")),
        Param::new(
            "thickness",
            ParamKind::Whole { min: 0.0, max: 64.0 },
            "How thick the lines are, pixels; 0 for what fits the picture.",
        )
        .or(Preset::Number(0.0)),
        Param::new(
            "shape",
            ParamKind::Choice(&["box", "outline"]),
            "Whether the box of a thing is drawn, or its outline where a model for segmentation gave one.",
        )
        .or(Preset::Text("box")),
        Param::new(
            "text",
            ParamKind::Choice(&["none", "label", "score"]),
            "What stands at a box: nothing, its label, or its label with score; with its number where it is followed.",
        )
        .or(Preset::Text("score")),
        Param::new(
            "text_size",
            ParamKind::Whole { min: 0.0, max: 16.0 },
            "How large the text is, in eighths of its height, pixels; 0 for what fits the picture.",
        )
        .or(Preset::Number(0.0)),
    ],
    outputs: &[Gives::new("image", Kind::Image, "The picture with what is drawn.")],
};

impl Block for Draw {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, input: &Input<'_>, _: &Context<'_>) -> Result<Output, BlockError> {
        let (image, settings) = (input.image("image")?, input.settings);
        let mut picture = (*image.picture).clone();
        let longest = picture.width.max(picture.height);
        let of = |name: &str, share: u32| match settings.whole(name) {
            0 => (longest / share).max(1),
            pixels => pixels,
        };
        let pen = Pen { thickness: of("thickness", 320), scale: of("text_size", 640), text: settings.text("text") };
        for region in input.regions("regions") {
            pen.region(&mut picture, region, settings.colour("region_colour"));
        }
        let objects = input.optional_objects("objects").map(|objects| objects.objects.as_slice()).unwrap_or_default();
        for object in objects {
            let colour = settings.colour("colour");
            match object.shape.as_deref() {
                Some(Shape::Outline(points)) if settings.text("shape") == "outline" && points.len() > 2 => {
                    pen.closed(&mut picture, points, colour);
                }
                _ => pen.outline(&mut picture, object.bbox, colour),
            }
        }
        // Text lies above all lines.
        for object in objects {
            pen.label(&mut picture, object, settings.colour("colour"));
        }
        Ok(Output::of("image", Value::Image(image.with(picture))))
    }
}

struct Pen<'a> {
    thickness: u32,
    scale: u32,
    text: &'a str,
}

impl Pen<'_> {
    fn outline(&self, picture: &mut Rgb, bbox: BBox, colour: [u8; 3]) {
        let Some(part) = Rectangle::of(bbox, picture.width, picture.height) else { return };
        let (left, top) = (i64::from(part.left), i64::from(part.top));
        let (across, down) = (self.thickness.min(part.width), self.thickness.min(part.height));
        fill(picture, left, top, part.width, down, colour);
        fill(picture, left, top + i64::from(part.height - down), part.width, down, colour);
        fill(picture, left, top, across, part.height, colour);
        fill(picture, left + i64::from(part.width - across), top, across, part.height, colour);
    }

    fn label(&self, picture: &mut Rgb, object: &Object, colour: [u8; 3]) {
        let Some(part) = Rectangle::of(object.bbox, picture.width, picture.height) else { return };
        let track = object.track.map(|track| format!("#{track} ")).unwrap_or_default();
        let text = match self.text {
            "none" => return,
            "label" => format!("{track}{}", object.label),
            _ => format!("{track}{} {:.0}%", object.label, 100.0 * object.score),
        };
        self.text(picture, &text, part.left, part.top, colour);
    }

    /// Writes above `left`, `top`; below where there is no room.
    fn text(&self, picture: &mut Rgb, text: &str, left: u32, top: u32, colour: [u8; 3]) {
        let line = Line::new(text, self.scale);
        let left = left.min(picture.width.saturating_sub(line.width()));
        let top = if top >= line.height() { top - line.height() } else { top };
        line.draw(picture, i64::from(left), i64::from(top), colour);
    }

    fn region(&self, picture: &mut Rgb, region: &Region, colour: [u8; 3]) {
        let first = self.closed(picture, region.points.points(), colour);
        if let (Some([x, y]), true) = (first, self.text != "none") {
            self.text(picture, &region.name, x as u32, y as u32, colour);
        }
    }

    /// Lines between corners, and from the last one back to the first, which it gives in pixels.
    fn closed(&self, picture: &mut Rgb, corners: &[[f32; 2]], colour: [u8; 3]) -> Option<[f32; 2]> {
        let (width, height) = (picture.width as f32, picture.height as f32);
        let pixel = |[x, y]: [f32; 2]| [x.clamp(0.0, 1.0) * width, y.clamp(0.0, 1.0) * height];
        let corners: Vec<[f32; 2]> = corners.iter().copied().map(pixel).collect();
        for (from, to) in corners.iter().zip(corners.iter().cycle().skip(1)) {
            self.line(picture, *from, *to, colour);
        }
        corners.first().copied()
    }

    fn line(&self, picture: &mut Rgb, from: [f32; 2], to: [f32; 2], colour: [u8; 3]) {
        let (across, down) = (to[0] - from[0], to[1] - from[1]);
        let steps = across.abs().max(down.abs()).ceil().max(1.0);
        // At the edge of the picture the line lies inside.
        let most = |size: u32| i64::from(size.saturating_sub(self.thickness));
        let (most_left, most_top) = (most(picture.width), most(picture.height));
        let half = self.thickness as f32 / 2.0;
        for at in 0..=steps as u32 {
            let share = at as f32 / steps;
            let (x, y) = (from[0] + share * across - half, from[1] + share * down - half);
            let (left, top) = ((x.round() as i64).clamp(0, most_left), (y.round() as i64).clamp(0, most_top));
            fill(picture, left, top, self.thickness, self.thickness, colour);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{Seen, image, objects, one_image, region, run};
    use super::*;

    fn drawn(size: (u32, u32), inputs: &[(&'static str, Value)], parameters: &str) -> Rgb {
        let inputs: Vec<_> = inputs.iter().cloned().chain([("image", image(size.0, size.1))]).collect();
        let output = run("draw@1", &inputs, parameters, &Seen::nothing()).expect("a picture");
        (*one_image(&output, "image").picture).clone()
    }

    fn at(picture: &Rgb, x: u32, y: u32) -> [u8; 3] {
        let at = 3 * (picture.width * y + x) as usize;
        [picture.data[at], picture.data[at + 1], picture.data[at + 2]]
    }

    #[test]
    fn the_outline_is_coloured_and_the_inside_is_not() {
        let thing = [("objects", objects(&[("dog", 0.9, [0.25, 0.25, 0.5, 0.5])]))];
        let picture = drawn((20, 20), &thing, r##"{"colour": "#010203", "thickness": 2, "text": "none"}"##);
        for (x, y) in [(5, 5), (6, 6), (14, 14), (13, 8), (5, 10)] {
            assert_eq!(at(&picture, x, y), [1, 2, 3], "{x} {y}");
        }
        for (x, y) in [(4, 5), (7, 7), (12, 12), (15, 15)] {
            assert_ne!(at(&picture, x, y), [1, 2, 3], "{x} {y}");
        }
    }

    #[test]
    fn an_outline_is_drawn_in_place_of_the_box_where_there_is_one() {
        let Value::Objects(mut found) = objects(&[("dog", 0.9, [0.25, 0.25, 0.5, 0.5])]) else { panic!("objects") };
        let corners = vec![[0.5, 0.25], [0.75, 0.75], [0.25, 0.75]];
        found.objects[0].shape = Some(std::sync::Arc::new(Shape::Outline(corners)));
        let thing = [("objects", Value::Objects(found))];
        let parameters = r##"{"colour": "#010203", "thickness": 1, "text": "none", "shape": "outline"}"##;
        let picture = drawn((40, 40), &thing, parameters);
        assert_eq!((at(&picture, 20, 30), at(&picture, 20, 10)), ([1, 2, 3], [1, 2, 3]), "its corner and its side");
        assert_ne!(at(&picture, 10, 10), [1, 2, 3], "no corner of the box");
        let boxed = drawn((40, 40), &thing, &parameters.replace("outline", "box"));
        assert_eq!(at(&boxed, 10, 10), [1, 2, 3]);
    }

    #[test]
    fn the_label_stands_above_the_box_or_inside_where_there_is_no_room() {
        let paper = |bbox: [f32; 4], text: &str| {
            let parameters = format!(r##"{{"colour": "#ffffff", "text": "{text}"}}"##);
            let picture = drawn((200, 100), &[("objects", objects(&[("dog", 0.874, bbox)]))], &parameters);
            let rows = (0..100).filter(|y| (0..200).any(|x| at(&picture, x, *y) == [0; 3])).collect::<Vec<u32>>();
            let columns = (0..200).filter(|x| (0..100).any(|y| at(&picture, *x, y) == [0; 3])).count();
            (rows.first().copied().unwrap_or(0), columns)
        };
        let (above, with_score) = paper([0.1, 0.5, 0.5, 0.4], "score");
        assert!((40..50).contains(&above), "{above}");
        let (inside, label) = paper([0.9, 0.02, 0.1, 0.9], "label");
        assert!((2..14).contains(&inside), "{inside}");
        assert!(with_score > label && label > 0, "{with_score} {label}");
        assert_eq!(paper([0.1, 0.5, 0.5, 0.4], "none"), (0, 0));
    }

    #[test]
    fn a_region_is_outlined_along_its_edges() {
        let area = region("gate", &[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]);
        let picture = drawn(
            (20, 20),
            &[("regions", Value::Regions(vec![area]))],
            r##"{"region_colour": "#010203", "text": "none"}"##,
        );
        for (x, y) in [(0, 0), (10, 0), (19, 0), (19, 10), (19, 19), (10, 10)] {
            assert_eq!(at(&picture, x, y), [1, 2, 3], "{x} {y}");
        }
        for (x, y) in [(15, 5), (5, 15), (0, 10)] {
            assert_ne!(at(&picture, x, y), [1, 2, 3], "{x} {y}");
        }
    }
}
