//! What callers send: JSON of a bounded size, from our own page or a program.

use std::error::Error;
use std::io;

use axum::body::{Body, to_bytes};
use axum::http::HeaderMap;
use bytes::Bytes;
use http_body_util::LengthLimitError;
use serde::de::DeserializeOwned;

use super::problem::{Code, Problem};
use super::sender::check_sender;

/// No command is longer, in bytes.
const LONGEST: usize = 64 << 10;

/// The command in `body`. `example` shows what it has to be like.
///
/// # Errors
/// When a foreign page sent it, it is too long, does not come, or is not what is wanted.
pub(super) async fn command<T: DeserializeOwned>(headers: &HeaderMap, body: Body, example: &str) -> Result<T, Problem> {
    read(&received(headers, body).await?, example)
}

/// The bytes of a command.
///
/// # Errors
/// When a foreign page sent it, it is too long, or does not come.
pub(super) async fn received(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    check_sender(headers)?;
    bounded(body).await
}

/// The same from any sender.
///
/// # Errors
/// When it is too long, or does not come.
pub(super) async fn bounded(body: Body) -> Result<Bytes, Problem> {
    to_bytes(body, LONGEST).await.map_err(|error| broken(&error))
}

/// Why a body did not come whole.
fn broken(error: &axum::Error) -> Problem {
    let mut cause: Option<&dyn Error> = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return Problem::new(Code::TooLarge, format!("a command has at most {LONGEST} bytes"));
        }
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut) {
            return Problem::new(Code::TooSlow, "the body does not come, or comes too slowly".to_owned());
        }
        cause = error.source();
    }
    Problem::new(Code::BadCommand, format!("the body broke off: {error}"))
}

/// The command in these bytes.
///
/// # Errors
/// When it is not what is wanted; names `example`.
pub(super) fn read<T: DeserializeOwned>(body: &[u8], example: &str) -> Result<T, Problem> {
    serde_json::from_slice(body)
        .map_err(|error| Problem::new(Code::BadCommand, format!("not a command: {error}; for example {example}")))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, header};
    use futures::stream;

    use super::*;

    async fn refusal(pieces: Vec<io::Result<Bytes>>) -> String {
        let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        let body = Body::from_stream(stream::iter(pieces));
        let problem = received(&json.into_iter().collect(), body).await.expect_err("not whole");
        format!("{problem:?}")
    }

    #[tokio::test]
    async fn a_body_that_is_too_long_too_slow_or_broken_has_a_reason_of_its_own() {
        let long = refusal(vec![Ok(Bytes::from(vec![b' '; LONGEST])), Ok(Bytes::from_static(b" "))]).await;
        assert!(long.contains("TooLarge"), "{long}");
        let late = refusal(vec![Ok(Bytes::from_static(b"{")), Err(io::ErrorKind::TimedOut.into())]).await;
        assert!(late.contains("TooSlow"), "{late}");
        let broken = refusal(vec![Err(io::ErrorKind::ConnectionReset.into())]).await;
        assert!(broken.contains("BadCommand"), "{broken}");
    }
}
