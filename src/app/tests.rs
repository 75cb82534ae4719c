//! Parts that hang or panic: a governor whose sensor gives no answer, a timekeeper whose clock panics.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::clock::{Mono, SimulatedClock, TimeQuality};
use crate::pipeline::tests::a_box;

#[tokio::test(flavor = "multi_thread")]
async fn a_governor_that_hangs_in_a_sensor_is_restarted() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (shared, _archive, clock) = a_box(dir.path());
    let zone = dir.path().join("thermal/thermal_zone0");
    fs::create_dir_all(&zone).expect("make a thermal zone");
    // Reading a pipe without a writer blocks for ever.
    let sensor = zone.join("temp");
    assert!(Command::new("mkfifo").arg(&sensor).status().expect("mkfifo").success());
    let limits = governor::Config {
        cpu: 1000.0,
        memory_bytes: u64::MAX,
        thermal_dir: dir.path().join("thermal"),
        rise_after: Duration::from_secs(1),
        ..governor::Config::default()
    };
    let (stop, time) = (CancellationToken::new(), Arc::new(SimulatedClock::new(Mono(1), jiff::Timestamp::UNIX_EPOCH)));
    let (metrics, patience) = (shared.metrics.clone(), Duration::from_millis(40));
    let mut supervisor = Supervisor::new(stop.clone(), &Heartbeats::new(time.clone()), &metrics);
    let governed = shared.clone();
    let spec = Spec::new("governor").heartbeat(patience, REPLACED);
    supervisor.task(spec, move |part| govern(governed.clone(), limits.clone(), part));
    let supervised = supervisor.start(Duration::from_secs(5));
    // Opens only once the governor stands at the other end.
    let pipe = sensor.clone();
    let opened = tokio::task::spawn_blocking(move || fs::OpenOptions::new().write(true).open(pipe));
    let writer = opened.await.expect("join").expect("open the pipe");
    fs::remove_file(&sensor).expect("remove the pipe");
    fs::write(&sensor, "99000\n").expect("write a temperature");
    time.advance(Duration::from_secs(1));
    let mut looks = 0;
    while shared.pressure.level() == LoadLevel::Normal {
        looks += 1;
        assert!(looks < 6000, "the new one should see how hot it is");
        clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let restarts = metrics.part_restarts.get_or_create(&crate::metrics::part("governor")).get();
    assert_eq!(restarts, 1);
    supervised.stop().await.expect("stopped");
    drop(writer);
}

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
    let known =
        OutletContext { status: Arc::new(crate::alert::NoStatus), announced: dir.path().join("announced.json") };
    let mut session = VolumeSession::start(volume, &config, &shared, &known).expect("start");
    let mut looks = 0;
    while clock.asked.load(Ordering::SeqCst) < 4 {
        looks += 1;
        assert!(looks < 12_000, "it is not started again");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let restarts = shared.metrics.part_restarts.get_or_create(&crate::metrics::part("timekeeper")).get();
    assert_eq!(restarts, 2);
    session.stop().await;
    let mine = |name: std::io::Result<String>| name.is_ok_and(|name| name.trim() == "timekeeper");
    let threads = fs::read_dir("/proc/self/task").expect("threads").flatten();
    assert!(!threads.into_iter().any(|thread| mine(fs::read_to_string(thread.path().join("comm")))), "it was joined");
}
