//! What is known of files in watched folders.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::*;
use crate::photo::{FileOutcome, FolderFile};

#[tokio::test]
async fn files_are_known_by_their_paths_listed_by_folder_and_there_after_a_new_start() {
    let dir = TempDir::new().expect("temp dir");
    let open = || Store::open(&config(&dir), &names(&["mqtt"]), simulated()).expect("open");
    let file = |bytes| FolderFile { bytes, modified_ns: -5, outcome: FileOutcome::NotAPicture, photo: None };
    let odd = PathBuf::from(OsString::from_vec(b"/srv/a/\xff\xfe.jpg".to_vec()));
    let paths = ["/srv/a/1.jpg", "/srv/a/b/2.jpg", "/srv/a/b/3.jpg", "/srv/a.jpg", "/srv/ab/4.jpg"].map(PathBuf::from);
    let all: Vec<_> = paths.iter().chain([&odd]).zip(1..).map(|(path, n)| (path.clone(), Some(file(n)))).collect();
    let store = open();
    store.folder_files().note(all).await.expect("note");
    store.folder_files().note(vec![(paths[1].clone(), None), (paths[0].clone(), Some(file(9)))]).await.expect("note");
    drop(store);

    let files = open().folder_files();
    assert_eq!(files.get(&odd).await.expect("read"), Some(file(6)));
    assert_eq!(files.get(&paths[1]).await.expect("read"), None, "it was forgotten");
    let first = files.below(Path::new("/srv/a"), None, 2).await.expect("read");
    assert_eq!(first, [(paths[0].clone(), file(9)), (paths[2].clone(), file(3))]);
    let rest = files.below(Path::new("/srv/a/"), Some(paths[2].clone()), 2).await.expect("read");
    assert_eq!(rest, [(odd, file(6))], "and none of another folder that begins so");
}
