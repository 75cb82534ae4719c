//! Brokers that refuse alerts and say so, against Mosquitto with a list of rights and a broker that is scripted.

use std::path::Path;
use std::time::Duration;

use super::bench::{Bench, Mosquitto, plain, until};
use super::scripted::{Manners, Scripted};
use super::*;

const STATES: &str = "topic readwrite outpost/box/availability\ntopic readwrite outpost/box/store\ntopic read #\n";

/// Gives every client these rights.
fn grant(broker: &Mosquitto, rights: &Path, topics: &str) {
    std::fs::write(rights, format!("{STATES}{topics}")).expect("write");
    let pid = i32::try_from(broker.child.id()).ok().and_then(rustix::process::Pid::from_raw).expect("pid");
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("reload mosquitto");
}

/// Mosquitto with such rights.
fn restricted(topics: &str) -> (Mosquitto, std::path::PathBuf) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let rights = folder.path().join("rights");
    std::fs::write(&rights, format!("{STATES}{topics}")).expect("write");
    (Mosquitto::start_in(folder, "acl_file {dir}/rights"), rights)
}

/// [`until`] for what comes only after several rests of a topic.
async fn in_time(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..9000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never came true: {what}");
}

impl Bench {
    /// Adds alerts of `camera` one after the other until `count` were put aside.
    async fn feed_until_put_aside(&self, camera: &str, mut next: u64, count: usize) -> u64 {
        for _ in 0..9000 {
            if self.queue.look(|rows| rows.rejected.len() >= count) {
                return next;
            }
            self.queue.put_at(&SystemClock::new(), camera, [next]);
            next += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{count} were never put aside");
    }
}

/// Works with: brokers | Mosquitto with a list of rights that leaves one camera's topic out (PUBACK "not authorised") | that camera's alerts are put aside with the reason once others were taken several times in between; all others arrive, and health says it
#[tokio::test]
async fn alerts_to_a_topic_that_is_not_allowed_are_put_aside_while_others_are_taken() {
    let (broker, rights) = restricted("topic readwrite outpost/box/camera/yard/#\n");
    let bench = Bench::start(plain(broker.port));
    let clock = SystemClock::new();
    // More than are sent at a time, so that they stand before the others.
    bench.queue.put_at(&clock, "gate", 1..=40);
    let next = bench.feed_until_put_aside("yard", 101, 40).await;
    let expected: Vec<u64> = (101..next).collect();
    in_time("all others arrive", || bench.queue.look(|rows| rows.acked.len() == expected.len())).await;
    assert_eq!(bench.queue.look(|rows| rows.acked.clone()), expected, "in their order");
    let rejected = bench.queue.look(|rows| rows.rejected.clone());
    let mut seqs: Vec<u64> = rejected.iter().map(|(seq, _)| *seq).collect();
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=40).collect::<Vec<_>>());
    for (_, reason) in &rejected {
        assert!(
            reason.contains("outpost/box/camera/gate/event") && reason.contains("give this user the right"),
            "{reason}"
        );
        assert!(reason.contains("while other alerts were taken"), "{reason}");
    }
    assert!(bench.remarks().contains("camera/gate/event"), "{}", bench.remarks());
    assert_eq!(bench.problem(), None, "others are taken");

    grant(&broker, &rights, "topic readwrite #\n");
    bench.queue.put_at(&clock, "gate", [1000]);
    in_time("it is taken", || bench.queue.look(|rows| rows.acked.contains(&1000))).await;
    until("nothing is remarked", || bench.remarks().is_empty()).await;
}

#[tokio::test]
async fn where_no_alert_is_allowed_all_wait() {
    let (broker, rights) = restricted("");
    let bench = Bench::start(plain(broker.port));
    let clock = SystemClock::new();
    bench.queue.put_at(&clock, "gate", 1..=5);
    bench.queue.put_at(&clock, "yard", 6..=10);
    let refused = || bench.metrics.delivery_failures.get_or_create(&crate::metrics::outlet(OUTLET.as_str())).get();
    in_time("each was refused more often than one is", || refused() >= 40).await;
    assert!(bench.queue.look(|rows| rows.rejected.is_empty() && rows.acked.is_empty() && rows.waiting.len() == 10));
    bench.problem_with("give this user the right to write to it").await;
    grant(&broker, &rights, "topic readwrite #\n");
    in_time("all arrive", || bench.queue.look(|rows| rows.acked.len() == 10)).await;
    assert!(bench.queue.look(|rows| rows.rejected.is_empty()));
    assert_eq!(bench.problem(), None);
}

#[tokio::test]
async fn one_alert_that_the_broker_refuses_is_put_aside_on_its_only_topic() {
    // 0x83: an error of the broker's own.
    let refuses = |received: &super::scripted::Received| (received.bytes > 100_000).then_some(0x83);
    let broker = Scripted::start(Manners { refuses: Box::new(refuses), ..Manners::default() }).await;
    let bench = Bench::start(plain(broker.port));
    let mut large = fixture::item(&SystemClock::new(), 3, Phase::End);
    large.event.zones = vec!["z".repeat(200 << 10).into()];
    bench.queue.rows.lock().waiting.insert(3, large);
    let next = bench.feed_until_put_aside("yard", 101, 1).await;
    in_time("all others arrive", || bench.queue.look(|rows| rows.acked.len() as u64 == next - 101)).await;
    let rejected = bench.queue.look(|rows| rows.rejected.clone());
    let [(3, reason)] = rejected.as_slice() else { panic!("{rejected:?}") };
    assert!(reason.contains("ImplementationSpecificError"), "{reason}");
}
