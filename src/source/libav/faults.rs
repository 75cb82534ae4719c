//! What goes wrong with a stream that libavformat reads, in our words.

use std::time::Duration;

use ffmpeg_next as ffmpeg;
use ffmpeg_next::Error;

use super::open::Watch;
use super::{LARGEST_PACKET, intake, stream};
use crate::source::SourceError;
use crate::source::error::plain;

/// The reason where something else came.
const UNKNOWN: &str = "what it sends is no video stream that libavformat knows; is the path in url right?";

/// The reason where nothing came.
const CLOSED: &str = "it closed the connection before a picture came";

/// Turns libavformat's failures into ours. Addresses are never part of a reason, they hold the password.
pub(super) struct Faults<'a> {
    pub(super) what: &'a str,
    pub(super) scheme: &'a str,
    pub(super) has_login: bool,
    pub(super) watch: &'a Watch,
    /// How long it may take to open it.
    pub(super) limit: Duration,
}

impl Faults<'_> {
    /// Why it could not be opened.
    pub(super) fn opening(&self, error: Error) -> SourceError {
        if intake::is_over() {
            return self.too_large();
        }
        // What the server says of its answer explains more than what libavformat makes of it.
        let content_type = intake::content_type();
        let is_page = content_type.contains("html");
        // A playlist may be of any type: what its segments failed for says more than that.
        let is_unknown = !self.watch.is_over()
            && matches!(
                error,
                Error::InvalidData
                    | Error::DemuxerNotFound
                    | Error::Eof
                    | Error::Other { errno: ffmpeg::error::EINVAL }
            );
        let refusal = self.no_media(&content_type).filter(|_| is_page || is_unknown);
        if let Some(refusal) = refusal {
            return refusal;
        }
        if self.watch.is_over() {
            return self.unreachable(format!(
                "nothing that can be played came within {} s; check power, network, and host, port and path in url; a \
                 camera that needs longer for its first picture gets more time with each try, or by max_silence",
                self.limit.as_secs()
            ));
        }
        match error {
            Error::HttpUnauthorized if self.has_login => self.unauthorised(
                "the camera does not accept username and the password in password_file",
            ),
            Error::HttpUnauthorized => {
                self.unauthorised("the camera asks for a password: set username and password_file")
            }
            Error::HttpForbidden => self.unauthorised("this user may not watch this stream"),
            Error::HttpNotFound => SourceError::NotFound {
                what: self.what.to_owned(),
                reason: "the camera has no stream of that name, check the path in url".to_owned(),
            },
            Error::ProtocolNotFound => self.unsupported(format!(
                "libavformat {} of this system cannot do {}; install one that can, or use another address of the camera",
                stream::version(),
                self.scheme
            )),
            Error::InvalidData | Error::DemuxerNotFound => self.unsupported(UNKNOWN),
            Error::Eof => self.protocol(CLOSED.to_owned()),
            Error::Other { errno: ffmpeg::error::EINVAL } => {
                self.unsupported("libavformat takes no stream of this kind from a network; is the path in url right?")
            }
            Error::Other { errno: ffmpeg::error::EIO } => self.unreachable(self.broken()),
            Error::Other { errno } if is_network(errno) => self.unreachable(format!(
                "{}; check power, network, and host and port in url",
                plain(&error)
            )),
            other => self.protocol(format!("it cannot be played ({})", plain(&other))),
        }
    }

    /// Why a stream that played is over.
    pub(super) fn reading(&self, error: Error) -> SourceError {
        match error {
            Error::Eof => self.lost("the stream ended".to_owned()),
            other => self.lost(format!("reading failed ({})", plain(&other))),
        }
    }

    /// More bytes than a picture may have came without the end of one.
    pub(super) fn too_large(&self) -> SourceError {
        self.protocol(format!(
            "it announces or sends a picture of more than {} MiB, or sends so much without a whole picture; check the \
             path in url and the camera's size and quality of pictures",
            LARGEST_PACKET >> 20
        ))
    }

    /// Why a stream that was recognised is of no use.
    pub(super) fn no_video(&self) -> SourceError {
        self.no_media(&intake::content_type())
            .unwrap_or_else(|| self.unsupported("it sends no video; is the path in url right?"))
    }

    /// What to do about an answer that is none of a camera's stream.
    fn no_media(&self, content_type: &str) -> Option<SourceError> {
        if matches!(content_type, "text/html" | "application/xhtml+xml") {
            return Some(self.unsupported(
                "the server answers with a web page (HTML), not with video; open the address in a browser: check host, \
                 port and path in url, and whether the page asks for a login, then set username and password_file",
            ));
        }
        let is_text = content_type.starts_with("text/") || content_type.ends_with("xml");
        if !is_text && !content_type.contains("json") && !content_type.contains("javascript") {
            return None;
        }
        // A header is foreign text.
        let shown: String = content_type.chars().filter(char::is_ascii_graphic).take(60).collect();
        Some(self.unsupported(format!(
            "the server answers with {shown}, not with video; check host, port and path in url, and username and \
             password_file"
        )))
    }

    pub(super) fn unsupported(&self, reason: impl Into<String>) -> SourceError {
        SourceError::Unsupported { what: self.what.to_owned(), reason: reason.into() }
    }

    pub(super) fn protocol(&self, reason: String) -> SourceError {
        SourceError::Protocol { what: self.what.to_owned(), reason }
    }

    /// libavformat says no more than "input/output error" to all of these.
    fn broken(&self) -> String {
        match self.scheme {
            "https" | "rtmps" => "no encrypted connection; check host and port in url. If the camera made its \
                                  certificate itself, set verify_tls = false"
                .to_owned(),
            _ => "the connection broke, or the camera has no such stream; check host, port and path in url".to_owned(),
        }
    }

    fn unreachable(&self, reason: String) -> SourceError {
        SourceError::Unreachable { what: self.what.to_owned(), reason }
    }

    fn unauthorised(&self, reason: &str) -> SourceError {
        SourceError::Unauthorised { what: self.what.to_owned(), reason: reason.to_owned() }
    }

    fn lost(&self, reason: String) -> SourceError {
        SourceError::Lost { what: self.what.to_owned(), reason }
    }
}

/// Whether the failure of a connection may come from TLS on one side alone.
pub(super) fn may_be_tls(failure: &SourceError) -> bool {
    match failure {
        SourceError::Unreachable { .. } => true,
        // Some servers close, others answer in plain HTTP that they want TLS.
        SourceError::Protocol { reason, .. } => reason.starts_with(CLOSED) || reason.contains("400 bad request"),
        // An alert in TLS is no answer of RTSP.
        SourceError::Unsupported { reason, .. } => reason == UNKNOWN,
        _ => false,
    }
}

fn is_network(errno: i32) -> bool {
    use ffmpeg::error as e;
    [
        e::ECONNREFUSED,
        e::ECONNRESET,
        e::ECONNABORTED,
        e::EHOSTUNREACH,
        e::ENETUNREACH,
        e::ENETDOWN,
        e::ETIMEDOUT,
        e::EPIPE,
        e::EADDRNOTAVAIL,
        e::ENOTCONN,
    ]
    .contains(&errno)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::thread::StopFlag;

    #[test]
    fn each_failure_says_what_to_do() {
        let watch = Watch::new(StopFlag::default());
        watch.allow_any_time();
        let posix = |errno| Error::Other { errno };
        let cases = [
            ("srt", false, Error::ProtocolNotFound, "cannot do srt; install one that can"),
            ("http", false, Error::HttpUnauthorized, "set username and password_file"),
            ("http", true, Error::HttpUnauthorized, "does not accept username"),
            ("https", false, posix(ffmpeg::error::EIO), "set verify_tls = false"),
            ("rtmp", false, posix(ffmpeg::error::EIO), "check host, port and path"),
            ("srt", false, posix(ffmpeg::error::ETIMEDOUT), "check power, network"),
            ("http", false, posix(ffmpeg::error::EINVAL), "is the path in url right?"),
        ];
        super::stream::prepare();
        for (scheme, has_login, error, expected) in cases {
            let faults = Faults { what: "cam", scheme, has_login, watch: &watch, limit: Duration::from_secs(30) };
            let said = faults.opening(error).to_string();
            assert!(said.starts_with("cam ") && said.contains(expected), "{said}");
        }
        watch.allow(Duration::ZERO);
        let faults =
            Faults { what: "cam", scheme: "http", has_login: false, watch: &watch, limit: Duration::from_secs(30) };
        let said = faults.opening(Error::Exit).to_string();
        assert!(said.contains("within 30 s") && said.contains("max_silence"), "{said}");
    }
}
