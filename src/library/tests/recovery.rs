//! What a kill left, and what is given meanwhile.

use super::*;
use crate::photo::PhotoId;

/// The sidecar and the note of a photo that a stop left without a row in the index.
async fn left_behind(archive: &Archive, library: &Library, shade: u8, owner: &str) -> Photo {
    let kept = take(library, &png(shade), given("a.png", owner)).await.expect("kept");
    let photo = kept.photo().clone();
    archive.store().photos().forget(photo.id).await.expect("forget");
    let note = serde_json::json!({ "id": photo.id, "sha256": photo.sha256, "file": photo.file });
    let incoming = archive.layout().storage().join("library/incoming");
    std::fs::write(incoming.join(format!("{}.json", photo.id)), note.to_string()).expect("write");
    photo
}

#[tokio::test]
async fn what_is_given_again_before_the_recovery_has_come_to_it_is_one_photo() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let library = library(&archive);
    let mine = left_behind(&archive, &library, 1, "anna").await;
    let others = left_behind(&archive, &library, 2, "ben").await;
    let again = take(&library, &png(1), given("again.png", "anna")).await.expect("kept");
    assert_eq!(again, Kept::Known(mine.clone()), "the disk has it");
    let Kept::New(second) = take(&library, &png(2), given("b.png", "anna")).await.expect("kept") else {
        panic!("another user's")
    };
    let (work, next) = (archive.clone(), archive.next_id());
    tokio::task::spawn_blocking(move || recover(&work, next)).await.expect("run").expect("recover");
    let mut shown: Vec<PhotoId> = shown(&archive, &[Scope::Shared]).await.iter().map(|photo| photo.id).collect();
    shown.sort();
    let mut expected = [mine.id, others.id, second.id];
    expected.sort();
    assert_eq!(shown, expected);
    assert_eq!(files(&dir.path().join("library")).len(), 5, "two originals, three sidecars");
}

#[tokio::test]
async fn the_recovery_waits_for_a_photo_that_is_being_taken_in() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let library = library(&archive);
    // A stop left a note and an original, and the same file is taken in now: its original has its place.
    let (lost, hash) = (archive.next_id(), "ab".repeat(32));
    let folder = dir.path().join("library").join(relative(&hash));
    std::fs::create_dir_all(&folder).expect("folder");
    drop(library.begin().await.expect("begin"));
    let note = serde_json::json!({ "id": lost, "sha256": hash, "file": "original.png" });
    std::fs::write(dir.path().join(format!("library/incoming/{lost}.json")), note.to_string()).expect("write");
    let taking = archive.changing_photos.clone().lock_owned().await;
    let (work, next) = (archive.clone(), archive.next_id());
    let recovery = tokio::task::spawn_blocking(move || recover(&work, next));
    std::fs::write(folder.join("original.png"), png(1)).expect("write");
    let added = crate::photo::fixture::photo(archive.next_id(), "anna", "2024-03-31T02:30:00", archive.now());
    let added = Photo { sha256: hash.clone(), file: "original.png".to_owned(), ..added };
    archive.store().photos().record(&added, Vec::new()).await.expect("record");
    drop(taking);
    recovery.await.expect("run").expect("recover");
    assert!(folder.join("original.png").is_file(), "it belongs to a photo by now");
}
