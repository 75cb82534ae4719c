//! How well a destination can be reached: what a failure means, and when to try again.

use std::time::Duration;

use crate::health::LinkState;
use crate::supervise::Backoff;

/// Why a file did not arrive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// No way through at the moment: network, time-out, overload, a full disk at the other end.
    #[error("{0}")]
    Link(String),
    /// The destination answers, but does not let us in: credentials, bucket, region. A person has to act.
    #[error("{0}")]
    Refused(String),
    /// This one item is at fault: the kind of fault, in a word, and what is wrong.
    #[error("{1}")]
    Item(&'static str, String),
    /// The rules let nothing of its lane go now. Nothing is at fault.
    #[error("{0}")]
    Held(String),
    /// The service refuses the headers that carry a checksum, of whatever file.
    #[error("{0}")]
    Checksum(String),
    /// It is larger than what is left of a budget, which may do for others.
    #[error("{0}")]
    TooDear(String),
}

/// Exchanges of which one that failed makes the link a bad one.
const REMEMBERED: u32 = 8;

/// The state of one destination, from how real transfers go: no probe requests are sent.
#[derive(Debug)]
pub(super) struct Link {
    offline: Backoff,
    refused: Backoff,
    pause: Option<Duration>,
    /// What the last failure was, while it is one.
    failure: Option<Failure>,
    /// Nothing is known yet, or the last request failed: one file has to get through before others follow.
    proven: bool,
    /// The last exchanges, newest in the lowest bit: set where one failed.
    history: u32,
}

impl Link {
    pub(super) fn new() -> Self {
        let refused = Backoff::new(Duration::from_secs(5), Duration::from_secs(300), Duration::MAX);
        Self::with_ladders(Backoff::for_connections(), refused)
    }

    /// With pauses of a few milliseconds, for destinations that fail all the time.
    #[cfg(test)]
    pub(super) fn hasty() -> Self {
        let ladder = || Backoff::new(Duration::from_millis(1), Duration::from_millis(4), Duration::MAX);
        Self::with_ladders(ladder(), ladder())
    }

    fn with_ladders(offline: Backoff, refused: Backoff) -> Self {
        Self { offline, refused, pause: None, failure: None, proven: false, history: 0 }
    }

    /// Something arrived.
    pub(super) fn worked(&mut self) {
        self.offline.reset();
        self.refused.reset();
        (self.proven, self.failure) = (true, None);
        self.note(false);
    }

    /// Nothing gets through. Failures of transfers that were in flight together count as one.
    pub(super) fn failed(&mut self, failure: &Failure) -> Duration {
        self.proven = false;
        self.note(true);
        self.failure = Some(failure.clone());
        let refused = matches!(failure, Failure::Refused(_));
        let ladder = if refused { &mut self.refused } else { &mut self.offline };
        *self.pause.get_or_insert_with(|| ladder.next_pause(Duration::ZERO))
    }

    fn note(&mut self, failed: bool) {
        self.history = (self.history << 1 | u32::from(failed)) & ((1 << REMEMBERED) - 1);
    }

    pub(super) fn is_paused(&self) -> bool {
        self.pause.is_some()
    }

    pub(super) fn take_pause(&mut self) -> Option<Duration> {
        self.pause.take()
    }

    /// How many files may go at a time where `parallel` are configured.
    pub(super) fn places(&self, parallel: usize) -> usize {
        if self.state() == LinkState::Online { parallel } else { 1 }
    }

    /// How it is.
    pub(super) fn state(&self) -> LinkState {
        match (&self.failure, self.pause) {
            (Some(Failure::Refused(_)), _) => LinkState::Refused,
            (Some(_), Some(_)) => LinkState::Offline,
            _ if !self.proven => LinkState::Probing,
            _ if self.history != 0 => LinkState::Degraded,
            _ => LinkState::Online,
        }
    }
}

/// What answers at a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A folder: it knows neither credentials nor bad requests, what goes wrong there is the disk.
    Folder,
    /// A WebDAV server.
    Web,
    /// The object store of a cloud.
    Service,
}

/// Sorts what a destination says by whose fault it is: the link's, the destination's or the file's.
pub(super) fn sort(error: &object_store::Error, kind: Kind) -> Failure {
    use object_store::Error;
    let reason = describe(error);
    match error {
        Error::InvalidPath { .. } => Failure::Item("rejected", reason),
        _ if kind == Kind::Folder => Failure::Link(reason),
        Error::NotFound { .. } if kind == Kind::Web => {
            Failure::Refused(format!("there is no such folder, check the path in url: {reason}"))
        }
        Error::NotFound { .. } => Failure::Refused(format!("the bucket or container does not exist: {reason}")),
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => Failure::Refused(advise(reason)),
        Error::NotSupported { .. } | Error::NotImplemented { .. } => Failure::Item("rejected", reason),
        _ if chain(error).iter().any(|text| text.contains(UNTRUSTED)) => Failure::Refused(advise(reason)),
        _ => sort_status(status_of(&chain(error)), reason, kind),
    }
}

/// Whether an answer to a put says that the headers with its checksum are not understood; one that says that the content
/// does not match them has understood.
fn refuses_checksums(status: u16, reason: &str) -> bool {
    const WORDS: [&str; 4] =
        ["x-amz-checksum", "x-amz-sdk-checksum", "notimplemented", "header you provided implies functionality"];
    const COMPARED: [&str; 4] = ["mismatch", "does not match", "did not match", "digest"];
    let reason = reason.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    matches!(status, 400 | 501) && says(&WORDS) && !says(&COMPARED)
}

/// What a WebDAV server means by a status that others use for a request which is wrong in itself.
fn sort_web(status: u16, reason: &str) -> Option<Failure> {
    let advice = match status {
        405 => "a folder was made at the same time, or url is no WebDAV folder",
        409 => "the folder of url does not exist there, make it",
        423 => "another client has locked the folder or the file",
        507 => "its disk or the user's share of it is full",
        _ => return None,
    };
    Some(Failure::Link(format!("{advice}: {reason}")))
}

/// What the TLS library says of a server whose certificate it does not accept.
const UNTRUSTED: &str = "invalid peer certificate";

fn sort_status(status: Option<u16>, reason: String, kind: Kind) -> Failure {
    // S3 answers 400 also where not the item is at fault.
    const REFUSED: [&str; 6] = [
        "AuthorizationHeaderMalformed",
        "ExpiredToken",
        "InvalidToken",
        "TokenRefreshRequired",
        "InvalidBucketName",
        "IllegalLocationConstraintException",
    ];
    let says = |codes: &[&str]| codes.iter().any(|code| reason.contains(code));
    if kind == Kind::Web
        && let Some(failure) = status.and_then(|status| sort_web(status, &reason))
    {
        return failure;
    }
    match status {
        Some(status) if kind == Kind::Service && refuses_checksums(status, &reason) => Failure::Checksum(reason),
        Some(413) => Failure::Item(
            "rejected",
            format!("larger than the server or a proxy before it takes (client_max_body_size of nginx): {reason}"),
        ),
        Some(301..=308 | 401 | 403 | 404) => Failure::Refused(advise(reason)),
        // What is refused here is every upload, not this one.
        Some(405 | 411) => Failure::Refused(format!(
            "endpoint is no address of the S3 service, but of a web page or a proxy that changes requests: {reason}"
        )),
        Some(400) if says(&["QuotaExceeded"]) => {
            Failure::Refused(format!("the quota of the bucket is used up, raise it or delete there: {reason}"))
        }
        Some(408 | 409 | 412 | 425 | 429) => Failure::Link(reason),
        Some(400) if says(&REFUSED) => Failure::Refused(advise(reason)),
        Some(400) if says(&["RequestTimeout", "SlowDown", "InternalError"]) => Failure::Link(reason),
        Some(400..=499) => Failure::Item("rejected", reason),
        None if says(&["incorrectly configured region"]) => Failure::Refused(reason),
        _ => Failure::Link(reason),
    }
}

/// Puts before what a service says what a person has to do about it.
fn advise(reason: String) -> String {
    const ADVICE: [(&[&str], &str); 10] = [
        (&["UnknownIssuer"], "its certificate is not signed by a trusted authority, name the authority with ca_file"),
        (
            &["certificate: BadSignature"],
            "its certificate was signed by another authority of the same name, name the right one with ca_file",
        ),
        (
            &["certificate: NotValidYet", "certificate: Expired"],
            "its certificate is out of date, or the box's clock is off",
        ),
        (&["NotValidForName"], "its certificate is for another name than that of the endpoint"),
        (&["RequestTimeTooSkewed", "RequestExpired", "not within the allowed"], "the box's clock is off, set it"),
        (&["InvalidAccessKeyId", "InvalidAuthenticationInfo"], "the access key is not known there, check it"),
        (
            &["SignatureDoesNotMatch", "AuthenticationFailed", "AuthorizationFailure"],
            "the secret does not belong to the key, or the clock is off",
        ),
        (&["ExpiredToken", "InvalidToken", "TokenRefreshRequired"], "the session token is no longer valid, renew it"),
        (&["AccessDenied", "AuthorizationPermissionMismatch"], "the key is not allowed to write there, grant it that"),
        (&["AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocation"], "the bucket is in another region"),
    ];
    let says = |codes: &&[&str]| codes.iter().any(|code| reason.contains(code));
    match ADVICE.iter().find(|(codes, _)| says(codes)) {
        Some((_, advice)) => format!("{advice}: {reason}"),
        None => reason,
    }
}

/// The texts of an error and of all that caused it.
fn chain(error: &dyn std::error::Error) -> Vec<String> {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect()
}

/// The HTTP status: object_store keeps its request errors private and shows them only as text.
fn status_of(chain: &[String]) -> Option<u16> {
    let (_, rest) = chain.iter().find_map(|text| text.split_once("status code: "))?;
    rest.get(..3)?.parse().ok()
}

/// A short reason without the URL of the request, which may carry a signature.
pub(super) fn describe(error: &dyn std::error::Error) -> String {
    let chain = chain(error);
    let innermost = chain.last().map(String::as_str).unwrap_or_default();
    let Some(status) = status_of(&chain) else { return shorten(innermost) };
    let body = chain.iter().find_map(|text| text.split_once("status code: ")).map(|(_, body)| body).unwrap_or_default();
    let tag = |name: &str| {
        let (_, rest) = body.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>")).map(|(text, _)| text.trim().to_owned())
    };
    match (tag("Code"), tag("Message")) {
        (Some(code), Some(message)) => shorten(&format!("{status} {code}: {message}")),
        (Some(code), None) => shorten(&format!("{status} {code}")),
        // Nextcloud and others say it in a tag of their own; a page for people has at least a title.
        _ => match tag("s:message").or_else(|| tag("title")) {
            Some(message) => shorten(&format!("{status} {}", without_tags(&message))),
            None => shorten(&without_tags(body)),
        },
    }
}

/// The text of a page without its markup, styles and scripts.
fn without_tags(page: &str) -> String {
    let mut text = String::new();
    let mut rest = page;
    while let Some((before, tag)) = rest.split_once('<') {
        text.push_str(before);
        text.push(' ');
        let hidden = ["style", "script"].iter().find(|name| tag.starts_with(**name));
        rest = match hidden.and_then(|name| tag.split_once(&format!("</{name}"))).map(|(_, after)| after) {
            Some(after) => after.split_once('>').map_or("", |(_, after)| after),
            None => tag.split_once('>').map_or("", |(_, after)| after),
        };
    }
    text + rest
}

/// Whether the answer to a request that succeeded lacks only the ETag.
pub(super) fn lacks_etag(error: &object_store::Error) -> bool {
    chain(error).iter().any(|text| text.contains("ETag Header missing") || text.contains("missing field `ETag`"))
}

/// Whether a destination cannot be asked for a file. Nothing is said of the file by that.
pub(super) fn refuses_question(error: &object_store::Error) -> bool {
    let not_supported =
        matches!(error, object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. });
    not_supported || matches!(status_of(&chain(error)), Some(405 | 501))
}

/// Whether a question is refused as wrong. The answer to HEAD has no body, so that this may be a token that expired, a
/// clock that is off or another region as well as a service that cannot be asked.
pub(super) fn is_bad_request(error: &object_store::Error) -> bool {
    status_of(&chain(error)) == Some(400)
}

fn shorten(text: &str) -> String {
    let limiter = text.split_whitespace().collect::<Vec<_>>().join(" ");
    limiter.get(..limiter.floor_char_boundary(240)).unwrap_or_default().trim_end_matches([':', '.']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(text: &str) -> object_store::Error {
        object_store::Error::Generic { store: "S3", source: text.to_owned().into() }
    }

    #[test]
    fn answers_are_sorted_by_who_has_to_act() {
        let answer =
            |status: &str, body: &str| generic(&format!("Server returned non-2xx status code: {status}: {body}"));
        let link = |error: &object_store::Error| matches!(sort(error, Kind::Service), Failure::Link(_));
        let refused = |error: &object_store::Error| matches!(sort(error, Kind::Service), Failure::Refused(_));
        let item = |error: &object_store::Error| matches!(sort(error, Kind::Service), Failure::Item("rejected", _));
        assert!(link(&answer("503 Service Unavailable", "<Code>SlowDown</Code>")));
        assert!(link(&answer("429 Too Many Requests", "")));
        assert!(link(&answer("400 Bad Request", "<Code>RequestTimeout</Code>")));
        assert!(link(&generic("connection refused")));
        assert!(refused(&answer("400 Bad Request", "<Code>ExpiredToken</Code>")));
        assert!(refused(&answer("403 Forbidden", "<Code>SignatureDoesNotMatch</Code>")));
        assert!(refused(&object_store::Error::NotFound { path: "k".into(), source: "NoSuchBucket".into() }));
        assert!(item(&answer("400 Bad Request", "<Code>KeyTooLongError</Code>")));
        assert!(item(&answer("413 Payload Too Large", "")));
        let quota = "<Code>XMinioAdminBucketQuotaExceeded</Code><Message>Bucket quota exceeded</Message>";
        for (status, body, advice) in [
            ("400 Bad Request", quota, "quota of the bucket is used up"),
            ("405 Method Not Allowed", "<Code>MethodNotAllowed</Code>", "endpoint is no address of the S3 service"),
            ("411 Length Required", "", "endpoint is no address of the S3 service"),
        ] {
            let failure = sort(&answer(status, body), Kind::Service);
            assert!(matches!(&failure, Failure::Refused(reason) if reason.contains(advice)), "{failure:?}");
        }
        let gone = object_store::Error::NotFound { path: "k".into(), source: "404".into() };
        assert!(matches!(sort(&gone, Kind::Web), Failure::Refused(reason) if reason.contains("check the path in url")));
        for (problem, advice) in [
            ("UnknownIssuer", "not signed by a trusted authority"),
            ("BadSignature", "another authority"),
            ("NotValidYet", "clock"),
            ("NotValidForName", "name"),
        ] {
            let error = generic(&format!("invalid peer certificate: {problem}"));
            assert!(
                matches!(sort(&error, Kind::Service), Failure::Refused(reason) if reason.contains(advice)),
                "{problem}"
            );
        }
        let skewed = answer("403 Forbidden", "<Code>RequestTimeTooSkewed</Code>");
        assert!(matches!(sort(&skewed, Kind::Service), Failure::Refused(reason) if reason.contains("clock is off")));
        let local = object_store::Error::NotFound { path: "k".into(), source: "gone".into() };
        assert!(matches!(sort(&local, Kind::Folder), Failure::Link(_)));
    }

    #[test]
    fn reasons_are_short_and_without_urls() {
        let error = generic(
            "Error performing PUT https://h/b?sig=secret in 3ms - Server returned non-2xx status code: 403 Forbidden: \
             <?xml?><Error><Code>SignatureDoesNotMatch</Code><Message>no\n match</Message></Error>",
        );
        assert_eq!(describe(&error), "403 SignatureDoesNotMatch: no match");
    }

    fn answered(status: &str, body: &str) -> object_store::Error {
        generic(&format!("Server returned non-2xx status code: {status}: {body}"))
    }

    /// Works with: stores | WebDAV: a lost race for a folder (405), locks (423), a missing base folder (409), a full share (507) | files wait and lose no attempt; the reason says what to do
    #[test]
    fn a_web_server_that_cannot_take_anything_now_is_not_the_fault_of_the_file() {
        let cases = [
            ("405 Method Not Allowed", "made at the same time"),
            ("409 Conflict", "does not exist there, make it"),
            ("423 Locked", "locked"),
            ("507 Insufficient Storage", "full"),
        ];
        for (status, advice) in cases {
            let failure = sort(&answered(status, ""), Kind::Web);
            assert!(matches!(&failure, Failure::Link(reason) if reason.contains(advice)), "{failure:?}");
        }
        let large = sort(&answered("413 Request Entity Too Large", ""), Kind::Web);
        assert!(matches!(&large, Failure::Item(_, reason) if reason.contains("client_max_body_size")), "{large:?}");
    }

    /// Works with: stores | servers and proxies that answer with a page | its title or text is the reason, never HTML
    #[test]
    fn pages_are_no_reasons() {
        let nginx = "<html>\r\n<head><title>413 Request Entity Too Large</title></head>\r\n<body>x</body></html>";
        assert_eq!(describe(&answered("413 Payload Too Large", nginx)), "413 413 Request Entity Too Large");
        let nextcloud = "<?xml version=\"1.0\"?><d:error xmlns:d=\"DAV:\"><s:exception>E</s:exception>\
                         <s:message>The file is <b>locked</b></s:message></d:error>";
        assert_eq!(describe(&answered("423 Locked", nextcloud)), "423 The file is locked");
        let styled = "<style>p { color: red }</style><p>Out of <i>order</i></p><script>alert(1)</script>";
        assert_eq!(describe(&answered("502 Bad Gateway", styled)), "502 Bad Gateway: Out of order");
        assert!(!describe(&answered("500 Error", "<<div")).contains('<'));
    }

    #[test]
    fn refusals_of_checksums_are_distinguished_from_those_of_files() {
        let backblaze = "<Error><Code>InvalidArgument</Code><Message>Unsupported header 'x-amz-checksum-sha256' \
                         received for this API call.</Message></Error>";
        let gateway = "<Error><Code>NotImplemented</Code><Message>A header you provided implies functionality that is \
                       not implemented.</Message></Error>";
        for error in [answered("400 Bad Request", backblaze), answered("501 Not Implemented", gateway)] {
            assert!(matches!(sort(&error, Kind::Service), Failure::Checksum(_)), "{error:?}");
            assert!(!matches!(sort(&error, Kind::Web), Failure::Checksum(_)), "{error:?}");
        }
        let minio = "<Error><Code>XAmzContentChecksumMismatch</Code><Message>The provided 'x-amz-checksum' header does \
                     not match what was computed.</Message></Error>";
        for damaged in ["<Code>BadDigest</Code>", minio] {
            let failure = sort(&answered("400 Bad Request", damaged), Kind::Service);
            assert!(matches!(failure, Failure::Item(..)), "it was compared: {failure:?}");
        }
    }

    #[test]
    fn failures_of_one_moment_are_one_step_of_the_ladder() {
        let mut link = Link::new();
        let down = Failure::Link("down".into());
        let pause = link.failed(&down);
        assert_eq!(link.failed(&down), pause);
        assert_eq!(link.take_pause(), Some(pause));
        assert!(pause <= Duration::from_secs(1) && !link.is_paused());
        let next = link.failed(&down);
        assert!(next >= Duration::from_secs(1) && next <= Duration::from_secs(2), "{next:?}");
    }

    #[test]
    fn a_link_goes_through_its_states_by_what_happens_on_it() {
        let mut link = Link::new();
        assert_eq!((link.state(), link.places(4)), (LinkState::Probing, 1), "nothing is known yet");
        link.worked();
        assert_eq!((link.state(), link.places(4)), (LinkState::Online, 4));
        link.failed(&Failure::Link("down".into()));
        assert_eq!(link.state(), LinkState::Offline);
        link.take_pause();
        assert_eq!((link.state(), link.places(4)), (LinkState::Probing, 1), "one is tried");
        link.worked();
        for _ in 1..REMEMBERED {
            assert_eq!((link.state(), link.places(4)), (LinkState::Degraded, 1), "it failed lately");
            link.worked();
        }
        assert_eq!(link.state(), LinkState::Online);
        link.failed(&Failure::Refused("403".into()));
        link.take_pause();
        assert_eq!(link.state(), LinkState::Refused, "until it lets us in");
    }
}
