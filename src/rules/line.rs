//! Lines that objects cross.

use serde::{Deserialize, Serialize};

use crate::polygon::{point, segments_meet, side_of_line};

/// Shortest line, share of the picture.
const SHORTEST: f32 = 0.01;

/// A named line: `[camera.<name>.lines.<line>]`. An object crosses it when the place where it stands (the middle
/// of its box's lower edge) moves from one side to the other between the two ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// One end, `[x, y]` in 0..1 from the left and the top. Required.
    #[serde(deserialize_with = "point")]
    pub from: [f32; 2],
    /// The other end. Required.
    #[serde(deserialize_with = "point")]
    pub to: [f32; 2],
}

impl Line {
    /// Checks the ends.
    ///
    /// # Errors
    /// Says which end is outside the picture, or that the line is too short.
    pub fn validate(&self) -> Result<(), String> {
        for (end, [x, y]) in [("from", self.from), ("to", self.to)] {
            if !(0.0..=1.0).contains(&x) || !(0.0..=1.0).contains(&y) {
                return Err(format!("{end} = [{x}, {y}] is outside the picture: coordinates go from 0 to 1"));
            }
        }
        if self.length() < SHORTEST {
            return Err("the two ends are the same point".to_owned());
        }
        Ok(())
    }

    fn length(&self) -> f32 {
        (self.to[0] - self.from[0]).hypot(self.to[1] - self.from[1])
    }
}

/// Which way over a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Either way.
    #[default]
    Both,
    /// From the left to the right when looking from the line's `from` to its `to`.
    Forward,
    /// From the right to the left when looking from the line's `from` to its `to`.
    Backward,
}

impl Direction {
    /// Whether a crossing in the direction `crossed` counts.
    pub(super) fn includes(self, crossed: Direction) -> bool {
        self == Direction::Both || self == crossed
    }
}

/// One object and one line.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Crossing {
    /// Where the object last stood clear of the line, and whether that was on the right.
    last: Option<([f32; 2], bool)>,
}

impl Crossing {
    /// Takes in where the object stands. Closer than `margin` to the line it is on neither side, so that an object that
    /// stands on it does not cross it with every tremble of the box.
    pub(super) fn see(&mut self, line: &Line, ground: [f32; 2], margin: f32) -> Option<Direction> {
        let distance = side_of_line(line.from, line.to, ground) / line.length().max(SHORTEST);
        if distance.abs() < margin {
            return None;
        }
        let is_right = distance > 0.0;
        let (before, was_right) = self.last.replace((ground, is_right))?;
        let crossed = was_right != is_right && segments_meet(before, ground, line.from, line.to);
        crossed.then_some(if is_right { Direction::Forward } else { Direction::Backward })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crossings(path: &[[f32; 2]]) -> Vec<Direction> {
        // Upwards on the screen: its left is the picture's left.
        let line = Line { from: [0.5, 0.8], to: [0.5, 0.2] };
        let mut crossing = Crossing::default();
        path.iter().filter_map(|p| crossing.see(&line, *p, 0.01)).collect()
    }

    #[test]
    fn only_paths_over_the_line_between_its_ends_cross_it() {
        use Direction::{Backward, Forward};
        let cases: &[(&[[f32; 2]], &[Direction])] = &[
            (&[[0.4, 0.5], [0.6, 0.5]], &[Forward]),
            (&[[0.6, 0.5], [0.4, 0.5]], &[Backward]),
            (&[[0.4, 0.5], [0.495, 0.5], [0.505, 0.5], [0.6, 0.5]], &[Forward]),
            (&[[0.4, 0.5], [0.499, 0.5], [0.501, 0.5], [0.499, 0.5], [0.4, 0.5]], &[]),
            (&[[0.4, 0.5], [0.6, 0.5], [0.4, 0.5]], &[Forward, Backward]),
            (&[[0.4, 0.1], [0.6, 0.1]], &[]),
            (&[[0.4, 0.5], [0.4, 0.1], [0.6, 0.1], [0.6, 0.5]], &[]),
            (&[[0.5, 0.5], [0.6, 0.5]], &[]),
        ];
        for (path, expected) in cases {
            assert_eq!(crossings(path), *expected, "{path:?}");
        }
    }

    #[test]
    fn a_line_needs_two_ends_in_the_picture() {
        let line = |from, to| Line { from, to }.validate();
        assert!(line([0.0, 0.0], [1.0, 1.0]).is_ok());
        assert!(line([0.5, 0.5], [0.5, 0.5]).is_err_and(|e| e.contains("same point")));
        assert!(line([0.5, 0.5], [640.0, 0.5]).is_err_and(|e| e.contains("to = [640, 0.5] is outside")));
        assert!(line([f32::NAN, 0.5], [0.1, 0.5]).is_err());
    }
}
