//! What flows between steps.

use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::detection::{BBox, Detection, Shape};
use crate::execution::Kind;
use crate::frame::Rgb;
use crate::polygon::Polygon;

/// All of a picture.
pub(super) const WHOLE: BBox = BBox { x: 0.0, y: 0.0, w: 1.0, h: 1.0 };

/// A picture, and which part of the one that it came from it shows.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its pixels.
    pub picture: Arc<Rgb>,
    /// Where it lies in the picture that it was cut from.
    pub place: BBox,
    /// How it is written where it is an output, once a step has coded it.
    pub encoded: Option<Arc<Encoded>>,
}

/// A coded picture.
#[derive(Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The file's content.
    pub bytes: Vec<u8>,
    /// Its media type.
    pub media_type: &'static str,
    /// The extension of such files.
    pub extension: &'static str,
}

impl Image {
    /// A whole picture.
    pub fn whole(picture: Rgb) -> Self {
        Self { picture: Arc::new(picture), place: WHOLE, encoded: None }
    }

    /// Other pixels of the same place.
    #[must_use]
    pub(super) fn with(&self, picture: Rgb) -> Self {
        Self { picture: Arc::new(picture), place: self.place, encoded: None }
    }

    /// Pixels of the part `part` of this picture.
    #[must_use]
    pub(super) fn part(&self, picture: Rgb, part: BBox) -> Self {
        Self { picture: Arc::new(picture), place: within(part, self.place), encoded: None }
    }
}

/// A box in a part of a picture, in coordinates of the whole.
pub(super) fn within(inner: BBox, part: BBox) -> BBox {
    BBox { x: part.x + inner.x * part.w, y: part.y + inner.y * part.h, w: inner.w * part.w, h: inner.h * part.h }
}

/// A box with `margin` of its width and height more at each side.
pub(super) fn widened(BBox { x, y, w, h }: BBox, margin: f32) -> BBox {
    BBox { x: x - margin * w, y: y - margin * h, w: w * (1.0 + 2.0 * margin), h: h * (1.0 + 2.0 * margin) }
}

/// A thing in a picture.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Object {
    /// What it is.
    pub label: Arc<str>,
    /// How sure that is, 0..1.
    pub score: f32,
    /// Where it is, in shares of the picture.
    #[serde(rename = "box")]
    pub bbox: BBox,
    /// The same thing in other pictures of a stream has the same number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub track: Option<u64>,
    /// What more a model for segmentation or pose says of it.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Arc<Shape>>,
}

impl From<Detection> for Object {
    fn from(Detection { label, score, bbox, shape }: Detection) -> Self {
        Self { label, score, bbox, track: None, shape }
    }
}

impl From<Object> for Detection {
    fn from(Object { label, score, bbox, shape, .. }: Object) -> Self {
        Self { label, score, bbox, shape }
    }
}

impl Object {
    /// Whether its label is one of `labels`, or there are none.
    pub(super) fn is_one_of(&self, labels: &[String]) -> bool {
        labels.is_empty() || labels.iter().any(|label| **label == *self.label)
    }

    /// The point that stands for it: where it stands on the ground (`bottom`), or its centre (`centre`).
    pub(super) fn point(&self, which: &str) -> [f32; 2] {
        if which == "centre" { self.bbox.centre() } else { self.bbox.bottom_centre() }
    }
}

/// Things in one picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Objects {
    /// The things, best first where a model found them.
    pub objects: Vec<Object>,
    /// Where the picture that they were found in lies in the one that it was cut from.
    pub place: BBox,
}

impl Serialize for Objects {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.objects.serialize(serializer)
    }
}

/// An area of a picture.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Region {
    /// Its name.
    pub name: String,
    /// Its corners.
    pub points: Polygon,
}

/// A cell of a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum TableCell {
    /// A number.
    Number(f64),
    /// Text.
    Text(String),
}

/// Rows of named values.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Table {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Rows, each with a cell for every column.
    pub rows: Vec<Vec<TableCell>>,
}

/// One value.
#[derive(Clone, Debug)]
pub enum Value {
    /// A picture.
    Image(Image),
    /// Things in a picture.
    Objects(Objects),
    /// Areas of a picture.
    Regions(Vec<Region>),
    /// Text.
    Text(String),
    /// A number.
    Number(f64),
    /// A table.
    Table(Table),
}

impl Value {
    /// What it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Image(_) => Kind::Image,
            Self::Objects(_) => Kind::Objects,
            Self::Regions(_) => Kind::Regions,
            Self::Text(_) => Kind::Text,
            Self::Number(_) => Kind::Number,
            Self::Table(_) => Kind::Table,
        }
    }

    /// As JSON; of a picture only its size.
    pub fn to_json(&self) -> serde_json::Value {
        let written = match self {
            Self::Image(image) => {
                let (width, height) = (image.picture.width, image.picture.height);
                Ok(serde_json::json!({ "width": width, "height": height }))
            }
            Self::Objects(objects) => short(objects),
            Self::Regions(regions) => short(regions),
            Self::Text(text) => Ok(text.as_str().into()),
            // What is not finite has no JSON.
            Self::Number(number) => Ok((*number).into()),
            Self::Table(table) => serde_json::to_value(table),
        };
        written.unwrap_or_default()
    }
}

/// As JSON whose numbers are as short as those of 32 bits are.
pub fn short(value: &impl Serialize) -> serde_json::Result<serde_json::Value> {
    serde_json::from_str(&serde_json::to_string(value)?)
}

/// What a step gives under one name: a value, a list, or nothing.
#[derive(Clone, Debug)]
pub enum Item {
    /// There is none: a condition held it back.
    Absent,
    /// One value.
    One(Value),
    /// A list.
    Many(Vec<Item>),
}

impl Item {
    /// The values in it, in order.
    pub fn values(&self) -> Vec<&Value> {
        match self {
            Self::Absent => Vec::new(),
            Self::One(value) => vec![value],
            Self::Many(items) => items.iter().flat_map(Self::values).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_part_of_a_part_is_that_in_the_whole() {
        let half = BBox { x: 0.5, y: 0.0, w: 0.5, h: 1.0 };
        let quarter = within(half, half);
        assert_eq!(quarter, BBox { x: 0.75, y: 0.0, w: 0.25, h: 1.0 });
        let image = Image::whole(Rgb { width: 4, height: 4, data: vec![0; 48] });
        let part = image.part(Rgb { width: 2, height: 4, data: vec![0; 24] }, half);
        assert_eq!(part.part(Rgb { width: 1, height: 4, data: vec![0; 12] }, half).place, quarter);
    }

    #[test]
    fn values_are_written_as_plain_json() {
        let found =
            Detection { label: "dog".into(), score: 0.5, bbox: BBox { x: 0.1, y: 0.2, w: 0.3, h: 0.4 }, shape: None };
        let objects = Value::Objects(Objects { objects: vec![found.into()], place: WHOLE });
        let expected = serde_json::json!([{ "label": "dog", "score": 0.5, "box": [0.1, 0.2, 0.3, 0.4] }]);
        assert_eq!(objects.to_json(), expected);
        assert_eq!(Value::Number(f64::NAN).to_json(), serde_json::Value::Null);
        let table = Table { columns: vec!["n".into()], rows: vec![vec![TableCell::Number(2.0)]] };
        assert_eq!(Value::Table(table).to_json(), serde_json::json!({ "columns": ["n"], "rows": [[2.0]] }));
    }
}
