//! Pictures that come as tensors: files, or pixels.

use bytes::Bytes;

use super::request::Refusal;
use super::tensor::{DataType, Tensor};
use crate::frame::Rgb;

/// Largest side of a picture that comes as pixels.
const LONGEST_SIDE: i64 = 16_384;

/// The picture of an input: a file, or pixels.
pub(super) async fn picture(input: Tensor) -> Result<Rgb, Refusal> {
    let file = match input.datatype {
        DataType::Bytes => only_file(&input)?,
        DataType::Uint8 => return pixels(&input),
        other => {
            let message = format!("{} is {}; send a file as BYTES, or pixels as UINT8", input.name, other.as_str());
            return Err(Refusal::Invalid(message));
        }
    };
    let decoded = tokio::task::spawn_blocking(move || Rgb::decode(&file)).await;
    let decoded = decoded.map_err(|_| Refusal::Invalid("the picture cannot be decoded".to_owned()))?;
    decoded.map_err(|error| Refusal::Invalid(format!("{}: {error}", input.name)))
}

pub(super) fn only_file(input: &Tensor) -> Result<Bytes, Refusal> {
    let files = input.elements().unwrap_or_default();
    match <[Bytes; 1]>::try_from(files) {
        Ok([file]) => Ok(file),
        Err(files) => {
            let message = format!("{} has {} files; send one in each request", input.name, files.len());
            Err(Refusal::Invalid(message))
        }
    }
}

fn pixels(input: &Tensor) -> Result<Rgb, Refusal> {
    let shape = match input.shape.as_slice() {
        [1, shape @ ..] if shape.len() == 3 => shape,
        shape => shape,
    };
    let wrong = || {
        let message = format!("{} has the shape {:?}; pixels are [height, width, 3]", input.name, input.shape);
        Refusal::Invalid(message)
    };
    let &[height, width, 3] = shape else { return Err(wrong()) };
    if !(1..=LONGEST_SIDE).contains(&height) || !(1..=LONGEST_SIDE).contains(&width) {
        return Err(wrong());
    }
    if input.count() != Some(input.data.len()) {
        let message = format!("{} has {} bytes for the shape {:?}", input.name, input.data.len(), input.shape);
        return Err(Refusal::Invalid(message));
    }
    let side = |side: i64| u32::try_from(side).unwrap_or_default();
    Ok(Rgb { width: side(width), height: side(height), data: input.data.to_vec() })
}
