//! Recovery after an unclean stop.

mod annotations;
mod volumes;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::archive::bench::{archive, archive_and_clock, event, id, put_sidecar, queued, read_event};
use crate::archive::sidecar::{measure, write_event};
use crate::archive::{Archive, Layout, RecordingLevel, SIDECAR, volume};
use crate::clock::SimulatedClock;
use crate::event::{Event, EventId, EventState};
use crate::mux::{self, tests::packets};
use crate::segment::Segment;
use crate::store;

#[test]
fn an_event_that_was_left_open_is_closed_on_disk_and_in_the_index_and_queued() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let open = event(1, "open");
    put_sidecar(&archive, &open);
    archive.store.events().record(store::Change { event: open.clone(), deliveries: Vec::new() }).expect("record");
    let folder = archive.layout.folder("yard", open.id);
    fs::write(folder.join("thumb.jpg"), b"jpeg").expect("a picture");
    fs::write(folder.join("clip.mp4"), b"torn before anything was playable").expect("a clip");
    let draft = folder.join(".snapshot.jpg.tmp");
    fs::write(&draft, b"half").expect("a picture that was being written");

    let found = recover(&archive, id(10), &mut |_| ()).expect("recover");
    assert_eq!(found, Recovered { interrupted: 1, ..Recovered::default() });
    let closed = archive.store.events().get(open.id).wait().expect("read").expect("there");
    assert_eq!((closed.state, closed.end.is_some(), closed.clip.is_some()), (EventState::Interrupted, true, false));
    assert_eq!(closed.pictures.len(), 1);
    assert_eq!(read_event(&folder).expect("a sidecar"), closed, "disk and index say the same");
    assert!(!draft.exists(), "what was not finished is gone");
    assert!(!folder.join("clip.mp4").exists(), "what cannot be played is not kept as a clip");
    assert_eq!(
        (queued(&archive, "mqtt"), queued(&archive, "upload/cloud")),
        (1, 2),
        "end reported; sidecar and thumb sent"
    );
    assert_eq!(recover(&archive, id(10), &mut |_| ()).expect("again"), Recovered::default());
}

/// Its disk failed when the clip and a picture were written but not yet described in `event.json`.
#[test]
fn what_lies_beside_an_event_that_ended_is_named_by_it_or_removed() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let (known, unknown, empty) = (event(1, "ended"), event(2, "interrupted"), event(3, "ended"));
    let folder = |event: &Event| archive.layout.folder(&event.camera, event.id);
    let stream = packets("size=160x96 -frames:v 20 -c:v libx264 -preset ultrafast -bf 0 -pix_fmt yuv420p", "a.mp4");
    for event in [&known, &unknown, &empty] {
        put_sidecar(&archive, event);
        let path = folder(event).join("clip.mp4");
        let mut clip = mux::ClipWriter::create(&path, &archive.config.encoder).expect("a clip");
        stream.iter().for_each(|packet| clip.write(packet).expect("write"));
        clip.finish().expect("finish");
        fs::write(folder(event).join("thumb.jpg"), b"jpeg").expect("a picture");
    }
    fs::write(folder(&empty).join("clip.mp4"), b"").expect("a clip that was only created");
    let filed = |event: &Event| Event { filed: Some("2026/07/01".into()), ..event.clone() };
    let waiting = filed(&known);
    put_sidecar(&archive, &waiting);
    let deliveries = crate::archive::filing::deliveries(&archive, &waiting).expect("deliveries");
    archive.store.events().record(store::Change { event: waiting, deliveries }).expect("record");

    let found = recover(&archive, id(10), &mut |_| ()).expect("recover");
    assert_eq!(found, Recovered { reindexed: 3, ..Recovered::default() });
    for (event, clips) in [(&known, 1), (&unknown, 1), (&empty, 0)] {
        let taken = archive.store.events().get(event.id).wait().expect("get").expect("known");
        assert_eq!((taken.clips().count(), taken.pictures.len()), (clips, 1), "{}", event.id);
        assert!(taken.clips().all(|clip| clip.truncated), "how much of it is missing is not known");
        assert_eq!(read_event(&folder(event)).expect("a sidecar"), taken, "disk and index say the same");
        assert_eq!(folder(event).join("clip.mp4").exists(), clips > 0);
    }
    assert_eq!(queued(&archive, "upload/cloud"), 8, "all files of the three");
    assert_eq!(recover(&archive, id(10), &mut |_| ()).expect("again"), Recovered::default(), "found once");
}

#[test]
fn a_fresh_index_is_filled_from_the_sidecars_and_bad_ones_are_set_aside() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    put_sidecar(&archive, &event(1, "ended"));
    put_sidecar(&archive, &event(2, "interrupted"));
    put_sidecar(&archive, &event(3, "open"));
    let draft = archive.layout.folder("yard", id(1)).join(".snapshot.jpg.tmp");
    fs::write(&draft, b"half").expect("a picture that was being written");
    let bad = archive.layout.create_folder("yard", id(4)).expect("a folder");
    fs::write(bad.join(SIDECAR), b"{ torn").expect("a torn sidecar");
    fs::create_dir_all(archive.layout.root().join("yard/holiday pictures")).expect("a foreign folder");

    let found = recover(&archive, id(10), &mut |_| ()).expect("recover");
    assert_eq!(found, Recovered { interrupted: 1, reindexed: 2, damaged: 1, ..Recovered::default() });
    assert_eq!(
        archive.store.events().find(&store::Query { limit: 10, ..Default::default() }).wait().expect("events").len(),
        3
    );
    assert_eq!(queued(&archive, "upload/cloud"), 3, "every sidecar is sent again, for the cloud may lack it");
    assert_eq!(queued(&archive, "mqtt"), 1, "only what was open is published");
    assert!(!draft.exists(), "what was not finished is gone");
    assert!(bad.join("event.json.bad").exists() && !bad.join(SIDECAR).exists());
    assert_eq!(recover(&archive, id(10), &mut |_| ()).expect("again"), Recovered::default(), "said once");
}

#[test]
fn events_of_this_run_are_not_touched_and_what_the_index_lost_comes_back() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    put_sidecar(&archive, &event(3, "ended"));
    put_sidecar(&archive, &event(12, "open"));
    for n in [5, 12] {
        archive
            .store
            .events()
            .record(store::Change { event: event(n, "open"), deliveries: Vec::new() })
            .expect("record");
    }
    put_sidecar(&archive, &event(5, "ended"));
    assert!(!archive.store.is_filled().expect("read"));
    let mut reports = Vec::new();
    let found =
        recover(&archive, id(10), &mut |progress| reports.push((progress.done, progress.total))).expect("recover");
    assert_eq!(found, Recovered { reindexed: 2, ..Recovered::default() });
    assert_eq!((reports.first(), reports.last()), (Some(&(0, 2)), Some(&(2, 2))));
    assert!(archive.store.is_filled().expect("read"));
    let state = |n| archive.store.events().get(id(n)).wait().expect("read").expect("there").state;
    assert_eq!((state(3), state(5), state(12)), (EventState::Ended, EventState::Ended, EventState::Open));
    assert_eq!(queued(&archive, "mqtt"), 1, "the end of the event that was complete on the disk, but not in the index");
}

#[test]
fn a_damaged_sidecar_is_rewritten_from_the_index_while_it_waits_for_delivery() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    put_sidecar(&archive, &event(1, "ended"));
    recover(&archive, id(10), &mut |_| ()).expect("recover");
    let folder = archive.layout.folder("yard", id(1));
    let good = fs::read(folder.join(SIDECAR)).expect("a sidecar");
    fs::write(folder.join(SIDECAR), &good[..good.len() / 2]).expect("damage");
    let found = recover(&archive, id(10), &mut |_| ()).expect("recover");
    assert_eq!(found, Recovered { reindexed: 1, damaged: 1, ..Recovered::default() });
    assert_eq!(fs::read(folder.join(SIDECAR)).expect("a sidecar"), good);
    assert_eq!(queued(&archive, "upload/cloud"), 1);
    assert_eq!(archive.metrics.damaged_files.get(), 1);
}

#[test]
fn a_sidecar_that_reports_of_something_else_is_damaged_and_one_of_a_newer_version_is_left_alone() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    for n in 1..=4 {
        put_sidecar(&archive, &event(n, "ended"));
    }
    let change = |n: u128, from: &str, to: &str| {
        let path = archive.layout.folder("yard", id(n)).join(SIDECAR);
        let text = fs::read_to_string(&path).expect("a sidecar");
        assert!(text.contains(from), "{text}");
        fs::write(path, text.replace(from, to)).expect("damage");
    };
    change(1, &id(1).to_string(), &id(2).to_string());
    change(2, "\"camera\": \"yard\"", "\"camera\": \"../gate\"");
    change(3, "\"version\": 1", "\"version\": 9");
    let media = r#""pictures": [{"file": "../../../secret", "bytes": 1, "sha256": "00"}], "zones""#;
    change(4, "\"zones\"", media);
    let found = recover(&archive, id(10), &mut |_| ()).expect("recover");
    assert_eq!(found, Recovered { damaged: 3, unreadable: 1, ..Recovered::default() });
    assert!(archive.layout.folder("yard", id(3)).join(SIDECAR).exists());
}

#[test]
fn media_that_are_not_as_the_sidecar_says_are_set_aside_and_the_rest_is_delivered() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let folder = archive.layout.create_folder("yard", id(1)).expect("a folder");
    let mut ended = event(1, "ended");
    for (name, content) in [("thumb.jpg", "whole"), ("snapshot.jpg", "cut off"), ("snapshot-boxes.jpg", "gone")] {
        fs::write(folder.join(name), content).expect("a picture");
        ended.pictures.push(measure(&folder, name).expect("measure"));
    }
    write_event(&folder, &ended).expect("a sidecar");
    fs::write(folder.join("snapshot.jpg"), "cut").expect("damage");
    fs::remove_file(folder.join("snapshot-boxes.jpg")).expect("remove");
    let found = recover(&archive, id(10), &mut |_| ()).expect("recover");
    assert_eq!(found, Recovered { reindexed: 1, damaged: 2, ..Recovered::default() });
    let reported = read_event(&folder).expect("a sidecar");
    assert_eq!(reported.pictures, ended.pictures[..1]);
    assert_eq!(archive.store.events().get(id(1)).wait().expect("read"), Some(reported));
    assert!(folder.join("snapshot.jpg.bad").exists());
    assert_eq!(queued(&archive, "upload/cloud"), 2);
}

#[test]
fn a_segment_that_cannot_be_finished_yet_delays_nothing_but_itself() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    put_sidecar(&archive, &event(3, "ended"));
    let start = event(1, "open").start;
    for n in [1, 2] {
        let (device, camera, state) = ("box".into(), "yard".into(), crate::segment::SegmentState::Open);
        let (start, end, video) = (start.clone(), None, None);
        let segment = Segment { version: 1, id: id(n), device, camera, state, start, end, video };
        archive.store.ledger().record_segment(segment).expect("record");
    }
    // What lies in its place is no segment, and where that would be set aside something lies already.
    let folder = archive.layout.create_recordings("yard").expect("a folder");
    let (file, aside) = (Segment::file_name(id(1)), format!("{}.bad", Segment::file_name(id(1))));
    fs::create_dir_all(folder.join(&file)).expect("a folder");
    fs::create_dir_all(folder.join(&aside).join("full")).expect("a folder");

    let failure = recover(&archive, id(10), &mut |_| ()).expect_err("one is left");
    assert!(format!("{failure:#}").starts_with("1 segments are left open, one because: rename"), "{failure:#}");
    let left: Vec<_> = archive.store.ledger().open_segments().expect("read").iter().map(|segment| segment.id).collect();
    assert_eq!(left, [id(1)], "the one behind it did not wait");
    assert!(
        archive.store.is_filled().expect("read") && archive.store.events().get(id(3)).wait().expect("read").is_some()
    );

    fs::remove_dir_all(folder.join(&aside)).expect("tidy");
    let found = recover(&archive, id(10), &mut |_| ()).expect("nothing is left");
    assert_eq!(found, Recovered { segments_closed: 1, ..Recovered::default() });
    assert_eq!(archive.store.ledger().open_segments().expect("read"), []);
}

#[test]
fn a_segment_is_taken_in_only_under_its_own_name_and_its_sidecar_names_no_other_file() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let outside = dir.path().join("secret.mp4");
    fs::write(&outside, b"not ours").expect("a file");
    let source = include_str!("../../../tests/fixtures/json/segment.json");
    let template: Segment = serde_json::from_str(source).expect("a segment");
    let folder = archive.layout.create_recordings("yard").expect("a folder");
    let put = |n: u128, change: &dyn Fn(&mut Segment)| {
        let mut segment = Segment { id: id(n), camera: "yard".into(), ..template.clone() };
        fs::write(folder.join(Segment::file_name(id(n))), b"no video").expect("a file");
        segment.video.as_mut().expect("video").media.file = Segment::file_name(id(n));
        change(&mut segment);
        let text = serde_json::to_vec(&segment).expect("serialise");
        fs::write(folder.join(Segment::sidecar_name(id(n))), text).expect("a sidecar");
    };
    put(1, &|_| ());
    put(2, &|segment| segment.id = id(7));
    put(3, &|segment| segment.camera = "gate".into());
    put(4, &|segment| segment.camera = "../yard".into());
    put(5, &|segment| segment.video.as_mut().expect("video").media.file = "../../secret.mp4".into());
    put(6, &|segment| segment.version = 9);
    // Another spelling of an id names another file.
    fs::write(folder.join(Segment::file_name(id(0xabc)).to_lowercase()), b"no video").expect("a file");

    let found = recover(&archive, id(0xfff), &mut |_| ()).expect("recover");
    // Where the sidecar is none, the file itself is looked at; in these is no picture.
    assert_eq!(found, Recovered { damaged: 4, segments_reindexed: 5, ..Recovered::default() });
    assert_eq!(archive.metrics.damaged_files.get(), 4);
    let known = |camera: &str, n: u128| archive.store.ledger().segment(camera, id(n)).wait().expect("read").is_some();
    assert!(known("yard", 1));
    for (camera, n) in
        [("yard", 2), ("yard", 7), ("yard", 3), ("gate", 3), ("../yard", 4), ("yard", 5), ("yard", 0xabc)]
    {
        assert!(!known(camera, n), "{camera} {n}");
        assert!(archive.store.assets().files_of(id(n)).expect("read").is_empty(), "{camera} {n} may not be deleted");
    }
    for n in [2, 3, 4, 5] {
        assert!(folder.join(format!("{}.bad", Segment::sidecar_name(id(n)))).exists(), "{n} is set aside");
    }
    assert!(folder.join(Segment::sidecar_name(id(6))).exists(), "one of a newer version is left alone");
    assert_eq!(fs::read(&outside).expect("still there"), b"not ours");
}
