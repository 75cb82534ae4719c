//! The task that reads the gauges and moves through the levels.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tracing::{info, warn};

use super::{Config, Decision, Gauges, Governor, LoadLevel, Pressure, Reading, memory_of_the_box};
use crate::clock::{Clock, Mono};
use crate::supervise::Context;

/// How often the gauges are read.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What one look at the gauges brought.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// When.
    pub at: Mono,
    /// What they say.
    pub reading: Reading,
    /// The level, where it changed; it is in force already.
    pub decision: Option<Decision>,
}

/// Reads the gauges every second until the stop, and reports each look to `note`. Puts levels in force through `pressure`
/// where `limits` are enabled.
///
/// # Errors
/// When the gauges cannot be read.
pub async fn govern(
    limits: Config,
    pressure: Pressure,
    clock: Arc<dyn Clock>,
    note: impl Fn(Finding) + Send,
    part: Context,
) -> Result<()> {
    let (mut gauges, is_enabled) = (Gauges::new(limits.clone()), limits.enabled);
    let mut governor = Governor::new(limits, memory_of_the_box());
    // A governor that was restarted begins where it can see what follows from its decisions.
    pressure.set_level(LoadLevel::Normal);
    loop {
        tokio::select! {
            () = part.stop().cancelled() => return Ok(()),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        part.beat();
        let (at, waits) = (clock.mono(), pressure.clone());
        // A sensor may block its reader for ever.
        let read = tokio::task::spawn_blocking(move || {
            let reading = gauges.read(at, &waits);
            (gauges, reading)
        });
        let reading;
        (gauges, reading) = read.await.context("read the gauges")?;
        let decision = if is_enabled { governor.judge(at, &reading) } else { None };
        if let Some(Decision { level, reason }) = &decision {
            if *level > pressure.level() {
                warn!(level = %level, reason, "too much to do: doing less");
            } else {
                info!(level = %level, "doing more again");
            }
            pressure.set_level(*level);
        }
        note(Finding { at, reading, decision });
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::clock::SimulatedClock;
    use crate::metrics::{self, Metrics};
    use crate::supervise::{Hang, Heartbeat, Heartbeats, Spec, Supervisor};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_governor_that_hangs_in_a_sensor_is_restarted() {
        let dir = tempfile::tempdir().expect("tempdir");
        let zone = dir.path().join("thermal/thermal_zone0");
        fs::create_dir_all(&zone).expect("make a thermal zone");
        // Reading a pipe without a writer blocks for ever.
        let sensor = zone.join("temp");
        assert!(Command::new("mkfifo").arg(&sensor).status().expect("mkfifo").success());
        let limits = Config {
            cpu: 1000.0,
            memory_bytes: u64::MAX,
            thermal_dir: dir.path().join("thermal"),
            rise_after: Duration::from_secs(1),
            ..Config::default()
        };
        let clock = Arc::new(SimulatedClock::new(Mono(1), jiff::Timestamp::UNIX_EPOCH));
        let time = Arc::new(SimulatedClock::new(Mono(1), jiff::Timestamp::UNIX_EPOCH));
        let (metrics, pressure) = (Metrics::new(), Pressure::default());
        let mut supervisor = Supervisor::new(CancellationToken::new(), &Heartbeats::new(time.clone()), &metrics);
        let spec = Spec::new("governor").heartbeat(Duration::from_millis(40), Hang::Replace { most: 1 });
        let (shed, asked) = (pressure.clone(), clock.clone());
        supervisor.task(spec, move |part| govern(limits.clone(), shed.clone(), asked.clone(), |_| (), part));
        let supervised = supervisor.start(Duration::from_secs(5));
        // Opens only once the governor stands at the other end.
        let pipe = sensor.clone();
        let opened = tokio::task::spawn_blocking(move || fs::OpenOptions::new().write(true).open(pipe));
        let writer = opened.await.expect("join").expect("open the pipe");
        fs::remove_file(&sensor).expect("remove the pipe");
        fs::write(&sensor, "99000\n").expect("write a temperature");
        time.advance(Duration::from_secs(1));
        let mut looks = 0;
        while pressure.level() == LoadLevel::Normal {
            looks += 1;
            assert!(looks < 6000, "the new one should see how hot it is");
            clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(metrics.part_restarts.get_or_create(&metrics::part("governor")).get(), 1);
        supervised.stop().await.expect("stopped");
        drop(writer);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn where_nothing_is_to_be_shed_the_gauges_are_read_all_the_same() {
        let limits = Config { enabled: false, memory_bytes: 1, rise_after: Duration::ZERO, ..Config::default() };
        let clock = Arc::new(SimulatedClock::new(Mono(1), jiff::Timestamp::UNIX_EPOCH));
        let (pressure, stop) = (Pressure::default(), CancellationToken::new());
        let part = Context::new(stop.clone(), Heartbeat::detached(clock.clone()), ());
        let (found, mut findings) = tokio::sync::mpsc::unbounded_channel();
        let note = move |finding| drop(found.send(finding));
        let governor = tokio::spawn(govern(limits, pressure.clone(), clock, note, part));
        let finding: Finding = findings.recv().await.expect("a look");
        assert!(finding.reading.memory_bytes.is_some_and(|bytes| bytes > 1), "{finding:?}");
        assert_eq!((finding.decision, pressure.level()), (None, LoadLevel::Normal), "whatever the limit is");
        stop.cancel();
        governor.await.expect("join").expect("stopped");
    }
}
