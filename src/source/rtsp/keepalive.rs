//! Whether the camera still wants to be asked with the nonce that it gave.
//!
//! Cameras forget a digest nonce after some time or requests and say so in a 401. Retina answers such a 401 to none
//! of its requests. Where that is a request that keeps the session alive, retina only writes a line, and the camera
//! ends the session a minute later. That line is all there is to know it by; a test watches its text.

use std::cell::Cell;
use std::future::poll_fn;
use std::sync::Once;

use futures::StreamExt;
use log::{Level, LevelFilter, Log, Metadata, Record};
use retina::client::Demuxed;
use retina::codec::CodecItem;

thread_local! {
    /// Set by retina's line, which is written while a session is polled on this thread.
    static REFUSED: Cell<bool> = const { Cell::new(false) };
}

/// Reads retina's lines. Nothing else in this program writes through `log` to be read.
struct Lines;

static LINES: Lines = Lines;

impl Log for Lines {
    fn enabled(&self, line: &Metadata<'_>) -> bool {
        line.level() == Level::Warn && line.target().starts_with("retina::client")
    }

    fn log(&self, line: &Record<'_>) {
        if self.enabled(line.metadata()) && line.args().to_string() == "keepalive failed with StatusCode(401)" {
            REFUSED.set(true);
        }
    }

    fn flush(&self) {}
}

/// The next item of the session, and whether the camera refused to keep the session alive for want of a fresh nonce.
/// Dropping the future loses nothing.
pub(super) async fn next(session: &mut Demuxed) -> (Option<Result<CodecItem, retina::Error>>, bool) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if log::set_logger(&LINES).is_ok() {
            log::set_max_level(LevelFilter::Warn);
        }
    });
    let mut was_refused = false;
    let item = poll_fn(|context| {
        REFUSED.set(false);
        let polled = session.poll_next_unpin(context);
        was_refused |= REFUSED.take();
        if was_refused && polled.is_pending() {
            return std::task::Poll::Ready(None);
        }
        polled.map(Some)
    });
    let item = item.await;
    (item.flatten(), was_refused)
}
