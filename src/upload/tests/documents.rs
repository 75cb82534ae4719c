//! Files that belong to no event.

use super::*;
use crate::store::{Lease, Order, Wanted};

impl Bench {
    /// Queues a document as if its content were `content`.
    fn deliver(&self, path: &str, content: &[u8]) {
        let sha256 = hex::encode(Sha256::digest(content));
        let document = Document::new(path, content.len() as u64, sha256);
        self.store().outboxes().deliver(document).expect("deliver");
    }

    fn write_document(&self, path: &str, content: &[u8]) {
        let file = self.dir.path().join("box").join(path);
        fs::create_dir_all(file.parent().expect("a folder")).expect("create");
        fs::write(file, content).expect("write");
    }
}

const PATH: &str = "coverage/yard/2026-11-22.json";

#[tokio::test]
async fn a_document_arrives_below_the_device_before_the_files_of_events() {
    let bench = Bench::new();
    bench.add("event.json", b"{}").await;
    bench.write_document(PATH, b"[]");
    bench.deliver(PATH, b"[]");
    let leases = bench.outbox().lease(1).await.expect("lease");
    assert!(matches!(&leases[0].item, Delivery::Document(document) if document.path == PATH), "{:?}", leases[0].item);
    drop(leases);
    let target = bench.dir.path().join("usb");
    let running = bench.start(&format!("file://{}", target.display()), None);
    bench.until_drained().await;
    running.stop().await;
    assert_eq!(fs::read(target.join("box").join(PATH)).expect("there"), b"[]");
    assert_eq!(fs::read(target.join(bench.key("event.json").as_ref())).expect("there"), b"{}");
    let label = outlet("upload/cloud");
    assert_eq!(bench.metrics.delivered_bytes.get_or_create(&label).get(), 4);
}

#[tokio::test]
async fn a_document_that_is_not_what_was_queued_is_given_up_after_five_tries() {
    let bench = Bench::new();
    let fake = Arc::new(Fake { loses: Some("lost.json"), ..Fake::default() });
    bench.deliver("coverage/gone.json", b"never written");
    bench.write_document("coverage/changed.json", b"something else");
    bench.deliver("coverage/changed.json", b"what it should");
    bench.write_document("coverage/lost.json", b"[1, 2]");
    bench.deliver("coverage/lost.json", b"[1, 2]");
    let running = bench.start("s3://bucket", Some(&fake));
    bench.until_drained().await;
    running.stop().await;
    let dead = bench.dead().await;
    let dead: Vec<_> = dead.iter().map(|(file, tries, error)| (file.as_str(), *tries, error.as_str())).collect();
    let expected = [
        ("coverage/gone.json", 5, "the local file is gone"),
        ("coverage/changed.json", 5, "the local file is not what was recorded: its SHA-256 differs"),
        ("coverage/lost.json", 5, "the destination holds 5 bytes of 6"),
    ];
    assert_eq!(dead, expected);
}

#[tokio::test]
async fn a_large_document_goes_on_where_it_stopped_even_after_a_restart() {
    let mut bench = Bench::new();
    let big = bytes(BIG);
    let fake = Arc::new(Fake { breaks_part: Mutex::new(Some(1)), ..Fake::default() });
    bench.write_document("export/2026-11-22.parquet", &big);
    bench.deliver("export/2026-11-22.parquet", &big);
    let running = bench.start("s3://bucket", Some(&fake));
    bench.until("the link breaks", async || bench.last_error().is_some()).await;
    running.stop().await;
    bench.open_store();
    let running = bench.start("s3://bucket", Some(&fake));
    bench.until_drained().await;
    running.stop().await;
    assert_eq!(fake.parts_sent.load(Ordering::SeqCst), 3, "each of the three parts goes over the link once");
    assert!(content(&fake, &"box/export/2026-11-22.parquet".into()).await == big);
}

#[tokio::test]
async fn a_document_replaced_on_its_way_is_sent_again_and_is_no_failure() {
    let bench = Bench::new();
    bench.write_document(PATH, b"[1, 2]");
    bench.deliver(PATH, b"[1]");
    let running = bench.start(&format!("file://{}", bench.dir.path().join("usb").display()), None);
    let outbox = bench.outbox();
    bench
        .until("it was tried once", async || outbox.items(10).await.expect("list").iter().any(|item| item.attempts > 0))
        .await;
    bench.deliver(PATH, b"[1, 2]");
    bench.until_drained().await;
    running.stop().await;
    assert_eq!(fs::read(bench.dir.path().join("usb/box").join(PATH)).expect("there"), b"[1, 2]");
    assert_eq!(bench.dead().await, []);
    assert_eq!(bench.metrics.delivery_failures.get_or_create(&outlet("upload/cloud")).get(), 0);
}

#[tokio::test]
async fn what_is_said_of_a_photo_goes_first_and_its_original_after_the_clips() {
    let bench = Bench::new();
    for path in ["library/ab/abcd/original.mp4", "library/ab/abcd/photo-01JD0000000000000000000000.json"] {
        bench.write_document(path, b"[]");
        bench.deliver(path, b"[]");
    }
    bench.add("clip.mp4", b"video").await;
    let leases = bench.outbox().pick(Wanted { order: Order::Value, ..Wanted::oldest(3) }).await.expect("lease");
    let named = |lease: &Lease| match &lease.item {
        Delivery::Document(document) => document.path.rsplit('/').next().unwrap_or_default().to_owned(),
        Delivery::Upload(media) => media.file.clone(),
        Delivery::Alert(_) => String::new(),
    };
    let order: Vec<String> = leases.iter().map(named).collect();
    assert_eq!(order, ["photo-01JD0000000000000000000000.json", "clip.mp4", "original.mp4"]);
    drop(leases);
    let target = bench.dir.path().join("usb");
    let running = bench.start(&format!("file://{}", target.display()), None);
    bench.until_drained().await;
    running.stop().await;
    assert!(target.join("box/library/ab/abcd/original.mp4").is_file());
}

const ORIGINAL: &str = "library/ab/abcd/original.jpg";

#[tokio::test]
async fn what_is_removed_goes_at_the_destination_whether_it_was_sealed_or_not() {
    let bench = Bench::new();
    let target = bench.dir.path().join("usb");
    let url = format!("file://{}", target.display());
    let there = target.join("box").join(ORIGINAL);
    bench.write_document(ORIGINAL, b"picture");
    bench.deliver(ORIGINAL, b"picture");
    let running = bench.start(&url, None);
    bench.until_drained().await;
    running.stop().await;
    assert_eq!(fs::read(&there).expect("there"), b"picture");
    bench.store().outboxes().deliver(Document::removal(ORIGINAL)).expect("deliver");
    // What was never there is removed as well.
    bench.store().outboxes().deliver(Document::removal("library/ab/abcd/never.jpg")).expect("deliver");
    let running = bench.start(&url, None);
    bench.until_drained().await;
    running.stop().await;
    assert!(!there.exists());
    assert_eq!(bench.dead().await, []);
}

#[tokio::test]
async fn a_removal_takes_the_place_of_what_waits_and_is_replaced_by_what_comes_again() {
    let bench = Bench::new();
    let fake = Arc::new(Fake::default());
    bench.write_document(ORIGINAL, b"picture");
    bench.deliver(ORIGINAL, b"picture");
    bench.store().outboxes().deliver(Document::removal(ORIGINAL)).expect("deliver");
    assert_eq!(bench.outbox().waiting().await.expect("count"), 1);
    bench.deliver(ORIGINAL, b"picture");
    let running = bench.start("s3://bucket", Some(&fake));
    bench.until_drained().await;
    running.stop().await;
    assert!(content(&fake, &format!("box/{ORIGINAL}").into()).await == b"picture");
    bench.store().outboxes().deliver(Document::removal(ORIGINAL)).expect("deliver");
    let running = bench.start("s3://bucket", Some(&fake));
    bench.until_drained().await;
    running.stop().await;
    let asked = fake.head(&format!("box/{ORIGINAL}").into()).await;
    assert!(matches!(asked, Err(Error::NotFound { .. })), "{asked:?}");
}
