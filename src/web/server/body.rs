//! Bodies: that of a request has to keep coming, and that of an answer holds its connection in use.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
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

/// The body of an answer. The request is in flight until all of it was sent.
pub(super) struct HeldBody {
    body: Body,
    _request: InFlight,
}

impl HeldBody {
    pub(super) fn new(body: Body, request: InFlight) -> Self {
        Self { body, _request: request }
    }
}

impl HttpBody for HeldBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
