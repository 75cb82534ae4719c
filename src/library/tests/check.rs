//! The rolling check of originals.

use std::time::Duration;

use super::*;
use crate::away;
use crate::destination::Destination;
use crate::store::{Delivery, DocumentTask};

const LONG: Duration = Duration::from_secs(60);

fn cloud() -> [Destination; 1] {
    [Destination::upload("cloud")]
}

#[tokio::test]
async fn damaged_and_missing_originals_are_named_and_asked_for_and_stay() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let library = library(&archive);
    let mut photos = Vec::new();
    for shade in 1..=5 {
        photos.push(take(&library, &png(shade), given("a.png", "anna")).await.expect("kept").photo().clone());
    }
    let outbox = archive.store().outboxes().get(&cloud()[0]).expect("outbox");
    for lease in outbox.lease(100).await.expect("lease") {
        outbox.ack(&lease).await.expect("acknowledge");
    }
    let at = |n: usize| library.original(&photos[n]);
    let mut flipped = png(2);
    flipped[40] ^= 1;
    std::fs::write(at(1), &flipped).expect("damage");
    std::fs::write(at(2), &png(3)[..50]).expect("cut");
    std::fs::remove_file(at(3)).expect("lose");
    let note = away::Away {
        destination: cloud()[0].clone(),
        since: archive.now(),
        bytes: photos[4].bytes,
        sha256: photos[4].sha256.clone(),
    };
    std::fs::write(away::note_of(&at(4)), serde_json::to_vec(&note).expect("write")).expect("write");
    std::fs::remove_file(at(4)).expect("remove");

    let report = library.check_originals(LONG, &cloud()).await.expect("checked");
    let round = report.last.as_ref().expect("a round");
    assert_eq!((round.originals, round.bytes, round.away, round.damaged), (4, photos[0].bytes, 1, 3));
    let named: Vec<_> = round.damaged_originals.iter().map(|found| (found.photo, found.reason.as_str())).collect();
    let cut = format!("it has 50 bytes of {}", photos[2].bytes);
    let lost = "it cannot be opened: No such file or directory (os error 2)";
    assert_eq!(named, [(photos[1].id, "its SHA-256 differs"), (photos[2].id, cut.as_str()), (photos[3].id, lost)]);
    assert_eq!(std::fs::read(at(1)).expect("it stays"), flipped);
    let asked: Vec<_> = outbox
        .lease(100)
        .await
        .expect("lease")
        .into_iter()
        .filter_map(|lease| match &lease.item {
            Delivery::Document(document) => Some((document.sha256.clone(), document.task)),
            _ => None,
        })
        .collect();
    assert_eq!(asked, [1, 2, 3].map(|n: usize| (photos[n].sha256.clone(), DocumentTask::Fetch)));
    assert_eq!(library.check_report().await.expect("read"), report, "it is known after a restart");
}

#[tokio::test]
async fn the_check_goes_on_where_its_time_was_over() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let library = library(&archive);
    for shade in 1..=3 {
        take(&library, &png(shade), given("a.png", "anna")).await.expect("kept");
    }
    for checked in 1..=2 {
        let report = library.check_originals(Duration::ZERO, &[]).await.expect("checked");
        assert_eq!((report.current.originals, report.last), (checked, None), "one each time, however short it is");
    }
    let report = library.check_originals(Duration::ZERO, &[]).await.expect("checked");
    assert_eq!(report.last.map(|last| (last.originals, last.damaged)), Some((3, 0)));
    assert_eq!((report.after, report.current.originals), (None, 0));
}
