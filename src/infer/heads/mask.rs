//! Masks of segmentation models: prototypes that each thing weighs, and the outline of what comes out.

use crate::infer::engine::Output;

/// Where the prototypes are: output `[1, count, height, width]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prototypes {
    pub(super) output: usize,
    pub(super) count: usize,
    pub(super) height: usize,
    pub(super) width: usize,
}

/// Which points of the prototypes' grid belong to one thing.
pub(super) struct Mask {
    width: usize,
    inside: Vec<bool>,
    /// Of the whole grid, where the first point of `inside` is.
    left: usize,
    top: usize,
    /// Input pixels between two points, across and down.
    step: [f32; 2],
}

/// Outlines are simplified as far as no corner moves by more than this, in points of the grid.
const TOLERANCE: f32 = 1.0;

impl Mask {
    /// The mask of a thing with these weights within its box (corners in input pixels); `side` is that of the input.
    pub(super) fn of(
        prototypes: &Prototypes,
        outputs: &[Output],
        weights: &[f32],
        [x0, y0, x1, y1]: [f32; 4],
        [input_width, input_height]: [f32; 2],
    ) -> Option<Self> {
        let Prototypes { output, count, height, width } = *prototypes;
        let data = &outputs.get(output)?.data;
        if weights.len() != count || data.len() != count * height * width || count == 0 {
            return None;
        }
        let step = [input_width / width as f32, input_height / height as f32];
        let span = |low: f32, high: f32, step: f32, most: usize| {
            let low = (low / step).floor().clamp(0.0, most as f32) as usize;
            let high = (high / step).ceil().clamp(0.0, most as f32) as usize;
            low..high
        };
        let (across, down) = (span(x0, x1, step[0], width), span(y0, y1, step[1], height));
        let (left, top) = (across.start, down.start);
        let mut sums = vec![0.0; across.len() * down.len()];
        for (weight, plane) in weights.iter().zip(data.chunks_exact(height * width)) {
            let lines = plane.chunks_exact(width).skip(top).take(down.len());
            for (line, sums) in lines.zip(sums.chunks_exact_mut(across.len().max(1))) {
                for (value, sum) in line.iter().skip(left).zip(sums) {
                    *sum += weight * value;
                }
            }
        }
        // The sigmoid of a sum is above one half where the sum is above 0.
        let inside = sums.into_iter().map(|sum| sum > 0.0).collect();
        Some(Self { width: across.len(), inside, left, top, step })
    }

    /// Corners of the largest connected part, in input pixels; none where nothing is inside.
    pub(super) fn outline(&self) -> Vec<[f32; 2]> {
        let Some(part) = self.largest_part() else { return Vec::new() };
        let corners = simplified(&self.boundary(&part));
        let [across, down] = self.step;
        let in_pixels =
            |[x, y]: [i32; 2]| [(x as f32 + self.left as f32) * across, (y as f32 + self.top as f32) * down];
        corners.into_iter().map(in_pixels).collect()
    }

    /// Points that hang together by their sides, as many as there are.
    fn largest_part(&self) -> Option<Vec<bool>> {
        let (mut seen, mut largest) = (vec![false; self.inside.len()], Vec::new());
        for start in 0..self.inside.len() {
            if !self.is_at(&self.inside, start) || self.is_at(&seen, start) {
                continue;
            }
            let (mut part, mut waiting) = (Vec::new(), vec![start]);
            while let Some(at) = waiting.pop() {
                if !self.is_at(&self.inside, at) || self.is_at(&seen, at) {
                    continue;
                }
                if let Some(seen) = seen.get_mut(at) {
                    *seen = true;
                }
                part.push(at);
                let column = at % self.width;
                waiting.extend((column > 0).then(|| at - 1));
                waiting.extend((column + 1 < self.width).then_some(at + 1));
                waiting.extend(at.checked_sub(self.width));
                waiting.push(at + self.width);
            }
            if part.len() > largest.len() {
                largest = part;
            }
        }
        let mut only = vec![false; self.inside.len()];
        for at in &largest {
            if let Some(only) = only.get_mut(*at) {
                *only = true;
            }
        }
        (!largest.is_empty()).then_some(only)
    }

    fn is_at(&self, points: &[bool], at: usize) -> bool {
        points.get(at).copied().unwrap_or(false)
    }

    /// Walks around a part with it on the right, from its first point on; gives the places where the way turns.
    fn boundary(&self, part: &[bool]) -> Vec<[i32; 2]> {
        let Some(first) = part.iter().position(|inside| *inside) else { return Vec::new() };
        let has = |x: i32, y: i32| match (usize::try_from(x), usize::try_from(y)) {
            (Ok(x), Ok(y)) if x < self.width => self.is_at(part, y * self.width + x),
            _ => false,
        };
        let start = [(first % self.width) as i32, (first / self.width) as i32];
        let (mut at, mut way) = (start, [1, 0]);
        let mut corners = vec![start];
        // Each side of each point is passed once at most.
        for _ in 0..4 * part.len() + 4 {
            at = [at[0] + way[0], at[1] + way[1]];
            let (right, left) = ([-way[1], way[0]], [way[1], -way[0]]);
            // Of the two points ahead the upper left one's corner is where the way stands.
            let ahead = |aside: [i32; 2]| {
                let x = at[0] + (way[0] + aside[0] - 1) / 2;
                let y = at[1] + (way[1] + aside[1] - 1) / 2;
                has(x, y)
            };
            let next = match (ahead(right), ahead(left)) {
                (false, _) => right,
                (true, true) => left,
                (true, false) => way,
            };
            if at == start && next == [1, 0] {
                break;
            }
            if next != way {
                corners.push(at);
            }
            way = next;
        }
        corners
    }
}

/// Fewer corners of a closed line, none of which is further from it than the tolerance (Douglas and Peucker).
fn simplified(corners: &[[i32; 2]]) -> Vec<[i32; 2]> {
    let Some(first) = corners.first() else { return Vec::new() };
    let squared = |a: &[i32; 2], b: &[i32; 2]| (a[0] - b[0]).pow(2) + (a[1] - b[1]).pow(2);
    let furthest = (0..corners.len()).max_by_key(|&at| corners.get(at).map_or(0, |corner| squared(first, corner)));
    let furthest = furthest.unwrap_or(0);
    let closed: Vec<[i32; 2]> = corners.iter().chain([first]).copied().collect();
    let mut kept = vec![false; closed.len()];
    let mut spans = vec![(0, furthest), (furthest, closed.len() - 1)];
    while let Some((from, to)) = spans.pop() {
        for end in [from, to] {
            if let Some(kept) = kept.get_mut(end) {
                *kept = true;
            }
        }
        let (Some(a), Some(b)) = (closed.get(from), closed.get(to)) else { continue };
        let distance = |at: usize| closed.get(at).map_or(0.0, |corner| distance(corner, a, b));
        let worst = (from + 1..to).max_by(|&i, &j| distance(i).total_cmp(&distance(j)));
        if let Some(worst) = worst.filter(|&worst| distance(worst) > TOLERANCE) {
            spans.extend([(from, worst), (worst, to)]);
        }
    }
    kept.pop();
    let few: Vec<[i32; 2]> = closed.iter().zip(&kept).filter(|(_, kept)| **kept).map(|(corner, _)| *corner).collect();
    // A thing of a few points stays as it is.
    if few.len() < 3 { corners.to_vec() } else { few }
}

/// From the line through `a` and `b`, or from `a` where these are one.
fn distance(point: &[i32; 2], a: &[i32; 2], b: &[i32; 2]) -> f32 {
    let [px, py, bx, by] = [point[0] - a[0], point[1] - a[1], b[0] - a[0], b[1] - a[1]].map(|side| side as f32);
    let length = bx.hypot(by);
    if length == 0.0 { px.hypot(py) } else { (bx * py - by * px).abs() / length }
}
