//! Originals that lie at the destination alone, and come back.

use super::*;
use crate::away;
use crate::store::DocumentTask;

const ORIGINAL: &str = "library/ab/abcd/original.mp4";

impl Bench {
    fn original(&self, content: &[u8]) -> (std::path::PathBuf, Document) {
        let file = self.dir.path().join("box").join(ORIGINAL);
        fs::create_dir_all(file.parent().expect("a folder")).expect("create");
        fs::write(&file, content).expect("write");
        let document = Document::new(ORIGINAL, content.len() as u64, hex::encode(Sha256::digest(content)));
        (file, document)
    }

    async fn task(&self, document: &Document, task: DocumentTask) {
        let (outboxes, to) = (self.store().outboxes(), destination("upload/cloud"));
        outboxes.deliver_to(&to, document.clone().with_task(task)).await.expect("queue");
    }

    async fn drain(&self, url: &str, fake: Option<&Arc<Fake>>) {
        let running = self.start(url, fake);
        self.until_drained().await;
        running.stop().await;
    }

    fn usb(&self) -> (std::path::PathBuf, String) {
        let target = self.dir.path().join("usb");
        let url = format!("file://{}", target.display());
        (target.join("box").join(ORIGINAL), url)
    }
}

#[tokio::test]
async fn an_original_goes_after_its_proof_and_comes_back_as_it_was() {
    let bench = Bench::new();
    let content = bytes(BIG);
    let (file, document) = bench.original(&content);
    let (there, url) = bench.usb();
    bench.store().outboxes().deliver(document.clone()).expect("deliver");
    // It waits: a release does not take its place.
    bench.task(&document, DocumentTask::Release).await;
    bench.drain(&url, None).await;
    assert!(file.is_file() && there.is_file());
    bench.task(&document, DocumentTask::Release).await;
    bench.drain(&url, None).await;
    assert!(!file.exists());
    let away = away::find(&file).expect("a note");
    assert_eq!((away.destination, away.bytes), (destination("upload/cloud"), content.len() as u64));

    // Half of it is there from before, and is not asked for again: what the destination has there is another now.
    let half = content.len() / 2;
    fs::write(away::part_of(&file), &content[..half]).expect("write");
    let mut other = content.clone();
    other[0] ^= 1;
    fs::write(&there, other).expect("write");
    bench.task(&document, DocumentTask::Fetch).await;
    bench.drain(&url, None).await;
    assert!(fs::read(&file).expect("it is back") == content);
    assert!(!away::note_of(&file).exists() && !away::part_of(&file).exists());
    assert_eq!(bench.dead().await, []);
}

#[tokio::test]
async fn an_original_stays_where_the_destination_does_not_have_all_of_it() {
    for (held, reason) in [
        (None, "the original stays on the box: the destination does not have it"),
        (Some(&b"pict"[..]), "the destination holds 4 bytes of 7"),
    ] {
        let bench = Bench::new();
        let (file, document) = bench.original(b"picture");
        let (there, url) = bench.usb();
        if let Some(held) = held {
            fs::create_dir_all(there.parent().expect("a folder")).expect("create");
            fs::write(&there, held).expect("write");
        }
        bench.task(&document, DocumentTask::Release).await;
        bench.drain(&url, None).await;
        assert_eq!(bench.dead().await, [(ORIGINAL.to_owned(), 5, reason.to_owned())]);
        assert_eq!(fs::read(&file).expect("it is here"), b"picture");
        assert_eq!(away::find(&file), None);
    }
}

#[tokio::test]
async fn an_original_stays_where_the_destination_seals() {
    let bench = Bench::new();
    let (file, document) = bench.original(b"picture");
    let (_, url) = bench.usb();
    let seal_to = vec!["age17tctezfxjgml292qdg5xtxhnqdw5aky0tcw56qg99gkk2g9nrv0q6zl7rl".to_owned()];
    let running = Running::start(bench.uploader_with(Config { url, seal_to, ..Config::default() }));
    bench.store().outboxes().deliver(document.clone()).expect("deliver");
    bench.until_drained().await;
    bench.task(&document, DocumentTask::Release).await;
    bench.until_drained().await;
    running.stop().await;
    let dead = bench.dead().await;
    assert!(dead.len() == 1 && dead[0].2.contains("sealed, and the box cannot open it"), "{dead:?}");
    assert!(file.is_file());
}

#[tokio::test]
async fn what_comes_back_is_compared_and_a_bad_beginning_is_thrown_away() {
    let bench = Bench::new();
    let (file, document) = bench.original(b"picture");
    let (there, url) = bench.usb();
    bench.store().outboxes().deliver(document.clone()).expect("deliver");
    bench.drain(&url, None).await;
    bench.task(&document, DocumentTask::Release).await;
    bench.drain(&url, None).await;
    fs::write(away::part_of(&file), b"pixx").expect("write");
    bench.task(&document, DocumentTask::Fetch).await;
    bench.drain(&url, None).await;
    assert_eq!(fs::read(&file).expect("it is back"), b"picture", "the second try began from nothing");

    bench.task(&document, DocumentTask::Release).await;
    bench.drain(&url, None).await;
    fs::write(&there, b"rubbish").expect("write");
    bench.task(&document, DocumentTask::Fetch).await;
    bench.drain(&url, None).await;
    let dead = bench.dead().await;
    assert!(dead.len() == 1 && dead[0].2.contains("its SHA-256 differs"), "{dead:?}");
    assert!(!file.exists() && away::find(&file).is_some(), "it is said where it lies all the same");
}

#[tokio::test]
async fn a_damaged_original_is_replaced_by_a_good_one_and_kept_beside_it() {
    let bench = Bench::new();
    let (file, document) = bench.original(b"picture");
    let (there, url) = bench.usb();
    bench.store().outboxes().deliver(document.clone()).expect("deliver");
    bench.drain(&url, None).await;
    fs::write(&file, b"rotten!").expect("damage");
    bench.task(&document, DocumentTask::Fetch).await;
    bench.drain(&url, None).await;
    assert_eq!(fs::read(&file).expect("good"), b"picture");
    assert_eq!(fs::read(away::damaged_of(&file)).expect("kept"), b"rotten!");

    fs::write(&file, b"rotten!").expect("damage");
    fs::remove_file(&there).expect("lose");
    bench.task(&document, DocumentTask::Fetch).await;
    bench.drain(&url, None).await;
    assert_eq!(fs::read(&file).expect("all there is"), b"rotten!");
    assert_eq!(bench.dead().await.len(), 1);
}

#[tokio::test]
async fn a_wish_to_have_it_takes_the_place_of_a_release_and_not_the_other_way_round() {
    let bench = Bench::new();
    let (file, document) = bench.original(b"picture");
    let (_, url) = bench.usb();
    bench.store().outboxes().deliver(document.clone()).expect("deliver");
    bench.drain(&url, None).await;
    bench.task(&document, DocumentTask::Release).await;
    bench.task(&document, DocumentTask::Fetch).await;
    bench.task(&document, DocumentTask::Release).await;
    assert_eq!(bench.outbox().waiting().await.expect("count"), 1);
    bench.drain(&url, None).await;
    assert!(file.is_file());
    assert_eq!(bench.outbox().waiting().await.expect("count"), 0);
}

#[tokio::test]
async fn nothing_is_put_into_the_folder_of_a_photo_that_was_deleted_meanwhile() {
    // Before the destination says how large it is, and before it sends it.
    for of_content in [false, true] {
        let bench = Bench::new();
        let (file, document) = bench.original(b"picture");
        let fake = Arc::new(Fake::default());
        bench.store().outboxes().deliver(document.clone()).expect("deliver");
        bench.drain("s3://bucket", Some(&fake)).await;
        fs::remove_file(&file).expect("lose");
        bench.task(&document, DocumentTask::Fetch).await;
        *fake.held_reads.lock() = Some(of_content);
        let running = bench.start("s3://bucket", Some(&fake));
        bench.until("it is asked for", async || fake.waiting_reads.load(Ordering::SeqCst)).await;
        bench.store().outboxes().deliver(Document::removal(ORIGINAL)).expect("delete");
        *fake.held_reads.lock() = None;
        bench.until_drained().await;
        running.stop().await;
        assert!(!file.exists() && !away::part_of(&file).exists(), "nothing came back");
        assert_eq!(bench.dead().await, []);
    }
}
