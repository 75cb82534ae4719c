//! From a picture to a model's input, in two passes: the picture scales and converts itself to just the
//! size that is needed, then one loop spreads the colours over their planes and normalises them.

use super::InferError;
use super::input::{Colour, InputSpec, Layout, Resize};
use crate::frame::{Picture, Rgb};

/// Pictures are not scaled to more than this by side, however long and narrow they are.
const LONGEST_SIDE: u32 = 16_384;

/// Where the picture lies in the input, in input pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    /// Left edge.
    pub left: f32,
    /// Top edge.
    pub top: f32,
    /// Width.
    pub width: f32,
    /// Height.
    pub height: f32,
}

impl Fit {
    /// Corners (left, top, right, bottom) in input pixels as shares of the picture; may lie outside of 0..1.
    pub fn to_picture(&self, [x0, y0, x1, y1]: [f32; 4]) -> [f32; 4] {
        let (x, y) = (|v: f32| (v - self.left) / self.width, |v: f32| (v - self.top) / self.height);
        [x(x0), y(y0), x(x1), y(y1)]
    }

    /// A point in input pixels as shares of the picture, moved into it.
    pub(super) fn point_to_picture(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        let [x, y, ..] = self.to_picture([x, y, x, y]);
        [x.clamp(0.0, 1.0), y.clamp(0.0, 1.0)]
    }
}

/// What a model is fed: the numbers, and how boxes find their way back into the picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    data: Vec<f32>,
    fit: Fit,
}

impl Input {
    /// The numbers in the model's layout.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// Where the picture lies in it.
    pub fn fit(&self) -> Fit {
        self.fit
    }
}

/// Makes inputs as a manifest asks for them.
#[derive(Debug)]
pub(super) struct Preprocessor {
    width: u32,
    height: u32,
    layout: Layout,
    resize: Resize,
    /// Which of R, G, B each channel of the model is.
    channels: [usize; 3],
    /// `value * gain + offset` for each channel of the model: scale, mean and deviation in one step.
    gain: [f32; 3],
    offset: [f32; 3],
    pad: u8,
}

impl Preprocessor {
    pub(super) fn new(spec: &InputSpec) -> Self {
        let channels = match spec.colour {
            Colour::Rgb => [0, 1, 2],
            Colour::Bgr => [2, 1, 0],
        };
        let each = |f: fn(f32, f32, f32) -> f32| {
            let [a, b, c] = spec.mean;
            let [i, j, k] = spec.std;
            [f(spec.scale, a, i), f(spec.scale, b, j), f(spec.scale, c, k)]
        };
        Self {
            width: spec.width,
            height: spec.height,
            layout: spec.layout,
            resize: spec.resize,
            channels,
            gain: each(|scale, _, std| scale / std),
            offset: each(|_, mean, std| -mean / std),
            pad: spec.pad,
        }
    }

    pub(super) fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    pub(super) fn prepare(&self, picture: &dyn Picture) -> Result<Input, InferError> {
        let (width, height) = (picture.width(), picture.height());
        if width == 0 || height == 0 {
            return Err(InferError::Empty(width, height));
        }
        if self.resize == Resize::Crop {
            return self.prepare_middle(picture);
        }
        let place = self.place(width, height);
        let rgb = picture.rgb(place.width, place.height)?;
        let (left, top) = (place.left as f32, place.top as f32);
        let fit = Fit { left, top, width: place.width as f32, height: place.height as f32 };
        Ok(Input { data: self.spread(&rgb, place), fit })
    }

    /// The middle of a picture that reaches beyond the input.
    fn prepare_middle(&self, picture: &dyn Picture) -> Result<Input, InferError> {
        let (width, height) = (f64::from(picture.width()), f64::from(picture.height()));
        let scale = (f64::from(self.width) / width).max(f64::from(self.height) / height);
        let side = |length: f64, least: u32| ((length * scale).round() as u32).clamp(least, least.max(LONGEST_SIDE));
        let (wide, high) = (side(width, self.width), side(height, self.height));
        let (left, top) = ((wide - self.width) / 2, (high - self.height) / 2);
        let rgb = picture.rgb(wide, high)?;
        let lines = rgb.data.chunks_exact(3 * wide as usize).skip(top as usize).take(self.height as usize);
        let data =
            lines.flat_map(|line| line.iter().skip(3 * left as usize).take(3 * self.width as usize)).copied().collect();
        let middle = Rgb { width: self.width, height: self.height, data };
        let place = Place { left: 0, top: 0, width: self.width, height: self.height };
        let fit = Fit { left: -(left as f32), top: -(top as f32), width: wide as f32, height: high as f32 };
        Ok(Input { data: self.spread(&middle, place), fit })
    }

    /// The rectangle of the input that a picture of this size takes.
    fn place(&self, width: u32, height: u32) -> Place {
        let (w, h) = match self.resize {
            Resize::Stretch | Resize::Crop => (self.width, self.height),
            Resize::Letterbox => {
                let scale = (f64::from(self.width) / f64::from(width)).min(f64::from(self.height) / f64::from(height));
                // Rounding up must not reach beyond the input, nor rounding down leave nothing.
                let side = |length: u32, most: u32| ((f64::from(length) * scale).round() as u32).clamp(1, most);
                (side(width, self.width), side(height, self.height))
            }
        };
        Place { left: (self.width - w) / 2, top: (self.height - h) / 2, width: w, height: h }
    }

    fn spread(&self, rgb: &Rgb, place: Place) -> Vec<f32> {
        let pad = |c: usize| f32::from(self.pad) * self.gain[c] + self.offset[c];
        let (width, height) = (self.width as usize, self.height as usize);
        let (left, top, w) = (place.left as usize, place.top as usize, place.width as usize);
        let lines = rgb.data.chunks_exact(3 * w);
        match self.layout {
            Layout::Nchw => {
                let mut data = Vec::with_capacity(3 * width * height);
                for c in 0..3 {
                    data.resize((c + 1) * width * height, pad(c));
                }
                for (c, plane) in data.chunks_exact_mut(width * height).enumerate() {
                    let (from, gain, offset) = (self.channels[c], self.gain[c], self.offset[c]);
                    for (line, out) in lines.clone().zip(plane.chunks_exact_mut(width).skip(top)) {
                        for (pixel, out) in line.as_chunks::<3>().0.iter().zip(out.iter_mut().skip(left)) {
                            *out = f32::from(pixel[from]) * gain + offset;
                        }
                    }
                }
                data
            }
            Layout::Nhwc => {
                let mut data = [pad(0), pad(1), pad(2)].repeat(width * height);
                for (line, out) in lines.zip(data.chunks_exact_mut(3 * width).skip(top)) {
                    let out = out.as_chunks_mut::<3>().0.iter_mut().skip(left);
                    for (pixel, out) in line.as_chunks::<3>().0.iter().zip(out) {
                        for c in 0..3 {
                            out[c] = f32::from(pixel[self.channels[c]]) * self.gain[c] + self.offset[c];
                        }
                    }
                }
                data
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Place {
    left: u32,
    top: u32,
    width: u32,
    height: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spec(toml: &str) -> InputSpec {
        toml::from_str(toml).expect("input")
    }

    fn flat(width: u32, height: u32, colour: [u8; 3]) -> Rgb {
        Rgb { width, height, data: colour.repeat((width * height) as usize) }
    }

    #[test]
    fn pictures_are_placed_in_the_middle_without_distortion() {
        let letterbox = Preprocessor::new(&spec("width = 320\nheight = 320"));
        let cases = [
            ((1920, 1080), (0, 70, 320, 180)),
            ((1080, 1920), (70, 0, 180, 320)),
            ((320, 320), (0, 0, 320, 320)),
            ((16, 16), (0, 0, 320, 320)),
            ((640, 424), (0, 54, 320, 212)),
            ((4000, 1), (0, 159, 320, 1)),
        ];
        for ((width, height), (left, top, w, h)) in cases {
            assert_eq!(letterbox.place(width, height), Place { left, top, width: w, height: h }, "{width}x{height}");
        }
        let stretch = Preprocessor::new(&spec("width = 320\nheight = 320\nresize = 'stretch'"));
        assert_eq!(stretch.place(1920, 1080), Place { left: 0, top: 0, width: 320, height: 320 });
    }

    #[test]
    fn planes_hold_the_models_colours_between_bars_of_the_pad_value() {
        let spec = "width = 4\nheight = 4\ncolour = 'bgr'\nscale = 0.5\nmean = [1.0, 2.0, 3.0]\n\
                    std = [2.0, 4.0, 8.0]\npad = 6";
        let input = Preprocessor::new(&self::spec(spec)).prepare(&flat(8, 4, [10, 20, 30])).expect("prepare");
        let (bar, picture) = ([1.0, 0.25, 0.0], [7.0, 2.0, 0.25]);
        let expected = (0..3).flat_map(|c| [vec![bar[c]; 4], vec![picture[c]; 8], vec![bar[c]; 4]].concat());
        assert_eq!(input.data(), expected.collect::<Vec<_>>());
        assert_eq!(input.fit(), Fit { left: 0.0, top: 1.0, width: 4.0, height: 2.0 });
    }

    #[test]
    fn the_other_layout_holds_the_same_numbers_pixel_after_pixel() {
        let picture = Rgb { width: 3, height: 4, data: (0..36).collect() };
        let planes = Preprocessor::new(&spec("width = 5\nheight = 4\npad = 9")).prepare(&picture).expect("prepare");
        let pixels = Preprocessor::new(&spec("width = 5\nheight = 4\npad = 9\nlayout = 'nhwc'"));
        let pixels = pixels.prepare(&picture).expect("prepare");
        assert_eq!(pixels.data().len(), 60);
        for (i, pixel) in pixels.data().chunks_exact(3).enumerate() {
            assert_eq!(pixel, [0, 1, 2].map(|c| planes.data()[c * 20 + i]));
        }
        assert_eq!(&pixels.data()[..6], [9.0, 9.0, 9.0, 0.0, 1.0, 2.0]);
    }

    #[test]
    fn an_empty_picture_is_an_error() {
        let letterbox = Preprocessor::new(&spec("width = 8\nheight = 8"));
        assert!(matches!(letterbox.prepare(&flat(0, 5, [0; 3])), Err(InferError::Empty(0, 5))));
    }

    proptest! {
        #[test]
        fn every_place_lies_in_the_input_and_boxes_find_their_way_back(
            (width, height) in (1..5000u32, 1..5000u32), (w, h) in (1..700u32, 1..700u32), x in 0.0..1f32, y in 0.0..1f32,
        ) {
            let place = Preprocessor::new(&spec(&format!("width = {w}\nheight = {h}"))).place(width, height);
            prop_assert!(place.width >= 1 && place.left + place.width <= w);
            prop_assert!(place.height >= 1 && place.top + place.height <= h);
            prop_assert!(place.width == w || place.height == h);
            let (left, top) = (place.left as f32, place.top as f32);
            let fit = Fit { left, top, width: place.width as f32, height: place.height as f32 };
            let [back_x, back_y, ..] = fit.to_picture([left + x * fit.width, top + y * fit.height, 0.0, 0.0]);
            prop_assert!((back_x - x).abs() < 1e-2 && (back_y - y).abs() < 1e-2, "{back_x} {back_y}");
        }
    }
}
