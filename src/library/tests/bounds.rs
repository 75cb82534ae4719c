//! Quotas, and the term of the trash.

use super::*;
use crate::age_limit::Age;
use crate::clock::{Clock, TimeQuality};
use crate::store::PhotoUsage;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn bounded(archive: &Archive, config: Config) -> Library {
    Library::new(archive, &LibraryShared::default(), Arc::new(config))
}

async fn usage(archive: &Archive, owner: &str) -> PhotoUsage {
    archive.store().photos().usage(owner).await.expect("read")
}

#[tokio::test]
async fn photos_of_one_user_take_no_more_than_the_quota() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let bytes = png(1).len() as u64;
    let config = Config { quota: 2 * bytes, quotas: [("ben".to_owned(), Quota(0))].into(), ..Config::default() };
    let library = bounded(&archive, config);
    let first = take(&library, &png(1), given("a.png", "anna")).await.expect("fits");
    take(&library, &png(2), given("b.png", "anna")).await.expect("fits");
    let refused = take(&library, &png(3), given("c.png", "anna")).await.expect_err("too much");
    assert!(matches!(refused, LibraryError::OverQuota { used, .. } if used == 2 * bytes), "{refused}");
    assert_eq!(files(&dir.path().join("library")).len(), 4, "nothing is left of it");
    take(&library, &png(1), given("again.png", "anna")).await.expect("the same bytes are free");
    for shade in 1..=3 {
        take(&library, &png(shade), given("a.png", "ben")).await.expect("no limit");
    }
    assert_eq!(usage(&archive, "anna").await, PhotoUsage { photos: 2, bytes: 2 * bytes });
    assert_eq!(usage(&archive, "ben").await, PhotoUsage { photos: 3, bytes: 3 * bytes });
    let trash = PhotoEdit { trashed: Some(true), ..PhotoEdit::default() };
    library.edit(first.photo().id, trash, None).await.expect("trash");
    assert!(take(&library, &png(3), given("c.png", "anna")).await.is_err(), "the trash counts");
    library.delete(first.photo().id, None).await.expect("delete");
    assert_eq!(usage(&archive, "anna").await, PhotoUsage { photos: 1, bytes });
    take(&library, &png(3), given("c.png", "anna")).await.expect("there is room again");
}

#[tokio::test]
async fn an_upload_that_does_not_fit_is_refused_before_its_first_byte() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let library = bounded(&archive, Config { quota: 10_000, ..Config::default() });
    let refused = library.begin_upload(10_001, given("a.mp4", "anna")).await.expect_err("too much");
    assert!(refused.to_string().contains("take 0 B of 10.0 kB, and this file has 10.0 kB"), "{refused}");
    let begun = library.begin_upload(6_000, given("a.mp4", "anna")).await.expect("fits");
    let second = library.begin_upload(6_000, given("b.mp4", "anna")).await;
    assert!(matches!(second, Err(LibraryError::OverQuota { used: 6_000, .. })), "what has begun counts");
    library.begin_upload(6_000, given("b.mp4", "ben")).await.expect("another user's");
    library.cancel_upload(begun.id, "anna").await.expect("cancel");
    library.begin_upload(6_000, given("b.mp4", "anna")).await.expect("there is room again");
}

#[tokio::test]
async fn the_trash_is_emptied_after_its_term_and_never_by_a_clock_that_is_not_trusted() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (archive, clock) = archive_and_clock(dir.path());
    let library = bounded(&archive, Config { trash: Age(30 * DAY), ..Config::default() });
    let mut ids = Vec::new();
    for (shade, quality) in
        [(1, TimeQuality::Synchronised), (2, TimeQuality::Implausible), (3, TimeQuality::Synchronised)]
    {
        let kept = take(&library, &png(shade), given("a.png", "anna")).await.expect("kept");
        clock.step_wall(clock.wall(), quality);
        let trash = PhotoEdit { trashed: Some(shade < 3), ..PhotoEdit::default() };
        library.edit(kept.photo().id, trash, None).await.expect("trash");
        ids.push(kept.photo().id);
    }
    let left = async || {
        let photos = archive.store().photos().some(ids.clone()).await.expect("read");
        photos.iter().map(|photo| photo.id).collect::<Vec<_>>()
    };
    clock.advance(29 * DAY);
    assert_eq!((library.empty_trash().await.expect("look"), left().await.len()), (0, 3));
    clock.advance(DAY);
    clock.step_wall(clock.wall(), TimeQuality::Unsynchronised);
    assert_eq!(library.empty_trash().await.expect("look"), 0, "the clock may be wrong by years");
    clock.step_wall(clock.wall(), TimeQuality::Synchronised);
    assert_eq!(library.empty_trash().await.expect("look"), 1);
    assert_eq!(left().await, ids[1..], "the term of the second began a day ago");
    clock.advance(30 * DAY);
    assert_eq!(library.empty_trash().await.expect("look"), 1);
    assert_eq!(left().await, ids[2..], "what lies in no trash stays");
    let without = bounded(&archive, Config { trash: Age(Duration::ZERO), ..Config::default() });
    let trash = PhotoEdit { trashed: Some(true), ..PhotoEdit::default() };
    without.edit(ids[2], trash, None).await.expect("trash");
    clock.advance(900 * DAY);
    assert_eq!(without.empty_trash().await.expect("look"), 0, "there is no term");
}

#[tokio::test]
async fn what_is_written_meanwhile_is_not_taken_for_what_a_stop_left() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let library = bounded(&archive, Config::default());
    let old = library.begin_upload(40_000, given("old.mp4", "anna")).await.expect("begin");
    let before = take(&library, &png(200), given("before.png", "anna")).await.expect("kept");
    let incoming = dir.path().join("library/incoming");
    let stale = incoming.join(format!(".{}.json.tmp", archive.next_id()));
    std::fs::write(&stale, "half").expect("write");
    let (first_id, work) = (archive.next_id(), archive.clone());
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = stop.clone();
    let recovering = tokio::task::spawn_blocking(move || {
        let mut rounds = 0;
        // A failure beside it ends it too.
        while rounds == 0 || rounds < 5000 && !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            recover(&work, first_id).expect("recover");
            rounds += 1;
        }
        rounds
    });
    library.delete(before.photo().id, None).await.expect("one of before is deleted");
    for shade in 0..30 {
        let kept = take(&library, &png(shade), given("a.png", "anna")).await.expect("kept");
        library.delete(kept.photo().id, None).await.expect("deleted");
        let offset = u64::from(shade) * 100;
        let piece = vec![shade; 100];
        library.resume(old.id, "anna", offset, pieces(&piece, false)).await.expect("goes on");
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(recovering.await.expect("run") > 3);
    assert!(!stale.exists(), "what a stop left is removed");
    assert_eq!(library.upload(old.id, "anna").await.expect("there").offset, 3000);
}

#[tokio::test]
async fn a_stop_while_an_upload_comes_slowly_costs_what_came_in_the_last_seconds() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (archive, clock) = archive_and_clock(dir.path());
    let library = library(&archive);
    let begun = library.begin_upload(10_000, given("a.mp4", "anna")).await.expect("begin");
    let state = dir.path().join("library/incoming").join(format!("{}.resume", begun.id));
    let (mut sent, mut noted) = (0, Vec::new());
    let next = || {
        let state: Resumable = serde_json::from_slice(&std::fs::read(&state).expect("read")).expect("JSON");
        noted.push(state.offset);
        clock.advance(std::time::Duration::from_secs(2));
        sent += 1;
        std::future::ready(if sent > 7 { Err("the line broke") } else { Ok(Some(vec![0; 100].into())) })
    };
    library.resume(begun.id, "anna", 0, next).await.expect("append");
    assert_eq!(noted, [0, 0, 0, 300, 300, 300, 600, 600]);
    assert_eq!(library.upload(begun.id, "anna").await.expect("look").offset, 700);
}
