//! The library on a disk: what is kept, what is delivered, and what a stop leaves.

mod backup;
mod bounds;
mod check;
mod folders;
mod merge;
mod recovery;
mod release;
mod seen;

use std::path::Path;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};

use super::*;
use crate::archive::bench::{archive, archive_and_clock, id, queued};
use crate::photo::{Album, AlbumEdit, PhotoSearch, TakenFrom, Tombstone};
use crate::store::Scope;

fn png(shade: u8) -> Vec<u8> {
    let mut out = std::io::Cursor::new(Vec::new());
    let picture = DynamicImage::ImageRgb8(RgbImage::from_pixel(40, 30, Rgb([shade; 3])));
    picture.write_to(&mut out, ImageFormat::Png).expect("encode");
    out.into_inner()
}

fn library(archive: &Archive) -> Library {
    Library::new(archive, &LibraryShared::default(), Arc::default())
}

fn given(name: &str, owner: &str) -> Given {
    Given { name: name.to_owned(), owner: owner.into(), private: false, file_date: None, tags: Vec::new() }
}

async fn take(library: &Library, content: &[u8], given: Given) -> Result<Kept, LibraryError> {
    let mut arriving = library.begin().await.expect("begin");
    // In two pieces, as a network gives it.
    let (first, rest) = content.split_at(content.len() / 2);
    arriving.write(first).await.expect("write");
    arriving.write(rest).await.expect("write");
    library.keep(arriving, given).await
}

async fn shown(archive: &Archive, scopes: &[Scope]) -> Vec<Photo> {
    archive.store().photos().newest(scopes.to_vec(), None, 100).await.expect("read")
}

fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten().flatten() {
            match entry.path().is_dir() {
                true => folders.push(entry.path()),
                false => found.push(entry.path().strip_prefix(folder).expect("below").display().to_string()),
            }
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn a_photo_is_stored_by_its_content_described_shown_and_queued() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let library = library(&archive);
    let kept = take(&library, &png(1), given("IMG_20240331_023000.png", "anna")).await.expect("kept");
    let Kept::New(photo) = kept else { panic!("it is new") };
    assert_eq!((photo.facts.width, photo.facts.height, photo.file.as_str()), (40, 30, "original.png"));
    assert_eq!((photo.taken.local.to_string().as_str(), photo.taken.from), ("2024-03-31T02:30:00", TakenFrom::Name));
    let folder = relative(&photo.sha256);
    assert_eq!(
        files(&dir.path().join("library")),
        [format!("{folder}/original.png"), format!("{folder}/photo-{}.json", photo.id)]
    );
    assert_eq!(std::fs::read(library.original(&photo)).expect("read"), png(1));
    let sidecar = std::fs::read(dir.path().join("library").join(&folder).join(Photo::sidecar_name(photo.id)));
    assert_eq!(serde_json::from_slice::<Photo>(&sidecar.expect("read")).expect("a photo"), photo);
    let small = library.thumbnail(&photo, Thumb::Small).await.expect("look").expect("a thumbnail");
    std::fs::remove_file(&small).expect("evict");
    assert_eq!(library.thumbnail(&photo, Thumb::Small).await.expect("look"), Some(small), "it is made again");
    assert_eq!(shown(&archive, &[Scope::Shared]).await, [photo]);
    assert_eq!(queued(&archive, "upload/cloud"), 2, "original and sidecar");
}

#[tokio::test]
async fn the_same_bytes_are_stored_once_and_belong_to_each_who_gave_them() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let library = library(&archive);
    let first = take(&library, &png(1), given("a.png", "anna")).await.expect("kept");
    let again = take(&library, &png(1), given("b.png", "anna")).await.expect("kept");
    assert_eq!(again, Kept::Known(first.photo().clone()));
    let other = Given { private: true, ..given("c.png", "ben") };
    let Kept::New(other) = take(&library, &png(1), other).await.expect("kept") else { panic!("another user's") };
    assert_eq!(files(&dir.path().join("library")).len(), 3, "one original, two sidecars");
    assert_eq!(queued(&archive, "upload/cloud"), 3);
    assert_eq!(shown(&archive, &[Scope::Shared]).await, [first.photo().clone()]);
    assert_eq!(shown(&archive, &[Scope::PrivateOf("ben".to_owned())]).await, [other]);
}

#[tokio::test]
async fn what_is_no_picture_leaves_nothing_behind() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let library = library(&archive);
    let refused = take(&library, b"%PDF-1.7 and more", given("a.jpg", "anna")).await.expect_err("no picture");
    assert!(refused.to_string().contains("neither a picture nor a video"), "{refused}");
    assert!(matches!(take(&library, b"", given("a.jpg", "anna")).await, Err(LibraryError::Empty)));
    let mut left = library.begin().await.expect("begin");
    left.write(b"half").await.expect("write");
    drop(left);
    assert_eq!((files(dir.path().join("library").as_path()), queued(&archive, "upload/cloud")), (Vec::new(), 0));
    assert_eq!(files(&dir.path().join("derived")), Vec::<String>::new());
}

#[tokio::test]
async fn edits_are_in_the_sidecar_and_the_index_and_are_delivered() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let library = library(&archive);
    let kept = take(&library, &png(1), given("a.png", "anna")).await.expect("kept");
    let id = kept.photo().id;
    let tags = Some(vec!["gate".to_owned(), "gate".to_owned()]);
    let edit = PhotoEdit { title: Some("門".to_owned()), tags, private: Some(true), ..PhotoEdit::default() };
    let edited = library.edit(id, edit, Some(kept.photo())).await.expect("edit");
    assert_eq!((edited.title.as_str(), &*edited.tags, edited.private), ("門", &["gate".to_owned()][..], true));
    assert_eq!(shown(&archive, &[Scope::Shared]).await, []);
    assert_eq!(shown(&archive, &[Scope::PrivateOf("anna".to_owned())]).await, [edited]);
    let late = PhotoEdit { title: Some("late".to_owned()), ..PhotoEdit::default() };
    assert!(matches!(library.edit(id, late, Some(kept.photo())).await, Err(LibraryError::Changed)));
    let trash = PhotoEdit { trashed: Some(true), ..PhotoEdit::default() };
    let trashed = library.edit(id, trash, None).await.expect("trash");
    assert_eq!(shown(&archive, &[Scope::TrashOf("anna".to_owned())]).await, [trashed]);
    // Given again, it comes back.
    let again = take(&library, &png(1), given("a.png", "anna")).await.expect("kept");
    assert_eq!(again.photo().trashed, None);
    assert_eq!(shown(&archive, &[Scope::PrivateOf("anna".to_owned())]).await, [again.photo().clone()]);
    assert_eq!(queued(&archive, "upload/cloud"), 2, "a sidecar that waits is replaced");
    assert!(matches!(library.edit(id_of_none(), PhotoEdit::default(), None).await, Err(LibraryError::Unknown)));
}

fn id_of_none() -> crate::photo::PhotoId {
    id(7)
}

#[tokio::test]
async fn a_fresh_index_has_the_same_photos_from_their_sidecars() {
    let (dir, other) = (tempfile::tempdir().expect("tempdir"), tempfile::tempdir().expect("tempdir"));
    let first = archive(dir.path());
    let library = library(&first);
    for (shade, owner) in [(1, "anna"), (2, "anna"), (1, "ben")] {
        let given = Given { private: owner == "ben", ..given("a.png", owner) };
        take(&library, &png(shade), given).await.expect("kept");
    }
    let scopes = [Scope::Shared, Scope::PrivateOf("ben".to_owned())];
    let before = shown(&first, &scopes).await;
    std::fs::rename(dir.path().join("library"), other.path().join("library")).expect("move");
    std::fs::write(other.path().join("library").join(relative(&before[0].sha256)).join("photo-x.json"), "{")
        .expect("damage");
    let second = archive(other.path());
    let next = second.next_id();
    let fill = second.clone();
    let found = tokio::task::spawn_blocking(move || recover(&fill, next)).await.expect("run").expect("recover");
    assert_eq!((found, shown(&second, &scopes).await), (3, before));
    assert_eq!(queued(&second, "upload/cloud"), 5, "two originals, three sidecars");
}

#[tokio::test]
async fn what_a_stop_left_halfway_is_finished_or_removed() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let library = library(&archive);
    // Stopped between the sidecar and the index.
    let kept = take(&library, &png(1), given("a.png", "anna")).await.expect("kept");
    let photo = kept.photo().clone();
    archive.store().photos().forget(photo.id).await.expect("forget");
    let note = |id, sha256: &str| serde_json::json!({ "id": id, "sha256": sha256, "file": "original.png" }).to_string();
    let incoming = dir.path().join("library/incoming");
    std::fs::write(incoming.join(format!("{}.json", photo.id)), note(photo.id, &photo.sha256)).expect("write");
    // Stopped between the original and its sidecar.
    let (lost, hash) = (archive.next_id(), "ab".repeat(32));
    let folder = dir.path().join("library").join(relative(&hash));
    std::fs::create_dir_all(&folder).expect("folder");
    std::fs::write(folder.join("original.png"), png(2)).expect("write");
    std::fs::write(incoming.join(format!("{lost}.json")), note(lost, &hash)).expect("write");
    // Stopped while it arrived; and one that arrives now.
    std::fs::write(incoming.join(format!("{}.part", archive.next_id())), "half").expect("write");
    let first_id = archive.next_id();
    let arriving = library.begin().await.expect("begin");
    let work = archive.clone();
    tokio::task::spawn_blocking(move || recover(&work, first_id)).await.expect("run").expect("recover");
    archive.store().note_filled().expect("note");
    assert_eq!(shown(&archive, &[Scope::Shared]).await, std::slice::from_ref(&photo));
    let folder = relative(&photo.sha256);
    let left = files(&dir.path().join("library"));
    assert_eq!(left.len(), 3, "{left:?}");
    assert!(left.contains(&format!("{folder}/original.png")));
    assert!(left.iter().any(|file| file.ends_with(".part")), "what arrives now stays: {left:?}");
    drop(arriving);
    assert_eq!(files(&dir.path().join("library")).len(), 2);
}

/// Gives `content` in pieces, and then fails or ends.
fn pieces(
    content: &[u8],
    breaks: bool,
) -> impl FnMut() -> std::future::Ready<Result<Option<bytes::Bytes>, &'static str>> {
    let mut left: Vec<bytes::Bytes> = content.chunks(100).rev().map(bytes::Bytes::copy_from_slice).collect();
    move || {
        let end = if breaks { Err("the line broke") } else { Ok(None) };
        std::future::ready(left.pop().map_or(end, |piece| Ok(Some(piece))))
    }
}

#[tokio::test]
async fn an_upload_goes_on_where_it_stopped_and_becomes_one_photo() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let library = library(&archive);
    let content = [png(3), vec![0; 3000]].concat();
    let begun = library.begin_upload(content.len() as u64, given("a.png", "anna")).await.expect("begin");
    let (half, broken) = library.resume(begun.id, "anna", 0, pieces(&content[..1500], true)).await.expect("append");
    assert_eq!((half.offset, half.photo, broken), (1500, None, Some("the line broke")));
    // What a power cut left behind the place that was noted is not taken for good.
    let data = dir.path().join("library/incoming").join(format!("{}.upload", begun.id));
    let mut torn = std::fs::read(&data).expect("read");
    torn.extend([0; 700]);
    std::fs::write(&data, torn).expect("write");
    let next = archive.next_id();
    let work = archive.clone();
    tokio::task::spawn_blocking(move || recover(&work, next)).await.expect("run").expect("recover");
    assert_eq!(library.upload(begun.id, "anna").await.expect("look").offset, 1500);
    assert!(matches!(library.upload(begun.id, "ben").await, Err(LibraryError::NoUpload)), "another's");
    let wrong = library.resume(begun.id, "anna", 2000, pieces(&content[2000..], false)).await;
    assert!(matches!(wrong, Err(LibraryError::WrongOffset { offset: 1500 })));
    let (whole, _) = library.resume(begun.id, "anna", 1500, pieces(&content[1500..], false)).await.expect("append");
    assert_eq!(whole.photo, Some(begun.id));
    let photo = shown(&archive, &[Scope::Shared]).await.remove(0);
    assert_eq!(std::fs::read(library.original(&photo)).expect("read"), content);
    // The client did not hear it, and asks again.
    assert_eq!(library.upload(begun.id, "anna").await.expect("look").photo, Some(begun.id));
    let again = library.begin_upload(content.len() as u64, given("a.png", "anna")).await.expect("begin");
    let (known, _) = library.resume(again.id, "anna", 0, pieces(&content, false)).await.expect("append");
    assert_eq!(known.photo, Some(begun.id), "the same bytes are the same photo");
    assert_eq!(shown(&archive, &[Scope::Shared]).await.len(), 1);
    library.cancel_upload(again.id, "anna").await.expect("cancel");
    assert!(matches!(library.upload(again.id, "anna").await, Err(LibraryError::NoUpload)));
}

#[tokio::test]
async fn an_upload_of_more_than_was_announced_or_of_no_picture_is_refused() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let library = library(&archive);
    assert!(matches!(library.begin_upload(0, given("a.png", "anna")).await, Err(LibraryError::Empty)));
    let begun = library.begin_upload(150, given("a.png", "anna")).await.expect("begin");
    let more = library.resume(begun.id, "anna", 0, pieces(&[1; 300], false)).await;
    assert!(matches!(more, Err(LibraryError::TooLarge { most: 150 })));
    let offset = library.upload(begun.id, "anna").await.expect("look").offset;
    let refused = library.resume(begun.id, "anna", offset, pieces(&[1; 150], false)).await;
    assert!(matches!(refused, Err(LibraryError::NotAPicture(_))));
    assert_eq!(files(&dir.path().join("library")), Vec::<String>::new());
}

#[tokio::test]
async fn a_client_that_comes_again_takes_over_from_its_own_hung_connection() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let library = library(&archive);
    let content = png(3);
    let begun = library.begin_upload(content.len() as u64, given("a.png", "anna")).await.expect("begin");
    let (started, has_started) = tokio::sync::oneshot::channel();
    let (mut first, mut started) = (Some(bytes::Bytes::copy_from_slice(&content[..40])), Some(started));
    let hung = {
        let library = library.clone();
        tokio::spawn(async move {
            let next = || {
                let piece = first.take();
                if piece.is_none() {
                    started.take().map(|started| started.send(()));
                }
                async move {
                    match piece {
                        Some(piece) => Ok::<_, ()>(Some(piece)),
                        None => std::future::pending().await,
                    }
                }
            };
            library.resume(begun.id, "anna", 0, next).await.map(|(upload, _)| upload.offset)
        })
    };
    has_started.await.expect("it waits for more");
    assert_eq!(library.upload(begun.id, "anna").await.expect("look").offset, 40);
    assert_eq!(hung.await.expect("run").expect("it gave way"), 40);
    let (whole, _) = library.resume(begun.id, "anna", 40, pieces(&content[40..], false)).await.expect("append");
    assert_eq!(whole.photo, Some(begun.id));
}

#[tokio::test]
async fn an_upload_whose_last_byte_came_before_a_stop_becomes_a_photo_when_its_client_asks() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let library = library(&archive);
    let content = png(3);
    let begun = library.begin_upload(content.len() as u64, given("a.png", "anna")).await.expect("begin");
    let incoming = dir.path().join("library/incoming");
    std::fs::write(incoming.join(format!("{}.upload", begun.id)), &content).expect("write");
    let state = incoming.join(format!("{}.resume", begun.id));
    let whole = Resumable { offset: begun.length, ..begun.clone() };
    std::fs::write(&state, serde_json::to_vec(&whole).expect("encode")).expect("write");
    assert_eq!(library.upload(begun.id, "anna").await.expect("look").photo, Some(begun.id));
    // The stop came after the photo had its place, and before that was noted.
    std::fs::write(&state, serde_json::to_vec(&whole).expect("encode")).expect("write");
    assert_eq!(library.upload(begun.id, "anna").await.expect("look").photo, Some(begun.id));
    assert_eq!(shown(&archive, &[Scope::Shared]).await.len(), 1);
}

#[tokio::test]
async fn an_upload_that_rested_for_too_long_goes_when_another_begins() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (archive, clock) = archive_and_clock(dir.path());
    let library = library(&archive);
    let old = library.begin_upload(100, given("a.png", "anna")).await.expect("begin");
    clock.advance(LIFETIME - std::time::Duration::from_secs(60));
    let young = library.begin_upload(100, given("b.png", "anna")).await.expect("begin");
    assert!(library.upload(old.id, "anna").await.is_ok(), "not yet");
    clock.advance(std::time::Duration::from_secs(120));
    library.begin_upload(100, given("c.png", "anna")).await.expect("begin");
    assert!(matches!(library.upload(old.id, "anna").await, Err(LibraryError::NoUpload)));
    assert!(library.upload(young.id, "anna").await.is_ok());
    assert_eq!(files(&dir.path().join("library/incoming")).len(), 4, "two uploads, each with its state");
}

#[tokio::test]
async fn an_edit_keeps_what_the_index_has_no_room_for() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let library = library(&archive);
    let kept = take(&library, &png(1), given("a.png", "anna")).await.expect("kept");
    let mut whole = kept.photo().clone();
    whole.facts.keywords = vec!["harbour".to_owned()];
    library.write_sidecar(&whole).expect("write");
    let edit = PhotoEdit { title: Some("Ships".to_owned()), ..PhotoEdit::default() };
    library.edit(whole.id, edit, None).await.expect("edit");
    let sidecar = library.read_sidecar(&whole).expect("read");
    assert_eq!((sidecar.title.as_str(), sidecar.facts), ("Ships", whole.facts));
}

#[tokio::test]
async fn albums_and_favorites_are_in_their_files_and_a_fresh_index_has_the_same() {
    let (dir, other) = (tempfile::tempdir().expect("tempdir"), tempfile::tempdir().expect("tempdir"));
    let archive = archive(dir.path());
    let library = library(&archive);
    let mut ids = Vec::new();
    for shade in 0..3 {
        let kept = take(&library, &png(shade), given(&format!("{shade}.png"), "anna")).await.expect("kept");
        ids.push(kept.photo().id);
    }
    let marked = library.set_favorite(ids[1], "bea", true).await.expect("marked");
    assert_eq!(marked.favorite_of, ["bea".into()]);
    let edit = AlbumEdit { title: Some("Herons".to_owned()), add: Some(vec![ids[2], ids[0]]), ..AlbumEdit::default() };
    let album = library.make_album(edit, "anna").await.expect("an album");
    let gone = AlbumEdit { title: Some("Gone".to_owned()), add: Some(ids.clone()), ..AlbumEdit::default() };
    let gone = library.make_album(gone, "anna").await.expect("an album");
    library.delete_album(gone.id).await.expect("deleted");
    let of_albums = files(&dir.path().join("library/albums"));
    assert_eq!(of_albums, [format!("{}.json", album.id), format!("{}.json", gone.id)]);
    let left = std::fs::read_to_string(dir.path().join("library/albums").join(&of_albums[1])).expect("read");
    assert!(!left.contains("Gone") && !left.contains(&ids[0].to_string()) && left.contains("deleted"), "{left}");
    let before = shown(&archive, &[Scope::Shared]).await;
    std::fs::rename(dir.path().join("library"), other.path().join("library")).expect("move");
    let archive = self::archive(other.path());
    let (next, fill) = (archive.next_id(), archive.clone());
    tokio::task::spawn_blocking(move || recover(&fill, next)).await.expect("run").expect("recover");
    assert_eq!(shown(&archive, &[Scope::Shared]).await, before);
    let albums = archive.store().albums();
    assert_eq!(albums.photos(album.id).await.expect("read"), album.photos);
    assert_eq!(albums.all().await.expect("read"), [Album { photos: Vec::new(), ..album.clone() }]);
    let search = PhotoSearch::read("is:favorite", "bea").expect("a search");
    let found = archive.store().photos().find(vec![Scope::Shared], search, None, 10).await.expect("find");
    assert_eq!(found.photos.iter().map(|photo| photo.id).collect::<Vec<_>>(), [ids[1]]);
    assert_eq!(albums.count(vec![Scope::Shared], album.id).await.expect("count"), 2);
}

#[tokio::test]
async fn an_album_is_changed_as_it_was_known() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let library = library(&archive);
    let titled = |title: &str| AlbumEdit { title: Some(title.to_owned()), ..AlbumEdit::default() };
    let untitled = library.make_album(AlbumEdit { note: Some("x".to_owned()), ..AlbumEdit::default() }, "anna").await;
    assert!(matches!(untitled, Err(LibraryError::BadAlbum(_))), "{untitled:?}");
    let album = library.make_album(titled("One"), "anna").await.expect("an album");
    let second = library.edit_album(album.id, titled("Two"), Some(&album)).await.expect("changed");
    let late = library.edit_album(album.id, titled("Three"), Some(&album)).await;
    assert!(matches!(late, Err(LibraryError::Changed)), "{late:?}");
    assert_eq!(archive.store().albums().get(album.id).await.expect("read"), Some(second));
    library.delete_album(album.id).await.expect("deleted");
    assert!(matches!(library.delete_album(album.id).await, Err(LibraryError::NoAlbum)));
}

#[tokio::test]
async fn a_deleted_photo_is_gone_here_and_leaves_a_tombstone_and_a_removal() {
    let (dir, other) = (tempfile::tempdir().expect("tempdir"), tempfile::tempdir().expect("tempdir"));
    let archive = archive(dir.path());
    let library = library(&archive);
    let named = Given { name: "secret.png".to_owned(), ..given("x", "anna") };
    let of_anna = take(&library, &png(1), named).await.expect("kept").photo().clone();
    let of_ben = take(&library, &png(1), given("b.png", "ben")).await.expect("kept").photo().clone();
    let folder = dir.path().join("library").join(relative(&of_anna.sha256));
    let original = library.original(&of_anna);
    let wrong = library.delete(of_anna.id, Some(&of_ben)).await;
    assert!(matches!(wrong, Err(LibraryError::Changed)), "{wrong:?}");
    library.delete(of_anna.id, Some(&of_anna)).await.expect("deleted");
    assert!(original.is_file(), "ben has the same content");
    let left = std::fs::read_to_string(folder.join(Photo::sidecar_name(of_anna.id))).expect("a tombstone");
    assert!(left.contains("deleted") && !left.contains("secret") && !left.contains("anna"), "{left}");
    assert!(matches!(library.delete(of_anna.id, None).await, Err(LibraryError::Unknown)));
    assert_eq!(queued(&archive, "upload/cloud"), 3, "an original, a sidecar and a tombstone in place of the other");

    library.delete(of_ben.id, None).await.expect("deleted");
    assert!(!original.exists(), "the last photo of the content");
    assert_eq!(files(&dir.path().join("derived")), [] as [String; 0]);
    assert_eq!(shown(&archive, &[Scope::Shared, Scope::TrashOf("anna".to_owned())]).await, []);
    assert_eq!(queued(&archive, "upload/cloud"), 3, "the original waits to be removed in its own place");

    // Where the index is lost, neither comes back, and the removal is asked for again.
    std::fs::rename(dir.path().join("library"), other.path().join("library")).expect("move");
    let archive = self::archive(other.path());
    let (next, fill) = (archive.next_id(), archive.clone());
    let found = tokio::task::spawn_blocking(move || recover(&fill, next)).await.expect("run").expect("recover");
    assert_eq!((found, queued(&archive, "upload/cloud")), (0, 3));
    // The same file again is a new photo.
    let library = self::library(&archive);
    let again = take(&library, &png(1), given("b.png", "ben")).await.expect("kept");
    assert!(matches!(&again, Kept::New(photo) if photo.id != of_ben.id) && library.original(again.photo()).is_file());
}

#[tokio::test]
async fn a_deletion_that_a_stop_cut_short_is_finished() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let library = library(&archive);
    let photo = take(&library, &png(1), given("a.png", "anna")).await.expect("kept").photo().clone();
    let damaged = take(&library, &png(2), given("b.png", "anna")).await.expect("kept").photo().clone();
    let begin_deletion = |photo: &Photo| {
        let folder = dir.path().join("library").join(relative(&photo.sha256));
        let text = serde_json::to_vec(&Tombstone::of(photo, photo.added.clone())).expect("encode");
        std::fs::write(folder.join(Photo::sidecar_name(photo.id)), text).expect("write");
        let note = serde_json::json!({"id": photo.id, "sha256": photo.sha256, "file": photo.file});
        let incoming = dir.path().join("library/incoming");
        std::fs::write(incoming.join(format!("{}.json", photo.id)), note.to_string()).expect("write");
    };
    begin_deletion(&photo);
    begin_deletion(&damaged);
    // What cannot be read may be another photo of the same content: its original stays.
    let beside = dir.path().join("library").join(relative(&damaged.sha256)).join("photo-x.json");
    std::fs::write(beside, "{").expect("damage");
    let (next, again) = (archive.next_id(), archive.clone());
    tokio::task::spawn_blocking(move || recover(&again, next)).await.expect("run").expect("recover");
    assert_eq!(shown(&archive, &[Scope::Shared]).await, []);
    assert!(!library.original(&photo).exists() && library.original(&damaged).is_file());
    assert_eq!(files(&dir.path().join("library/incoming")), [] as [String; 0]);
}
