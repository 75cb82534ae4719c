//! What hyper answers by itself to a head that it cannot read: here it gets a body that says what is wrong.
//!
//! hyper has no hook for these answers. It writes them in one piece, without a body, before the connection ends; no route
//! of ours answers that way.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::web::problem::{self, Code, Problem};

/// A connection that speaks HTTP/1.1, whose answers to unreadable heads have a body.
pub(super) struct ParseErrors<T> {
    io: T,
    /// An answer that takes the place of hyper's, and how much of it was written.
    ours: Option<(Vec<u8>, usize)>,
}

impl<T> ParseErrors<T> {
    pub(super) fn new(io: T) -> Self {
        Self { io, ours: None }
    }
}

/// The answer that takes the place of `data`, where that is hyper's own.
fn ours(data: &[u8]) -> Option<Vec<u8>> {
    // The status line first: this sees all that is ever sent.
    let code = std::str::from_utf8(data.strip_prefix(b"HTTP/1.1 ")?.get(..3)?).ok()?;
    let problem = match code {
        "400" => Problem::new(Code::BadRequest, "the request cannot be read as HTTP/1.1".to_owned()),
        "414" => Problem::new(Code::UriTooLong, "the address is longer than 65534 bytes".to_owned()),
        "431" => {
            let detail = "the head of the request has more than 128 KiB, or more than 100 fields";
            Problem::new(Code::HeadersTooLarge, detail.to_owned())
        }
        _ => return None,
    };
    let head = std::str::from_utf8(data).ok()?.strip_suffix("content-length: 0\r\n\r\n").or_else(|| {
        let (before, after) = std::str::from_utf8(data).ok()?.split_once("content-length: 0\r\n")?;
        (after.starts_with("date: ") && after.find("\r\n\r\n") == Some(after.len() - 4)).then_some(before)
    })?;
    let body = problem.to_json();
    let kind = problem::MEDIA_TYPE;
    let fields = format!("content-type: {kind}\r\ncontent-length: {}\r\ncache-control: no-store\r\n\r\n", body.len());
    Some([head.as_bytes(), fields.as_bytes(), &body].concat())
}

impl<T: AsyncWrite + Unpin> ParseErrors<T> {
    /// Writes what takes the place of an answer of `length` bytes; that many count as written once all of it is.
    fn poll_ours(&mut self, cx: &mut Context<'_>, length: usize) -> Poll<io::Result<usize>> {
        while let Some((answer, written)) = &mut self.ours {
            let rest = answer.get(*written..).unwrap_or_default();
            if rest.is_empty() {
                self.ours = None;
                break;
            }
            match ready!(Pin::new(&mut self.io).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                more => *written += more,
            }
        }
        Poll::Ready(Ok(length))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for ParseErrors<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for ParseErrors<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.ours.is_none() {
            self.ours = ours(data).map(|answer| (answer, 0));
        }
        if self.ours.is_some() {
            return self.poll_ours(cx, data.len());
        }
        Pin::new(&mut self.io).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match data {
            [one] => self.poll_write(cx, one),
            more => Pin::new(&mut self.io).poll_write_vectored(cx, more),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
