//! What callers send: JSON of a bounded size, from our own page or a program.

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;

use super::problem::Problem;
use super::sender::check_sender;

/// No command is longer, in bytes.
const LONGEST: usize = 64 << 10;

/// The command in `body`. `example` shows what it has to be like.
///
/// # Errors
/// When a foreign page sent it, it is too long, or it is not what is wanted.
pub(super) async fn command<T: DeserializeOwned>(headers: &HeaderMap, body: Body, example: &str) -> Result<T, Problem> {
    check_sender(headers)?;
    let body = to_bytes(body, LONGEST).await.map_err(|_| {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", format!("a command has at most {LONGEST} bytes"))
    })?;
    serde_json::from_slice(&body).map_err(|error| {
        let message = format!("not a command: {error}; for example {example}");
        Problem::new(StatusCode::BAD_REQUEST, "bad_command", message)
    })
}
