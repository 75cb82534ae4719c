//! The bytes of one connection: they may not stand still for ever, and end when the daemon does.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::admission::Place;

/// A connection on which nothing moves for so long is closed, whatever it carries. A browser that paused a video comes
/// back with a range request.
pub(super) const IDLE: Duration = Duration::from_secs(60);

/// What bytes come and go by.
pub(super) trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// One connection. Its place is free when this is dropped, which may be long after it was taken over by another
/// protocol.
pub(super) struct Connection {
    stream: Box<dyn Transport>,
    /// Bytes that were looked at, and not read yet.
    seen: VecDeque<u8>,
    idle: Pin<Box<Sleep>>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    _place: Place,
}

impl Connection {
    pub(super) fn new(stream: Box<dyn Transport>, place: Place) -> Self {
        let idle = Box::pin(tokio::time::sleep(IDLE));
        Self {
            stream,
            seen: VecDeque::new(),
            idle,
            cut: Box::pin(place.cut().clone().cancelled_owned()),
            _place: place,
        }
    }

    /// The first byte, which is read again afterwards; `None` at the end.
    pub(super) async fn first_byte(&mut self) -> io::Result<Option<u8>> {
        self.byte(0).await
    }

    /// Whether it begins with `beginning`, which is read again afterwards; no more is waited for than that takes.
    pub(super) async fn begins_with(&mut self, beginning: &[u8]) -> io::Result<bool> {
        for (at, wanted) in beginning.iter().enumerate() {
            if self.byte(at).await? != Some(*wanted) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The byte at place `at` of the beginning; `None` at the end.
    async fn byte(&mut self, at: usize) -> io::Result<Option<u8>> {
        while self.seen.len() <= at {
            let (mut seen, mut byte) = (std::mem::take(&mut self.seen), [0]);
            let read = self.read(&mut byte).await;
            seen.extend(byte.get(..*read.as_ref().unwrap_or(&0)).unwrap_or_default());
            self.seen = seen;
            if read? == 0 {
                return Ok(None);
            }
        }
        Ok(self.seen.get(at).copied())
    }

    /// Lets `act` move bytes, unless the connection was cut or sat idle for too long.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        act: impl FnOnce(Pin<&mut dyn Transport>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let result = act(Pin::new(&mut *self.stream), cx);
        if result.is_ready() {
            self.idle.as_mut().reset(Instant::now() + IDLE);
        } else if self.idle.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        result
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() > 0 && !self.seen.is_empty() {
            let length = self.seen.len().min(buf.remaining());
            self.seen.drain(..length).for_each(|byte| buf.put_slice(&[byte]));
            return Poll::Ready(Ok(()));
        }
        self.watch(cx, |stream, cx| stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.watch(cx, |stream, cx| stream.poll_write(cx, data))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.watch(cx, |stream, cx| stream.poll_write_vectored(cx, data))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watch(cx, |stream, cx| stream.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(cx)
    }
}
