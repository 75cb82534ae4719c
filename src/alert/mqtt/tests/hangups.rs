//! Brokers that answer a message by hanging up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::bench::{Bench, Listener, Mosquitto, device_context, plain, until};
use super::scripted::{Manners, Received, Scripted};
use crate::alert::fixture;
use crate::alert::mqtt::*;
use crate::clock::SystemClock;
use crate::event::Phase;

const EVENT: &str = "outpost/box/camera/yard/event";

fn hanging_up_at(at: impl Fn(&Received) -> bool + Send + Sync + 'static) -> Manners {
    Manners { hangs_up_at: Box::new(at), ..Manners::default() }
}

/// An alert whose payload is large.
fn put_large(bench: &Bench, seq: u64) {
    let mut large = fixture::item(&SystemClock::new(), seq, Phase::End);
    large.event.zones = vec!["z".repeat(200 << 10).into()];
    bench.queue.rows.lock().waiting.insert(seq, large);
}

impl Bench {
    pub(super) fn remarks(&self) -> String {
        let outlets = self.health.outlets();
        outlets
            .into_iter()
            .find(|outlet| outlet.name == OUTLET.as_str())
            .map(|outlet| outlet.remarks.join("; "))
            .unwrap_or_default()
    }

    pub(super) async fn remark_with(&self, words: &str) {
        until(words, || self.remarks().contains(words)).await;
    }
}

/// Works with: brokers | a broker that hangs up at an alert that is too large (AWS IoT: 128 KiB) | the alert becomes a dead letter with topic, size and reason; all others are delivered
#[tokio::test]
async fn an_alert_that_the_broker_hangs_up_at_is_put_aside_and_all_others_arrive() {
    for protocol in [Protocol::Five, Protocol::ThreeOneOne] {
        let broker = Scripted::start(hanging_up_at(|received| received.bytes > 128 << 10)).await;
        let config = Config { protocol, ..plain(broker.port) };
        let bench =
            Bench::start_with(config, device_context(), Arc::new(SystemClock::new()), Default::default(), |queue| {
                queue.put(1..=40);
            });
        put_large(&bench, 3);
        bench.queue.put([41]);
        until("all is settled", || bench.queue.look(|rows| rows.waiting.is_empty())).await;
        let (acked, rejected) = bench.queue.look(|rows| (rows.acked.clone(), rows.rejected.clone()));
        assert_eq!(acked.len(), 40, "{protocol:?}: {acked:?}");
        let [(3, reason)] = &*rejected else { panic!("{protocol:?}: {rejected:?}") };
        for words in [EVENT, "closes the connection", "its size (AWS IoT takes 131072 bytes)"] {
            assert!(reason.contains(words), "{words}: {reason}");
        }
        until("states too", || broker.has("outpost/box/availability")).await;
        until("connected", || bench.is_online()).await;
        bench.queue.put([50]);
        until("the next", || bench.queue.look(|rows| rows.acked.contains(&50))).await;
    }
}

/// Works with: brokers | a broker that hangs up at a topic of too many levels, or without the right to it (AWS IoT) | the state is left out, which health and the log say; alerts and other states arrive
#[tokio::test]
async fn a_state_that_the_broker_hangs_up_at_is_left_out_and_alerts_go_before_it() {
    let broker = Scripted::start(hanging_up_at(|received| received.topic.matches('/').count() > 6)).await;
    let bench = Bench::start(plain(broker.port));
    bench.queue.put(1..=30);
    until("alerts arrive", || bench.queue.look(|rows| rows.acked.len() == 30)).await;
    bench.remark_with("zone/drive/count/person\" is left out: the broker closes the connection").await;
    until("all others are published", || broker.has("outpost/box/camera/yard/override")).await;
    until("connected", || bench.is_online()).await;
    assert!(bench.remarks().contains("8 topic levels") || bench.remarks().contains("the right of this user"));
    assert!(bench.queue.look(|rows| rows.rejected.is_empty()));
    bench.queue.put([31]);
    until("the next", || bench.queue.look(|rows| rows.acked.contains(&31))).await;
    let hangups = broker.hangups();
    bench.health.camera(&"yard".into(), |camera| camera.motion = true);
    bench.queue.put([32]);
    until("the next", || bench.queue.look(|rows| rows.acked.contains(&32))).await;
    assert_eq!(broker.hangups(), hangups, "it is not sent again");
}

/// Works with: brokers | a broker that hangs up at a subscription without the right to it | it is left out, so commands are not heard, which health and the log say; alerts arrive
#[tokio::test]
async fn a_subscription_that_the_broker_hangs_up_at_is_left_out() {
    let broker = Scripted::start(Manners { hangs_up_at_subscription: true, ..Manners::default() }).await;
    let bench = Bench::start(Config { commands: true, ..plain(broker.port) });
    bench.queue.put(1..=30);
    bench.remark_with("commands are not heard: the broker closes the connection").await;
    until("alerts arrive", || bench.queue.look(|rows| rows.acked.len() == 30)).await;
    until("connected", || bench.is_online()).await;
    let tried = broker.subscriptions();
    bench.queue.put([31]);
    until("the next", || bench.queue.look(|rows| rows.acked.contains(&31))).await;
    assert_eq!(broker.subscriptions(), tried);
}

/// Works with: brokers | a broker that hangs up at every retained message (AWS IoT without iot:RetainPublish) | states are published without the retain flag, which health says
#[tokio::test]
async fn states_go_without_the_flag_where_the_broker_hangs_up_at_retained_messages() {
    let broker = Scripted::start(hanging_up_at(|received| received.retain)).await;
    let bench = Bench::start(plain(broker.port));
    bench.queue.put([1]);
    bench.remark_with("closes the connection at every retained message").await;
    until("states arrive", || broker.has("outpost/box/availability") && broker.has("outpost/box/camera/yard/motion"))
        .await;
    assert!(bench.queue.look(|rows| rows.acked == [1] && rows.rejected.is_empty()));
}

/// Works with: brokers | a broker that gives the reason when it hangs up (MQTT 5 DISCONNECT) | the message is found at once, and the reason is shown
#[tokio::test]
async fn the_reason_of_a_disconnect_is_used_and_shown() {
    let manners = Manners { reason: Some(0x95), ..hanging_up_at(|received| received.bytes > 128 << 10) };
    let broker = Scripted::start(manners).await;
    let bench = Bench::start(plain(broker.port));
    put_large(&bench, 1);
    bench.queue.put([2]);
    until("all is settled", || bench.queue.look(|rows| rows.waiting.is_empty())).await;
    let rejected = bench.queue.look(|rows| rows.rejected.clone());
    assert!(rejected.len() == 1 && rejected[0].0 == 1 && rejected[0].1.contains("PacketTooLarge"), "{rejected:?}");
    assert!(broker.hangups() <= 3, "{}", broker.hangups());
}

/// Works with: brokers | a broker that takes nothing of this user | nothing is put aside; health names what it hangs up at, and that it took nothing
#[tokio::test]
async fn nothing_is_put_aside_where_the_broker_takes_nothing() {
    let is_closed = Arc::new(AtomicBool::new(true));
    let closed = is_closed.clone();
    let broker = Scripted::start(hanging_up_at(move |_| closed.load(Ordering::SeqCst))).await;
    let bench = Bench::start(plain(broker.port));
    bench.queue.put(1..=5);
    until("it was tried often", || broker.hangups() > 30).await;
    bench.problem_with("has taken nothing so far").await;
    assert!(bench.queue.look(|rows| rows.rejected.is_empty() && rows.waiting.len() == 5));
    is_closed.store(false, Ordering::SeqCst);
    until("all is delivered", || bench.queue.look(|rows| rows.acked.len() == 5)).await;
}

#[tokio::test]
async fn a_line_that_breaks_again_and_again_puts_nothing_aside() {
    let broker = Mosquitto::start("");
    let mut listener = Listener::subscribe(broker.port, EVENT).await;
    let front = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let (port, real) = (front.local_addr().expect("address").port(), broker.port);
    // Cuts each connection after a few hundred bytes more than the last.
    tokio::spawn(async move {
        for cut in 1_u64.. {
            let Ok((mut socket, _)) = front.accept().await else { return };
            let mut upstream = tokio::net::TcpStream::connect(("127.0.0.1", real)).await.expect("connect");
            let (mut from, mut to) = socket.split();
            let (mut answers, mut requests) = upstream.split();
            let mut limited = tokio::io::AsyncReadExt::take(&mut from, 700 * cut);
            tokio::select! {
                _ = tokio::io::copy(&mut limited, &mut requests) => {}
                _ = tokio::io::copy(&mut answers, &mut to) => {}
            }
        }
    });
    let bench = Bench::start(plain(port));
    bench.queue.put(1..=60);
    let mut highest = 0;
    while highest < 60 {
        highest = highest.max(listener.next_seq().await);
    }
    until("all are acknowledged", || bench.queue.look(|rows| rows.waiting.is_empty())).await;
    assert!(bench.queue.look(|rows| rows.rejected.is_empty()));
    assert!(!bench.remarks().contains("left out"), "{}", bench.remarks());
}
