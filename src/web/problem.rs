//! Answers when something is wrong: JSON under /api, a small page elsewhere.

use std::future::Future;
use std::time::Duration;

use anyhow::Result;
use axum::Json;
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

/// An error as the API reports it.
#[derive(Debug, Serialize)]
pub(super) struct Problem {
    #[serde(skip)]
    status: StatusCode,
    code: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<BadParameter>,
}

#[derive(Debug, Serialize)]
struct BadParameter {
    name: String,
    value: String,
    allowed: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, message: String) -> Self {
        Self { status, code, message, parameter: None }
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message.into())
    }

    /// A parameter that is not allowed. The value is cut, so that an answer is never much longer than the question.
    pub(super) fn parameter(name: &str, value: &str, allowed: impl Into<String>) -> Self {
        let shorten = |text: &str| text.chars().take(100).collect::<String>();
        let (name, value, allowed) = (shorten(name), shorten(value), allowed.into());
        let message = format!("parameter {name:?} is {value:?}; allowed: {allowed}");
        let parameter = Some(BadParameter { name, value, allowed });
        Self { parameter, ..Self::new(StatusCode::BAD_REQUEST, "bad_parameter", message) }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body {
            error: Problem,
        }
        (self.status, Json(Body { error: self })).into_response()
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
                let message = format!("the {what} cannot be read; the log says why");
                Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message))
            }
            Err(_) => {
                self.note(what, "no answer in time");
                let message = format!("the {what} did not come within {} s", ANSWER_WITHIN.as_secs());
                Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no_answer", message))
            }
        }
    }
}

pub(super) async fn not_found(uri: Uri) -> Response {
    if is_api(&uri) {
        return Problem::not_found("there is nothing here; docs/api.md lists all routes").into_response();
    }
    let html = include_str!("assets/404.html");
    let html_type = HeaderValue::from_static("text/html; charset=utf-8");
    (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, html_type)], html).into_response()
}

pub(super) async fn method_not_allowed(uri: Uri) -> Response {
    let message = "this is to be read with GET or HEAD; docs/api.md lists the routes that take commands";
    if is_api(&uri) {
        let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message.to_owned());
        return problem.into_response();
    }
    (StatusCode::METHOD_NOT_ALLOWED, message).into_response()
}

fn is_api(uri: &Uri) -> bool {
    uri.path() == "/api" || uri.path().starts_with("/api/")
}
