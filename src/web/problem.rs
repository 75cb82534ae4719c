//! Answers when something is wrong: `application/problem+json` (RFC 9457) under /api, a small page elsewhere.
//!
//! Every kind of problem is declared once, in the table of [`Code`]: the API serves that table, and docs/api.md
//! documents it.

use std::future::Future;
use std::time::Duration;

use anyhow::Result;
use axum::http::header::{self, HeaderValue};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;
use tracing::warn;

/// How long a service may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);

/// The page asks every two seconds; its failures are logged this often.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// Media type of a problem.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// Where the problems are documented; the type of each is this and its code.
const DOCUMENTED_AT: &str = "/api/v1/problems";

/// Makes [`Code`] of the table of problems.
macro_rules! problems {
    ($($code:ident = $name:literal, $status:ident, $title:literal, $help:literal;)+) => {
        /// Kind of a problem.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Code {
            $(#[doc = $title] $code,)+
        }

        impl Code {
            /// All of them.
            pub(super) const ALL: &[Self] = &[$(Self::$code),+];

            /// What the API says of it.
            pub(super) fn documented(self) -> Documented {
                let (code, status, title, help) = match self {
                    $(Self::$code => ($name, StatusCode::$status, $title, $help),)+
                };
                Documented { kind: format!("{DOCUMENTED_AT}/{code}"), code, status: status.as_u16(), title, help }
            }

            /// The status of an answer with it.
            pub(super) fn status(self) -> StatusCode {
                match self {
                    $(Self::$code => StatusCode::$status,)+
                }
            }
        }
    };
}

problems! {
    BadParameter = "bad_parameter", BAD_REQUEST, "A parameter is not allowed",
        "Change the parameter that `parameter` names to what its `allowed` says.";
    BadRequest = "bad_request", BAD_REQUEST, "The request is not HTTP as it should be",
        "Send a request line, header fields and an empty line, as HTTP/1.1 has them.";
    BadCommand = "bad_command", BAD_REQUEST, "The body is not a command",
        "Send the JSON object that the documentation of the route describes; `detail` says where it differs.";
    HttpsNeeded = "https_needed", BAD_REQUEST, "The port speaks HTTPS",
        "Begin the address with https://.";
    NotLoggedIn = "not_logged_in", UNAUTHORIZED, "No session and no key, or one that is over",
        "Log in at /login, or send the header `authorization: Bearer KEY`.";
    WrongPassword = "wrong_password", UNAUTHORIZED, "The name or the password is wrong",
        "Try again; an admin can set another password.";
    BadOffer = "bad_offer", BAD_REQUEST, "The offer of a WebRTC session cannot be read",
        "Send the SDP of an offer; `detail` says what is wrong with it.";
    PasswordNeeded = "password_needed", UNAUTHORIZED, "The link needs a password",
        "Send the same with `password`.";
    SecondFactorNeeded = "code_needed", UNAUTHORIZED, "A code of the authenticator app is needed too",
        "Send the same with `code`.";
    WrongSecondFactor = "wrong_code", UNAUTHORIZED, "The code is wrong or was used before",
        "Wait for the next code of the app, or use a recovery code.";
    NotAllowed = "not_allowed", FORBIDDEN, "The caller may not do this",
        "An admin can give the user or key another role or more cameras.";
    SetupOver = "setup_over", FORBIDDEN, "The first user cannot be added with this link",
        "Use the link that the log of this start names; where there is a user already, log in.";
    ForeignPage = "foreign_page", FORBIDDEN, "The command comes from a page of another site",
        "Give commands from the box's own page, or from a program that sends no `Origin`.";
    NotFound = "not_found", NOT_FOUND, "There is nothing here",
        "Check the path: the route, event, file, camera, segment or queue is not on this box.";
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "The route does not have this method",
        "Use GET or HEAD to read; the documentation lists the routes that take commands.";
    TooSlow = "too_slow", REQUEST_TIMEOUT, "The body comes too slowly",
        "Send it again, faster than 1 KiB/s.";
    NoAccount = "no_account", CONFLICT, "The caller has no account here",
        "Log in as a user: keys and the box itself have no password and no sessions.";
    Refused = "refused", CONFLICT, "The command makes no sense",
        "`detail` says why, such as that an outlet is no upload.";
    WrongOffset = "wrong_offset", CONFLICT, "The next bytes of the upload are others",
        "Ask for the upload (HEAD), and send what lies behind its `Upload-Offset`.";
    ChangedMeanwhile = "changed_meanwhile", PRECONDITION_FAILED, "It was changed since the `ETag` in `If-Match`",
        "Read it again, and send the change with its `ETag` in `If-Match`.";
    WrongTusVersion = "wrong_tus_version", PRECONDITION_FAILED, "The version of the upload protocol is not 1.0.0",
        "Send the header `tus-resumable: 1.0.0`.";
    AlreadyPublished = "already_published", CONFLICT, "Another phone or browser publishes to the camera",
        "End it there first; one whose pictures stay away for 5 s gives way.";
    NoVideo = "no_video", CONFLICT, "The camera's video cannot be played by browsers",
        "Use `live.mjpeg` of the camera.";
    TooLarge = "too_large", PAYLOAD_TOO_LARGE, "The body is too large",
        "Send less at once; `detail` says how much is allowed.";
    OverQuota = "over_quota", PAYLOAD_TOO_LARGE, "The photos of the user take as much as they may",
        "Delete photos for good, or ask an admin for a larger quota: section `library` of the configuration.";
    OriginalAway = "original_away", CONFLICT, "The original lies at a destination alone",
        "`POST /api/v1/photos/{id}/fetch` brings it back when the link allows; then ask again.";
    UriTooLong = "uri_too_long", URI_TOO_LONG, "Path and query are too long",
        "Ask for less in one request.";
    NotJson = "not_json", UNSUPPORTED_MEDIA_TYPE, "The command is not JSON",
        "Send JSON with the header `content-type: application/json`.";
    NotAPicture = "not_a_picture", UNSUPPORTED_MEDIA_TYPE, "The body is no picture",
        "Send a JPEG or PNG, with the header `content-type: image/jpeg` or `image/png`.";
    NotBytes = "not_bytes", UNSUPPORTED_MEDIA_TYPE, "The bytes of an upload are sent as another kind",
        "Send the header `content-type: application/offset+octet-stream`.";
    NotMultipart = "not_multipart", UNSUPPORTED_MEDIA_TYPE, "The upload is not in parts",
        "Send `multipart/form-data` with one part `file` for each file.";
    NotSdp = "not_sdp", UNSUPPORTED_MEDIA_TYPE, "The body is sent as another kind than SDP",
        "Send offers as `application/sdp`, candidates as `application/trickle-ice-sdpfrag`.";
    UnfitOffer = "unfit_offer", UNPROCESSABLE_ENTITY, "The offer has no video that fits",
        "`detail` says what is missing: H.264 or VP8 to publish, H.264 to play.";
    UnknownFormat = "unknown_format", UNPROCESSABLE_ENTITY, "The file is neither a picture nor a video",
        "Send JPEG, PNG, WebP, GIF, TIFF, HEIC, AVIF, camera raw, MP4, QuickTime or Matroska.";
    WrongHost = "wrong_host", MISDIRECTED_REQUEST, "The request is meant for another host",
        "Use localhost or a loopback address; beyond loopback an address or host name of the box, or a name of `web.names`.";
    WebsocketRequired = "websocket_required", UPGRADE_REQUIRED, "Live video needs a WebSocket",
        "Open the address as a WebSocket; `live.mjpeg` needs none.";
    NotAnExecution = "not_an_execution", UNSUPPORTED_MEDIA_TYPE, "The body is neither pictures nor a command",
        "Send `multipart/form-data`, `image/...`, or `application/json` that names pictures of this box.";
    BadInputs = "bad_inputs", UNPROCESSABLE_ENTITY, "The pictures do not fit the pipeline",
        "`detail` says which picture is missing, or is none; send one for each input.";
    InvalidPipeline = "invalid_pipeline", UNPROCESSABLE_ENTITY, "The pipeline cannot be run",
        "`errors` has a step, field, reason and cure for each mistake.";
    InvalidConfig = "invalid_config", UNPROCESSABLE_ENTITY, "The configuration could not be used with this",
        "Change what `detail` names; nothing was changed.";
    CameraUnusable = "camera_unusable", UNPROCESSABLE_ENTITY, "The camera gives no picture",
        "`detail` says what is wrong and what to do.";
    PictureUnusable = "picture_unusable", UNPROCESSABLE_ENTITY, "The picture cannot be decoded",
        "`detail` says why; save it again as JPEG or PNG.";
    ModelUnusable = "model_unusable", UNPROCESSABLE_ENTITY, "The model cannot be used",
        "`detail` says what is wrong with it and what to do.";
    KeyReused = "idempotency_key_reused", UNPROCESSABLE_ENTITY, "The idempotency key stands for another request",
        "Use a new `Idempotency-Key` for each request that differs.";
    TooManyTries = "too_many_tries", TOO_MANY_REQUESTS, "Too many logins failed",
        "Wait as long as `detail` says, or ask an admin to unlock the user.";
    TooManyRequests = "too_many_requests", TOO_MANY_REQUESTS, "Too many requests of the caller at once",
        "Wait for the answers to those that are under way.";
    HeadersTooLarge = "headers_too_large", REQUEST_HEADER_FIELDS_TOO_LARGE, "The header fields are too long",
        "Send fewer or shorter header fields.";
    Internal = "internal", INTERNAL_SERVER_ERROR, "Reading failed",
        "The log of the box says why.";
    NoPicture = "no_picture", SERVICE_UNAVAILABLE, "The camera has no picture to show",
        "Ask again; the status of the camera says how it is.";
    TooManyViewers = "too_many_viewers", SERVICE_UNAVAILABLE, "There are as many live views as may be at once",
        "Close one, or raise `web.max_viewers`.";
    Busy = "busy", SERVICE_UNAVAILABLE, "Others wait already",
        "Try again in a few seconds.";
    Stopping = "stopping", SERVICE_UNAVAILABLE, "The daemon is stopping",
        "Try again when it runs.";
    NoAnswer = "no_answer", SERVICE_UNAVAILABLE, "The index did not answer in time",
        "Try again; if it persists, the log of the box says more.";
    VolumeAway = "volume_away", SERVICE_UNAVAILABLE, "The volume of the archive is away",
        "Try again when it is back; the status of the box says what is wrong with it.";
    NoRoom = "no_room", INSUFFICIENT_STORAGE, "The disk has no room for this",
        "Free some space on the disk, or delete what is not needed: exports, executions, photos, events.";
    TooManyConnections = "too_many_connections", SERVICE_UNAVAILABLE, "Too many connections are in use",
        "Close some, or try again in a few seconds.";
    TooManyStreams = "too_many_streams", SERVICE_UNAVAILABLE, "Too many streams are open",
        "Close one, or ask for the lists instead.";
}

/// A kind of problem, as the API documents it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Documented {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) code: &'static str,
    pub(super) status: u16,
    pub(super) title: &'static str,
    /// What to do.
    pub(super) help: &'static str,
}

/// An error as the API reports it.
#[derive(Debug)]
pub(super) struct Problem {
    code: Code,
    detail: String,
    parameter: Option<Box<BadParameter>>,
    /// Each mistake, where there are several.
    errors: Option<Box<serde_json::Value>>,
    /// When it is worth another try.
    wait: Option<Duration>,
}

#[derive(Debug, Serialize)]
struct BadParameter {
    name: String,
    value: String,
    allowed: String,
}

impl Problem {
    pub(super) fn new(code: Code, detail: String) -> Self {
        let wait = (code.status() == StatusCode::TOO_MANY_REQUESTS).then_some(Duration::from_secs(1));
        Self { code, detail, parameter: None, errors: None, wait }
    }

    /// The same, worth another try after `wait`.
    pub(super) fn after(self, wait: Duration) -> Self {
        Self { wait: Some(wait), ..self }
    }

    /// The same with each mistake.
    pub(super) fn with_errors(self, errors: serde_json::Value) -> Self {
        Self { errors: Some(Box::new(errors)), ..self }
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(Code::NotFound, detail.into())
    }

    /// A parameter that is not allowed. The value is cut, so that an answer is never much longer than the question.
    pub(super) fn parameter(name: &str, value: &str, allowed: impl Into<String>) -> Self {
        let shorten = |text: &str| text.chars().take(100).collect::<String>();
        let (name, value, allowed) = (shorten(name), shorten(value), allowed.into());
        let detail = format!("parameter {name:?} is {value:?}; allowed: {allowed}");
        let parameter = Some(Box::new(BadParameter { name, value, allowed }));
        Self { parameter, ..Self::new(Code::BadParameter, detail) }
    }

    /// Whether it is of this kind.
    pub(super) fn is(&self, code: Code) -> bool {
        self.code == code
    }

    /// Its code as the API writes it.
    pub(super) fn code(&self) -> &'static str {
        self.code.documented().code
    }

    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    /// The body of an answer with it.
    pub(super) fn to_json(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Body<'a> {
            #[serde(rename = "type")]
            kind: String,
            title: &'static str,
            status: u16,
            detail: &'a str,
            code: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            parameter: Option<&'a BadParameter>,
            #[serde(skip_serializing_if = "Option::is_none")]
            errors: Option<&'a serde_json::Value>,
        }
        let Documented { kind, code, status, title, .. } = self.code.documented();
        let (parameter, errors) = (self.parameter.as_deref(), self.errors.as_deref());
        serde_json::to_vec(&Body { kind, title, status, detail: &self.detail, code, parameter, errors })
            .unwrap_or_default()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let media_type = [(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE))];
        let mut answer = (self.code.status(), media_type, self.to_json()).into_response();
        if let Some(wait) = self.wait {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        answer
    }
}

/// Logs failures of services, but not each of them.
#[derive(Debug, Default)]
pub(super) struct ErrorLogLimiter(Mutex<Option<(Instant, u64)>>);

impl ErrorLogLimiter {
    fn note(&self, what: &'static str, failure: &str) {
        let mut last = self.0.lock();
        match &mut *last {
            Some((at, more)) if at.elapsed() < LOG_EVERY => *more += 1,
            _ => {
                let more = last.take().map_or(0, |(_, more)| more);
                warn!(what, error = failure, not_logged_before = more, "the page could not be answered");
                *last = Some((Instant::now(), 0));
            }
        }
    }

    /// Waits for a service; what went wrong there goes into the log, not to the browser.
    pub(super) async fn ask<T>(
        &self,
        what: &'static str,
        answer: impl Future<Output = Result<T>> + Send,
    ) -> Result<T, Problem> {
        match tokio::time::timeout(ANSWER_WITHIN, answer).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(failure)) => {
                self.note(what, &format!("{failure:#}"));
                Err(Problem::new(Code::Internal, format!("the {what} cannot be read; the log says why")))
            }
            Err(_) => {
                self.note(what, "no answer in time");
                let detail = format!("the {what} did not come within {} s", ANSWER_WITHIN.as_secs());
                Err(Problem::new(Code::NoAnswer, detail))
            }
        }
    }
}

pub(super) async fn method_not_allowed(uri: Uri) -> Response {
    let detail = "this is to be read with GET or HEAD; docs/api.md lists the routes that take commands";
    if is_api(&uri) {
        return Problem::new(Code::MethodNotAllowed, detail.to_owned()).into_response();
    }
    (StatusCode::METHOD_NOT_ALLOWED, detail).into_response()
}

/// Whether a path is one of the API, where answers are JSON.
pub(super) fn is_api(uri: &Uri) -> bool {
    uri.path() == "/api" || uri.path().starts_with("/api/")
}
