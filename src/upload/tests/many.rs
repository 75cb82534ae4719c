//! A backlog that goes fast: small files are leased ahead and acknowledged together.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn many_small_files_go_fast_and_none_is_left() {
    let mut bench = Bench::new();
    let names: Vec<String> = (0..400).map(|n| format!("{n}.jpg")).collect();
    for name in &names {
        bench.add(name, name.as_bytes()).await;
    }
    bench.add("clip.mp4", &bytes(BIG)).await;
    // So that it is noticed how fast they go before they are gone.
    let fake = Arc::new(Fake { takes: Duration::from_millis(5), ..Fake::default() });
    let running = bench.start("s3://bucket", Some(&fake));
    bench.until_drained().await;
    for name in &names {
        assert_eq!(content(&fake, &bench.key(name)).await, name.as_bytes());
    }
    let label = outlet("upload/cloud");
    assert_eq!(bench.metrics.delivered.get_or_create(&label).get(), 401);
    // A file that comes now finds nothing waiting for what has gone.
    bench.add("late.jpg", b"late").await;
    bench.until_drained().await;
    running.stop().await;
    bench.open_store();
    assert_eq!(bench.outbox().waiting().await.expect("count"), 0, "all of it is on the disk");
}

/// What arrived does not wait for what is on its way: after a power cut it would be sent again.
#[tokio::test]
async fn what_arrived_is_acknowledged_while_others_are_on_their_way() {
    let bench = Bench::new();
    bench.add("clip.mp4", b"moving").await;
    let fake = Arc::new(Fake::default());
    *fake.held.lock() = Some("clip.mp4");
    let running = bench.start("s3://bucket", Some(&fake));
    bench.until("the clip is on its way", async || fake.requests.lock().contains_key("put")).await;
    bench.add("thumb.jpg", b"still").await;
    bench.until("one is left", async || bench.outbox().waiting().await.expect("count") == 1).await;
    *fake.held.lock() = None;
    bench.until_drained().await;
    running.stop().await;
}
