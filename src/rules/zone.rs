//! Zones: areas of the ground that mean something, and whether an object stands in one.

use serde::{Deserialize, Serialize};

use crate::clock::Mono;
use crate::polygon::Polygon;

/// A named area: `[camera.<name>.zones.<zone>]`. An object is in it when the middle of its box's lower edge is,
/// which is where it stands on the ground.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Zone {
    /// Corners in order around the area, each `[x, y]` in 0..1 from the left and the top; at least 3. Required.
    pub points: Polygon,
    /// Only objects of these labels are ever in the zone. Default: all.
    #[serde(default)]
    pub labels: Vec<String>,
}

impl Zone {
    /// Whether an object of the class `label` that stands at `ground` is in the zone.
    pub fn holds(&self, label: &str, ground: [f32; 2]) -> bool {
        (self.labels.is_empty() || self.labels.iter().any(|l| l == label)) && self.points.contains(ground)
    }
}

/// Being in an area, with inertia: a box that flickers over the edge neither enters nor leaves.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Presence {
    /// Goes up with each frame inside and down with each frame outside, 0 to inertia.
    weight: u32,
    inside: bool,
    is_hit: bool,
    since: Mono,
}

impl Presence {
    /// Takes in one frame.
    pub(super) fn see(&mut self, is_hit: bool, now: Mono, inertia: u32) {
        self.is_hit = is_hit;
        if is_hit {
            if self.weight == 0 {
                self.since = now;
            }
            self.weight = (self.weight + 1).min(inertia);
            self.inside |= self.weight == inertia;
        } else {
            self.weight = self.weight.saturating_sub(1);
            self.inside &= self.weight > 0;
        }
    }

    /// Whether it is inside.
    pub(super) fn is_inside(&self) -> bool {
        self.inside
    }

    /// Whether it is inside and was so in the last frame, too.
    pub(super) fn is_here(&self) -> bool {
        self.inside && self.is_hit
    }

    /// When the present stay began: its first frame, before inertia believed it.
    pub(super) fn since(&self) -> Mono {
        self.since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_as_many_frames_to_enter_and_to_leave_as_inertia_says() {
        let cases = [
            ("..###..", 3, "....###"),
            ("###...#", 3, "..###.."),
            ("#.#.#.#", 3, "......."),
            ("##.##..#", 3, "....####"),
            (".#.", 1, ".#."),
        ];
        for (hits, inertia, expected) in cases {
            let mut presence = Presence::default();
            for ((hit, expected), second) in hits.chars().zip(expected.chars()).zip(1..) {
                presence.see(hit == '#', Mono(second), inertia);
                assert_eq!(presence.is_inside(), expected == '#', "{hits} frame {second}");
            }
        }
    }

    #[test]
    fn a_stay_begins_with_its_first_frame() {
        let mut presence = Presence::default();
        for (hit, second) in [(true, 1), (false, 2), (true, 3), (true, 4), (true, 5)] {
            presence.see(hit, Mono(second), 3);
        }
        assert!(presence.is_inside() && presence.since() == Mono(3));
    }
}
