//! Text in pictures, in a font of 8 by 8 pixels, enlarged.

use font8x8::{BASIC_FONTS, GREEK_FONTS, LATIN_FONTS, UnicodeFonts};

use super::pixels::fill;
use crate::frame::Rgb;

/// Width and height of a character, pixels.
const SIDE: u32 = 8;
/// Most characters of one line.
const MOST: usize = 80;

/// A line of text that can be drawn.
pub(super) struct Line {
    characters: Vec<[u8; 8]>,
    scale: u32,
}

impl Line {
    /// Text whose pixels are squares of `scale` pixels. What the font does not have is a question mark.
    pub(super) fn new(text: &str, scale: u32) -> Self {
        let unknown = BASIC_FONTS.get('?').unwrap_or_default();
        let known = |c| BASIC_FONTS.get(c).or_else(|| LATIN_FONTS.get(c)).or_else(|| GREEK_FONTS.get(c));
        let characters = text.chars().take(MOST).map(|c| known(c).unwrap_or(unknown)).collect();
        Self { characters, scale: scale.clamp(1, 64) }
    }

    /// How wide it is with its background, pixels.
    pub(super) fn width(&self) -> u32 {
        (self.characters.len() as u32 * SIDE + 2) * self.scale
    }

    /// How high it is with its background, pixels.
    pub(super) fn height(&self) -> u32 {
        (SIDE + 2) * self.scale
    }

    /// Draws it with a background of the colour `paper`, in black or white. What lies outside is cut off.
    pub(super) fn draw(&self, picture: &mut Rgb, left: i64, top: i64, paper: [u8; 3]) {
        fill(picture, left, top, self.width(), self.height(), paper);
        let (ink, scale) = (readable_on(paper), i64::from(self.scale));
        for (at, rows) in (0i64..).zip(&self.characters) {
            for (y, row) in (1i64..).zip(rows) {
                for x in (0..8i64).filter(|x| row >> x & 1 == 1) {
                    let (left, top) = (left + (8 * at + x + 1) * scale, top + y * scale);
                    fill(picture, left, top, self.scale, self.scale, ink);
                }
            }
        }
    }
}

/// Black or white, whichever is easier to read on `paper`.
fn readable_on([r, g, b]: [u8; 3]) -> [u8; 3] {
    let brightness = 77 * u32::from(r) + 150 * u32::from(g) + 29 * u32::from(b);
    if brightness > 128 * 256 { [0; 3] } else { [255; 3] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(text: &str, scale: u32, paper: [u8; 3]) -> (Rgb, u32) {
        let mut picture = Rgb { width: 60, height: 24, data: vec![9; 60 * 24 * 3] };
        let line = Line::new(text, scale);
        line.draw(&mut picture, 0, 0, paper);
        (picture, line.width())
    }

    fn count(picture: &Rgb, colour: [u8; 3]) -> usize {
        picture.data.chunks(3).filter(|pixel| **pixel == colour).count()
    }

    #[test]
    fn letters_are_drawn_in_their_size_and_can_be_read() {
        let (one, width) = drawn("Ié", 1, [250, 200, 0]);
        assert_eq!(width, 18);
        // The letter I of the font: 2 rows of 4, 5 of 2 pixels.
        let ink = count(&drawn("I", 1, [250, 200, 0]).0, [0; 3]);
        assert_eq!(ink, 18);
        assert!(count(&one, [0; 3]) > ink);
        assert_eq!(count(&one, [250, 200, 0]) + count(&one, [0; 3]), 180);
        assert_eq!(count(&drawn("I", 2, [0, 0, 90]).0, [255; 3]), 4 * ink);
        assert_eq!(drawn("漢", 1, [0; 3]).0, drawn("?", 1, [0; 3]).0);
    }

    #[test]
    fn what_lies_outside_is_cut_off() {
        let mut picture = Rgb { width: 4, height: 3, data: vec![9; 36] };
        Line::new(" ", 3).draw(&mut picture, -5, -5, [1, 2, 3]);
        assert_eq!((picture.data.len(), count(&picture, [1, 2, 3])), (36, 12));
        Line::new("W", 3).draw(&mut picture, i64::from(u32::MAX), 1, [1, 2, 3]);
    }
}
