//! The routes of the API, as the document describes them.

use super::super::event_query;
use super::super::problem::Code::{
    self, BadCommand, BadParameter, Busy, ForeignPage, KeyReused, NoPicture, NoVideo, NotFound, NotJson, Refused,
    Stopping, TooLarge, TooManyStreams, TooManyViewers, WebsocketRequired,
};
use super::{Answer, Operation, Parameter};

pub(super) const ID: &str = r#"{"type": "string", "pattern": "^[0-7][0-9A-HJKMNP-TV-Z]{25}$"}"#;
pub(super) const TEXT: &str = r#"{"type": "string", "minLength": 1}"#;
const TIME: &str = r#"{"type": "string", "format": "date-time"}"#;

pub(super) const CAMERA: &[Parameter] = &[Parameter::path("name", TEXT, "Name of the camera.")];
const WIDTH: &[Parameter] = &[Parameter::query(
    "width",
    r#"{"type": "integer", "minimum": 1, "maximum": 640}"#,
    "At most so many pixels wide, rounded up to 160, 320 or 640.",
)];
pub(super) const EVENT: &[Parameter] = &[Parameter::path("id", ID, "Id of the event.")];
pub(super) const KNOWN: &[Parameter] =
    &[Parameter::header("If-None-Match", r#"{"type": "string"}"#, "`ETag` of an answer that you have.")];
pub(super) const PART: &[Parameter] = &[
    Parameter::header("Range", r#"{"type": "string"}"#, "One range of bytes, such as `bytes=0-999`."),
    Parameter::header("If-Range", r#"{"type": "string"}"#, "`ETag` of the file that the range is of."),
];
pub(super) const ONCE: &[Parameter] = &[Parameter::header(
    "Idempotency-Key",
    r#"{"type": "string", "pattern": "^[!-~]{1,200}$"}"#,
    "Under one key a command is carried out once; it stands for that command for a day.",
)];

pub(super) const NOT_MODIFIED: Answer = Answer { status: 304, description: "It has not changed.", content: None };

pub(super) const fn json(description: &'static str, schema: &'static str) -> Answer {
    of_status(200, description, schema)
}

pub(super) const fn of_status(status: u16, description: &'static str, schema: &'static str) -> Answer {
    Answer { status, description, content: Some(("application/json", Some(schema))) }
}

pub(super) const fn media(status: u16, description: &'static str, kind: &'static str) -> Answer {
    Answer { status, description, content: Some((kind, None)) }
}

pub(super) const FILE: &[Answer] = &[
    media(200, "The file.", "*/*"),
    media(206, "The range of it.", "*/*"),
    NOT_MODIFIED,
    Answer { status: 416, description: "The range lies outside of the file.", content: None },
];

const COMMANDED: &[Answer] = &[json("What became of it.", "QueueAnswer")];
const COMMAND: &[Code] = &[BadCommand, BadParameter, ForeignPage, NotFound, Refused, TooLarge, NotJson, KeyReused];

/// A route that reads.
pub(super) const fn read(
    path: &'static str,
    name: &'static str,
    summary: &'static str,
    parameters: &'static [&'static [Parameter]],
    answers: &'static [Answer],
    problems: &'static [Code],
) -> Operation {
    Operation { method: "get", path, name, summary, parameters, body: None, answers, problems }
}

/// A command to a queue.
const fn queue(path: &'static str, name: &'static str, summary: &'static str, body: &'static str) -> Operation {
    Operation {
        method: "post",
        path,
        name,
        summary,
        parameters: &[ONCE],
        body: Some(body),
        answers: COMMANDED,
        problems: COMMAND,
    }
}

pub(super) const OPERATIONS: &[Operation] = &[
    read(
        "/api/v1/status",
        "status",
        "The box at this moment",
        &[KNOWN],
        &[json("The box.", "Status"), NOT_MODIFIED],
        &[],
    ),
    read(
        "/api/v1/events",
        "events",
        "Events, newest first",
        &[event_query::PARAMETERS, KNOWN],
        &[json("A page of events.", "EventPage"), NOT_MODIFIED],
        &[BadParameter],
    ),
    read(
        "/api/v1/events/{id}",
        "event",
        "One event with its delivery",
        &[EVENT, KNOWN],
        &[json("The event.", "EventRecord"), NOT_MODIFIED],
        &[NotFound],
    ),
    read(
        "/api/v1/events/{id}/{file}",
        "event_file",
        "A file of an event",
        &[EVENT, &[Parameter::path("file", TEXT, "Its name, such as `clip.mp4` or `thumb.jpg`.")], PART, KNOWN],
        FILE,
        &[NotFound],
    ),
    read(
        "/api/v1/stream",
        "stream",
        "What happens, as server-sent events",
        &[&[
            Parameter::header(
                "Last-Event-ID",
                r#"{"type": "string", "pattern": "^[ -~]*$"}"#,
                "The id that came last; what came after it is sent first.",
            ),
            Parameter::query(
                "kinds",
                TEXT,
                "`events`, `status`, `exports`, `photos`, with commas between; all where it is left out.",
            ),
        ]],
        &[media(200, "It does not end.", "text/event-stream")],
        &[BadParameter, TooManyStreams],
    ),
    read(
        "/api/v1/log/stream",
        "log_stream",
        "Lines of the log as they are written, as server-sent events",
        &[&[
            Parameter::header(
                "Last-Event-ID",
                r#"{"type": "string", "pattern": "^[ -~]*$"}"#,
                "The id that came last; what came after it is sent first.",
            ),
            Parameter::query(
                "level",
                r#"{"type": "string", "enum": ["error", "warn", "info", "debug"]}"#,
                "Lines that matter at least as much.",
            ),
            Parameter::query(
                "recent",
                r#"{"type": "integer", "minimum": 0, "maximum": 1000}"#,
                "So many lines of before are sent first, at most; 200 where it is left out.",
            ),
        ]],
        &[media(200, "It does not end.", "text/event-stream")],
        &[BadParameter, TooManyStreams],
    ),
    read(
        "/api/v1/cameras/{name}/timeline",
        "timeline",
        "What became of a camera's time",
        &[
            CAMERA,
            &[
                Parameter::query("since", TIME, "From when; without both, the last 24 hours."),
                Parameter::query("until", TIME, "Until when, at most 25 hours later."),
            ],
            KNOWN,
        ],
        &[json("The time, without gaps.", "Timeline"), NOT_MODIFIED],
        &[BadParameter, NotFound],
    ),
    read(
        "/api/v1/cameras/{name}/segments/{file}",
        "segment",
        "A segment of continuous recording",
        &[CAMERA, &[Parameter::path("file", TEXT, "`<id>.mp4`.")], PART, KNOWN],
        FILE,
        &[NotFound],
    ),
    read(
        "/api/v1/cameras/{name}/frame.jpg",
        "frame",
        "The newest picture, at most 640 pixels wide",
        &[CAMERA, WIDTH],
        &[media(200, "The picture.", "image/jpeg")],
        &[NotFound, NoPicture],
    ),
    read(
        "/api/v1/cameras/{name}/last.jpg",
        "last_frame",
        "The last picture since the start, however old",
        &[CAMERA, WIDTH],
        &[media(200, "The picture.", "image/jpeg")],
        &[NotFound, NoPicture],
    ),
    read(
        "/api/v1/cameras/{name}/live",
        "live",
        "The camera's own video over a WebSocket: fragmented MP4, with messages about what is in view",
        &[CAMERA],
        &[Answer { status: 101, description: "The WebSocket.", content: None }],
        &[NotFound, NoPicture, NoVideo, WebsocketRequired, TooManyViewers, ForeignPage],
    ),
    read(
        "/api/v1/cameras/{name}/live.mjpeg",
        "live_mjpeg",
        "Pictures of the camera, one after the other",
        &[CAMERA],
        &[media(200, "It does not end.", "multipart/x-mixed-replace")],
        &[NotFound, NoPicture, TooManyViewers, ForeignPage],
    ),
    read(
        "/api/v1/queue/items",
        "queue_items",
        "What waits for delivery, and dead letters",
        &[
            &[
                Parameter::required("outlet", TEXT, "Name of the outlet, such as `upload/cloud`."),
                Parameter::query("state", r#"{"enum": ["waiting", "dead"], "default": "waiting"}"#, "Which items."),
                Parameter::query(
                    "limit",
                    r#"{"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}"#,
                    "Items in the answer at most.",
                ),
            ],
            KNOWN,
        ],
        &[json("The items.", "QueueItems"), NOT_MODIFIED],
        &[BadParameter, NotFound],
    ),
    queue("/api/v1/queue/retry", "queue_retry", "Tries items again", "QueueCommand"),
    queue("/api/v1/queue/drop", "queue_drop", "Delivers items no more", "QueueCommand"),
    queue("/api/v1/queue/pause", "queue_pause", "Pauses an upload destination", "QueueName"),
    queue("/api/v1/queue/resume", "queue_resume", "Resumes it", "QueueName"),
    read(
        "/api/v1/config",
        "config",
        "Which configuration is in use",
        &[KNOWN],
        &[json("The configuration in use.", "Config"), NOT_MODIFIED],
        &[],
    ),
    read("/api/v1/parts", "parts", "Parts of the daemon", &[KNOWN], &[json("The parts.", "Parts"), NOT_MODIFIED], &[]),
    read(
        "/api/v1/log",
        "log",
        "The newest lines of the log",
        &[&[
            Parameter::query("after", r#"{"type": "integer", "minimum": 0}"#, "Lines behind the one with this number."),
            Parameter::query(
                "level",
                r#"{"type": "string", "enum": ["error", "warn", "info", "debug"]}"#,
                "Lines that matter at least as much.",
            ),
            Parameter::query("limit", r#"{"type": "integer", "minimum": 1, "maximum": 1000}"#, "So many at most."),
        ]],
        &[json("The lines, the oldest first.", "Log")],
        &[BadParameter],
    ),
    read(
        "/api/v1/diagnostics",
        "diagnostics",
        "All that helps from afar, as a file",
        &[],
        &[json("It.", "Diagnostics")],
        &[],
    ),
    Operation {
        method: "patch",
        path: "/api/v1/cameras/{name}/switches",
        name: "camera_switches",
        summary: "Switches detection and recording of a camera",
        parameters: &[CAMERA],
        body: Some("SwitchChange"),
        answers: &[json("How it is switched now.", "Switched")],
        problems: &[BadCommand, ForeignPage, NotJson, TooLarge, NotFound],
    },
    Operation {
        method: "post",
        path: "/api/v1/config/reload",
        name: "config_reload",
        summary: "Reads the configuration again",
        parameters: &[ONCE],
        body: Some("Nothing"),
        answers: &[
            json("The file is in use.", "Config"),
            of_status(202, "It is in use, and undone unless what it changed comes up.", "Config"),
            of_status(422, "The file was refused or undone.", "Config"),
        ],
        problems: &[BadParameter, ForeignPage, NotJson, KeyReused, Busy, Stopping],
    },
    read(
        "/api/v1/problems",
        "problems",
        "Every problem that an answer may have",
        &[],
        &[json("The problems.", "Problems")],
        &[],
    ),
    read(
        "/api/v1/problems/{code}",
        "problem",
        "One of them",
        &[&[Parameter::path("code", TEXT, "Its code.")]],
        &[json("The problem.", "DocumentedProblem")],
        &[NotFound],
    ),
    read(
        "/api/v1/openapi.json",
        "openapi",
        "This document",
        &[KNOWN],
        &[json("The document.", "Document"), NOT_MODIFIED],
        &[],
    ),
    read("/api/v1/docs", "docs", "This document as a page", &[], &[media(200, "The page.", "text/html")], &[]),
];
