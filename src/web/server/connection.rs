//! The bytes of one connection: they may neither stand still nor be taken drop by drop for ever, and end when the daemon
//! does.

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

/// What is sent has to be taken at this pace at least, bytes per second, in the time that it is waited for.
const SLOWEST: u64 = 1024;

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
    /// For how much longer it is waited until the other end takes what is sent.
    patience: Duration,
    /// Since when it takes nothing, and until when that is waited for.
    blocked: Option<(Instant, Pin<Box<Sleep>>)>,
    place: Place,
}

impl Connection {
    pub(super) fn new(stream: Box<dyn Transport>, place: Place) -> Self {
        let idle = Box::pin(tokio::time::sleep(IDLE));
        Self {
            stream,
            seen: VecDeque::new(),
            idle,
            cut: Box::pin(place.cut().clone().cancelled_owned()),
            patience: IDLE,
            blocked: None,
            place,
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

    /// Lets `act` send bytes, unless the other end takes them too slowly.
    fn send(
        &mut self,
        cx: &mut Context<'_>,
        act: impl FnOnce(Pin<&mut dyn Transport>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let result = self.watch(cx, act);
        let Poll::Ready(sent) = &result else {
            let (_, until) = self.blocked.get_or_insert_with(|| {
                self.place.usage().stalls(true);
                let now = Instant::now();
                (now, Box::pin(tokio::time::sleep_until(now + self.patience)))
            });
            return until.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()));
        };
        if let Some((since, _)) = self.blocked.take() {
            self.place.usage().stalls(false);
            self.patience = self.patience.saturating_sub(since.elapsed());
        }
        let earned = Duration::from_millis(*sent.as_ref().unwrap_or(&0) as u64 * 1000 / SLOWEST);
        self.patience = (self.patience + earned).min(IDLE);
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
        self.send(cx, |stream, cx| stream.poll_write(cx, data))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.send(cx, |stream, cx| stream.poll_write_vectored(cx, data))
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

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio_util::sync::CancellationToken;

    use super::super::admission::Admission;
    use super::*;
    use crate::web::peer::Peer;

    /// For how long an answer without an end is sent to one who takes `rate` bytes a second; ten minutes at most.
    async fn sent_for(rate: usize) -> Duration {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let peer = Peer::Local { uid: 0, gid: 0 };
        let place = Admission::default().admit(&peer, &CancellationToken::new()).expect("room");
        let mut connection = Connection::new(Box::new(ours), place);
        let begun = Instant::now();
        let send = async { while connection.write_all(&[0; 256]).await.is_ok() {} };
        let take = async {
            let mut taken = vec![0; rate];
            while theirs.read_exact(&mut taken).await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            () = send => {}
            () = take => {}
            () = tokio::time::sleep(10 * IDLE) => {}
        }
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_taken_too_slowly_ends() {
        let slow = sent_for(600).await;
        assert!((IDLE..4 * IDLE).contains(&slow), "{slow:?}");
        assert_eq!(sent_for(2000).await, 10 * IDLE, "that is a pace");
    }
}
