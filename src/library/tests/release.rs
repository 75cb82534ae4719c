//! Originals that lie at a destination alone.

use std::time::Duration;

use super::*;
use crate::age_limit::Age;
use crate::away;
use crate::clock::{Clock, SimulatedClock, TimeQuality};
use crate::destination::Destination;
use crate::store::{Delivery, DocumentTask};

const DAY: Duration = Duration::from_secs(24 * 3600);

struct Box {
    library: Library,
    archive: Archive,
    clock: Arc<SimulatedClock>,
    _dir: tempfile::TempDir,
}

impl Box {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("tempdir");
        let (archive, clock) = archive_and_clock(dir.path());
        clock.step_wall("2026-11-22T10:00:00Z".parse().expect("a time"), TimeQuality::Synchronised);
        let config = Config { keep_originals: Age(90 * DAY), ..Config::default() };
        let library = Library::new(&archive, &LibraryShared::default(), Arc::new(config));
        Self { library, archive, clock, _dir: dir }
    }

    async fn photo(&self, shade: u8, owner: &str) -> Photo {
        take(&self.library, &png(shade), given("a.png", owner)).await.expect("kept").photo().clone()
    }

    /// What waits for the cloud, and takes it all out where it is to be done.
    async fn queued(&self, done: bool) -> Vec<(String, DocumentTask)> {
        let outbox = self.archive.store().outboxes().get(&cloud()[0]).expect("outbox");
        let mut found = Vec::new();
        for lease in outbox.lease(100).await.expect("lease") {
            if let Delivery::Document(document) = &lease.item
                && document.path.contains("original")
            {
                found.push((document.sha256.clone(), document.task));
            }
            if done {
                outbox.ack(&lease).await.expect("acknowledge");
            }
        }
        found
    }

    async fn release(&self) -> usize {
        self.library.release_originals(&cloud()).await.expect("looked at")
    }

    /// As the uploader does once the destination has it.
    fn went(&self, photo: &Photo) {
        let original = self.library.original(photo);
        let since = self.clock.now();
        let note =
            away::Away { destination: cloud()[0].clone(), since, bytes: photo.bytes, sha256: photo.sha256.clone() };
        std::fs::write(away::note_of(&original), serde_json::to_vec(&note).expect("write")).expect("write");
        std::fs::remove_file(original).expect("remove");
    }
}

fn cloud() -> [Destination; 1] {
    [Destination::upload("cloud")]
}

#[tokio::test]
async fn originals_go_after_their_term_when_nothing_of_them_waits() {
    let on = Box::new();
    let first = on.photo(1, "anna").await;
    on.clock.advance(60 * DAY);
    let shared = on.photo(2, "anna").await;
    on.clock.advance(29 * DAY);
    assert_eq!(on.release().await, 0, "no term is over");
    on.clock.advance(2 * DAY);
    assert_eq!(on.release().await, 0, "it is not delivered yet");
    assert_eq!(on.queued(true).await.len(), 2);
    assert_eq!(on.release().await, 1);
    assert_eq!(on.queued(true).await, [(first.sha256.clone(), DocumentTask::Release)]);
    assert_eq!(on.release().await, 0, "once");
    on.went(&first);
    // Another user took the same content in later.
    on.clock.advance(50 * DAY);
    on.photo(2, "ben").await;
    on.queued(true).await;
    on.clock.advance(10 * DAY);
    assert_eq!(on.release().await, 0, "ben's term goes on");
    on.clock.step_wall("2027-12-01T00:00:00Z".parse().expect("a time"), TimeQuality::Implausible);
    on.clock.advance(90 * DAY);
    assert_eq!(on.release().await, 0, "the clock says nothing");
    on.clock.step_wall("2027-12-01T00:00:00Z".parse().expect("a time"), TimeQuality::Synchronised);
    assert_eq!(on.release().await, 1);
    assert_eq!(on.queued(true).await, [(shared.sha256, DocumentTask::Release)]);
}

#[tokio::test]
async fn what_came_back_goes_again_within_a_day() {
    let on = Box::new();
    let photo = on.photo(1, "anna").await;
    on.queued(true).await;
    on.clock.advance(91 * DAY);
    assert_eq!(on.release().await, 1);
    on.queued(true).await;
    on.went(&photo);
    on.clock.advance(DAY / 2);
    assert_eq!(on.release().await, 0, "it is away");
    on.library.fetch_original(&photo).await.expect("asked for");
    on.queued(true).await;
    take(&on.library, &png(1), given("again.png", "anna")).await.expect("kept");
    assert_eq!(on.release().await, 0, "it is here, and was wanted a moment ago");
    on.clock.advance(DAY / 2);
    assert_eq!(on.release().await, 1);
}

#[tokio::test]
async fn the_term_of_what_came_under_a_wrong_clock_begins_when_that_is_right() {
    let on = Box::new();
    on.clock.step_wall("1970-01-01T00:00:10Z".parse().expect("a time"), TimeQuality::Implausible);
    let early = on.photo(1, "anna").await;
    on.clock.step_wall("2026-11-22T10:00:00Z".parse().expect("a time"), TimeQuality::Synchronised);
    let late = on.photo(2, "anna").await;
    on.queued(true).await;
    on.clock.advance(DAY);
    assert_eq!(on.release().await, 0);
    let known = on.archive.store().photos().get(early.id).await.expect("read").expect("a photo");
    assert_eq!(known.kept_from, Some(on.clock.now()), "the term begins");
    assert_eq!(on.library.read_sidecar(&known).expect("read"), known);
    on.queued(true).await;
    on.clock.advance(89 * DAY + DAY / 2);
    assert_eq!(on.release().await, 1, "that of the other, which came later and has the earlier term");
    on.queued(true).await;
    on.went(&late);
    on.clock.advance(DAY);
    assert_eq!(on.release().await, 1);
    assert_eq!(on.queued(true).await, [(early.sha256, DocumentTask::Release)]);
}

#[tokio::test]
async fn a_photo_whose_original_is_away_is_shown_asked_for_given_again_and_deleted() {
    let on = Box::new();
    let photo = on.photo(1, "anna").await;
    let waits = on.library.release_original(&photo, &cloud()).await.expect_err("it waits");
    assert!(waits.to_string().contains("waits for upload/cloud"), "{waits}");
    on.queued(true).await;
    let none = on.library.release_original(&photo, &[]).await.expect_err("nowhere to go");
    assert!(none.to_string().contains("one without seal_to"), "{none}");
    let state = on.library.release_original(&photo, &cloud()).await.expect("queued");
    assert_eq!((state.here, &state.waits_in[..]), (true, &cloud()[..]));
    assert!(matches!(on.library.fetch_original(&photo).await, Err(LibraryError::NotAway)));
    on.queued(true).await;
    on.went(&photo);
    let state = on.library.original_state(&photo).await.expect("a state");
    assert_eq!((state.here, state.away.map(|away| away.bytes), state.fetched_bytes), (false, Some(photo.bytes), None));
    for size in [Thumb::Small, Thumb::Large] {
        assert!(on.library.thumbnail(&photo, size).await.expect("look").is_some(), "it is looked at as before");
    }
    let state = on.library.fetch_original(&photo).await.expect("asked for");
    assert_eq!(state.fetched_bytes, Some(0));
    assert_eq!(on.queued(true).await, [(photo.sha256.clone(), DocumentTask::Fetch)]);

    let again = take(&on.library, &png(1), given("again.png", "anna")).await.expect("kept");
    assert_eq!(again, Kept::Known(photo.clone()));
    assert_eq!(std::fs::read(on.library.original(&photo)).expect("it is back"), png(1));
    on.went(&photo);
    take(&on.library, &png(1), given("b.png", "ben")).await.expect("kept");
    assert!(on.library.original_state(&photo).await.expect("a state").here);
    on.went(&photo);
    for of in on.archive.store().photos().with_content(&photo.sha256).await.expect("read") {
        on.library.delete(of.id, None).await.expect("delete");
    }
    let left = files(&on.library.layout.content(&photo.sha256));
    assert!(left.len() == 2 && left.iter().all(|name| name.starts_with("photo-")), "tombstones alone: {left:?}");
}
