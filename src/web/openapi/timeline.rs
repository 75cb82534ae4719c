//! The routes of the timeline, of playback and of exports, as the document describes them.

use super::super::problem::Code::{
    BadCommand, BadParameter, Busy, ForeignPage, KeyReused, NoRoom, NotFound, NotJson, Refused, TooLarge, VolumeAway,
};
use super::super::timeline::{strips, video};
use super::operations::{CAMERA, FILE, ID, KNOWN, NOT_MODIFIED, ONCE, PART, json, media, of_status, read};
use super::{Answer, Operation, Parameter};

const EXPORT: &[Parameter] = &[Parameter::path("id", ID, "Id of the export.")];

pub(super) const OPERATIONS: &[Operation] = &[
    read(
        "/api/v1/timeline",
        "timelines",
        "What became of the time of all cameras, merged to a resolution",
        &[strips::PARAMETERS, KNOWN],
        &[json("A strip for each camera.", "Strips"), NOT_MODIFIED],
        &[BadParameter, NotFound],
    ),
    read(
        "/api/v1/cameras/{name}/video",
        "camera_video",
        "What can be played of a camera's past, piece by piece",
        &[CAMERA, video::VIDEO, KNOWN],
        &[json("The pieces, without an overlap.", "Pieces"), NOT_MODIFIED],
        &[BadParameter, NotFound],
    ),
    read(
        "/api/v1/cameras/{name}/preview.jpg",
        "camera_preview",
        "A small picture of a camera at a moment of the past",
        &[CAMERA, video::PREVIEW],
        &[
            media(200, "The picture; the header `x-taken` says of when it is, to about a second.", "image/jpeg"),
            Answer { status: 204, description: "There is no picture near that time.", content: None },
        ],
        &[BadParameter, NotFound, Busy],
    ),
    read(
        "/api/v1/exports",
        "exports",
        "All exports, newest first",
        &[KNOWN],
        &[json("The exports.", "Exports"), NOT_MODIFIED],
        &[],
    ),
    Operation {
        method: "post",
        path: "/api/v1/exports",
        name: "export_add",
        summary: "Begins to write a stretch of a camera's time into one file",
        parameters: &[ONCE],
        body: Some("NewExport"),
        answers: &[of_status(202, "It waits for its turn; `Location` is where to ask for it.", "Export")],
        problems: &[
            BadCommand,
            BadParameter,
            ForeignPage,
            NotFound,
            Refused,
            TooLarge,
            NotJson,
            KeyReused,
            NoRoom,
            VolumeAway,
        ],
    },
    read(
        "/api/v1/exports/{id}",
        "export",
        "One export and its progress",
        &[EXPORT, KNOWN],
        &[json("The export.", "Export"), NOT_MODIFIED],
        &[NotFound],
    ),
    Operation {
        method: "delete",
        path: "/api/v1/exports/{id}",
        name: "export_remove",
        summary: "Deletes an export, or ends it",
        parameters: &[EXPORT],
        body: None,
        answers: &[Answer { status: 204, description: "It is gone.", content: None }],
        problems: &[ForeignPage, NotFound, NotJson],
    },
    read(
        "/api/v1/exports/{id}/video.mp4",
        "export_file",
        "The file of an export",
        &[EXPORT, PART, KNOWN],
        FILE,
        &[NotFound],
    ),
];
