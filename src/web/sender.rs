//! Who may send commands.
//!
//! A browser sends them only for our own page: a foreign page cannot send JSON here without being asked for permission
//! first, which is never given.

use axum::http::{HeaderMap, header};

use super::problem::{Code, Problem};

/// Turns away what a foreign page made a browser send.
pub(super) fn check_sender(headers: &HeaderMap) -> Result<(), Problem> {
    // No page can make a browser send a key without being asked for permission either.
    let has_key = headers.contains_key(header::AUTHORIZATION);
    if !is_of_kind(headers, &["application/json"]) && !has_key {
        let message = "commands are JSON: send the header content-type: application/json".to_owned();
        return Err(Problem::new(Code::NotJson, message));
    }
    check_origin(headers)
}

/// The same for a picture, which a foreign page cannot send without being asked either.
pub(super) fn check_picture(headers: &HeaderMap) -> Result<(), Problem> {
    if !is_of_kind(headers, &["image/jpeg", "image/png"]) {
        let message = "send a picture, with the header content-type: image/jpeg or image/png".to_owned();
        return Err(Problem::new(Code::NotAPicture, message));
    }
    check_origin(headers)
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn is_of_kind(headers: &HeaderMap, kinds: &[&str]) -> bool {
    let kind = text(headers, header::CONTENT_TYPE).and_then(|kind| kind.split(';').next());
    kind.is_some_and(|kind| kinds.contains(&kind))
}

/// Turns away what a foreign page made a browser send, whatever its kind: browsers name their page with what they post.
pub(super) fn check_origin(headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name| text(headers, name);
    let host = text(header::HOST).unwrap_or_default();
    let is_own = |origin: &str| ["http://", "https://"].iter().any(|scheme| origin.strip_prefix(scheme) == Some(host));
    let foreign = text(header::ORIGIN).is_some_and(|origin| !is_own(origin));
    let site = headers.get("sec-fetch-site").and_then(|value| value.to_str().ok());
    if foreign || site.is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        let message = "commands are taken from the box's own page only".to_owned();
        return Err(Problem::new(Code::ForeignPage, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair((name, value): &(&'static str, &'static str)) -> (header::HeaderName, header::HeaderValue) {
        (name.parse().expect("name"), value.parse().expect("value"))
    }

    fn sent(pairs: &[(&'static str, &'static str)]) -> bool {
        check_sender(&pairs.iter().map(pair).collect()).is_ok()
    }

    #[test]
    fn only_our_own_page_and_programs_give_commands() {
        let (json, host) = (("content-type", "application/json"), ("host", "127.0.0.1:8080"));
        assert!(sent(&[json, host]), "curl");
        assert!(sent(&[json, host, ("origin", "http://127.0.0.1:8080"), ("sec-fetch-site", "same-origin")]));
        assert!(sent(&[json, host, ("origin", "https://127.0.0.1:8080"), ("sec-fetch-site", "same-origin")]));
        assert!(!sent(&[("content-type", "text/plain"), host]), "what a form can send");
        assert!(sent(&[("authorization", "Bearer x"), host]), "a program that deletes something");
        assert!(!sent(&[("authorization", "Bearer x"), host, ("origin", "http://evil.example")]));
        assert!(!sent(&[json, host, ("origin", "http://evil.example")]));
        assert!(!sent(&[json, host, ("origin", "null")]));
        assert!(!sent(&[json, host, ("sec-fetch-site", "cross-site")]));
        let jpeg = |site| {
            let pairs = [("content-type", "image/jpeg"), ("sec-fetch-site", site)];
            check_picture(&pairs.iter().map(pair).collect()).is_ok()
        };
        assert!(jpeg("same-origin") && !jpeg("cross-site") && check_picture(&HeaderMap::new()).is_err());
    }
}
