//! Files that belong to no event.

use super::*;

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
async fn a_document_replaced_on_its_way_is_sent_again_and_costs_no_attempt() {
    let bench = Bench::new();
    bench.write_document(PATH, b"[1, 2]");
    bench.deliver(PATH, b"[1]");
    let running = bench.start(&format!("file://{}", bench.dir.path().join("usb").display()), None);
    bench
        .until("it failed once", async || {
            bench.metrics.delivery_failures.get_or_create(&outlet("upload/cloud")).get() > 0
        })
        .await;
    bench.deliver(PATH, b"[1, 2]");
    bench.until_drained().await;
    running.stop().await;
    assert_eq!(fs::read(bench.dir.path().join("usb/box").join(PATH)).expect("there"), b"[1, 2]");
    assert_eq!(bench.dead().await, []);
}
