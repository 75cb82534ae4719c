//! Parts that panic: a timekeeper whose clock does.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::open::OpenVolume;
use super::outlets::OutletContext;
use super::session::VolumeSession;
use super::storage::Place;
use crate::archive::Archive;
use crate::clock::{Clock, Mono, SimulatedClock, TimeQuality};
use crate::config::Config;
use crate::pipeline::tests::a_box;
use crate::service::fixture::Bench;
use crate::waiting::until;

/// A clock that panics on one thread, the first two times that it is asked there.
#[derive(Debug)]
struct Panicking {
    clock: Arc<SimulatedClock>,
    on: &'static str,
    asked: AtomicU32,
}

impl Clock for Panicking {
    fn mono(&self) -> Mono {
        self.clock.mono()
    }

    fn wall(&self) -> jiff::Timestamp {
        self.clock.wall()
    }

    fn quality(&self) -> TimeQuality {
        if std::thread::current().name() == Some(self.on) {
            assert!(self.asked.fetch_add(1, Ordering::SeqCst) >= 2, "injected");
        }
        self.clock.quality()
    }

    fn boot_id(&self) -> Arc<str> {
        self.clock.boot_id()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timekeeper_that_panics_is_started_again_and_ends_with_its_volume() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (shared, archive, clock) = a_box(dir.path());
    let clock = Arc::new(Panicking { clock, on: "timekeeper", asked: AtomicU32::new(0) });
    let deps = crate::archive::ArchiveDeps::new("box", clock.clone());
    let (layout, store, config) = (archive.layout().clone(), archive.store().clone(), Config::default());
    let archive =
        Archive::new(layout, store.clone(), clock.clone(), shared.metrics.clone(), config.archive.clone(), deps);
    let first_id = shared.ids.next();
    let volume = OpenVolume { place: Place::Main, store, archive, first_id };
    let services = Bench::new().services;
    let known = OutletContext { services, announced: dir.path().join("announced.json") };
    let mut session = VolumeSession::start(volume, &config, &shared, &known).expect("start");
    until("it is started again", || clock.asked.load(Ordering::SeqCst) >= 4).await;
    let restarts = shared.metrics.part_restarts.get_or_create(&crate::metrics::part("timekeeper")).get();
    assert_eq!(restarts, 2);
    session.stop().await;
    let mine = |name: std::io::Result<String>| name.is_ok_and(|name| name.trim() == "timekeeper");
    let threads = fs::read_dir("/proc/self/task").expect("threads").flatten();
    assert!(!threads.into_iter().any(|thread| mine(fs::read_to_string(thread.path().join("comm")))), "it was joined");
}
