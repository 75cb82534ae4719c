//! What a model sees in a photo.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::detection::BBox;

/// Most objects that are noted of one photo, the best.
pub const MOST_OBJECTS: usize = 12;

/// An object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhotoObject {
    /// What it is.
    pub label: Arc<str>,
    /// How sure the model is, 0 to 1.
    pub score: f32,
    /// Where it is in the upright picture.
    #[serde(rename = "box")]
    pub bbox: BBox,
}

/// What a model saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// The model.
    pub model: String,
    /// The objects, the best first; none where it saw nothing that it knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<PhotoObject>,
}
