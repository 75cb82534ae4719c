//! The metadata as one file, and what a restore makes of it.

use std::path::PathBuf;

use flate2::read::MultiGzDecoder;

use super::*;
use crate::away;
use crate::destination::Destination;

struct Source {
    library: Library,
    archive: Archive,
    dir: tempfile::TempDir,
    backup: PathBuf,
}

impl Source {
    /// A library of two photos of Anna, one of them private, one of Ben with the same content, an album, and one that
    /// was deleted.
    async fn new() -> Self {
        let dir = tempfile::tempdir().expect("tempdir");
        let archive = archive(&dir.path().join("box"));
        let library = library(&archive);
        let first = take(&library, &png(1), given("a.png", "anna")).await.expect("kept").photo().clone();
        let private = Given { private: true, ..given("b.png", "anna") };
        take(&library, &png(2), private).await.expect("kept");
        take(&library, &png(1), given("c.png", "ben")).await.expect("kept");
        let gone = take(&library, &png(3), given("d.png", "anna")).await.expect("kept").photo().id;
        library.delete(gone, None).await.expect("deleted");
        let edit = AlbumEdit { title: Some("鷺".to_owned()), add: Some(vec![first.id]), ..AlbumEdit::default() };
        library.make_album(edit, "anna").await.expect("an album");
        let backup = dir.path().join("library.tar.gz");
        let source = Self { library, archive, dir, backup };
        source.back_up();
        source
    }

    fn storage(&self) -> PathBuf {
        self.dir.path().join("box")
    }

    fn back_up(&self) -> BackupCounts {
        let of = BackupOf::new(Some("box".to_owned()), self.archive.now().wall);
        let mut out = Vec::new();
        let counts = write_backup(&self.storage(), &of, &mut out, |line| panic!("{line}")).expect("a backup");
        std::fs::write(&self.backup, out).expect("write");
        counts
    }

    async fn photos(&self) -> Vec<Photo> {
        self.archive.store().photos().by_id(None, 100).await.expect("read")
    }

    async fn photo(&self, name: &str) -> Photo {
        self.photos().await.into_iter().find(|photo| photo.name == name).expect("a photo")
    }
}

fn at(destination: &str) -> Restored {
    Restored { replaces: false, originals_at: Some(Destination::upload(destination)) }
}

#[tokio::test]
async fn a_backup_restored_to_another_box_gives_the_same_library() {
    let source = Source::new().await;
    assert_eq!(source.back_up(), BackupCounts { photos: 3, albums: 1, damaged: 0 });
    let dir = tempfile::tempdir().expect("tempdir");
    let other = archive(dir.path());
    // Of one the original is here already.
    let a = source.photo("a.png").await;
    let folder = dir.path().join("library").join(relative(&a.sha256));
    std::fs::create_dir_all(&folder).expect("create");
    std::fs::copy(source.library.original(&a), folder.join(&a.file)).expect("copy");

    let before = files(dir.path());
    let report = compare_backup(dir.path(), &source.backup, &at("cloud")).expect("compared");
    assert_eq!((report.photos.new, report.albums.new, report.of.device.as_deref()), (3, 1, Some("box")));
    assert_eq!((report.originals_away, report.originals_missing), (1, 0), "that of b.png");
    assert_eq!(files(dir.path()), before, "nothing is changed");
    let missing = compare_backup(dir.path(), &source.backup, &Restored::default()).expect("compared");
    assert_eq!((missing.originals_away, missing.originals_missing), (0, 1));

    other.store().note_filled().expect("as it is after a start");
    assert_eq!(restore_backup(&other, &source.backup, &at("cloud")).expect("restored"), report);
    assert_eq!(other.store().photos().by_id(None, 100).await.expect("read"), source.photos().await);
    let albums = |archive: &Archive| archive.store().albums().all();
    assert_eq!(albums(&other).await.expect("read"), albums(&source.archive).await.expect("read"));
    let b = source.photo("b.png").await;
    let away = away::find(&library(&other).original(&b)).expect("a note");
    assert_eq!((away.destination, away.bytes), (Destination::upload("cloud"), b.bytes));
    assert_eq!(queued(&other, "upload/cloud"), 5, "three sidecars, an album, the original that is here");
    let again = compare_backup(dir.path(), &source.backup, &at("cloud")).expect("compared");
    assert_eq!((again.photos, again.albums.same), (Outcomes { same: 3, ..Outcomes::default() }, 1));
}

#[tokio::test]
async fn what_is_here_stays_and_what_was_deleted_here_stays_deleted() {
    let source = Source::new().await;
    source.archive.store().note_filled().expect("as it is after a start");
    let (a, b, c) = (source.photo("a.png").await, source.photo("b.png").await, source.photo("c.png").await);
    let edit = |title: &str| PhotoEdit { title: Some(title.to_owned()), ..PhotoEdit::default() };
    source.library.edit(a.id, edit("later"), None).await.expect("edit");
    source.library.delete(b.id, None).await.expect("deleted");
    // And one whose sidecar the disk has lost.
    let sidecar = source.storage().join("library").join(relative(&c.sha256)).join(Photo::sidecar_name(c.id));
    std::fs::write(&sidecar, "{").expect("damage");
    let report = restore_backup(&source.archive, &source.backup, &at("cloud")).expect("restored");
    assert_eq!(report.photos, Outcomes { kept: 1, deleted: 1, replaced: 1, ..Outcomes::default() });
    assert_eq!(report.albums, Outcomes { same: 1, ..Outcomes::default() });
    assert_eq!(source.photo("a.png").await.title, "later");
    assert_eq!(serde_json::from_slice::<Photo>(&std::fs::read(&sidecar).expect("read")).expect("a photo"), c);
    assert_eq!(source.photos().await.len(), 2);

    let how = Restored { replaces: true, ..Restored::default() };
    let report = restore_backup(&source.archive, &source.backup, &how).expect("restored");
    assert_eq!(report.photos, Outcomes { same: 1, deleted: 1, replaced: 1, ..Outcomes::default() });
    assert_eq!(source.photo("a.png").await, a, "as it was");
}

#[tokio::test]
async fn what_was_given_again_before_the_restore_is_one_photo() {
    let source = Source::new().await;
    let dir = tempfile::tempdir().expect("tempdir");
    let other = archive(dir.path());
    let library = library(&other);
    let again = take(&library, &png(1), given("again.png", "anna")).await.expect("kept").photo().clone();
    other.store().note_filled().expect("as it is after a start");
    let report = restore_backup(&other, &source.backup, &at("cloud")).expect("restored");
    assert_eq!(report.photos, Outcomes { new: 2, kept: 1, ..Outcomes::default() });
    let of_content = other.store().photos().with_content(&again.sha256).await.expect("read");
    let owners: Vec<&str> = of_content.iter().map(|photo| &*photo.owner).collect();
    assert_eq!((owners.len(), owners.contains(&"anna"), owners.contains(&"ben")), (2, true, true));
}

#[tokio::test]
async fn a_note_of_where_an_original_is_comes_with_the_backup() {
    let source = Source::new().await;
    let b = source.photo("b.png").await;
    let original = source.library.original(&b);
    let (destination, since) = (Destination::upload("attic"), source.archive.now());
    let away = away::Away { destination, since, bytes: b.bytes, sha256: b.sha256.clone() };
    std::fs::write(away::note_of(&original), serde_json::to_vec(&away).expect("write")).expect("write");
    std::fs::remove_file(&original).expect("remove");
    source.back_up();
    let dir = tempfile::tempdir().expect("tempdir");
    let other = archive(dir.path());
    restore_backup(&other, &source.backup, &at("cloud")).expect("restored");
    assert_eq!(away::find(&library(&other).original(&b)), Some(away));
}

#[tokio::test]
async fn a_backup_that_is_not_whole_changes_nothing() {
    let source = Source::new().await;
    let whole = std::fs::read(&source.backup).expect("read");
    let dir = tempfile::tempdir().expect("tempdir");
    let other = archive(dir.path());
    let before = files(dir.path());
    let cut = dir.path().with_extension("tar.gz");
    for length in (0..whole.len()).step_by(7).chain([whole.len() - 1]) {
        std::fs::write(&cut, &whole[..length]).expect("write");
        let refused = restore_backup(&other, &cut, &at("cloud")).expect_err("it is not whole");
        let said = format!("{refused:#}");
        assert!(said.contains("not whole") || said.contains("no backup"), "{length}: {said}");
    }
    // One whose archive was cut before it was compressed.
    let mut tar = Vec::new();
    std::io::Read::read_to_end(&mut MultiGzDecoder::new(&*whole), &mut tar).expect("inflate");
    for blocks in 0..tar.len() / 512 {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut out, &tar[..blocks * 512]).expect("write");
        std::fs::write(&cut, out.finish().expect("finish")).expect("write");
        // The last kilobyte of an archive is empty: it says nothing.
        let restored = restore_backup(&other, &cut, &at("cloud"));
        assert_eq!(restored.is_ok(), (blocks + 2) * 512 >= tar.len(), "{blocks}: {restored:?}");
        if restored.is_ok() {
            break;
        }
        assert_eq!(files(dir.path()), before, "{blocks}");
    }
    std::fs::write(&cut, "a picture").expect("write");
    let refused = format!("{:#}", restore_backup(&other, &cut, &at("cloud")).expect_err("no backup"));
    assert!(refused.contains(&cut.display().to_string()) && refused.contains("damaged"), "{refused}");
}

#[tokio::test]
async fn nothing_of_a_backup_is_written_elsewhere() {
    let source = Source::new().await;
    let a = source.photo("a.png").await;
    let text = serde_json::to_vec(&a).expect("write");
    let content = relative(&a.sha256);
    let sidecar = Photo::sidecar_name(a.id);
    let other = "ab".repeat(32);
    let cases = [
        format!("library/{content}/photo-00000000000000000000000000000000.json"),
        format!("library/ab/{other}/{sidecar}"),
        format!("library/zz/{}/{sidecar}", a.sha256),
        format!("library/{content}/../{sidecar}"),
        format!("../library/{content}/{sidecar}"),
        format!("/library/{content}/{sidecar}"),
    ];
    for name in cases {
        let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
        let mut put = |name: &str, text: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            // As it stands, whatever a writer would refuse.
            let field = header.as_old_mut().name.as_mut_slice();
            field[..name.len().min(100)].copy_from_slice(&name.as_bytes()[..name.len().min(100)]);
            header.set_cksum();
            tar.append(&header, text).expect("add");
        };
        put("backup.json", br#"{"version": 1, "made": "2026-11-22T10:00:00Z"}"#);
        put(&name, &text);
        put("end.json", br#"{"photos": 1, "albums": 0}"#);
        let backup = source.dir.path().join("made.tar.gz");
        std::fs::write(&backup, tar.into_inner().and_then(|out| out.finish()).expect("finish")).expect("write");
        let dir = tempfile::tempdir().expect("tempdir");
        let into = archive(&dir.path().join("box"));
        let before = files(dir.path());
        restore_backup(&into, &backup, &at("cloud")).expect_err(&name);
        assert_eq!(files(dir.path()), before, "{name}");
    }
}

#[tokio::test]
async fn a_comparison_names_what_index_and_disk_do_not_agree_on() {
    let source = Source::new().await;
    let (a, b) = (source.photo("a.png").await, source.photo("b.png").await);
    let said = |deep: bool| {
        let mut said = Vec::new();
        let compared = compare(&source.storage(), Some(source.archive.store()), deep, &mut |what, how| {
            said.push(format!("{what}: {how}"));
            Ok(())
        });
        (compared.expect("compared"), said)
    };
    let (compared, differences) = said(true);
    assert_eq!((compared.photos, compared.files, compared.bytes), (3, 2, a.bytes + b.bytes));
    assert_eq!(differences, Vec::<String>::new());

    let folder = |photo: &Photo| format!("library/{}", relative(&photo.sha256));
    let on_disk = |photo: &Photo| source.storage().join(folder(photo));
    let mut flipped = std::fs::read(on_disk(&a).join(&a.file)).expect("read");
    *flipped.last_mut().expect("a byte") ^= 1;
    std::fs::write(on_disk(&a).join(&a.file), flipped).expect("damage");
    std::fs::remove_file(on_disk(&b).join(&b.file)).expect("remove");
    source.archive.store().photos().forget(b.id).await.expect("forget");
    let (_, shallow) = said(false);
    let missing = format!("{}/{}: No such file or directory (os error 2)", folder(&b), b.file);
    let unknown = format!("{}/{}: not in the index", folder(&b), Photo::sidecar_name(b.id));
    let sorted = |mut lines: Vec<String>| {
        lines.sort();
        lines
    };
    assert_eq!(sorted(shallow), sorted(vec![missing, unknown.clone()]));
    let (_, deep) = said(true);
    let changed = format!("{}/{}: its SHA-256 is not the one of its folder", folder(&a), a.file);
    assert!(deep.contains(&changed) && deep.len() == 3, "{deep:?}");
    let edited = Photo { title: "other".to_owned(), ..a.clone() };
    std::fs::write(on_disk(&a).join(Photo::sidecar_name(a.id)), serde_json::to_vec(&edited).expect("write"))
        .expect("write");
    std::fs::remove_file(on_disk(&b).join(Photo::sidecar_name(b.id))).expect("remove");
    source.archive.store().photos().record(&b, Vec::new()).await.expect("record");
    let (_, differences) = said(false);
    assert!(differences.iter().any(|line| line.ends_with("the index does not say what the sidecar says")));
    assert!(differences.contains(&format!("photo {}: in the index, but not on the disk", b.id)), "{differences:?}");
}
