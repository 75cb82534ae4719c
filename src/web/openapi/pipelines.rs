//! The routes of pipelines and executions, as the document describes them.

use super::super::problem::Code::{
    self, BadCommand, BadInputs, BadParameter, Busy, ChangedMeanwhile, ForeignPage, InvalidPipeline, KeyReused,
    NoPicture, NoRoom, NotAnExecution, NotFound, NotJson, Refused, TooLarge, TooManyStreams, VolumeAway,
};
use super::operations::{FILE, ID, KNOWN, NOT_MODIFIED, ONCE, PART, TEXT, json, media, of_status, read};
use super::{Answer, Operation, Parameter};

const NUMBER: &str = r#"{"type": "integer", "minimum": 0, "maximum": 4294967295}"#;
const PIPELINE: &[Parameter] = &[Parameter::path("name", TEXT, "Name of the pipeline.")];
const VERSION: &[Parameter] = &[
    Parameter::query("version", NUMBER, "Which version; the newest where none is named."),
    Parameter::query("format", r#"{"enum": ["json", "toml"], "default": "json"}"#, "As a file to keep, or as JSON."),
];
const EXPECTED: &[Parameter] =
    &[Parameter::query("expected_version", NUMBER, "The version that the change is of; another one is refused.")];
const EXECUTION: &[Parameter] = &[Parameter::path("id", ID, "Id of the execution.")];
const EXECUTION_FILE: &[Parameter] =
    &[Parameter::path("id", ID, "Id of the execution."), Parameter::path("name", TEXT, "Name of the file.")];
const BATCH: &[Parameter] = &[Parameter::path("id", ID, "Id of the batch.")];
const REPEATED: &[Parameter] = &[Parameter::query(
    "version",
    r#"{"enum": ["newest", "same"], "default": "newest"}"#,
    "The newest version of the pipeline, or the one that ran.",
)];
const FILTER: &[Parameter] = &[
    Parameter::query("pipeline", TEXT, "Those of this pipeline."),
    Parameter::query(
        "state",
        r#"{"enum": ["queued", "running", "finished", "failed", "cancelled"]}"#,
        "Those that are as far as this.",
    ),
    Parameter::query("batch", ID, "Those that were given together."),
    Parameter::query("before", ID, "`next` of the page before."),
    Parameter::query(
        "limit",
        r#"{"type": "integer", "minimum": 1, "maximum": 500, "default": 50}"#,
        "Executions in the answer at most.",
    ),
];
const GIVEN: &[Parameter] = &[
    Parameter::query("pipeline", TEXT, "Which pipeline; a field of the same name does as well."),
    Parameter::query("version", NUMBER, "Which version; the newest where none is named."),
    Parameter::query("parameters", TEXT, "A JSON object of values by name."),
    Parameter::header("Prefer", r#"{"type": "string"}"#, "`wait=10`: answer with the result, if it is there by then."),
];
const FOLLOWED: &[Parameter] =
    &[Parameter::header("Last-Event-ID", r#"{"type": "string"}"#, "The number of the last event that is known.")];
const SUBMITTED: &[Code] = &[
    BadCommand,
    BadParameter,
    ForeignPage,
    NotFound,
    NotJson,
    TooLarge,
    NotAnExecution,
    BadInputs,
    InvalidPipeline,
    KeyReused,
    NoPicture,
    NoRoom,
    Busy,
    VolumeAway,
];

const REMOVED: Answer = Answer { status: 204, description: "It is gone.", content: None };

const WEBSOCKET: Answer = Answer { status: 101, description: "The WebSocket, where one is asked for.", content: None };
const CAMERA: &[Parameter] = &[Parameter::path("name", TEXT, "Name of the camera.")];

pub(super) const OPERATIONS: &[Operation] = &[
    read(
        "/api/v1/cameras/{name}/pipeline",
        "camera_pipeline",
        "What the pipeline of a camera does: its values, how fast it is, what is wrong with it",
        &[CAMERA, KNOWN],
        &[
            json("The pipeline.", "CameraPipeline"),
            NOT_MODIFIED,
            Answer { status: 204, description: "It has none, or none has seen a picture yet.", content: None },
        ],
        &[NotFound],
    ),
    read(
        "/api/v1/blocks",
        "blocks",
        "What the steps of pipelines can be",
        &[KNOWN],
        &[json("The blocks.", "Blocks"), NOT_MODIFIED],
        &[],
    ),
    read(
        "/api/v1/pipelines",
        "pipelines",
        "The pipelines on this box",
        &[KNOWN],
        &[json("The pipelines.", "Pipelines"), NOT_MODIFIED],
        &[],
    ),
    Operation {
        method: "post",
        path: "/api/v1/pipelines",
        name: "pipeline_save",
        summary: "Saves a pipeline as a new version of the one with its name; JSON, or TOML as application/toml",
        parameters: &[EXPECTED],
        body: Some("Pipeline"),
        answers: &[of_status(201, "The version that it became.", "PipelineVersion")],
        problems: &[
            BadCommand,
            BadParameter,
            ForeignPage,
            NotJson,
            TooLarge,
            InvalidPipeline,
            ChangedMeanwhile,
            Refused,
        ],
    },
    Operation {
        method: "post",
        path: "/api/v1/pipelines/check",
        name: "pipeline_check",
        summary: "What is wrong with a pipeline, which is not saved",
        parameters: &[],
        body: Some("Pipeline"),
        answers: &[json("Its mistakes; none where it can be run.", "PipelineErrors")],
        problems: &[BadCommand, ForeignPage, NotJson, TooLarge],
    },
    Operation {
        method: "post",
        path: "/api/v1/pipelines/try",
        name: "pipeline_try",
        summary: "Runs a pipeline on a picture, and gives what each step gave; nothing is kept or done",
        parameters: &[GIVEN],
        body: Some("NewExecution"),
        answers: &[json("What came of it.", "Trial")],
        problems: SUBMITTED,
    },
    read(
        "/api/v1/pipelines/{name}",
        "pipeline",
        "One pipeline",
        &[PIPELINE, VERSION, KNOWN],
        &[json("The pipeline.", "SavedPipeline"), NOT_MODIFIED],
        &[BadParameter, NotFound],
    ),
    Operation {
        method: "delete",
        path: "/api/v1/pipelines/{name}",
        name: "pipeline_remove",
        summary: "Removes all versions of a pipeline; executions keep what they say of it",
        parameters: &[PIPELINE],
        body: None,
        answers: &[REMOVED],
        problems: &[ForeignPage, NotJson, NotFound, Refused],
    },
    read(
        "/api/v1/executions",
        "executions",
        "Executions of the caller, of all for admins, the newest first",
        &[FILTER, KNOWN],
        &[json("A page of them.", "Executions"), NOT_MODIFIED],
        &[BadParameter],
    ),
    Operation {
        method: "post",
        path: "/api/v1/executions",
        name: "execution_submit",
        summary: "Sends pictures through a pipeline; when it answers, they are safe and will be run",
        parameters: &[GIVEN, ONCE],
        body: Some("NewExecution"),
        answers: &[json("They are over.", "Submitted"), of_status(202, "They were taken in.", "Submitted")],
        problems: SUBMITTED,
    },
    read(
        "/api/v1/executions/status",
        "execution_status",
        "How many executions there are, and how it goes",
        &[KNOWN],
        &[json("The numbers.", "ExecutionStatus"), NOT_MODIFIED],
        &[],
    ),
    read(
        "/api/v1/executions/batches/{id}",
        "execution_batch",
        "How far the executions are that were given together",
        &[BATCH, KNOWN],
        &[json("How many are in each state.", "ExecutionBatch"), NOT_MODIFIED],
        &[NotFound],
    ),
    Operation {
        method: "post",
        path: "/api/v1/executions/batches/{id}/cancel",
        name: "execution_batch_cancel",
        summary: "Ends what is not over of executions that were given together",
        parameters: &[BATCH],
        body: None,
        answers: &[json("How many that were.", "CancelledBatch")],
        problems: &[ForeignPage, NotJson, NotFound],
    },
    read(
        "/api/v1/executions/{id}",
        "execution",
        "One execution",
        &[EXECUTION, KNOWN],
        &[json("The execution.", "Execution"), NOT_MODIFIED],
        &[NotFound],
    ),
    Operation {
        method: "delete",
        path: "/api/v1/executions/{id}",
        name: "execution_remove",
        summary: "Deletes an execution that is over, with its pictures",
        parameters: &[EXECUTION],
        body: None,
        answers: &[REMOVED],
        problems: &[ForeignPage, NotJson, NotFound, Refused],
    },
    Operation {
        method: "post",
        path: "/api/v1/executions/{id}/cancel",
        name: "execution_cancel",
        summary: "Ends an execution that is not over",
        parameters: &[EXECUTION],
        body: None,
        answers: &[json("The execution.", "Execution")],
        problems: &[ForeignPage, NotJson, NotFound, Refused],
    },
    Operation {
        method: "post",
        path: "/api/v1/executions/{id}/repeat",
        name: "execution_repeat",
        summary: "Sends the pictures of an execution through its pipeline again",
        parameters: &[EXECUTION, REPEATED],
        body: None,
        answers: &[of_status(202, "It was taken in.", "Submitted")],
        problems: &[BadParameter, ForeignPage, NotJson, NotFound, InvalidPipeline, BadInputs, NoRoom, Busy, VolumeAway],
    },
    read(
        "/api/v1/executions/events",
        "executions_events",
        "What happens to all executions that the caller sees, as server-sent events or over a WebSocket",
        &[],
        &[media(200, "The events.", "text/event-stream"), WEBSOCKET],
        &[TooManyStreams, ForeignPage],
    ),
    read(
        "/api/v1/executions/{id}/events",
        "execution_events",
        "What happens to an execution, as server-sent events with growing numbers or over a WebSocket",
        &[EXECUTION, FOLLOWED],
        &[media(200, "The events.", "text/event-stream"), WEBSOCKET],
        &[NotFound, TooManyStreams, ForeignPage],
    ),
    read(
        "/api/v1/executions/{id}/files/{name}",
        "execution_file",
        "A picture that an execution was given or has made",
        &[EXECUTION_FILE, PART, KNOWN],
        FILE,
        &[NotFound],
    ),
    read(
        "/api/v1/executions/{id}/small.jpg",
        "execution_picture",
        "The first picture that an execution was given, at most 160 pixels on a side",
        &[EXECUTION, KNOWN],
        &[media(200, "The picture.", "image/jpeg")],
        &[NotFound],
    ),
];
