//! What a model is fed: size and layout of its input, and how pixels become numbers.

use serde::{Deserialize, Serialize};

/// Longest side of an input, pixels.
const MAX_SIDE: u32 = 4096;

/// What a model is fed: `(pixel * scale - mean) / std` for each channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputSpec {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Order of the axes. Default nchw.
    #[serde(default)]
    pub layout: Layout,
    /// Order of the channels. Default rgb.
    #[serde(default)]
    pub colour: Colour,
    /// Factor for pixel values (0 to 255). Default 1.
    #[serde(default = "unit")]
    pub scale: f32,
    /// Subtracted after scaling, in the order of the model's channels. Default 0.
    #[serde(default)]
    pub mean: [f32; 3],
    /// Divisor after that, in the order of the model's channels. Default 1.
    #[serde(default = "units")]
    pub std: [f32; 3],
    /// How a picture of another shape is fitted. Default letterbox.
    #[serde(default)]
    pub resize: Resize,
    /// Pixel value of the letterbox bars, 0 to 255. Default 0.
    #[serde(default)]
    pub pad: u8,
}

/// Order of the axes of the input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Plane after plane: `[1, 3, height, width]`.
    #[default]
    Nchw,
    /// Pixel after pixel: `[1, height, width, 3]`.
    Nhwc,
}

/// Order of the channels of the input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// Red, green, blue.
    #[default]
    Rgb,
    /// Blue, green, red.
    Bgr,
}

/// How a picture of another shape is fitted into the input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resize {
    /// As large as it goes without distortion, centred between bars.
    #[default]
    Letterbox,
    /// Distorted to the input's shape.
    Stretch,
    /// As small as it goes while it fills the input, without distortion; what reaches beyond is cut off. Classifiers are
    /// usually trained so.
    Crop,
}

fn unit() -> f32 {
    1.0
}

fn units() -> [f32; 3] {
    [1.0; 3]
}

impl InputSpec {
    /// The shape of the input tensor.
    pub fn shape(&self) -> Vec<usize> {
        let (width, height) = (self.width as usize, self.height as usize);
        match self.layout {
            Layout::Nchw => vec![1, 3, height, width],
            Layout::Nhwc => vec![1, height, width, 3],
        }
    }

    /// Checks what the types cannot.
    pub(super) fn check(&self) -> Result<(), String> {
        let Self { width, height, scale, mean, std, .. } = self;
        let sides = 1..=MAX_SIDE;
        if !sides.contains(width) || !sides.contains(height) {
            return Err(format!("input = {width}x{height} pixels is not within 1 to {MAX_SIDE}"));
        }
        if !scale.is_finite() || !mean.iter().all(|v| v.is_finite()) {
            return Err("input.scale and input.mean must be finite numbers".to_owned());
        }
        if !std.iter().all(|v| v.is_normal()) {
            return Err(format!("input.std = {std:?} must hold finite numbers, none of them 0"));
        }
        Ok(())
    }
}
