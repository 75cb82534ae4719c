//! Parts that hang: a governor whose sensor gives no answer.

use std::fs;
use std::process::Command;

use super::*;
use crate::clock::{Mono, SimulatedClock};
use crate::pipeline::tests::a_box;
use crate::supervise::Watch;

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
    let watch = Watch { heartbeats: Heartbeats::new(time.clone()), metrics: metrics.clone(), patience };
    let mut supervisor = Supervisor::new(stop.clone());
    let governed = shared.clone();
    supervisor.spawn_watched("governor", Backoff::for_connections(), watch, move |stop, heartbeat| {
        govern(governed.clone(), limits.clone(), stop, heartbeat)
    });
    let supervised = tokio::spawn(supervisor.run(Duration::from_secs(5)));
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
    stop.cancel();
    supervised.await.expect("join").expect("stopped");
    drop(writer);
}
