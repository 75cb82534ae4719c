//! How a request that is not let through, or leads nowhere, is answered: a browser is led to the login, programs are answered
//! in the protocol that they speak.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde_json::json;
use url::form_urlencoded;

use super::problem::{Code, Problem};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// What is spoken at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    /// Pages, by browsers.
    Page,
    /// The box's own API, and what players and publishers ask for.
    Api,
    /// The Open Inference Protocol over HTTP.
    Inference,
    /// The same over gRPC.
    Grpc,
}

impl Spoken {
    pub(super) fn at(path: &str) -> Self {
        let begins = |starts: &[&str]| starts.iter().any(|start| path.starts_with(start));
        match () {
            () if begins(&["/api/", "/whip/", "/whep/"]) || path == "/api" => Self::Api,
            () if begins(&["/v2/"]) || path == "/v2" => Self::Inference,
            () if begins(&["/inference."]) => Self::Grpc,
            () => Self::Page,
        }
    }

    /// For a caller who has to log in; `asked`: path and query.
    pub(super) fn login(self, asked: &str, message: String) -> Response {
        match (self, asked) {
            (Self::Page, "/") => Redirect::to("/login").into_response(),
            // The page leads there after the login.
            (Self::Page, asked) => {
                let to = form_urlencoded::Serializer::new(String::new()).append_pair("to", asked).finish();
                Redirect::to(&format!("/login?{to}")).into_response()
            }
            (of, _) => of.problem(Code::NotLoggedIn, message),
        }
    }

    /// For a caller who may not.
    pub(super) fn forbidden(self, message: String) -> Response {
        if self == Self::Page { Redirect::to("/").into_response() } else { self.problem(Code::NotAllowed, message) }
    }

    /// For a path at which there is nothing; `None` where a page says so.
    pub(super) fn nothing(self) -> Option<Response> {
        let known = match self {
            Self::Page => return None,
            Self::Api => "there is nothing here; docs/api.md lists all routes",
            Self::Inference | Self::Grpc => {
                "the box has nothing of this in the protocol; docs/models.md lists what it has"
            }
        };
        Some(self.problem(Code::NotFound, known.to_owned()))
    }

    fn problem(self, code: Code, message: String) -> Response {
        let problem = Problem::new(code, message);
        match self {
            Self::Page | Self::Api => problem.into_response(),
            Self::Inference => {
                let error = Json(json!({ "error": problem.detail() }));
                (code.status(), error).into_response()
            }
            Self::Grpc => {
                // Its status lies in the header alone, as nothing else comes.
                let status = match code.status() {
                    StatusCode::UNAUTHORIZED => "16",
                    StatusCode::FORBIDDEN => "7",
                    _ => "12",
                };
                let message: String = form_urlencoded::byte_serialize(problem.detail().as_bytes())
                    .collect::<String>()
                    .replace('+', "%20");
                let headers = [
                    (header::CONTENT_TYPE, HeaderValue::from_static("application/grpc")),
                    (GRPC_STATUS, HeaderValue::from_static(status)),
                    (GRPC_MESSAGE, HeaderValue::try_from(message).unwrap_or(HeaderValue::from_static(""))),
                ];
                (StatusCode::OK, headers).into_response()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_protocol_is_answered_in_its_own_way() {
        let login = |path: &str| Spoken::at(path).login(path, "log in".to_owned());
        let header = |answer: &Response, name: &str| {
            answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        assert_eq!(
            (login("/events").status(), header(&login("/events"), "location")),
            (StatusCode::SEE_OTHER, "/login?to=%2Fevents".to_owned())
        );
        assert_eq!(login("/v2/models/objects/infer").status(), StatusCode::UNAUTHORIZED);
        let grpc = login("/inference.GRPCInferenceService/ModelInfer");
        assert_eq!(
            (grpc.status(), header(&grpc, "grpc-status"), header(&grpc, "grpc-message")),
            (StatusCode::OK, "16".to_owned(), "log%20in".to_owned())
        );
        assert_eq!(login("/whep/gate").status(), StatusCode::UNAUTHORIZED);
        assert!(Spoken::at("/nowhere").nothing().is_none());
        let lost = Spoken::at("/v2/systemsharedmemory/status").nothing().map(|answer| answer.status());
        assert_eq!(lost, Some(StatusCode::NOT_FOUND));
    }
}
