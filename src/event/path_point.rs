//! Where the object of an event was.

use serde::{Deserialize, Serialize};

use crate::clock::Mono;
use crate::detection::BBox;

/// Where the object was at one moment. Written as five numbers: seconds after the event's start (negative before it),
/// then the box.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "[f64; 5]", into = "[f64; 5]")]
pub struct PathPoint {
    /// Seconds after the start of the event.
    pub after_s: f64,
    /// The box, in 0..1.
    pub bbox: BBox,
}

impl PathPoint {
    /// The place `bbox` at `at`, of an event that began at `start`.
    pub fn new(start: Mono, at: Mono, bbox: BBox) -> Self {
        Self::from(<[f64; 5]>::from(Self {
            after_s: at.since(start).as_secs_f64() - start.since(at).as_secs_f64(),
            bbox,
        }))
    }
}

impl From<[f64; 5]> for PathPoint {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "shares of the picture, which single precision has well enough"
    )]
    fn from([after_s, x, y, w, h]: [f64; 5]) -> Self {
        Self { after_s, bbox: BBox { x: x as f32, y: y as f32, w: w as f32, h: h as f32 } }
    }
}

impl From<PathPoint> for [f64; 5] {
    fn from(PathPoint { after_s, bbox }: PathPoint) -> Self {
        let round = |number: f64, parts: f64| (number * parts).round() / parts;
        let share = |number: f32| round(f64::from(number), 1000.0);
        [round(after_s, 100.0), share(bbox.x), share(bbox.y), share(bbox.w), share(bbox.h)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_written_in_five_short_numbers_and_read_as_it_was_made() {
        let bbox = BBox { x: 1.0 / 3.0, y: 0.25, w: 0.1, h: 0.200_04 };
        let place = PathPoint::new(Mono(5_000_000_000), Mono(3_765_400_000), bbox);
        let text = serde_json::to_string(&place).expect("JSON");
        assert_eq!(text, "[-1.23,0.333,0.25,0.1,0.2]");
        assert_eq!(serde_json::from_str::<PathPoint>(&text).expect("read"), place);
    }
}
