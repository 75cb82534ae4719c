//! The routes of the models, as the document describes them.

use super::super::problem::Code::{
    BadParameter, Busy, ForeignPage, ModelUnusable, NotAPicture, NotFound, NotJson, PictureUnusable, Stopping, TooLarge,
};
use super::operations::{TEXT, json, read};
use super::{Operation, Parameter};

const MODEL: &[Parameter] = &[Parameter::path("name", TEXT, "Name of the model.")];
const SCORE: &[Parameter] = &[Parameter::query(
    "min_score",
    r#"{"type": "number", "minimum": 0.05, "maximum": 1, "default": 0.25}"#,
    "The lowest score that is answered.",
)];

pub(super) const OPERATIONS: &[Operation] = &[
    read(
        "/api/v1/models",
        "models",
        "The models that are installed or asked for, and how fast they are on this box",
        &[],
        &[json("The models.", "Models")],
        &[],
    ),
    Operation {
        method: "post",
        path: "/api/v1/models/{name}/speed",
        name: "model_measure",
        summary: "Measures how fast a model is on this box; every camera goes before it",
        parameters: &[MODEL],
        body: None,
        answers: &[json("How fast it is.", "ModelSpeed")],
        problems: &[ForeignPage, NotFound, NotJson, ModelUnusable, Busy, Stopping],
    },
    Operation {
        method: "post",
        path: "/api/v1/models/{name}/detections",
        name: "model_try",
        summary: "What a model sees in a picture, which is not kept",
        parameters: &[MODEL, SCORE],
        body: Some(super::document::PICTURE),
        answers: &[json("What it sees.", "FoundThings")],
        problems: &[
            BadParameter,
            ForeignPage,
            NotFound,
            TooLarge,
            NotAPicture,
            PictureUnusable,
            ModelUnusable,
            Busy,
            Stopping,
        ],
    },
];
