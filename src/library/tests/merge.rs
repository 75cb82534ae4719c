//! Several photos of one thing become one.

use super::*;

#[tokio::test]
async fn one_of_several_is_kept_with_what_was_said_of_all() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let library = library(&archive);
    let mut ids = Vec::new();
    for shade in 1..=3 {
        ids.push(take(&library, &png(shade), given("a.png", "anna")).await.expect("kept").photo().id);
    }
    let say = async |n: usize, title: &str, note: &str, tags: &[&str]| {
        let tags = Some(tags.iter().map(|tag| (*tag).to_owned()).collect());
        let edit =
            PhotoEdit { title: Some(title.to_owned()), note: Some(note.to_owned()), tags, ..PhotoEdit::default() };
        library.edit(ids[n], edit, None).await.expect("edit");
    };
    say(0, "", "By the gate", &["gate"]).await;
    say(1, "Heron", "In the morning", &["bird", "gate"]).await;
    say(2, "Another", "By the gate", &["bird"]).await;
    library.set_favorite(ids[2], "ben", true).await.expect("a favourite");
    let edit = AlbumEdit { title: Some("Birds".to_owned()), add: Some(vec![ids[1], ids[2]]), ..AlbumEdit::default() };
    let album = library.make_album(edit, "anna").await.expect("an album");

    let kept = library.merge(ids[0], &ids[1..]).await.expect("merged");
    assert_eq!((kept.title.as_str(), kept.note.as_str()), ("Heron", "By the gate\nIn the morning"));
    assert_eq!(
        (&kept.tags[..], &kept.favorite_of[..]),
        (&["gate".to_owned(), "bird".to_owned()][..], &["ben".into()][..])
    );
    assert_eq!(archive.store().albums().photos(album.id).await.expect("read"), [ids[1], ids[2], ids[0]]);
    assert_eq!(shown(&archive, &[Scope::Shared]).await, std::slice::from_ref(&kept));
    let trash = shown(&archive, &[Scope::TrashOf("anna".to_owned())]).await;
    assert_eq!(trash.len(), 2, "nothing is deleted");
    assert_eq!(library.merge(ids[0], &ids[1..]).await.expect("again"), kept, "what was done is not done twice");
    assert!(matches!(library.merge(ids[0], &[id_of_none()]).await, Err(LibraryError::Unknown)));
}
