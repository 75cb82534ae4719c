//! JSON answers with a tag, so that who has an answer already is not sent it again.
//!
//! Tags are weak: an answer is the same with and without compression.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::problem::{Code, Problem};

/// What stands for one state of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tag(String);

impl Tag {
    /// The tag of what is made of `parts`, and of nothing else.
    pub(super) fn of(parts: impl Hash) -> Self {
        let mut hash = DefaultHasher::new();
        parts.hash(&mut hash);
        Self(format!("W/\"{:016x}\"", hash.finish()))
    }

    /// Whether who asks has this state already.
    pub(super) fn is_known(&self, request: &HeaderMap) -> bool {
        self.is_among(request.get_all(header::IF_NONE_MATCH).iter().filter_map(|tags| tags.to_str().ok()))
    }

    /// Whether `If-Match` holds: it names this state, or there is none.
    pub(super) fn is_expected(&self, request: &HeaderMap) -> bool {
        let mut tags = request.get_all(header::IF_MATCH).iter().filter_map(|tags| tags.to_str().ok()).peekable();
        tags.peek().is_none() || self.is_among(tags)
    }

    fn is_among<'a>(&self, tags: impl Iterator<Item = &'a str>) -> bool {
        let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        tags.flat_map(|tags| tags.split(',')).any(|tag| tag.trim() == "*" || opaque(tag) == opaque(&self.0))
    }

    /// The answer to who has it.
    pub(super) fn not_modified(&self) -> Response {
        (StatusCode::NOT_MODIFIED, [(header::ETAG, self.0.as_str())]).into_response()
    }

    /// The answer to who does not.
    pub(super) fn answer(&self, value: &impl Serialize) -> Result<Response, Problem> {
        Ok(self.with(bytes(value)?))
    }

    fn with(&self, body: Vec<u8>) -> Response {
        ([(header::ETAG, self.0.as_str()), (header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}

/// The tag that [`json`] gives `value`.
pub(super) fn tag_of(value: &impl Serialize) -> Result<Tag, Problem> {
    Ok(Tag::of(bytes(value)?))
}

/// `value` as JSON, or that it has not changed.
pub(super) fn json(request: &HeaderMap, value: &impl Serialize) -> Result<Response, Problem> {
    let body = bytes(value)?;
    let tag = Tag::of(&body);
    Ok(if tag.is_known(request) { tag.not_modified() } else { tag.with(body) })
}

fn bytes(value: &impl Serialize) -> Result<Vec<u8>, Problem> {
    serde_json::to_vec(value).map_err(|_| Problem::new(Code::Internal, "no answer could be made".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_weakly() {
        let tag = Tag::of("a");
        let asked = |tags: &str| {
            let mut request = HeaderMap::new();
            request.insert(header::IF_NONE_MATCH, tags.parse().expect("a header"));
            tag.is_known(&request)
        };
        let strong = tag.0.trim_start_matches("W/");
        assert!(asked(&tag.0) && asked(strong) && asked("*") && asked(&format!("\"x\", {}", tag.0)));
        assert!(!asked("\"x\"") && !asked("") && !asked("W/"));
        assert!(!tag.is_known(&HeaderMap::new()) && tag != Tag::of("b"));
    }
}
