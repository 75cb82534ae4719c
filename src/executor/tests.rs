use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::archive::bench::{archive, archive_and_clock, id, queued};
use crate::clock::{Clock, TimeQuality};
use crate::execution::{ExecutionState, Failure, FailureReason, Pipeline, PipelineVersion};
use crate::store::ExecutionQuery;

fn new(bytes: &'static [u8], key: Option<&str>) -> NewExecution {
    let definition: Pipeline = toml::from_str("name = 'p'").expect("a pipeline");
    let file = GivenFile {
        name: "a.jpg".to_owned(),
        media_type: "image/jpeg".to_owned(),
        extension: "jpg",
        bytes: Bytes::from_static(bytes),
    };
    NewExecution {
        pipeline: PipelineVersion { name: "p".to_owned(), version: 1 },
        definition: Arc::new(definition),
        parameters: BTreeMap::new(),
        inputs: BTreeMap::from([("image".to_owned(), file)]),
        owner: "anna".into(),
        idempotency_key: key.map(str::to_owned),
        batch: None,
    }
}

fn executions(archive: &Archive) -> ExecutionArchive {
    archive.store().note_filled().expect("as after a recovery");
    ExecutionArchive::new(archive, Arc::default())
}

fn result(kept: bool) -> Finished {
    let bytes: Arc<[u8]> = Arc::from(&b"picture"[..]);
    let file =
        MadeFile { name: "drawn.jpg".to_owned(), media_type: "image/jpeg".to_owned(), bytes, kept, webhook: None };
    let outputs = BTreeMap::from([("number".to_owned(), json!(3.0))]);
    let without = Finished::without(ExecutionState::Finished, None);
    Finished { took_ms: Some(12.0), outputs, files: vec![file], ..without }
}

fn listed(archive: &Archive) -> Vec<(ExecutionId, ExecutionState)> {
    let query = ExecutionQuery { limit: 100, ..ExecutionQuery::default() };
    let found = archive.store().executions().find(query).wait().expect("found");
    found.executions.into_iter().map(|execution| (execution.id, execution.state)).collect()
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .collect();
    names.sort();
    names
}

#[test]
fn one_is_taken_in_begun_and_finished_and_what_is_kept_is_delivered() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let executions = executions(&archive);
    let taken = executions.accept(new(b"jpeg", None)).expect("taken in");
    let id = taken.execution().id;
    let folder = dir.path().join("executions").join(id.to_string());
    assert_eq!(files(&folder), ["execution.json", "input-image.jpg"]);
    assert_eq!(archive.store().executions().usage().wait().expect("usage").open, 1);
    let begun = executions.begin(id).expect("begun");
    assert_eq!((begun.attempts, begun.state), (1, ExecutionState::Running));
    assert_eq!(listed(&archive), [(id, ExecutionState::Running)]);
    let before = queued(&archive, "upload/cloud");
    let over = executions.finish(&begun, result(true)).expect("finished");
    assert_eq!(files(&folder), ["drawn.jpg", "execution.json", "input-image.jpg"]);
    assert_eq!(executions.read(id).expect("read"), over);
    assert_eq!(queued(&archive, "upload/cloud"), before + 2);
    let usage = archive.store().executions().usage().wait().expect("usage");
    assert_eq!((usage.open, usage.executions, usage.bytes), (0, 1, 11));
    assert!(matches!(executions.begin(id), Err(ExecutorError::Refused(_))));
    assert!(matches!(executions.cancel(id), Err(ExecutorError::Refused(_))));
    executions.delete(id).expect("deleted");
    assert!(matches!(executions.read(id), Err(ExecutorError::Unknown)) && !folder.exists());
    assert_eq!(archive.store().executions().usage().wait().expect("usage").executions, 0);
}

#[test]
fn what_is_not_kept_is_not_delivered() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let executions = executions(&archive);
    let id = executions.accept(new(b"jpeg", None)).expect("taken in").execution().id;
    let begun = executions.begin(id).expect("begun");
    executions.finish(&begun, result(false)).expect("finished");
    assert_eq!(queued(&archive, "upload/cloud"), 0);
}

#[test]
fn a_key_stands_for_one_execution_also_after_a_restart() {
    let dir = tempfile::tempdir().expect("tempdir");
    let first = {
        let archive = archive(dir.path());
        let taken = executions(&archive).accept(new(b"jpeg", Some("k"))).expect("taken in");
        archive.store().clone().close().expect("close");
        taken.execution().clone()
    };
    let archive = archive(dir.path());
    let executions = executions(&archive);
    assert_eq!(executions.accept(new(b"jpeg", Some("k"))).expect("known"), Accepted::Known(first.clone()));
    assert!(matches!(executions.accept(new(b"other", Some("k"))), Err(ExecutorError::KeyReused)));
    assert!(matches!(executions.accept(new(b"jpeg", Some("l"))).expect("new"), Accepted::New(_)));
    executions.cancel(first.id).expect("cancelled");
    executions.delete(first.id).expect("deleted");
    assert!(matches!(executions.accept(new(b"jpeg", Some("k"))).expect("new"), Accepted::New(_)));
}

#[test]
fn a_fresh_index_is_filled_and_halves_are_removed() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (waiting, over) = {
        let archive = archive(dir.path());
        let executions = executions(&archive);
        let [waiting, over] = [b"one", b"two"].map(|bytes| {
            executions
                .accept(new(bytes, Some(std::str::from_utf8(bytes).expect("text"))))
                .expect("taken in")
                .execution()
                .id
        });
        executions.finish(&executions.begin(over).expect("begun"), result(true)).expect("finished");
        archive.store().clone().close().expect("close");
        (waiting, over)
    };
    std::fs::remove_dir_all(dir.path().join("index")).expect("remove the index");
    let half = dir.path().join("executions/incoming").join(id(7).to_string());
    std::fs::create_dir_all(&half).expect("half of one");
    let archive = archive(dir.path());
    let first_id = archive.next_id();
    let early = ExecutionArchive::new(&archive, Arc::default()).accept(new(b"one", Some("one")));
    assert!(matches!(early, Err(ExecutorError::Filling)), "it may be on the disk");
    assert_eq!(recover(&archive, first_id).expect("recovered"), 2);
    assert_eq!(listed(&archive), [(over, ExecutionState::Finished), (waiting, ExecutionState::Queued)]);
    assert!(!half.exists());
    assert_eq!(queued(&archive, "upload/cloud"), 2);
    assert!(matches!(executions(&archive).accept(new(b"one", Some("one"))).expect("known"), Accepted::Known(_)));
    assert_eq!(recover(&archive, first_id).expect("recovered"), 0);
}

#[test]
fn a_result_that_the_index_did_not_learn_of_is_not_computed_again() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let executions = executions(&archive);
    let id = executions.accept(new(b"jpeg", None)).expect("taken in").execution().id;
    let begun = executions.begin(id).expect("begun");
    let over = executions.finish(&begun, result(true)).expect("finished");
    // The power went between the two.
    archive.store().executions().record(&begun, Vec::new()).expect("as before");
    assert_eq!(listed(&archive), [(id, ExecutionState::Running)]);
    assert!(matches!(executions.begin(id), Err(ExecutorError::Refused(_))), "not even before the recovery");
    assert_eq!(listed(&archive), [(id, ExecutionState::Finished)]);
    archive.store().executions().record(&begun, Vec::new()).expect("as before");
    recover(&archive, archive.next_id()).expect("recovered");
    assert_eq!(listed(&archive), [(id, ExecutionState::Finished)]);
    assert_eq!(executions.read(id).expect("read"), over);
    // A row without a folder goes.
    std::fs::remove_dir_all(dir.path().join("executions").join(id.to_string())).expect("remove");
    recover(&archive, archive.next_id()).expect("recovered");
    assert_eq!(listed(&archive), []);
}

#[test]
fn the_oldest_go_by_age_and_for_room_and_those_that_wait_stay() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (archive, clock) = archive_and_clock(dir.path());
    let config = Config { max_bytes: 25, ..Config::default() };
    let executions = ExecutionArchive::new(&archive, Arc::new(config));
    let waiting = executions.accept(new(b"wait", None)).expect("taken in").execution().id;
    let over: Vec<ExecutionId> = (0..3)
        .map(|_| {
            let id = executions.accept(new(b"jpeg", None)).expect("taken in").execution().id;
            executions.finish(&executions.begin(id).expect("begun"), result(false)).expect("finished");
            id
        })
        .collect();
    // 4 + 3 * 11 bytes: two have to go, one of them already for the third to come in.
    assert_eq!(executions.expire().expect("expired"), 1);
    assert_eq!(listed(&archive), [(over[2], ExecutionState::Finished), (waiting, ExecutionState::Queued)]);
    clock.step_wall(clock.now().wall, TimeQuality::Unsynchronised);
    clock.advance(Duration::from_secs(8 * 24 * 3600));
    assert_eq!(executions.expire().expect("expired"), 0, "the clock was not known to be right");
    clock.step_wall(clock.now().wall, TimeQuality::Synchronised);
    let id = executions.accept(new(b"j", None)).expect("taken in").execution().id;
    executions.finish(&executions.begin(id).expect("begun"), result(false)).expect("finished");
    clock.advance(Duration::from_secs(8 * 24 * 3600));
    assert_eq!(executions.expire().expect("expired"), 2);
    assert_eq!(listed(&archive), [(waiting, ExecutionState::Queued)]);
}

#[test]
fn what_is_not_delivered_stays_and_new_ones_are_refused_for_room_but_those_of_cameras() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (archive, clock) = archive_and_clock(dir.path());
    clock.step_wall(clock.now().wall, TimeQuality::Synchronised);
    let executions = ExecutionArchive::new(&archive, Arc::new(Config { max_bytes: 30, ..Config::default() }));
    let of_camera = NewExecution { owner: format!("{}yard", crate::execution::CAMERA).into(), ..new(b"jpeg", None) };
    let first = executions.accept_finished(of_camera.clone(), result(true)).expect("taken in").id;
    let kept = executions.accept(new(b"jpeg", None)).expect("taken in").execution().id;
    executions.finish(&executions.begin(kept).expect("begun"), result(true)).expect("finished");
    clock.advance(Duration::from_secs(8 * 24 * 3600));
    assert_eq!(executions.expire().expect("expired"), 0, "no destination has them");
    let refused = executions.accept(new(b"123456789", None));
    assert!(matches!(refused, Err(ExecutorError::NoRoom { bytes: 31, most: 30 })), "{refused:?}");
    // What a camera saw last takes the place of what it saw first.
    let second = executions.accept_finished(of_camera, result(true)).expect("taken in").id;
    let finished = ExecutionState::Finished;
    assert_eq!(listed(&archive), [(second, finished), (kept, finished)], "{first} is gone");
}

#[test]
fn one_that_ended_at_a_time_that_is_not_known_goes_with_the_next_old_one() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (archive, clock) = archive_and_clock(dir.path());
    let executions = executions(&archive);
    let over = || {
        let id = executions.accept(new(b"jpeg", None)).expect("taken in").execution().id;
        executions.finish(&executions.begin(id).expect("begun"), result(false)).expect("finished");
        id
    };
    clock.step_wall(clock.now().wall, TimeQuality::Unsynchronised);
    over();
    clock.step_wall(clock.now().wall, TimeQuality::Synchronised);
    over();
    clock.advance(Duration::from_secs(8 * 24 * 3600));
    let last = over();
    assert_eq!(executions.expire().expect("expired"), 2);
    assert_eq!(listed(&archive), [(last, ExecutionState::Finished)]);
}

#[test]
fn one_that_is_cancelled_says_how_often_it_was_begun() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let executions = executions(&archive);
    let id = executions.accept(new(b"jpeg", None)).expect("taken in").execution().id;
    executions.begin(id).expect("begun, and then the process ended");
    assert_eq!(executions.cancel(id).expect("cancelled").attempts, 1);
}

#[test]
fn a_key_stands_for_one_pipeline_with_its_steps() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let executions = executions(&archive);
    let inline = |about: &str| {
        let definition: Pipeline = toml::from_str(&format!("name = 'p'\nabout = '{about}'")).expect("a pipeline");
        let pipeline = PipelineVersion { name: "p".to_owned(), version: 0 };
        NewExecution { pipeline, definition: Arc::new(definition), ..new(b"jpeg", Some("k")) }
    };
    executions.accept(inline("one")).expect("taken in");
    assert!(matches!(executions.accept(inline("one")).expect("known"), Accepted::Known(_)));
    assert!(matches!(executions.accept(inline("two")), Err(ExecutorError::KeyReused)));
    assert!(matches!(executions.accept(new(b"jpeg", Some("k"))), Err(ExecutorError::KeyReused)));
}

#[test]
fn no_more_are_taken_in_than_may_wait_and_a_try_that_does_not_count_is_put_back() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let executions = ExecutionArchive::new(&archive, Arc::new(Config { max_waiting: 1, ..Config::default() }));
    let id = executions.accept(new(b"jpeg", None)).expect("taken in").execution().id;
    assert!(matches!(executions.accept(new(b"more", None)), Err(ExecutorError::TooMany { waiting: 1, most: 1 })));
    let begun = executions.begin(id).expect("begun");
    executions.put_back(&begun).expect("put back");
    assert_eq!(executions.begin(id).expect("begun").attempts, 1);
    let begun = executions.begin(id).expect("begun");
    assert_eq!(begun.attempts, 2);
    let failure = Failure { reason: FailureReason::Crashed, step: None, message: "again".to_owned() };
    executions.finish(&begun, Finished::without(ExecutionState::Failed, Some(failure.clone()))).expect("failed");
    assert_eq!(executions.read(id).expect("read").failure, Some(failure));
}

#[test]
fn one_that_a_stop_kept_from_its_place_is_found_by_its_key_and_gets_it() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let executions = executions(&archive);
    let id = executions.accept(new(b"jpeg", Some("k"))).expect("taken in").execution().id;
    let (folder, beside) = (executions.layout.folder(id), executions.layout.beside(id));
    std::fs::rename(&folder, &beside).expect("as if the power had gone before");
    let known = executions.accept(new(b"jpeg", Some("k"))).expect("known");
    assert!(matches!(&known, Accepted::Known(known) if known.id == id), "{known:?}");
    assert!(matches!(executions.begin(id), Err(ExecutorError::Unknown)), "it has to be in its place");
    recover(&archive, archive.next_id()).expect("recovered");
    assert!(folder.exists() && !beside.exists());
    assert_eq!(listed(&archive), [(id, ExecutionState::Queued)]);
    // One that the index does not know was not acknowledged.
    let unknown = executions.layout.beside(self::id(9));
    std::fs::create_dir(&unknown).expect("half of one");
    recover(&archive, archive.next_id()).expect("recovered");
    assert!(!unknown.exists() && folder.exists());
}
