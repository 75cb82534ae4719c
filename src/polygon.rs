//! Areas of the picture as people draw them: simple polygons in picture coordinates (0..1 from the left
//! and from the top edge), the same for motion masks and zones.

use std::fmt;

use serde::de::{Error, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::detection::BBox;

/// Drawn by hand, so few; the bound keeps the pairwise check for crossing edges cheap.
const MAX_POINTS: usize = 200;
/// Smaller than a pixel of any camera.
const SMALLEST_AREA: f32 = 1e-5;
/// Distance within which a point lies on an edge.
const ON_EDGE: f32 = 1e-6;

/// A simple polygon with at least three corners inside the picture; written as a list of `[x, y]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Point>", into = "Vec<[f32; 2]>")]
pub struct Polygon(Vec<[f32; 2]>);

/// Why a list of points is no usable polygon.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PolygonError {
    /// Two points make a line.
    #[error("a polygon needs at least 3 different points, this one has {0}")]
    TooFew(usize),
    /// More than is ever drawn.
    #[error("a polygon has at most {MAX_POINTS} points, this one has {0}")]
    TooMany(usize),
    /// Coordinates are shares of the picture, not pixels.
    #[error("point [{x}, {y}] is outside the picture: coordinates go from 0 to 1, from the left and from the top")]
    Outside {
        /// Its distance from the left edge.
        x: f32,
        /// Its distance from the top edge.
        y: f32,
    },
    /// "Inside" would not be what the eye sees.
    #[error("the edges after points {0} and {1} cross each other; list the points in order around the area")]
    Crossed(usize, usize),
    /// All points lie on one line.
    #[error("the polygon has no area")]
    Flat,
}

impl Polygon {
    /// Checks the points. A point that repeats its predecessor (or closes the ring) is dropped.
    ///
    /// # Errors
    /// See [`PolygonError`].
    pub fn new(points: Vec<[f32; 2]>) -> Result<Self, PolygonError> {
        if points.len() > MAX_POINTS {
            return Err(PolygonError::TooMany(points.len()));
        }
        if let Some(&[x, y]) = points.iter().find(|p| !p.iter().all(|v| (0.0..=1.0).contains(v))) {
            return Err(PolygonError::Outside { x, y });
        }
        let mut points = points;
        points.dedup();
        while points.len() > 1 && points.first() == points.last() {
            points.pop();
        }
        if points.len() < 3 {
            return Err(PolygonError::TooFew(points.len()));
        }
        let polygon = Self(points);
        if let Some((a, b)) = polygon.crossed_edges() {
            return Err(PolygonError::Crossed(a + 1, b + 1));
        }
        if polygon.area() < SMALLEST_AREA {
            return Err(PolygonError::Flat);
        }
        Ok(polygon)
    }

    /// The corners, `[x, y]`, in drawing order.
    pub fn points(&self) -> &[[f32; 2]] {
        &self.0
    }

    /// Whether the point lies inside or on the edge.
    pub fn contains(&self, point: [f32; 2]) -> bool {
        let [x, y] = point;
        let mut inside = false;
        for (a, b) in self.edges() {
            if distance_to_segment(point, a, b) <= ON_EDGE {
                return true;
            }
            if (a[1] > y) != (b[1] > y) && x < a[0] + (y - a[1]) / (b[1] - a[1]) * (b[0] - a[0]) {
                inside = !inside;
            }
        }
        inside
    }

    /// Share of the picture that it covers, 0..1.
    pub fn area(&self) -> f32 {
        let doubled: f32 = self.edges().map(|(a, b)| a[0] * b[1] - b[0] * a[1]).sum();
        doubled.abs() / 2.0
    }

    /// Where its edges cross the line at `y` across the picture, from left to right: inside is between the first and the
    /// second one, and so on. Replaces what `crossings` holds.
    pub fn crossings(&self, y: f32, crossings: &mut Vec<f32>) {
        crossings.clear();
        let crossed = self.edges().filter(|(a, b)| (a[1] > y) != (b[1] > y));
        crossings.extend(crossed.map(|(a, b)| a[0] + (y - a[1]) / (b[1] - a[1]) * (b[0] - a[0])));
        crossings.sort_unstable_by(f32::total_cmp);
    }

    /// The box around it.
    pub fn bounds(&self) -> BBox {
        let (mut low, mut high) = ([1.0f32; 2], [0.0f32; 2]);
        for [x, y] in &self.0 {
            low = [low[0].min(*x), low[1].min(*y)];
            high = [high[0].max(*x), high[1].max(*y)];
        }
        BBox { x: low[0], y: low[1], w: high[0] - low[0], h: high[1] - low[1] }
    }

    fn edges(&self) -> impl Iterator<Item = ([f32; 2], [f32; 2])> + '_ {
        self.0.iter().zip(self.0.iter().cycle().skip(1)).map(|(a, b)| (*a, *b))
    }

    /// Indices of two edges that are no neighbours and meet.
    fn crossed_edges(&self) -> Option<(usize, usize)> {
        let edges: Vec<_> = self.edges().collect();
        for (i, (a, b)) in edges.iter().enumerate() {
            for (j, (c, d)) in edges.iter().enumerate().skip(i + 2) {
                let neighbours = i == 0 && j + 1 == edges.len();
                if !neighbours && segments_meet(*a, *b, *c, *d) {
                    return Some((i, j));
                }
            }
        }
        None
    }
}

/// `[x, y]`. Lists of more numbers are refused, which `[f32; 2]` takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point(pub [f32; 2]);

impl<'de> Deserialize<'de> for Point {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pair;
        impl<'de> Visitor<'de> for Pair {
            type Value = Point;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of length 2")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Point, A::Error> {
                let mut point = [0.0; 2];
                for (n, place) in point.iter_mut().enumerate() {
                    *place = numbers.next_element()?.ok_or_else(|| A::Error::invalid_length(n, &self))?;
                }
                let mut length = point.len();
                while numbers.next_element::<IgnoredAny>()?.is_some() {
                    length += 1;
                }
                if length > point.len() {
                    return Err(A::Error::invalid_length(length, &self));
                }
                Ok(Point(point))
            }
        }
        deserializer.deserialize_seq(Pair)
    }
}

/// A point as an array, for fields that are one.
///
/// # Errors
/// When there are not two numbers.
pub fn point<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[f32; 2], D::Error> {
    Point::deserialize(deserializer).map(|Point(point)| point)
}

impl TryFrom<Vec<Point>> for Polygon {
    type Error = PolygonError;
    fn try_from(points: Vec<Point>) -> Result<Self, PolygonError> {
        Self::new(points.into_iter().map(|Point(point)| point).collect())
    }
}

impl TryFrom<Vec<[f32; 2]>> for Polygon {
    type Error = PolygonError;
    fn try_from(points: Vec<[f32; 2]>) -> Result<Self, PolygonError> {
        Self::new(points)
    }
}

impl From<Polygon> for Vec<[f32; 2]> {
    fn from(polygon: Polygon) -> Self {
        polygon.0
    }
}

/// Which side of the line `from`-`to` a point lies on, looking from `from` to `to` (y grows downwards):
/// negative is left, positive is right, 0 is on it. The value is the distance times the line's length.
pub fn side_of_line(from: [f32; 2], to: [f32; 2], point: [f32; 2]) -> f32 {
    (to[0] - from[0]) * (point[1] - from[1]) - (to[1] - from[1]) * (point[0] - from[0])
}

/// Whether the segments `a`-`b` and `c`-`d` have a point in common.
pub fn segments_meet(a: [f32; 2], b: [f32; 2], c: [f32; 2], d: [f32; 2]) -> bool {
    let (c_side, d_side) = (side_of_line(a, b, c), side_of_line(a, b, d));
    let (a_side, b_side) = (side_of_line(c, d, a), side_of_line(c, d, b));
    if c_side == 0.0 && d_side == 0.0 {
        // On one line: they meet where their shadows on both axes overlap.
        return (0..2).all(|k| a[k].min(b[k]) <= c[k].max(d[k]) && c[k].min(d[k]) <= a[k].max(b[k]));
    }
    c_side * d_side <= 0.0 && a_side * b_side <= 0.0
}

fn distance_to_segment(p: [f32; 2], a: [f32; 2], b: [f32; 2]) -> f32 {
    let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
    let length2 = dx * dx + dy * dy;
    let along = if length2 > 0.0 { ((p[0] - a[0]) * dx + (p[1] - a[1]) * dy) / length2 } else { 0.0 };
    let along = along.clamp(0.0, 1.0);
    (p[0] - a[0] - along * dx).hypot(p[1] - a[1] - along * dy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_has_two_numbers() {
        let read = |text: &str| serde_json::from_str::<Polygon>(text).map_err(|error| error.to_string());
        read("[[0, 0], [1, 0], [1, 1]]").expect("a triangle");
        for wrong in ["[[0, 0, 0], [1, 0], [1, 1]]", "[[0], [1, 0], [1, 1]]", "[0, 1]"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
    use proptest::prelude::*;

    fn polygon(points: &[[f32; 2]]) -> Result<Polygon, PolygonError> {
        Polygon::new(points.to_vec())
    }

    #[test]
    fn what_is_no_area_is_refused_with_the_reason() {
        let cases: &[(&[[f32; 2]], PolygonError)] = &[
            (&[], PolygonError::TooFew(0)),
            (&[[0.0, 0.0], [1.0, 1.0]], PolygonError::TooFew(2)),
            (&[[0.0, 0.0], [1.0, 1.0], [1.0, 1.0], [0.0, 0.0]], PolygonError::TooFew(2)),
            (&[[0.0, 0.0], [100.0, 0.0], [0.0, 1.0]], PolygonError::Outside { x: 100.0, y: 0.0 }),
            (&[[0.0, 0.0], [0.5, 0.5], [1.0, 1.0]], PolygonError::Flat),
            (&[[0.0, 0.0], [1.0, 1.0], [1.0, 0.0], [0.0, 1.0]], PolygonError::Crossed(1, 3)),
        ];
        for (points, expected) in cases {
            assert_eq!(polygon(points), Err(expected.clone()), "{points:?}");
        }
        assert!(polygon(&[[0.0, f32::NAN], [1.0, 0.0], [0.0, 1.0]]).is_err());
        assert_eq!(polygon(&vec![[0.5, 0.5]; 1000]), Err(PolygonError::TooMany(1000)));
    }

    #[test]
    fn inside_means_inside_or_on_the_edge_also_for_hollow_shapes() {
        // A "U": the notch is outside.
        let u =
            polygon(&[[0.1, 0.1], [0.4, 0.1], [0.4, 0.6], [0.6, 0.6], [0.6, 0.1], [0.9, 0.1], [0.9, 1.0], [0.1, 1.0]])
                .expect("simple");
        let cases = [
            ([0.2, 0.2], true),
            ([0.8, 0.2], true),
            ([0.5, 0.8], true),
            ([0.5, 0.3], false),
            ([0.05, 0.5], false),
            ([0.5, 1.0], true),
            ([0.1, 0.1], true),
            ([0.4, 0.3], true),
            ([0.95, 0.6], false),
        ];
        for (point, expected) in cases {
            assert_eq!(u.contains(point), expected, "{point:?}");
        }
        let mut crossings = vec![7.0];
        u.crossings(0.3, &mut crossings);
        assert_eq!(crossings, [0.1, 0.4, 0.6, 0.9]);
        u.crossings(1.5, &mut crossings);
        assert!(crossings.is_empty());
    }

    #[test]
    fn a_closed_ring_is_the_same_as_an_open_one() {
        let open = polygon(&[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]).expect("open");
        let closed = polygon(&[[0.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]).expect("closed");
        assert_eq!(open, closed);
        assert!((open.area() - 0.5).abs() < 1e-6);
        let part = polygon(&[[0.25, 0.5], [0.75, 0.75], [0.5, 1.0]]).expect("a triangle");
        assert_eq!(part.bounds(), BBox { x: 0.25, y: 0.5, w: 0.5, h: 0.5 });
    }

    #[test]
    fn json_that_is_no_polygon_says_why() {
        let error = serde_json::from_str::<Polygon>("[[0.1, 0.1], [640, 0.1], [0.3, 0.3]]").expect_err("pixels");
        assert!(error.to_string().contains("[640, 0.1] is outside the picture"), "{error}");
    }

    #[test]
    fn left_and_right_are_as_seen_when_walking_along_the_line() {
        // Upwards on the screen.
        let (from, to) = ([0.5, 0.9], [0.5, 0.1]);
        assert!(side_of_line(from, to, [0.2, 0.5]) < 0.0);
        assert!(side_of_line(from, to, [0.8, 0.5]) > 0.0);
    }

    proptest! {
        #[test]
        fn any_points_give_a_polygon_or_a_reason(points in prop::collection::vec(prop::array::uniform2(-0.2f32..1.2), 0..12)) {
            if let Ok(polygon) = Polygon::new(points) {
                prop_assert!(polygon.points().len() >= 3);
                prop_assert!(polygon.points().iter().all(|p| polygon.contains(*p)));
                prop_assert!(!polygon.contains([-0.1, 0.5]) && !polygon.contains([0.5, 1.1]));
                prop_assert_eq!(Polygon::new(polygon.points().to_vec()), Ok(polygon.clone()));
            }
        }
    }
}
