//! What callers send: JSON of a bounded size, from our own page or a program.

use axum::body::{Body, to_bytes};
use axum::http::HeaderMap;
use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::problem::{Code, Problem};
use super::sender::check_sender;

/// No command is longer, in bytes.
const LONGEST: usize = 64 << 10;

/// The command in `body`. `example` shows what it has to be like.
///
/// # Errors
/// When a foreign page sent it, it is too long, or it is not what is wanted.
pub(super) async fn command<T: DeserializeOwned>(headers: &HeaderMap, body: Body, example: &str) -> Result<T, Problem> {
    read(&received(headers, body).await?, example)
}

/// The bytes of a command.
///
/// # Errors
/// When a foreign page sent it, or it is too long.
pub(super) async fn received(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    check_sender(headers)?;
    let too_large = |_| Problem::new(Code::TooLarge, format!("a command has at most {LONGEST} bytes"));
    to_bytes(body, LONGEST).await.map_err(too_large)
}

/// The command in these bytes.
///
/// # Errors
/// When it is not what is wanted; names `example`.
pub(super) fn read<T: DeserializeOwned>(body: &[u8], example: &str) -> Result<T, Problem> {
    serde_json::from_slice(body)
        .map_err(|error| Problem::new(Code::BadCommand, format!("not a command: {error}; for example {example}")))
}
