//! The one picture that waits for a camera's pipeline: the newest.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::frame::Frame;

#[derive(Debug, Default)]
struct Waiting {
    frame: Option<Frame>,
    replaced: u64,
    is_over: bool,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    came: Condvar,
}

/// Where pictures are put; the pipeline ends with it.
#[derive(Debug)]
pub(super) struct FrameSender(Arc<Shared>);

/// Where they are taken.
#[derive(Clone, Debug)]
pub(super) struct FrameReceiver(Arc<Shared>);

/// What a wait came to.
#[derive(Debug)]
pub(super) enum Next {
    /// A picture, and how many were replaced since the last one.
    Frame(Frame, u64),
    /// None came in time.
    Nothing,
    /// None will come any more.
    Over,
}

/// A place for one picture.
pub(super) fn slot() -> (FrameSender, FrameReceiver) {
    let shared = Arc::<Shared>::default();
    (FrameSender(shared.clone()), FrameReceiver(shared))
}

impl FrameSender {
    /// Puts a picture in, in place of one that still waits.
    pub(super) fn put(&self, frame: Frame) {
        let mut waiting = self.0.waiting.lock();
        let older = waiting.frame.replace(frame);
        waiting.replaced += u64::from(older.is_some());
        drop(waiting);
        self.0.came.notify_all();
    }
}

impl Drop for FrameSender {
    fn drop(&mut self) {
        self.0.waiting.lock().is_over = true;
        self.0.came.notify_all();
    }
}

impl FrameReceiver {
    /// Waits for a picture.
    pub(super) fn next(&self, at_most: Duration) -> Next {
        let mut waiting = self.0.waiting.lock();
        if waiting.frame.is_none() && !waiting.is_over {
            self.0.came.wait_for(&mut waiting, at_most);
        }
        match waiting.frame.take() {
            Some(frame) => Next::Frame(frame, std::mem::take(&mut waiting.replaced)),
            None if waiting.is_over => Next::Over,
            None => Next::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Mono;
    use crate::frame::Rgb;

    #[test]
    fn the_newest_picture_is_taken_and_the_end_comes_behind_it() {
        let (sender, receiver) = slot();
        let frame = |at| Frame { at: Mono(at), picture: Arc::new(Rgb { width: 1, height: 1, data: vec![0; 3] }) };
        assert!(matches!(receiver.next(Duration::ZERO), Next::Nothing));
        (1..=3).for_each(|at| sender.put(frame(at)));
        drop(sender);
        let Next::Frame(newest, replaced) = receiver.next(Duration::ZERO) else { panic!("no picture") };
        assert_eq!((newest.at, replaced), (Mono(3), 2));
        assert!(matches!(receiver.next(Duration::MAX), Next::Over));
    }
}
