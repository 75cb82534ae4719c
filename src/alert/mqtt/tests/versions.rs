//! Brokers that speak MQTT 3.1.1 only, keep nothing, or confirm nothing.

use super::bench::{Bench, Listener, Mosquitto, plain, until};
use super::scripted::{Manners, Refusal, Scripted};
use crate::alert::mqtt::*;

impl Bench {
    async fn is_remarked(&self, words: &str) {
        let remarked =
            || self.health.outlets().iter().any(|outlet| outlet.remarks.iter().any(|one| one.contains(words)));
        until(words, remarked).await;
    }
}

/// Works with: brokers | MQTT 3.1.1 only (RabbitMQ, HiveMQ 3, amqtt, Mosquitto before 1.6), however it refuses MQTT 5 | speaks MQTT 3.1.1 from the second connection on, which health and the log say
#[tokio::test]
async fn a_broker_of_3_1_1_is_spoken_to_in_3_1_1_however_it_refuses_5() {
    for refusal in [Refusal::OldConnack, Refusal::NewConnack, Refusal::Close] {
        let broker = Scripted::start(Manners { refuses_five: Some(refusal), ..Manners::default() }).await;
        let bench = Bench::start(Config { commands: true, ..plain(broker.port) });
        bench.queue.put(1..=50);
        until("all are acknowledged", || bench.queue.look(|rows| rows.acked.len() == 50)).await;
        until("states", || broker.has("outpost/box/availability") && broker.subscriptions() == 1).await;
        assert_eq!(broker.greetings(), [5, 4], "{refusal:?}");
        assert!(broker.taken().iter().all(|received| received.version == 4 && received.qos == 1));
        bench.is_remarked("MQTT 3.1.1 is spoken").await;
        bench.stop.cancel();
        bench.task.await.expect("no panic").expect("orderly");
        assert_eq!(
            broker.taken().last().map(|received| received.topic.clone()).as_deref(),
            Some("outpost/box/availability")
        );
    }
}

#[tokio::test]
async fn a_version_that_is_set_is_not_left() {
    let old = Scripted::start(Manners { refuses_five: Some(Refusal::NewConnack), ..Manners::default() }).await;
    let bench = Bench::start(Config { protocol: Protocol::Five, ..plain(old.port) });
    bench.problem_with("does not speak MQTT 5: set mqtt.protocol to \"auto\"").await;
    assert!(old.greetings().iter().all(|version| *version == 5));
    let new = Scripted::start(Manners { refuses_three: true, ..Manners::default() }).await;
    let bench = Bench::start(Config { protocol: Protocol::ThreeOneOne, ..plain(new.port) });
    bench.problem_with("does not speak MQTT 3.1.1: set mqtt.protocol to \"auto\"").await;
    let neither = Manners { refuses_three: true, refuses_five: Some(Refusal::NewConnack), ..Manners::default() };
    let neither = Scripted::start(neither).await;
    let bench = Bench::start(plain(neither.port));
    bench.problem_with("does not speak MQTT").await;
    until("both are tried", || [4, 5].iter().all(|version| neither.greetings().contains(version))).await;
    assert!(!bench.is_online());
}

/// Works with: brokers | Mosquitto, MQTT 3.1.1 | alerts, states, commands and the last will, as with MQTT 5
#[tokio::test]
async fn everything_works_over_3_1_1() {
    let broker = Mosquitto::start("");
    let mut alerts = Listener::subscribe(broker.port, "outpost/box/camera/+/event").await;
    let mut boxes = Listener::subscribe(broker.port, "outpost/box/availability").await;
    let mut answers = Listener::subscribe(broker.port, "outpost/box/camera/yard/detect/answer").await;
    let config = Config { protocol: Protocol::ThreeOneOne, commands: true, ..plain(broker.port) };
    let bench = Bench::start(config);
    bench.queue.put(1..=100);
    for seq in 1..=100 {
        assert_eq!(alerts.next_seq().await, seq);
    }
    until("all are acknowledged", || bench.queue.look(|rows| rows.acked.len() == 100)).await;
    assert_eq!(boxes.next().await.1, "online");
    let topic = "outpost/box/camera/yard/detect/set";
    let say = |payload: &str| {
        let port = broker.port.to_string();
        let arguments = ["-p", &port, "-q", "1", "-t", topic, "-m", payload];
        let said = std::process::Command::new("mosquitto_pub").args(arguments).status();
        assert!(said.expect("mosquitto_pub runs").success());
    };
    // A command is lost until the subscription stands.
    while !bench.health.outlets().is_empty() {
        say("OFF");
        let answered = tokio::time::timeout(std::time::Duration::from_millis(500), answers.next()).await;
        if let Ok((_, answer, _)) = answered {
            assert!(answer.contains("\"ok\":true"), "{answer}");
            break;
        }
    }
    bench.task.abort();
    assert_eq!(boxes.next().await.1, "offline", "the last will");
}

/// Works with: brokers | a broker that takes QoS 0 only | alerts go at QoS 0 and leave the queue a second after they were written; health says that delivery is not confirmed
#[tokio::test]
async fn where_the_broker_confirms_nothing_what_was_written_counts() {
    let broker = Scripted::start(Manners { qos_0_only: true, ..Manners::default() }).await;
    let bench = Bench::start(Config { commands: true, ..plain(broker.port) });
    bench.queue.put(1..=20);
    until("all are acknowledged", || bench.queue.look(|rows| rows.acked.len() == 20)).await;
    bench.is_remarked("whether it arrived is not confirmed").await;
    assert!(broker.taken().iter().all(|received| received.qos == 0));
    assert_eq!(broker.hangups(), 0);
    until("states", || broker.has("outpost/box/availability")).await;
    bench.stop.cancel();
    bench.task.await.expect("no panic").expect("orderly");
}

#[tokio::test]
async fn what_was_written_to_a_line_that_broke_is_sent_again_without_confirmations() {
    let broker = Scripted::start(Manners {
        qos_0_only: true,
        hangs_up_at: Box::new(|received| received.bytes > 128 << 10),
        ..Manners::default()
    })
    .await;
    let bench = Bench::start(plain(broker.port));
    let mut large = crate::alert::fixture::item(&crate::clock::SystemClock::new(), 1, crate::event::Phase::End);
    large.event.zones = vec!["z".repeat(200 << 10).into()];
    bench.queue.rows.lock().waiting.insert(1, large);
    bench.queue.put(2..=4);
    until("the large one is put aside", || bench.queue.look(|rows| rows.rejected.len() == 1)).await;
    until("the others are taken", || bench.queue.look(|rows| rows.acked.len() == 3)).await;
    let large = bench.queue.look(|rows| rows.rejected.clone());
    assert_eq!(large[0].0, 1, "{large:?}");
}

/// Works with: brokers | a broker without retained messages | publishes without the flag; health says what it costs
#[tokio::test]
async fn where_the_broker_keeps_nothing_nothing_is_retained() {
    let broker = Scripted::start(Manners { keeps_nothing: true, ..Manners::default() }).await;
    let bench = Bench::start(Config { retain_events: true, ..plain(broker.port) });
    bench.queue.put(1..=20);
    until("all are acknowledged", || bench.queue.look(|rows| rows.acked.len() == 20)).await;
    bench.is_remarked("keeps no retained messages").await;
    until("states", || broker.has("outpost/box/availability")).await;
    assert!(broker.taken().iter().all(|received| !received.retain));
    assert_eq!(broker.hangups(), 0);
}

/// Works with: brokers | Mosquitto with retain_available false or max_qos 0 | uses what the broker grants
#[tokio::test]
async fn what_mosquitto_grants_is_used() {
    for (setting, words) in [("retain_available false", "keeps no retained messages"), ("max_qos 0", "QoS 0 only")] {
        let broker = Mosquitto::start(setting);
        let mut listener = Listener::subscribe(broker.port, "outpost/box/camera/+/event").await;
        let bench = Bench::start(plain(broker.port));
        bench.queue.put(1..=20);
        for seq in 1..=20 {
            assert_eq!(listener.next_seq().await, seq);
        }
        until("all are acknowledged", || bench.queue.look(|rows| rows.acked.len() == 20)).await;
        bench.is_remarked(words).await;
    }
}
