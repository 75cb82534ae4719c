//! Files of folders that are taken in: what is known, what was deleted, and what was only half there.

use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

use super::*;
use crate::clock::SimulatedClock;
use crate::photo::PhotoId;

struct Card {
    library: Library,
    archive: Archive,
    _clock: Arc<SimulatedClock>,
    _dir: tempfile::TempDir,
    folder: tempfile::TempDir,
}

impl Card {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("tempdir");
        let (archive, clock) = archive_and_clock(dir.path());
        let folder = tempfile::tempdir().expect("tempdir");
        Self { library: library(&archive), archive, _clock: clock, _dir: dir, folder }
    }

    fn write(&self, name: &str, content: &[u8]) -> Entry {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).expect("write");
        look_at(&path).expect("look").expect("a file")
    }

    async fn take(&self, entry: &Entry, before: Option<PhotoId>) -> FileResult {
        let tags = vec!["card".to_owned()];
        let source = FolderSource { owner: "anna".into(), private: false, tags };
        let stop = CancellationToken::new();
        self.library.take_file(entry, &source, before, &stop).await.expect("looked at")
    }

    async fn added(&self, entry: &Entry, before: Option<PhotoId>) -> Photo {
        match self.take(entry, before).await {
            FileResult::Added(id) => self.archive.store().photos().get(id).await.expect("read").expect("a photo"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_file_becomes_a_photo_once_and_stays_where_it_is() {
    let card = Card::new();
    let entry = card.write("IMG_20240331_023000.png", &png(1));
    let photo = card.added(&entry, None).await;
    assert_eq!(
        (photo.name.as_str(), &*photo.owner, &*photo.tags),
        ("IMG_20240331_023000.png", "anna", &["card".to_owned()][..])
    );
    assert_eq!(
        (std::fs::read(&entry.path).expect("read"), look_at(&entry.path).expect("look")),
        (png(1), Some(entry.clone()))
    );
    let moved = card.write("moved.png", &png(1));
    assert_eq!(card.take(&moved, None).await, FileResult::Known(photo.id), "as a copy or by another name");
    // What lies in the trash is not brought back by a file that lies there still.
    card.library.edit(photo.id, PhotoEdit { trashed: Some(true), ..PhotoEdit::default() }, None).await.expect("trash");
    assert_eq!(card.take(&moved, None).await, FileResult::Known(photo.id));
    assert_eq!(shown(&card.archive, &[Scope::Shared]).await, []);
    card.library.delete(photo.id, None).await.expect("delete");
    assert_eq!(card.take(&moved, None).await, FileResult::Deleted, "deleted for good is deleted");
    assert_eq!(card.archive.store().photos().count().await.expect("count"), 0);
}

#[tokio::test]
async fn what_is_no_photo_or_not_as_it_was_found_is_left() {
    let card = Card::new();
    let text = card.write("notes.jpg", b"no picture at all");
    assert_eq!(card.take(&text, None).await, FileResult::NotAPicture);
    let empty = card.write("empty.jpg", b"");
    assert_eq!(card.take(&empty, None).await, FileResult::Refused("the file is empty".to_owned()));
    let found = card.write("grows.png", &png(1)[..20]);
    card.write("grows.png", &png(1));
    assert_eq!(card.take(&found, None).await, FileResult::Changing);
    std::fs::remove_file(&found.path).expect("remove");
    assert_eq!(card.take(&found, None).await, FileResult::Changing, "it is gone");
    let real = card.write("real.png", &png(2));
    let link = card.folder.path().join("link.png");
    std::os::unix::fs::symlink(&real.path, &link).expect("link");
    let linked = Entry { path: link, ..real };
    assert!(matches!(card.take(&linked, None).await, FileResult::Unreadable(why) if why.contains("link.png")));
    let incoming: Vec<PathBuf> = std::fs::read_dir(card.library.layout.incoming())
        .into_iter()
        .flatten()
        .map(|entry| entry.expect("entry").path())
        .collect();
    assert_eq!(incoming, Vec::<PathBuf>::new());
}

#[tokio::test]
async fn the_whole_of_a_file_takes_the_place_of_its_half_with_what_was_said_of_it() {
    let card = Card::new();
    // A PNG may be followed by anything; both are pictures.
    let (half, whole) = (png(1), [png(1), vec![7; 3 << 20]].concat());
    let first = card.added(&card.write("slow.png", &half), None).await;
    let edit = PhotoEdit { title: Some("Gate".to_owned()), private: Some(true), ..PhotoEdit::default() };
    card.library.edit(first.id, edit, None).await.expect("edit");
    card.library.set_favorite(first.id, "ben", true).await.expect("a favourite");
    let photo = card.added(&card.write("slow.png", &whole), Some(first.id)).await;
    assert_eq!((photo.bytes, photo.title.as_str(), photo.private), (whole.len() as u64, "Gate", true));
    assert_eq!(photo.favorite_of, ["ben".into()]);
    let trash = shown(&card.archive, &[Scope::TrashOf("anna".to_owned())]).await;
    assert_eq!(trash.iter().map(|photo| photo.id).collect::<Vec<_>>(), [first.id]);
    // Another picture under the same name is another photo, and the first one stays.
    let other = card.added(&card.write("slow.png", &[png(3), vec![7; 4 << 20]].concat()), Some(photo.id)).await;
    assert_eq!(other.title, "");
    assert_eq!(shown(&card.archive, &[Scope::PrivateOf("anna".to_owned())]).await, [photo]);
}

#[tokio::test]
async fn an_owner_without_room_is_refused_before_anything_is_copied() {
    let card = Card::new();
    let config = Config { quota: 100, ..Config::default() };
    let library = Library::new(&card.archive, &LibraryShared::default(), Arc::new(config));
    let entry = card.write("large.png", &[png(1), vec![7; 1000]].concat());
    let source = FolderSource { owner: "anna".into(), private: false, tags: Vec::new() };
    let refused = library.take_file(&entry, &source, None, &CancellationToken::new()).await;
    assert!(matches!(refused, Err(LibraryError::OverQuota { .. })), "{refused:?}");
}
