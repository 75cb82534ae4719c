//! The routes of users, sessions and keys, as the document describes them.

use super::super::problem::Code::{
    self, BadCommand, BadParameter, Busy, ForeignPage, KeyReused, NoAccount, NotFound, NotJson, PasswordNeeded,
    Refused, SecondFactorNeeded, SetupOver, TooLarge, TooManyTries, WrongPassword, WrongSecondFactor,
};
use super::operations::{FILE, NOT_MODIFIED, ONCE, TEXT, json, of_status, read};
use super::{Answer, Operation, Parameter};

const USER: &[Parameter] = &[Parameter::path("name", TEXT, "Name of the user.")];
const SESSION: &[Parameter] = &[Parameter::path("id", TEXT, "Id of the session.")];
const SHARE: &[Parameter] = &[Parameter::path("id", TEXT, "Id of the link.")];
const TICKET: &[Parameter] = &[
    Parameter::path("ticket", TEXT, "What opening the link gave."),
    Parameter::path("name", TEXT, "The neutral name that it gave."),
];
const ALBUM_TICKET: &[Parameter] = &[Parameter::path("ticket", TEXT, "What opening the link gave.")];
const SHARED_PHOTO: &[Parameter] = &[Parameter::path("id", TEXT, "Id of the photo.")];
const SHARED_NAME: &[Parameter] = &[Parameter::path("name", TEXT, "Its neutral name, or `large.jpg`.")];
const BEFORE: &[Parameter] =
    &[Parameter::query("before", r#"{"type": "string", "minLength": 1}"#, "`next` of the page before.")];
const KEY: &[Parameter] = &[Parameter::path("id", TEXT, "Id of the key.")];

const AUDIT: &[Parameter] = &[
    Parameter::query("who", r#"{"type": "string"}"#, "Name of the caller."),
    Parameter::query("text", r#"{"type": "string"}"#, "Part of the caller, action or target."),
    Parameter::query("before", r#"{"type": "integer", "minimum": 0}"#, "Only entries with a lower number."),
    Parameter::query(
        "limit",
        r#"{"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}"#,
        "Entries in the answer at most.",
    ),
];

const DONE: &[Answer] = &[Answer { status: 204, description: "It is done.", content: None }];
const CALLER: &[Answer] = &[json("The user that is logged in now; the session comes as a cookie.", "Caller")];

/// What all commands may hear.
const COMMAND: &[Code] = &[
    BadCommand,
    ForeignPage,
    TooLarge,
    NotJson,
    NotFound,
    Refused,
    NoAccount,
    WrongPassword,
    TooManyTries,
    Busy,
    KeyReused,
];
const LOGIN: &[Code] = &[
    BadCommand,
    ForeignPage,
    TooLarge,
    NotJson,
    Refused,
    WrongPassword,
    SecondFactorNeeded,
    WrongSecondFactor,
    SetupOver,
    TooManyTries,
    Busy,
];

/// A route that changes something.
const fn change(
    method: &'static str,
    path: &'static str,
    name: &'static str,
    summary: &'static str,
    parameters: &'static [&'static [Parameter]],
    body: Option<&'static str>,
    answers: &'static [Answer],
) -> Operation {
    Operation { method, path, name, summary, parameters, body, answers, problems: COMMAND }
}

const fn login(path: &'static str, name: &'static str, summary: &'static str, body: &'static str) -> Operation {
    Operation {
        method: "post",
        path,
        name,
        summary,
        parameters: &[],
        body: Some(body),
        answers: CALLER,
        problems: LOGIN,
    }
}

pub(super) const OPERATIONS: &[Operation] = &[
    read("/api/v1/access", "access", "Whether a login is needed", &[], &[json("It.", "Access")], &[]),
    login("/api/v1/login", "login", "Logs a user in", "Login"),
    login("/api/v1/setup", "setup", "Adds the first user, and logs it in", "Setup"),
    change("post", "/api/v1/logout", "logout", "Ends the session", &[], None, DONE),
    read("/api/v1/me", "me", "The caller", &[], &[json("The caller.", "Caller")], &[]),
    change("post", "/api/v1/me/password", "me_password", "Sets another password", &[], Some("OwnPassword"), DONE),
    change(
        "post",
        "/api/v1/me/second-factor",
        "me_second_factor",
        "Begins to set up an authenticator app; `code`: of the present one",
        &[],
        Some("OwnProof"),
        &[json("What the app needs.", "Enrolment")],
    ),
    change(
        "post",
        "/api/v1/me/second-factor/confirm",
        "me_second_factor_confirm",
        "Asks for codes from now on",
        &[],
        Some("OwnCode"),
        &[json("Codes for when the app is lost.", "RecoveryCodes")],
    ),
    read(
        "/api/v1/me/sessions",
        "me_sessions",
        "The own sessions",
        &[],
        &[json("The sessions.", "OwnSessions")],
        &[NoAccount],
    ),
    change("delete", "/api/v1/me/sessions/{id}", "me_session_end", "Ends one of them", &[SESSION], None, DONE),
    read("/api/v1/shares", "shares", "Links to files", &[], &[json("The links.", "Shares")], &[]),
    change(
        "post",
        "/api/v1/shares",
        "share_add",
        "Makes a link to a file of an event, a photo or an album",
        &[ONCE],
        Some("NewShare"),
        &[of_status(201, "The link.", "ShareAdded")],
    ),
    change("delete", "/api/v1/shares/{id}", "share_remove", "Withdraws a link", &[SHARE], None, DONE),
    Operation {
        method: "post",
        path: "/api/v1/shared/open",
        name: "shared_open",
        summary: "Opens a link",
        parameters: &[],
        body: Some("OpenShared"),
        answers: &[json("Where the file is.", "SharedOpened")],
        problems: &[
            BadCommand,
            ForeignPage,
            NotJson,
            TooLarge,
            NotFound,
            PasswordNeeded,
            WrongPassword,
            TooManyTries,
            Busy,
        ],
    },
    read("/api/v1/shared/{ticket}/{name}", "shared_file", "A file that was shared", &[TICKET], FILE, &[NotFound]),
    read(
        "/api/v1/shared/{ticket}/photos",
        "shared_photos",
        "The photos of an album that was shared",
        &[ALBUM_TICKET, BEFORE],
        &[json("A page of them.", "SharedAlbum"), NOT_MODIFIED],
        &[BadParameter, NotFound],
    ),
    read(
        "/api/v1/shared/{ticket}/photos/{id}/small.jpg",
        "shared_photo_small",
        "A picture of at most 256 pixels",
        &[ALBUM_TICKET, SHARED_PHOTO],
        FILE,
        &[NotFound],
    ),
    read(
        "/api/v1/shared/{ticket}/photos/{id}/{name}",
        "shared_photo_file",
        "`large.jpg`, or the photo under the name that the list gives",
        &[ALBUM_TICKET, SHARED_PHOTO, SHARED_NAME],
        FILE,
        &[NotFound],
    ),
    read("/api/v1/users", "users", "All users", &[], &[json("The users.", "Users")], &[]),
    change(
        "post",
        "/api/v1/users",
        "user_add",
        "Adds a user",
        &[ONCE],
        Some("NewUser"),
        &[of_status(201, "The user.", "User")],
    ),
    change(
        "patch",
        "/api/v1/users/{name}",
        "user_change",
        "Changes a user",
        &[USER],
        Some("UserChange"),
        &[json("The user.", "User")],
    ),
    change("delete", "/api/v1/users/{name}", "user_remove", "Removes a user and its sessions", &[USER], None, DONE),
    change("post", "/api/v1/users/{name}/unlock", "user_unlock", "Forgets failed logins", &[USER], None, DONE),
    read(
        "/api/v1/audit",
        "audit",
        "Who did and looked at what, newest first",
        &[AUDIT],
        &[json("A page of entries.", "AuditPage")],
        &[BadParameter],
    ),
    read("/api/v1/sessions", "sessions", "Sessions of all users", &[], &[json("The sessions.", "Sessions")], &[]),
    change("delete", "/api/v1/sessions/{id}", "session_end", "Ends one of them", &[SESSION], None, DONE),
    read("/api/v1/keys", "keys", "All keys of programs", &[], &[json("The keys.", "Keys")], &[]),
    change(
        "post",
        "/api/v1/keys",
        "key_add",
        "Makes a key",
        &[ONCE],
        Some("NewKey"),
        &[of_status(201, "The key, which is shown here only.", "AddedKey")],
    ),
    change("delete", "/api/v1/keys/{id}", "key_remove", "Removes it", &[KEY], None, DONE),
];
