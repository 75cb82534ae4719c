//! The routes of the photo library, as the document describes them.

use super::super::problem::Code::{
    self, BadCommand, BadParameter, Busy, ChangedMeanwhile, ForeignPage, KeyReused, NoRoom, NotBytes, NotFound,
    NotJson, NotMultipart, OriginalAway, OverQuota, Refused, TooLarge, UnknownFormat, VolumeAway, WrongOffset,
    WrongTusVersion,
};
use super::operations::{FILE, ID, KNOWN, NOT_MODIFIED, ONCE, PART, json, media, of_status, read};
use super::{Answer, Operation, Parameter};

const PHOTO: &[Parameter] = &[Parameter::path("id", ID, "Id of the photo.")];
const PAGE: &[Parameter] = &[
    Parameter::query("before", r#"{"type": "string", "minLength": 1}"#, "`next` of the page before."),
    Parameter::query("trash", r#"{"type": "boolean", "default": false}"#, "What lies in the caller's trash instead."),
    Parameter::query(
        "limit",
        r#"{"type": "integer", "minimum": 1, "maximum": 500, "default": 100}"#,
        "Photos in the answer at most.",
    ),
];
const SEARCHED: &[Parameter] = &[
    Parameter::query("q", r#"{"type": "string", "maxLength": 500}"#, "What is searched for."),
    Parameter::query("album", ID, "Those of this album."),
];
const JOINT: &[Parameter] = &[
    Parameter::query("q", r#"{"type": "string", "maxLength": 500}"#, "What is searched for."),
    Parameter::query("before", r#"{"type": "string", "minLength": 1}"#, "`next` of the page before."),
    Parameter::query(
        "limit",
        r#"{"type": "integer", "minimum": 1, "maximum": 500, "default": 100}"#,
        "Photos and events in the answer at most.",
    ),
];
const DEGREES: &str = r#"{"type": "number", "minimum": -180, "maximum": 180}"#;
const LATITUDE: &str = r#"{"type": "number", "minimum": -90, "maximum": 90}"#;
const EDGES: &[Parameter] = &[
    Parameter::query("south", LATITUDE, "Southern edge, degrees."),
    Parameter::query("north", LATITUDE, "Northern edge, degrees."),
    Parameter::query("west", DEGREES, "Western edge, degrees."),
    Parameter::query("east", DEGREES, "Eastern edge, degrees; below `west` it lies beyond the date line."),
];
const ALBUM: &[Parameter] = &[Parameter::path("id", ID, "Id of the album.")];
const ALBUM_EXPECTED: &[Parameter] =
    &[Parameter::header("If-Match", r#"{"type": "string"}"#, "`ETag` of the album as you know it.")];
const EXPECTED: &[Parameter] =
    &[Parameter::header("If-Match", r#"{"type": "string"}"#, "`ETag` of the photo as you know it.")];
const GIVEN: &[Code] = &[BadCommand, BadParameter, ForeignPage, TooLarge, NotMultipart, NoRoom, VolumeAway];

const IMPORT: &[Parameter] = &[Parameter::path("id", ID, "Id of the import.")];
const UPLOAD: &[Parameter] = &[Parameter::path("id", ID, "Id of the upload.")];
const NUMBER: &str = r#"{"type": "integer", "minimum": 0}"#;
const VERSION: &[Parameter] =
    &[Parameter::header("Tus-Resumable", r#"{"const": "1.0.0"}"#, "Version of the protocol; has to be there.")];
const BEGUN: &[Parameter] = &[
    Parameter::header("Upload-Length", NUMBER, "Bytes of the whole file; has to be there."),
    Parameter::header("Upload-Metadata", r#"{"type": "string"}"#, "`filename`, `private`, `file_date`, in base64."),
];
const OFFSET: &[Parameter] = &[Parameter::header("Upload-Offset", NUMBER, "Bytes that are there; has to be there.")];
const UPLOADING: &[Code] =
    &[BadParameter, ForeignPage, TooLarge, OverQuota, NoRoom, VolumeAway, WrongTusVersion, UnknownFormat];
const APPENDING: &[Code] = &[
    BadParameter,
    ForeignPage,
    TooLarge,
    OverQuota,
    NoRoom,
    VolumeAway,
    WrongTusVersion,
    UnknownFormat,
    NotFound,
    WrongOffset,
    NotBytes,
];

const fn without_content(status: u16, description: &'static str) -> Answer {
    Answer { status, description, content: None }
}

pub(super) const OPERATIONS: &[Operation] = &[
    read(
        "/api/v1/photos",
        "photos",
        "Photos of the library, those that were taken last first",
        &[SEARCHED, PAGE, KNOWN],
        &[json("A page of them.", "PhotoPage"), NOT_MODIFIED],
        &[BadParameter, NotFound],
    ),
    read(
        "/api/v1/search",
        "search",
        "Photos and events of cameras in one list, the latest first",
        &[JOINT, KNOWN],
        &[json("A page of them.", "JointPage"), NOT_MODIFIED],
        &[BadParameter],
    ),
    read(
        "/api/v1/jobs",
        "jobs",
        "What goes on beside recording and answering",
        &[KNOWN],
        &[json("The jobs.", "Jobs"), NOT_MODIFIED],
        &[],
    ),
    read(
        "/api/v1/photos/days",
        "photo_days",
        "How many photos were taken on each day, the last day first",
        &[SEARCHED, KNOWN],
        &[json("The days.", "PhotoDays"), NOT_MODIFIED],
        &[BadParameter, NotFound],
    ),
    read(
        "/api/v1/photos/places",
        "photo_places",
        "Where photos were taken, in squares of the map",
        &[SEARCHED, EDGES, KNOWN],
        &[json("The squares.", "PhotoPlaces"), NOT_MODIFIED],
        &[BadParameter, NotFound],
    ),
    read(
        "/api/v1/photos/tags",
        "photo_tags",
        "Tags of photos, the most frequent first",
        &[KNOWN],
        &[json("The tags.", "PhotoTags"), NOT_MODIFIED],
        &[],
    ),
    read(
        "/api/v1/photos/usage",
        "photo_usage",
        "What the caller's photos take, and may take; for admins those of all users too",
        &[KNOWN],
        &[json("What they take.", "PhotoUsage"), NOT_MODIFIED],
        &[],
    ),
    read(
        "/api/v1/photos/similar",
        "photos_similar",
        "Groups of photos that look alike, of the caller's own, for admins of all; the largest first",
        &[
            &[Parameter::query(
                "skip",
                r#"{"type": "integer", "minimum": 0, "default": 0}"#,
                "Groups that are left out.",
            )],
            KNOWN,
        ],
        &[json("Up to 100 groups.", "SimilarPhotos"), NOT_MODIFIED],
        &[BadParameter],
    ),
    Operation {
        method: "post",
        path: "/api/v1/photos/merge",
        name: "photos_merge",
        summary: "Keeps one of several photos, with what was said of all; the others go to the trash",
        parameters: &[],
        body: Some("MergePhotos"),
        answers: &[json("The photo that is kept.", "PhotoRecord")],
        problems: &[BadCommand, ForeignPage, NotFound, TooLarge, NotJson],
    },
    read(
        "/api/v1/photos/export.tar",
        "photos_export",
        "Photos as folders by day in one tar archive, each with its XMP beside it",
        &[SEARCHED],
        &[media(200, "The archive.", "application/x-tar")],
        &[BadParameter, NotFound, Busy],
    ),
    read(
        "/api/v1/photos/check",
        "photo_check",
        "What the rolling check of originals found",
        &[KNOWN],
        &[json("The check.", "CheckReport"), NOT_MODIFIED],
        &[],
    ),
    read(
        "/api/v1/photos/watched",
        "photo_folders",
        "The folders that are watched; for admins all, for others those whose files become their photos",
        &[KNOWN],
        &[json("The folders.", "WatchedFolders"), NOT_MODIFIED],
        &[],
    ),
    read(
        "/api/v1/photos/imports",
        "photo_imports",
        "What may be imported, and the imports, newest first",
        &[KNOWN],
        &[json("Volumes and imports.", "Imports"), NOT_MODIFIED],
        &[],
    ),
    Operation {
        method: "post",
        path: "/api/v1/photos/imports",
        name: "photo_import_add",
        summary: "Begins to take in the files of a folder",
        parameters: &[ONCE],
        body: Some("NewImport"),
        answers: &[of_status(202, "It waits for its turn; `Location` is where to ask for it.", "Import")],
        problems: &[BadCommand, ForeignPage, Refused, TooLarge, NotJson, KeyReused, VolumeAway],
    },
    read(
        "/api/v1/photos/imports/{id}",
        "photo_import",
        "One import and its report",
        &[IMPORT, KNOWN],
        &[json("The import.", "Import"), NOT_MODIFIED],
        &[NotFound],
    ),
    Operation {
        method: "delete",
        path: "/api/v1/photos/imports/{id}",
        name: "photo_import_end",
        summary: "Cancels an import, or forgets one that is over",
        parameters: &[IMPORT],
        body: None,
        answers: &[without_content(204, "It is cancelled, or forgotten.")],
        problems: &[ForeignPage, NotFound, NotJson],
    },
    Operation {
        method: "post",
        path: "/api/v1/photos",
        name: "photos_add",
        summary: "Gives files to the library",
        parameters: &[],
        body: Some("PhotoUpload"),
        answers: &[
            of_status(201, "What became of each; at least one is new.", "PhotoOutcomes"),
            json("What became of each; none is new.", "PhotoOutcomes"),
        ],
        problems: GIVEN,
    },
    read(
        "/api/v1/photos/{id}",
        "photo",
        "One photo",
        &[PHOTO, KNOWN],
        &[json("The photo.", "PhotoRecord"), NOT_MODIFIED],
        &[NotFound],
    ),
    Operation {
        method: "patch",
        path: "/api/v1/photos/{id}",
        name: "photo_change",
        summary: "Changes what is said of a photo, who sees it, and whether it lies in the trash",
        parameters: &[PHOTO, EXPECTED],
        body: Some("PhotoEdit"),
        answers: &[json("The photo as it is then.", "PhotoRecord")],
        problems: &[BadCommand, ForeignPage, NotFound, ChangedMeanwhile, TooLarge, NotJson],
    },
    Operation {
        method: "delete",
        path: "/api/v1/photos/{id}",
        name: "photo_remove",
        summary: "Deletes a photo for good, here and at all destinations",
        parameters: &[PHOTO, EXPECTED],
        body: None,
        answers: &[without_content(204, "It is deleted.")],
        problems: &[ForeignPage, NotFound, ChangedMeanwhile, NotJson],
    },
    Operation {
        method: "patch",
        path: "/api/v1/photos/{id}/favorite",
        name: "photo_favorite",
        summary: "Makes a photo a favourite of the caller, or no favourite",
        parameters: &[PHOTO],
        body: Some("PhotoFavorite"),
        answers: &[json("The photo as it is then.", "PhotoRecord")],
        problems: &[BadCommand, ForeignPage, NotFound, TooLarge, NotJson, NoRoom],
    },
    read(
        "/api/v1/albums",
        "albums",
        "Albums that the caller sees, those that were made last first",
        &[KNOWN],
        &[json("The albums.", "Albums"), NOT_MODIFIED],
        &[],
    ),
    Operation {
        method: "post",
        path: "/api/v1/albums",
        name: "album_add",
        summary: "Makes an album",
        parameters: &[ONCE],
        body: Some("AlbumEdit"),
        answers: &[of_status(201, "The album.", "Album")],
        problems: &[BadCommand, ForeignPage, TooLarge, NotJson, NoRoom, VolumeAway, KeyReused],
    },
    read(
        "/api/v1/albums/{id}",
        "album",
        "One album",
        &[ALBUM, KNOWN],
        &[json("The album.", "Album"), NOT_MODIFIED],
        &[NotFound],
    ),
    Operation {
        method: "patch",
        path: "/api/v1/albums/{id}",
        name: "album_change",
        summary: "Changes an album, and which photos are in it",
        parameters: &[ALBUM, ALBUM_EXPECTED],
        body: Some("AlbumEdit"),
        answers: &[json("The album as it is then.", "Album")],
        problems: &[BadCommand, ForeignPage, NotFound, ChangedMeanwhile, TooLarge, NotJson, NoRoom],
    },
    Operation {
        method: "delete",
        path: "/api/v1/albums/{id}",
        name: "album_remove",
        summary: "Deletes an album; its photos stay",
        parameters: &[ALBUM],
        body: None,
        answers: &[without_content(204, "It is deleted.")],
        problems: &[ForeignPage, NotFound, NotJson],
    },
    read(
        "/api/v1/photos/{id}/original",
        "photo_original",
        "The file as it came",
        &[PHOTO, PART, KNOWN],
        FILE,
        &[NotFound, OriginalAway],
    ),
    read(
        "/api/v1/photos/{id}/storage",
        "photo_storage",
        "Where the original is",
        &[PHOTO, KNOWN],
        &[json("Where it is.", "OriginalState"), NOT_MODIFIED],
        &[NotFound],
    ),
    Operation {
        method: "post",
        path: "/api/v1/photos/{id}/fetch",
        name: "photo_fetch",
        summary: "Brings an original back from the destination where it lies alone",
        parameters: &[PHOTO],
        body: None,
        answers: &[of_status(202, "It comes when the link allows.", "OriginalState")],
        problems: &[ForeignPage, NotFound, NotJson, Refused],
    },
    Operation {
        method: "post",
        path: "/api/v1/photos/{id}/release",
        name: "photo_release",
        summary: "Removes an original from the box once the destination has said that it has it",
        parameters: &[PHOTO],
        body: None,
        answers: &[of_status(202, "It goes when the destination says so.", "OriginalState")],
        problems: &[ForeignPage, NotFound, NotJson, Refused],
    },
    read(
        "/api/v1/photos/{id}/large.jpg",
        "photo_large",
        "A picture of at most 1440 pixels",
        &[PHOTO, PART, KNOWN],
        FILE,
        &[NotFound, OriginalAway],
    ),
    read(
        "/api/v1/photos/{id}/small.jpg",
        "photo_small",
        "A picture of at most 256 pixels",
        &[PHOTO, PART, KNOWN],
        FILE,
        &[NotFound, OriginalAway],
    ),
    Operation {
        method: "post",
        path: "/api/v1/uploads",
        name: "upload_begin",
        summary: "Begins an upload of one file that goes on after a break (tus 1.0)",
        parameters: &[VERSION, BEGUN],
        body: None,
        answers: &[without_content(201, "`Location` is the upload.")],
        problems: UPLOADING,
    },
    read(
        "/api/v1/uploads/{id}",
        "upload",
        "How far an upload got: `Upload-Offset`",
        &[UPLOAD, VERSION],
        &[without_content(200, "The headers say it.")],
        &[NotFound, ForeignPage, WrongTusVersion],
    ),
    Operation {
        method: "patch",
        path: "/api/v1/uploads/{id}",
        name: "upload_append",
        summary: "Adds the next bytes; with the last one it becomes a photo, which `Outpost-Photo` names",
        parameters: &[UPLOAD, VERSION, OFFSET],
        body: Some("UploadBytes"),
        answers: &[without_content(204, "`Upload-Offset` says how far it got.")],
        problems: APPENDING,
    },
    Operation {
        method: "delete",
        path: "/api/v1/uploads/{id}",
        name: "upload_cancel",
        summary: "Ends an upload, and removes what arrived",
        parameters: &[UPLOAD, VERSION],
        body: None,
        answers: &[without_content(204, "It is gone.")],
        problems: &[NotFound, ForeignPage, WrongTusVersion],
    },
];
