//! Small pictures, to be looked at beside others.

use super::ExecutionService;
use super::work::NotDecoded;
use crate::execution::Execution;
use crate::frame::{Picture, PictureError, Rgb};

/// Quality of the JPEG.
const QUALITY: u8 = 75;
/// Longest side of the one in a list, pixels.
const LONGEST: u32 = 160;

/// `picture` as JPEG, scaled down until neither side is longer than `longest`.
///
/// # Errors
/// When it cannot be scaled.
pub(super) fn small(picture: &Rgb, longest: u32) -> Result<Vec<u8>, PictureError> {
    let (width, height) = (picture.width, picture.height);
    let share = (f64::from(longest) / f64::from(width.max(height).max(1))).min(1.0);
    let side = |side: u32| ((f64::from(side) * share).round() as u32).max(1);
    Picture::rgb(picture, side(width), side(height))?.to_jpeg(QUALITY)
}

impl ExecutionService {
    /// The first picture that an execution was given, small, as JPEG. Cameras' inference goes before it as before executions.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn small_picture(&self, execution: &Execution) -> Result<Vec<u8>, String> {
        let archive = self.archive();
        let first = execution.inputs.values().next().ok_or("the execution was given no picture")?;
        let path = archive.file(execution, &first.file.file).ok_or("the file is gone")?;
        // Each may need the memory of a large one.
        let _one = self.looking.lock().await;
        let picture = self.picture(&archive, execution.id, path, &first.name).await.map_err(NotDecoded::into_reason)?;
        let coded = tokio::task::spawn_blocking(move || small(&picture, LONGEST)).await;
        coded.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }
}
