//! A door at which tests hold a thread of a camera.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};

use parking_lot::Mutex;

use crate::clock::{Clock, Moment, Mono, SimulatedClock, TimeQuality};

/// A door that a thread can be made to wait at.
#[derive(Debug, Default)]
pub(super) struct Door {
    shut: AtomicBool,
    pub passed: AtomicUsize,
    waiting: Mutex<Option<Sender<()>>>,
}

impl Door {
    fn pass(&self) {
        if self.shut.swap(false, Ordering::SeqCst) {
            let (open, wait) = channel::<()>();
            *self.waiting.lock() = Some(open);
            // Until the other end is dropped.
            let _ = wait.recv();
        }
        self.passed.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn shut(&self) {
        self.shut.store(true, Ordering::SeqCst);
    }

    pub(super) fn has_guest(&self) -> bool {
        self.waiting.lock().is_some()
    }

    pub(super) fn open(&self) {
        self.waiting.lock().take();
    }
}

/// What a thread asks a [`DoorClock`] for when it comes to the door.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Mono,
    Wall,
}

/// A clock that makes a thread of a camera pass a door. The test, what starts the thread, and each run of it hold it once.
#[derive(Debug)]
pub(super) struct DoorClock {
    pub clock: Arc<SimulatedClock>,
    pub door: Arc<Door>,
    /// The thread, and what it asks for once for each packet or look.
    pub at: (&'static str, Asked),
}

impl DoorClock {
    fn pass(&self, asked: Asked) {
        if self.at == (std::thread::current().name().unwrap_or_default(), asked) {
            self.door.pass();
        }
    }
}

impl Clock for DoorClock {
    fn mono(&self) -> Mono {
        self.pass(Asked::Mono);
        self.clock.mono()
    }

    fn wall(&self) -> jiff::Timestamp {
        self.pass(Asked::Wall);
        self.clock.wall()
    }

    fn quality(&self) -> TimeQuality {
        self.clock.quality()
    }

    fn boot_id(&self) -> Arc<str> {
        self.clock.boot_id()
    }

    fn moment(&self, at: Mono) -> Moment {
        self.clock.moment(at)
    }
}
