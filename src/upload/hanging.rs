//! An uploader that hangs in something that has no time limit.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::{Config, Deps, Uploader};
use crate::clock::{Mono, SimulatedClock};
use crate::control::Control;
use crate::destination::destination;
use crate::health::Health;
use crate::metrics::{self, Metrics};
use crate::store::{self, Store};
use crate::supervise::{Backoff, Hang, Heartbeats, Restart, Spec, Supervisor};
use crate::waiting::until;

#[tokio::test(flavor = "multi_thread")]
async fn an_uploader_that_hangs_is_restarted() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let dir = tempfile::tempdir().expect("tempdir");
    let clock = Arc::new(SimulatedClock::new(Mono(1), Timestamp::UNIX_EPOCH));
    let index = store::Config { path: dir.path().to_owned(), ..store::Config::default() };
    let store = Store::open(&index, &[destination("upload/cloud")], clock.clone()).expect("open the store");
    // Reading a pipe without a writer blocks for ever.
    let secret = dir.path().join("secret");
    assert!(Command::new("mkfifo").arg(&secret).status().expect("mkfifo").success());
    let config = Config {
        url: "s3://cams".to_owned(),
        endpoint: Some("http://127.0.0.1:9".to_owned()),
        access_key_id: Some("key".to_owned()),
        secret_access_key_file: Some(secret.clone()),
        allow_http: true,
        ..Config::default()
    };
    let (health, metrics, stop) = (Health::default(), Metrics::new(), CancellationToken::new());
    let time = Arc::new(SimulatedClock::new(Mono(1), Timestamp::UNIX_EPOCH));
    let patience = Duration::from_millis(40);
    let mut supervisor = Supervisor::new(stop.clone(), &Heartbeats::new(time.clone()), &metrics);
    let (outbox, shown, counted) =
        (store.outboxes().get(&destination("upload/cloud")).expect("an outbox"), health.clone(), metrics.clone());
    let backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(2), Duration::from_secs(60));
    let archive = dir.path().join("archive");
    let spec =
        Spec::new("upload cloud").restart(Restart::Always(backoff)).heartbeat(patience, Hang::Replace { most: 1 });
    supervisor.task(spec, move |part| {
        let (outbox, clock) = (outbox.clone(), clock.clone());
        let (health, metrics) = (shown.clone(), counted.clone());
        let (device, storage, control) = ("box".into(), archive.clone(), Control::default());
        let deps = Deps { device, storage, state: None, outbox, control, health, metrics, clock };
        let made = Uploader::new("cloud", config.clone(), deps);
        async move { made?.with_heartbeat(part.heartbeat().clone()).run(part.stop().clone()).await }
    });
    let supervised = supervisor.start(Duration::from_secs(5));

    let restarts = || metrics.part_restarts.get_or_create(&metrics::part("upload cloud")).get();
    // Opens only once the uploader stands at the other end.
    let writer = tokio::task::spawn_blocking({
        let secret = secret.clone();
        move || fs::OpenOptions::new().write(true).open(secret).expect("open the pipe")
    });
    let writer = writer.await.expect("it reads");
    assert_eq!(restarts(), 0);
    fs::remove_file(&secret).expect("remove the pipe");
    // What the next one meets says that it lives.
    assert_eq!(health.outlets().iter().find_map(|outlet| outlet.last_error.clone()), None);
    time.advance(Duration::from_secs(1));
    until("a restart", || restarts() == 1).await;
    until("the new one at work", || health.outlets().iter().any(|outlet| outlet.last_error.is_some())).await;
    assert_eq!(restarts(), 1);
    supervised.stop().await.expect("stopped");
    drop(writer);
}
