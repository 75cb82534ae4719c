//! The routes of the settings of cameras, as the document describes them.

use super::super::problem::Code::{
    self, BadCommand, BadParameter, Busy, CameraUnusable, ChangedMeanwhile, ForeignPage, InvalidConfig,
    InvalidPipeline, KeyReused, NotFound, NotJson, Refused, Stopping, TooLarge,
};
use super::operations::{ONCE, TEXT, json, of_status, read};
use super::{Answer, Operation, Parameter};

const CAMERA: &[Parameter] = &[Parameter::path("name", TEXT, "Name of the camera.")];
const KNOWN: &[Parameter] = &[Parameter::header(
    "If-Match",
    r#"{"type": "string"}"#,
    "`ETag` of the settings that you have: refused when the configuration was changed since.",
)];

const EDITED: &[Answer] = &[
    json("It is in use.", "EditedCamera"),
    of_status(202, "It is in use, and undone unless the camera comes up.", "EditedCamera"),
];
const EDIT: &[Code] = &[
    BadCommand,
    BadParameter,
    ForeignPage,
    NotFound,
    Refused,
    ChangedMeanwhile,
    InvalidConfig,
    TooLarge,
    NotJson,
    KeyReused,
    Busy,
    Stopping,
];
const PROBE: &[Code] =
    &[BadCommand, ForeignPage, NotFound, Refused, InvalidConfig, CameraUnusable, TooLarge, NotJson, Busy, Stopping];

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        method: "post",
        path: "/api/v1/cameras",
        name: "camera_add",
        summary: "Adds a camera to the configuration",
        parameters: &[ONCE, KNOWN],
        body: Some("NewCamera"),
        answers: EDITED,
        problems: EDIT,
    },
    read(
        "/api/v1/cameras/found",
        "cameras_found",
        "Cameras that are attached to the box, or answer in its networks",
        &[],
        &[json("The cameras.", "FoundCameras")],
        &[Busy],
    ),
    Operation {
        method: "post",
        path: "/api/v1/cameras/probe",
        name: "camera_probe",
        summary: "Connects to a camera as the daemon would, and saves nothing",
        parameters: &[],
        body: Some("TriedCamera"),
        answers: &[json("What it gives.", "ProbedCamera")],
        problems: PROBE,
    },
    read(
        "/api/v1/cameras/{name}/config",
        "camera_config",
        "How a camera is set",
        &[CAMERA],
        &[json("Its settings, without secrets.", "CameraSettings")],
        &[NotFound, InvalidConfig, Busy, Stopping],
    ),
    Operation {
        method: "patch",
        path: "/api/v1/cameras/{name}/config",
        name: "camera_change",
        summary: "Changes keys of a camera: a JSON merge patch",
        parameters: &[CAMERA, KNOWN],
        body: Some("CameraKeys"),
        answers: EDITED,
        problems: EDIT,
    },
    Operation {
        method: "delete",
        path: "/api/v1/cameras/{name}/config",
        name: "camera_remove",
        summary: "Removes a camera from the configuration; what it recorded stays",
        parameters: &[CAMERA, KNOWN],
        body: None,
        answers: EDITED,
        problems: EDIT,
    },
    Operation {
        method: "post",
        path: "/api/v1/cameras/{name}/rules/try",
        name: "rules_try",
        summary: "Tries rules against what the camera recorded, and saves nothing",
        parameters: &[CAMERA],
        body: Some("TriedRules"),
        answers: &[of_status(202, "It has begun.", "Backtest")],
        problems: &[BadCommand, BadParameter, ForeignPage, NotFound, Refused, TooLarge, NotJson],
    },
    read(
        "/api/v1/cameras/{name}/rules/try",
        "rules_tried",
        "What the rules that were tried last would have made",
        &[CAMERA],
        &[json("How far it is.", "Backtest")],
        &[NotFound],
    ),
    Operation {
        method: "delete",
        path: "/api/v1/cameras/{name}/rules/try",
        name: "rules_cancel",
        summary: "Tries them no further",
        parameters: &[CAMERA],
        body: None,
        answers: &[Answer { status: 204, description: "It is done.", content: None }],
        problems: &[ForeignPage, NotFound, NotJson],
    },
    Operation {
        method: "post",
        path: "/api/v1/cameras/{name}/pipeline/try",
        name: "camera_pipeline_try",
        summary: "Tries a pipeline against what the camera recorded, and saves nothing",
        parameters: &[CAMERA],
        body: Some("TriedPipeline"),
        answers: &[of_status(202, "It has begun.", "Backtest")],
        problems: &[BadCommand, BadParameter, ForeignPage, InvalidPipeline, NotFound, Refused, TooLarge, NotJson],
    },
    read(
        "/api/v1/cameras/{name}/pipeline/try",
        "camera_pipeline_tried",
        "What the pipeline that was tried last would have done",
        &[CAMERA],
        &[json("How far it is.", "Backtest")],
        &[NotFound],
    ),
    Operation {
        method: "delete",
        path: "/api/v1/cameras/{name}/pipeline/try",
        name: "camera_pipeline_cancel",
        summary: "Tries it no further",
        parameters: &[CAMERA],
        body: None,
        answers: &[Answer { status: 204, description: "It is done.", content: None }],
        problems: &[ForeignPage, NotFound, NotJson],
    },
];
