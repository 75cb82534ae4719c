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
    /// The rules let nothing of its lane go now. Nobody is at fault.
    #[error("{0}")]
    Held(String),
    /// It is larger than what is left of a budget, which may do for others.
    #[error("{0}")]
    TooDear(String),
}

/// Exchanges of which one that failed makes the link a bad one.
const REMEMBERED: u32 = 8;

/// The state of one destination, from how real transfers go: nobody is asked just to find out.
#[derive(Debug)]
pub(super) struct Link {
    offline: Backoff,
    refused: Backoff,
    pause: Option<Duration>,
    /// What the last failure was, while it is one.
    failure: Option<Failure>,
    /// Nothing is known yet, or the last exchange failed: one file has to get through before others follow.
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

/// Sorts what an object store says. `local` destinations know neither credentials nor bad requests: what goes
/// wrong there is the disk.
pub(super) fn sort(error: &object_store::Error, local: bool) -> Failure {
    use object_store::Error;
    let reason = describe(error);
    match error {
        Error::InvalidPath { .. } => Failure::Item("rejected", reason),
        _ if local => Failure::Link(reason),
        Error::NotFound { .. } => Failure::Refused(format!("the bucket or container does not exist: {reason}")),
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => Failure::Refused(advise(reason)),
        Error::NotSupported { .. } | Error::NotImplemented { .. } => Failure::Item("rejected", reason),
        _ if chain(error).iter().any(|text| text.contains(UNTRUSTED)) => Failure::Refused(advise(reason)),
        _ => sort_status(status_of(&chain(error)), reason),
    }
}

/// What the TLS library says of a server whose certificate it does not accept.
const UNTRUSTED: &str = "invalid peer certificate";

fn sort_status(status: Option<u16>, reason: String) -> Failure {
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
    match status {
        Some(301..=308 | 401 | 403 | 404) => Failure::Refused(advise(reason)),
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
        (&["UnknownIssuer"], "nobody that is trusted signed its certificate, name who did with ca_file"),
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
        _ => shorten(body),
    }
}

fn shorten(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.get(..line.floor_char_boundary(240)).unwrap_or_default().trim_end_matches([':', '.']).to_owned()
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
        let link = |error: &object_store::Error| matches!(sort(error, false), Failure::Link(_));
        let refused = |error: &object_store::Error| matches!(sort(error, false), Failure::Refused(_));
        let item = |error: &object_store::Error| matches!(sort(error, false), Failure::Item("rejected", _));
        assert!(link(&answer("503 Service Unavailable", "<Code>SlowDown</Code>")));
        assert!(link(&answer("429 Too Many Requests", "")));
        assert!(link(&answer("400 Bad Request", "<Code>RequestTimeout</Code>")));
        assert!(link(&generic("connection refused")));
        assert!(refused(&answer("400 Bad Request", "<Code>ExpiredToken</Code>")));
        assert!(refused(&answer("403 Forbidden", "<Code>SignatureDoesNotMatch</Code>")));
        assert!(refused(&object_store::Error::NotFound { path: "k".into(), source: "NoSuchBucket".into() }));
        assert!(item(&answer("400 Bad Request", "<Code>KeyTooLongError</Code>")));
        assert!(item(&answer("413 Payload Too Large", "")));
        for (problem, advice) in [
            ("UnknownIssuer", "nobody that is trusted"),
            ("BadSignature", "another authority"),
            ("NotValidYet", "clock"),
            ("NotValidForName", "name"),
        ] {
            let error = generic(&format!("invalid peer certificate: {problem}"));
            assert!(matches!(sort(&error, false), Failure::Refused(reason) if reason.contains(advice)), "{problem}");
        }
        let skewed = answer("403 Forbidden", "<Code>RequestTimeTooSkewed</Code>");
        assert!(matches!(sort(&skewed, false), Failure::Refused(reason) if reason.contains("clock is off")));
        let local = object_store::Error::NotFound { path: "k".into(), source: "gone".into() };
        assert!(matches!(sort(&local, true), Failure::Link(_)));
    }

    #[test]
    fn reasons_are_short_and_without_urls() {
        let error = generic(
            "Error performing PUT https://h/b?sig=secret in 3ms - Server returned non-2xx status code: 403 Forbidden: \
             <?xml?><Error><Code>SignatureDoesNotMatch</Code><Message>no\n match</Message></Error>",
        );
        assert_eq!(describe(&error), "403 SignatureDoesNotMatch: no match");
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
