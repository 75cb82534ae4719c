//! Bodies: that of a request has to keep coming, and that of an answer holds its connection in use.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::http::Version;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use super::admission::InFlight;

/// How long the first bytes of a body may take, and how far it may fall behind its pace.
const BODY_WITHIN: Duration = Duration::from_secs(20);
/// The pace of a body at least, bytes per second.
const SLOWEST: u64 = 1024;

/// The body of a request. It fails where it comes more slowly than any link of today.
pub(super) struct PacedBody {
    body: Incoming,
    deadline: Pin<Box<Sleep>>,
}

impl PacedBody {
    pub(super) fn new(body: Incoming) -> Self {
        Self { body, deadline: Box::pin(tokio::time::sleep(BODY_WITHIN)) }
    }
}

impl HttpBody for PacedBody {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            ready!(self.deadline.as_mut().poll(cx));
            return Poll::Ready(Some(Err(io::Error::from(io::ErrorKind::TimedOut).into())));
        };
        if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
            let earned = Duration::from_millis(data.len() as u64 * 1000 / SLOWEST);
            // What the program takes its time for is not the client's fault.
            let from = self.deadline.deadline().max(Instant::now());
            let latest = Instant::now() + BODY_WITHIN;
            self.deadline.as_mut().reset((from + earned).min(latest));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Bytes of an answer by HTTP/2 that are given at once. More is asked for as soon as they are on their way, so one that
/// moves at all is seen to.
const PIECE: usize = 16 << 10;

/// The body of an answer. The request is in flight until all of it was sent. By HTTP/2 it stands still from a piece on until
/// more is asked for: that happens when the other end's window has room.
pub(super) struct HeldBody {
    body: Body,
    request: InFlight,
    has_window: bool,
    /// What was taken of the body and is not given yet.
    rest: Bytes,
}

impl HeldBody {
    pub(super) fn new(body: Body, mut request: InFlight, version: Version) -> Self {
        let has_window = version == Version::HTTP_2;
        if has_window && !body.is_end_stream() {
            request.stands_still();
        }
        Self { body, request, has_window, rest: Bytes::new() }
    }
}

impl HttpBody for HeldBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if !self.has_window {
            return Pin::new(&mut self.body).poll_frame(cx);
        }
        self.request.moves();
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)).transpose()?.map(Frame::into_data) {
                Some(Ok(data)) => self.rest = data,
                Some(Err(trailers)) => return Poll::Ready(Some(Ok(trailers))),
                None => return Poll::Ready(None),
            }
        }
        let length = self.rest.len().min(PIECE);
        let piece = self.rest.split_to(length);
        self.request.stands_still();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, mut hint) = (self.rest.len() as u64, self.body.size_hint());
        // The upper bound first: it may not be below the lower one.
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use futures::{FutureExt, StreamExt, stream};
    use http_body_util::BodyExt;
    use tokio_util::sync::CancellationToken;

    use super::super::admission::Admission;
    use super::*;
    use crate::web::peer::Peer;

    #[tokio::test]
    async fn an_answer_stands_still_while_it_has_data_that_is_not_taken() {
        let place = Admission::default().admit(&Peer::Local { uid: 0, gid: 0 }, &CancellationToken::new());
        let place = place.expect("room");
        let (usage, held) = (place.usage(), |body, version| HeldBody::new(body, place.usage().begin(), version));
        let long = Bytes::from(vec![7; PIECE + 1]);
        let events = || Body::from_stream(stream::iter([Ok::<_, io::Error>(long.clone())]).chain(stream::pending()));
        let mut body = held(events(), Version::HTTP_2);
        assert!(usage.standing_since().is_some(), "nothing is asked for: the window is shut");
        for length in [PIECE, 1] {
            let piece = body.frame().await.expect("a piece").expect("data").into_data().expect("data");
            assert_eq!(piece.len(), length);
            assert!(usage.standing_since().is_some() && !body.is_end_stream());
        }
        assert!(body.frame().now_or_never().is_none() && usage.standing_since().is_none(), "it has nothing to send");
        drop(body);
        let whole = held(Body::from(long.clone()), Version::HTTP_2);
        assert_eq!(whole.size_hint().exact(), Some(long.len() as u64));
        assert_eq!(whole.collect().await.expect("all of it").to_bytes(), long);
        let _body = held(events(), Version::HTTP_11);
        assert!(usage.standing_since().is_none(), "there the socket shows it");
    }
}
