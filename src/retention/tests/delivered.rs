//! A file that is gone from the box still says where it was delivered to.

use super::*;
use crate::event::DeliveryState::{self, Delivered, Dropped, NotWanted};
use crate::event::OutletDelivery;

/// How far each destination got with the clip of an event.
fn clip_at(archive: &Archive, event: &Event) -> Vec<(String, DeliveryState)> {
    let event = archive.store.event(event.id).expect("read").expect("known");
    assert!(event.clip.is_none(), "it is gone");
    let outlets = archive.store.deliveries(&[event]).expect("deliveries").remove(0);
    let clip = |outlet: &OutletDelivery| outlet.files.iter().find(|of| of.file == "clip.mp4").expect("the clip").state;
    outlets.iter().map(|outlet| (outlet.outlet.clone(), clip(outlet))).collect()
}

fn states(states: &[(&str, DeliveryState)]) -> Vec<(String, DeliveryState)> {
    states.iter().map(|(name, state)| ((*name).to_owned(), *state)).collect()
}

#[test]
fn what_was_delivered_before_it_was_deleted_says_so_and_what_was_not_does_not() {
    let bench = Bench::new();
    let archive = bench.archive(&["upload/a", "upload/b"]);
    let filed = |n| Event { filed: Some("2026/11/22".into()), ..bench.event(n, EventState::Ended) };
    let [both, one, newest] = [1, 2, 3].map(|n| put(&archive, filed(n), 10_000));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for (name, ids) in [("upload/a", &[both.id, one.id][..]), ("upload/b", &[both.id])] {
        let outbox = archive.store.outbox(name).expect("a queue");
        for lease in runtime.block_on(outbox.lease(100)).expect("lease") {
            if lease.event.as_ref().is_some_and(|event| ids.contains(&event.id)) {
                runtime.block_on(outbox.ack(&lease)).expect("ack");
            }
        }
    }
    pass(&bench.retention(&archive, Config { max_bytes: 6_500, ..Config::default() }));
    assert_eq!(clip_at(&archive, &both), states(&[("upload/a", Delivered), ("upload/b", Delivered)]));
    assert_eq!(clip_at(&archive, &one), states(&[("upload/a", Delivered), ("upload/b", Dropped)]));
    assert_eq!(clip_at(&archive, &newest), states(&[("upload/a", Dropped), ("upload/b", Dropped)]));

    // A destination that came later did not want what was gone by then.
    archive.store.clone().close().expect("close");
    drop(archive);
    let archive = bench.archive(&["upload/a", "upload/c"]);
    assert_eq!(clip_at(&archive, &one), states(&[("upload/a", Delivered), ("upload/c", NotWanted)]));
    archive.store.clone().close().expect("close");
    drop(archive);

    // A rebuilt index knows only whether all destinations had it.
    fs::remove_dir_all(bench.dir.path().join("index")).expect("remove the index");
    let archive = bench.archive(&["upload/a"]);
    recover(&archive, EventId::from_bytes([0xff; 16]), &mut |_| ()).expect("recover");
    assert_eq!(clip_at(&archive, &both), states(&[("upload/a", Delivered)]));
    assert_eq!(clip_at(&archive, &one), states(&[("upload/a", Dropped)]));
}
