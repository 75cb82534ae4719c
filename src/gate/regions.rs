//! Moving pixels that hang together.

use crate::detection::BBox;

/// More are not looked at.
const MOST_REGIONS: usize = 32;

/// Marked pixels joined by side or corner.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Region {
    /// Marked pixels in it.
    pub pixels: usize,
    /// Around it, in picture coordinates.
    pub bbox: BBox,
}

/// Finds the regions of at least `least` pixels, largest first, and how many pixels they have together.
/// Uses up `marks` (row-major, non-zero is marked). `stack` only lends its memory.
pub(super) fn regions(marks: &mut [u8], width: usize, least: usize, stack: &mut Vec<usize>) -> (Vec<Region>, usize) {
    let (mut found, mut total) = (Vec::new(), 0);
    if width == 0 {
        return (found, total);
    }
    let height = marks.len() / width;
    let mut next = 0;
    while let Some(skipped) = marks[next..].iter().position(|&mark| mark != 0) {
        next += skipped;
        let region = flood(marks, width, height, next, stack);
        if region.pixels >= least.max(1) {
            total += region.pixels;
            found.push(region);
        }
    }
    found.sort_by_key(|region| std::cmp::Reverse(region.pixels));
    found.truncate(MOST_REGIONS);
    (found, total)
}

/// Clears the region around `start` and measures it.
fn flood(marks: &mut [u8], width: usize, height: usize, start: usize, stack: &mut Vec<usize>) -> Region {
    let (mut pixels, mut left, mut right, mut top, mut bottom) = (0, width, 0, height, 0);
    stack.clear();
    stack.push(start);
    marks[start] = 0;
    while let Some(at) = stack.pop() {
        let (x, y) = (at % width, at / width);
        pixels += 1;
        (left, right) = (left.min(x), right.max(x));
        (top, bottom) = (top.min(y), bottom.max(y));
        for ny in y.saturating_sub(1)..(y + 2).min(height) {
            for nx in x.saturating_sub(1)..(x + 2).min(width) {
                let neighbour = ny * width + nx;
                if marks[neighbour] != 0 {
                    marks[neighbour] = 0;
                    stack.push(neighbour);
                }
            }
        }
    }
    let (w, h) = (width as f32, height as f32);
    let bbox = BBox::from_corners(left as f32 / w, top as f32 / h, (right + 1) as f32 / w, (bottom + 1) as f32 / h);
    Region { pixels, bbox }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_that_touch_belong_together_and_specks_are_dropped() {
        let rows = ["##....#", "..#....", "...#..#", "......#"];
        let mut marks: Vec<u8> = rows.concat().bytes().map(|b| u8::from(b == b'#')).collect();
        let (found, total) = regions(&mut marks, 7, 2, &mut Vec::new());
        assert_eq!(found.iter().map(|r| r.pixels).collect::<Vec<_>>(), [4, 2]);
        assert_eq!(total, 6);
        let b = found[0].bbox;
        assert!((b.w - 4.0 / 7.0).abs() < 1e-6 && (b.h - 0.75).abs() < 1e-6 && b.x == 0.0 && b.y == 0.0, "{b:?}");
    }
}
