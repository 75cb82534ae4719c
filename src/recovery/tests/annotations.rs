//! What people say of events, and who looked them through, outlives the index, a power cut, and the end of the event.

use super::*;
use crate::archive::annotations::reviewed_of;
use crate::event::{Annotations, Reviewed, SharedClip, Verdict};

fn said(archive: &Archive, note: &str) -> Annotations {
    let (tags, at) = (vec!["van".into(), "Gärtner".into()], archive.clock.now());
    Annotations { tags, note: note.into(), verdict: Some(Verdict::FalseAlarm), by: "anna".into(), at }
}

fn annotate(archive: &Archive, id: EventId, note: &str) {
    let said = said(archive, note);
    let change = |event: &mut Event| {
        (event.pinned, event.annotations) = (true, Some(said));
        Ok(true)
    };
    archive.annotate(id, change).expect("annotate").expect("there");
}

fn known(archive: &Archive, id: EventId) -> Event {
    archive.store.events().get(id).wait().expect("read").expect("there")
}

fn reviewers(archive: &Archive, id: EventId) -> Vec<Reviewed> {
    archive.store.events().reviewed(vec![id]).wait().expect("read").remove(0)
}

fn record(archive: &Archive, event: &Event) {
    put_sidecar(archive, event);
    let deliveries = crate::archive::filing::deliveries(archive, event).expect("deliveries");
    archive.store.events().record(store::Change { event: event.clone(), deliveries }).expect("record");
}

fn filed(n: u128) -> Event {
    Event { filed: Some("2026/11/22".into()), ..event(n, "ended") }
}

#[test]
fn an_index_that_is_made_again_has_what_people_said_and_who_looked() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (before, by) = {
        let archive = archive(dir.path());
        record(&archive, &filed(1));
        annotate(&archive, id(1), "the gardener");
        archive.review(id(1), "anna", true).expect("review").expect("there");
        archive.review(id(1), "ben", true).expect("review").expect("there");
        archive.review(id(1), "anna", false).expect("review").expect("there");
        assert_eq!(queued(&archive, "upload/cloud"), 1, "the sidecar is delivered as it is now, and nothing else");
        let (before, by) = (known(&archive, id(1)), reviewers(&archive, id(1)));
        archive.store.clone().close().expect("close");
        (before, by)
    };
    assert_eq!(before.annotations.as_ref().map(|said| &*said.note), Some("the gardener"));
    assert_eq!(by.iter().map(|reviewed| &*reviewed.by).collect::<Vec<_>>(), ["ben"]);
    fs::remove_dir_all(dir.path().join("index")).expect("lose the index");

    let archive = archive(dir.path());
    recover(&archive, id(10), &mut |_| ()).expect("recover");
    assert_eq!((known(&archive, id(1)), reviewers(&archive, id(1))), (before, by));
    assert_eq!(recover(&archive, id(10), &mut |_| ()).expect("again"), Recovered::default());
}

#[test]
fn a_power_cut_between_index_and_sidecar_is_made_good_at_the_next_start() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let settled = filed(1);
    put_sidecar(&archive, &settled);
    archive.store.events().record(store::Change { event: settled.clone(), deliveries: Vec::new() }).expect("record");
    let open = event(2, "open");
    put_sidecar(&archive, &open);
    archive.store.events().record(store::Change { event: open.clone(), deliveries: Vec::new() }).expect("record");
    for event in [&settled, &open] {
        let event = Event { pinned: true, annotations: Some(said(&archive, "cut")), ..event.clone() };
        archive.store.assets().annotate(event).expect("the index alone");
    }
    recover(&archive, id(10), &mut |_| ()).expect("recover");
    for n in [1, 2] {
        let written = read_event(&archive.layout.folder("yard", id(n))).expect("a sidecar");
        assert_eq!((written.pinned, &written.annotations), (true, &Some(said(&archive, "cut"))), "{n}");
        assert_eq!(known(&archive, id(n)), written, "{n}");
    }
    assert_eq!(archive.store.assets().unwritten_annotations().expect("list"), []);
    let sidecars = queued(&archive, "upload/cloud");
    assert_eq!(sidecars, 2, "both are delivered as they are now");
}

#[test]
fn the_holders_of_a_pinned_event_that_was_interrupted_are_pinned() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    record(&archive, &filed(1));
    let part = SharedClip { event: id(1), file: "clip.mp4".into(), after_s: 0.0, offset_s: 0.0, duration_s: 1.0 };
    let open = Event { shares: vec![part], pinned: true, ..event(2, "open") };
    put_sidecar(&archive, &open);
    archive.store.events().record(store::Change { event: open, deliveries: Vec::new() }).expect("record");
    recover(&archive, id(10), &mut |_| ()).expect("recover");
    assert_eq!((known(&archive, id(2)).state, known(&archive, id(1)).pinned), (EventState::Interrupted, true));
    assert!(read_event(&archive.layout.folder("yard", id(1))).expect("a sidecar").pinned);
}

#[test]
fn later_writers_of_the_record_leave_what_people_said_alone() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let event = filed(1);
    record(&archive, &event);
    annotate(&archive, id(1), "stays");
    // One who read the event before it was annotated.
    archive.store.events().record(store::Change { event: event.clone(), deliveries: Vec::new() }).expect("record");
    assert_eq!(known(&archive, id(1)).annotations, Some(said(&archive, "stays")));
    assert!(known(&archive, id(1)).pinned);
}

#[test]
fn a_write_that_fails_changes_nothing() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    record(&archive, &filed(1));
    annotate(&archive, id(1), "before");
    let folder = archive.layout.folder("yard", id(1));
    fs::create_dir(folder.join(".event.json.tmp")).expect("an obstacle");
    let change = |event: &mut Event| {
        (event.pinned, event.annotations) = (false, Some(said(&archive, "after")));
        Ok(true)
    };
    let failure = archive.annotate(id(1), change).expect_err("no room");
    assert!(format!("{failure:#}").contains("event.json"), "{failure:#}");
    assert_eq!(known(&archive, id(1)).annotations, Some(said(&archive, "before")));
    assert!(known(&archive, id(1)).pinned && read_event(&folder).expect("a sidecar").pinned);
    assert_eq!(archive.store.assets().unwritten_annotations().expect("list"), []);
}

#[test]
fn a_list_of_reviewers_that_is_damaged_is_made_again_from_the_index() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    record(&archive, &filed(1));
    archive.review(id(1), "anna", true).expect("review");
    let folder = archive.layout.folder("yard", id(1));
    fs::write(folder.join("reviewed.json"), b"{ torn").expect("damage");
    archive.review(id(1), "ben", true).expect("review");
    let names = |all: Vec<Reviewed>| all.into_iter().map(|reviewed| reviewed.by.to_string()).collect::<Vec<_>>();
    assert_eq!(names(reviewed_of(&folder).expect("readable again")), ["anna", "ben"]);
    assert_eq!(names(reviewers(&archive, id(1))), ["anna", "ben"]);
    assert_eq!(archive.review(id(7), "ben", true).expect("no such event"), None);
}
