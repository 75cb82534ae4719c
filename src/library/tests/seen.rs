//! What a model sees in photos.

use super::*;
use crate::detection::BBox;
use crate::photo::{MOST_OBJECTS, PhotoObject, PhotoSearch, Seen};

#[tokio::test]
async fn what_a_model_sees_is_found_however_much_is_said_of_the_photo() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let library = library(&archive);
    let id = take(&library, &png(1), given("a.png", "anna")).await.expect("kept").photo().id;
    let seen = |model: &str, label: &str| {
        let object = |n: usize| PhotoObject {
            label: format!("{label} {n} {}", "x".repeat(50)).into(),
            score: 0.9,
            bbox: BBox::default(),
        };
        Seen { model: model.to_owned(), objects: (0..MOST_OBJECTS).map(object).collect() }
    };
    let edit = PhotoEdit { note: Some("春".repeat(330)), title: Some("t".repeat(200)), ..PhotoEdit::default() };
    library.edit(id, edit, None).await.expect("edit");
    let tags = (0..12).map(|n| format!("{n:02}{}", "g".repeat(38))).collect();
    library.edit(id, PhotoEdit { tags: Some(tags), ..PhotoEdit::default() }, None).await.expect("edit");
    let sidecar = |photo: &Photo| -> Photo {
        let path = dir.path().join("library").join(relative(&photo.sha256)).join(Photo::sidecar_name(photo.id));
        serde_json::from_slice(&std::fs::read(path).expect("read")).expect("a photo")
    };
    let found = async |line: &str| {
        let search = PhotoSearch::read(line, "anna").expect("a search");
        let found = archive.store().photos().find(vec![Scope::Shared], search, None, 9).await.expect("find");
        found.photos.len()
    };
    library.set_seen(id, seen("first", "dog")).await.expect("noted");
    let photo = archive.store().photos().get(id).await.expect("read").expect("a photo");
    assert_eq!(sidecar(&photo).seen, Some(seen("first", "dog")));
    assert!(photo.seen.as_ref().is_some_and(|seen| seen.objects.len() < MOST_OBJECTS), "the index has no room for all");
    assert_eq!(found("label:dog*").await, 1);
    // A person says more: all that the model saw stays in the sidecar.
    library.edit(id, PhotoEdit { title: Some("x".repeat(200)), ..PhotoEdit::default() }, None).await.expect("edit");
    assert_eq!(sidecar(&photo).seen, Some(seen("first", "dog")));
    library.set_seen(id, seen("second", "cat")).await.expect("noted");
    assert_eq!(sidecar(&photo).seen, Some(seen("second", "cat")));
    assert_eq!((found("label:dog*").await, found("label:cat*").await), (0, 1));
    assert!(matches!(library.set_seen(id_of_none(), seen("a", "b")).await, Err(LibraryError::Unknown)));
}
