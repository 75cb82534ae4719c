//! The photograph that every model is tried with before it is used.

use tracing::warn;

use super::{Detector, Fit, Output, nms};
use crate::detection::BBox;
use crate::frame::{PictureError, Rgb};

/// A person with a dog and a horse; origin and licence in tests/fixtures/NOTICE.md.
const SAMPLE: &[u8] = include_bytes!("../../tests/fixtures/pictures/person.jpg");
/// Where the person is in it.
const PERSON: BBox = BBox { x: 0.294, y: 0.232, w: 0.137, h: 0.648 };
/// A score from which on a model has some notion of what it sees.
const SEEN: f32 = 0.15;
/// A model that finds more in the photograph than this does not see what the photograph shows.
const MOST_THINGS: usize = 40;

/// The photograph that every model is tried with.
///
/// # Errors
/// Never, as long as it is a JPEG.
pub fn photograph() -> Result<Rgb, PictureError> {
    let decoded = image::load_from_memory(SAMPLE).map_err(|error| PictureError(error.to_string()))?.into_rgb8();
    let (width, height) = decoded.dimensions();
    Ok(Rgb { width, height, data: decoded.into_raw() })
}

impl Detector {
    /// Has the model look at a photograph of a person with a dog and a horse, and judges what it gives.
    pub(super) fn look_at_sample(&self) -> Result<(), String> {
        let photograph = photograph().map_err(|error| error.to_string())?;
        let input = self.prepare(&photograph).map_err(|error| error.to_string())?;
        let (fit, outputs) = (input.fit(), self.engine.run(input.data()).map_err(|error| error.to_string())?);
        self.check_shapes(&outputs).map_err(|error| format!("{error}: how much it gives depends on the picture"))?;
        if let Some(doubt) = self.head.doubt(&outputs) {
            return Err(doubt);
        }
        let things = nms::suppress(self.head.decode(&outputs, 0.5), self.nms_iou).len();
        if things > MOST_THINGS {
            return Err(format!(
                "it believes to see {things} things in a photograph of a person and two animals; are scale, mean, std, \
                 colour and layout right?"
            ));
        }
        if self.labels.iter().any(|label| &**label == "person") && !self.sees_the_person(&outputs, fit) {
            let model = &self.name;
            warn!(%model, "the model does not see the person in a test photograph: are scale, mean, std and colour right?");
        }
        Ok(())
    }

    pub(super) fn sees_the_person(&self, outputs: &[Output], fit: Fit) -> bool {
        self.head.decode(outputs, SEEN).into_iter().any(|found| {
            let [x0, y0, x1, y1] = fit.to_picture(found.corners);
            let is_person = self.labels.get(found.class).is_some_and(|label| &**label == "person");
            is_person && BBox::from_corners(x0, y0, x1, y1).iou(&PERSON) > 0.3
        })
    }
}
