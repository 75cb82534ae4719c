//! After a long time without a line: one message a camera instead of a flood.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::bench::{Bench, Listener, Mosquitto, device_context, plain, until};
use crate::clock::{Mono, SimulatedClock};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Everything that was published for `camera` up to the alert `last`, as (type, seq), without repeats.
async fn published_until(listener: &mut Listener, camera: &str, last: u64) -> Vec<Value> {
    let mut published: Vec<Value> = Vec::new();
    loop {
        let (topic, payload, _) = listener.next().await;
        if !["event", "digest"].iter().any(|leaf| topic.ends_with(&format!("/camera/{camera}/{leaf}"))) {
            continue;
        }
        let body: Value = serde_json::from_str(&payload).expect("JSON");
        let is_known = published.iter().any(|known| known["seq"] == body["seq"] && known["type"] == body["type"]);
        let is_last = body["seq"] == last;
        if !is_known {
            published.push(body);
        }
        if is_last {
            return published;
        }
    }
}

#[tokio::test]
async fn three_days_without_a_line_are_published_in_one_digest_a_camera_and_then_what_happens_now() {
    let mut broker = Mosquitto::start("");
    let mut listener = Listener::subscribe(broker.port, "outpost/box/camera/+/+").await;
    let clock = Arc::new(SimulatedClock::new(Mono(0), "2026-11-22T06:00:00Z".parse().expect("a time")));
    broker.stop();
    let bench = Bench::start_at(plain(broker.port), device_context(), clock.clone());
    for day in 0..3_u64 {
        bench.queue.put_at(&*clock, "yard", (1..=1000).map(|n| day * 2000 + n));
        bench.queue.put_at(&*clock, "gate", (1001..=2000).map(|n| day * 2000 + n));
        clock.advance(DAY);
    }
    bench.queue.put_at(&*clock, "yard", 6001..=6003);
    broker.start_again();
    let published = published_until(&mut listener, "yard", 6003).await;
    let kinds: Vec<_> = published
        .iter()
        .map(|body| (body["type"].as_str().expect("type"), body["seq"].as_u64().expect("seq")))
        .collect();
    assert_eq!(kinds, [("digest", 5000), ("alert", 6001), ("alert", 6002), ("alert", 6003)]);
    let digest = &published[0];
    assert_eq!(
        (&digest["alerts"], &digest["events"], &digest["labels"]["person"]),
        (&3000.into(), &3000.into(), &3000.into())
    );
    assert_eq!((&digest["from"]["mono_ns"], &digest["until"]["mono_ns"]), (&0.into(), &172_800_000_000_000_u64.into()));
    assert_eq!((digest["ids"].as_array().map(Vec::len), &digest["ids_complete"]), (Some(100), &false.into()));
    assert!(digest["more"].as_str().expect("where").starts_with("/api/v1/events?camera=yard&before="));
    until("all is acknowledged", || bench.queue.look(|rows| rows.waiting.is_empty())).await;
    let acked = bench.queue.look(|rows| (rows.acked.len(), rows.rejected.len()));
    assert_eq!(acked, (6003, 0), "each once, none put aside");
}

#[tokio::test]
async fn a_digest_leaves_the_queue_only_once_the_broker_has_it() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let clock = Arc::new(SimulatedClock::new(Mono(0), jiff::Timestamp::UNIX_EPOCH));
    let bench = Bench::start_at(plain(silent.local_addr().expect("address").port()), device_context(), clock.clone());
    let (mut socket, _) = silent.accept().await.expect("connection");
    bench.queue.put_at(&*clock, "yard", 1..=700);
    clock.advance(DAY);
    // CONNACK of MQTT 5: success, no properties; nothing is ever confirmed.
    tokio::io::AsyncWriteExt::write_all(&mut socket, &[0x20, 0x03, 0x00, 0x00, 0x00]).await.expect("welcome");
    until("all are in the digest", || bench.queue.look(|rows| rows.leased.len() == 700)).await;
    drop((socket, silent));
    bench.problem_with("nothing listens").await;
    until("all are back", || bench.queue.look(|rows| rows.leased.is_empty())).await;
    assert_eq!(bench.queue.look(|rows| (rows.acked.len(), rows.waiting.len())), (0, 700));
}

#[tokio::test]
async fn a_rule_of_its_own_age_is_published_in_a_digest_while_others_are_published_one_by_one() {
    let broker = Mosquitto::start("");
    let mut listener = Listener::subscribe(broker.port, "outpost/box/camera/+/+").await;
    let clock = Arc::new(SimulatedClock::new(Mono(0), jiff::Timestamp::UNIX_EPOCH));
    let ages = BTreeMap::from([(("yard".into(), "hasty".into()), Duration::from_secs(60))]);
    let bench = Bench::start_with(plain(broker.port), device_context(), clock.clone(), ages, |queue| {
        queue.put_at(&*clock, "yard", 1..=6);
        for seq in [2, 3, 5] {
            queue.rows.lock().waiting.get_mut(&seq).expect("waits").event.rule = "hasty".into();
        }
        clock.advance(Duration::from_secs(120));
    });
    let published = published_until(&mut listener, "yard", 6).await;
    let kinds: Vec<_> = published
        .iter()
        .map(|body| (body["type"].as_str().expect("type"), body["seq"].as_u64().expect("seq")))
        .collect();
    assert_eq!(kinds, [("alert", 1), ("digest", 5), ("alert", 4), ("alert", 6)]);
    until("all is acknowledged", || bench.queue.look(|rows| rows.acked.len() == 6)).await;
}
