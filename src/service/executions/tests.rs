use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::block::{Effect, StepEffect};
use crate::execution::FailureReason;
use crate::service::fixture::Bench;

const PERSON: &[u8] = include_bytes!("../../../tests/fixtures/pictures/person.jpg");

fn asked(pipeline: &str, bytes: &'static [u8]) -> ExecutionRequest {
    let picture = GivenPicture { name: "a.jpg".to_owned(), bytes: bytes.into(), is_live: false };
    ExecutionRequest {
        pipeline: Asked::Named(pipeline.to_owned(), None),
        parameters: BTreeMap::new(),
        inputs: BTreeMap::from([("file".to_owned(), picture)]),
        owner: "anna".into(),
        idempotency_key: None,
        batch: None,
        is_urgent: false,
    }
}

/// Does `work` while executions are run.
async fn while_running<T>(bench: &Bench, work: impl Future<Output = T>) -> T {
    bench.archive.is_incomplete.store(false, std::sync::atomic::Ordering::Relaxed);
    let stop = CancellationToken::new();
    let run = bench.services.executions.run(stop.clone());
    tokio::select! {
        () = run => panic!("it ended"),
        done = work => done,
    }
}

async fn over(executions: &ExecutionService, request: ExecutionRequest) -> Execution {
    let id = executions.submit(request).await.expect("taken in").execution().id;
    executions.wait(id, Duration::from_secs(60)).await.expect("waited")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_goes_through_a_pipeline_and_what_came_of_it_is_kept() {
    let bench = Bench::new();
    let executions = &bench.services.executions;
    let execution = while_running(&bench, over(executions, asked("objects", PERSON))).await;
    assert_eq!((execution.state, execution.attempts), (ExecutionState::Finished, 1), "{execution:?}");
    let labels: Vec<&str> = execution.outputs["objects"]
        .as_array()
        .expect("objects")
        .iter()
        .filter_map(|found| found["label"].as_str())
        .collect();
    assert!(labels.contains(&"person") && labels.contains(&"dog"), "{labels:?}");
    assert_eq!(execution.outputs["number"], json!(labels.len() as f64));
    assert_eq!(execution.outputs["picture"]["file"], "picture.jpg");
    let (path, file) = executions.file(&execution, "picture.jpg").expect("a file");
    assert_eq!(
        (file.media_type.as_str(), std::fs::metadata(path).expect("it is there").len()),
        ("image/jpeg", file.file.bytes)
    );
    assert!(executions.file(&execution, "../event.json").is_none());
    let steps: Vec<&str> = execution.steps.iter().map(|step| step.step.as_str()).collect();
    assert_eq!(steps.len(), 3);
    assert!(execution.steps.iter().all(|step| step.runs == 1), "{:?}", execution.steps);
    assert!(execution.steps.iter().map(|step| step.took_ms).sum::<f64>() > 0.0, "{:?}", execution.steps);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_is_damaged_fails_alone_with_its_reason() {
    let bench = Bench::new();
    let executions = &bench.services.executions;
    let (torn, half): (&'static [u8], &'static [u8]) = (&PERSON[..300], &PERSON[..PERSON.len() / 2]);
    let all = while_running(&bench, async {
        futures::join!(
            over(executions, asked("objects", torn)),
            over(executions, asked("crops", PERSON)),
            over(executions, asked("objects", half))
        )
    });
    let (damaged, sound, half) = all.await;
    // What there is of it has a result, and what is missing is said.
    assert_eq!(half.state, ExecutionState::Finished, "{half:?}");
    assert_eq!(half.warnings, ["image: the JPEG breaks off, and what is missing of the picture is grey"]);
    assert_eq!(sound.warnings, [] as [String; 0]);
    let failure = damaged.failure.expect("a reason");
    assert_eq!((damaged.state, failure.reason), (ExecutionState::Failed, FailureReason::Picture));
    assert!(failure.message.starts_with("image: the picture is damaged"), "{failure:?}");
    assert_eq!(sound.state, ExecutionState::Finished);
    assert!(sound.outputs["pictures"].as_array().expect("pictures").len() > 1, "{:?}", sound.outputs);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_run_is_refused_before_it_is_taken_in() {
    let bench = Bench::new();
    let executions = &bench.services.executions;
    let unknown = executions.submit(asked("nothing", PERSON)).await.expect_err("no such pipeline");
    assert!(matches!(unknown, ExecutionRefusal::Pipeline(PipelineRefusal::Unknown(_))), "{unknown}");
    let parameters = BTreeMap::from([("model".to_owned(), json!("no-such-model"))]);
    let wrong = ExecutionRequest { parameters, ..asked("objects", PERSON) };
    let wrong = executions.submit(wrong).await.expect_err("no such model");
    assert!(wrong.to_string().contains("no model \"no-such-model\""), "{wrong}");
    let text = executions.submit(asked("objects", b"no picture")).await.expect_err("text");
    assert!(text.to_string().contains("neither a picture nor a video"), "{text}");
    let picture = GivenPicture { name: "b.jpg".to_owned(), bytes: PERSON.into(), is_live: false };
    let mut two = asked("objects", PERSON);
    two.inputs.insert("other".to_owned(), picture);
    let two = executions.submit(two).await.expect_err("two pictures");
    assert!(two.to_string().contains("it has image"), "{two}");
    assert_eq!(executions.status().await.expect("status").executions, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_waits_is_cancelled_and_one_is_repeated() {
    let bench = Bench::new();
    let executions = &bench.services.executions;
    let first = executions.submit(asked("objects", PERSON)).await.expect("taken in").execution().id;
    assert_eq!(executions.status().await.expect("status").waiting, 1);
    let cancelled = executions.cancel(first).await.expect("cancelled");
    assert_eq!(cancelled.state, ExecutionState::Cancelled);
    assert!(matches!(executions.cancel(first).await, Err(ExecutorError::Refused(_))));
    let again = executions.repeat(first, "bob".into(), false).await.expect("again").execution().id;
    let again = while_running(&bench, executions.wait(again, Duration::from_secs(60))).await.expect("waited");
    assert_eq!((again.state, &*again.owner), (ExecutionState::Finished, "bob"));
    assert_eq!(executions.get(first).await.expect("there").state, ExecutionState::Cancelled);
    executions.delete(first).await.expect("deleted");
    assert!(matches!(executions.get(first).await, Err(ExecutorError::Unknown)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_numbered_and_goes_on_behind_the_last_number() {
    let bench = Bench::new();
    let executions = &bench.services.executions;
    let id = executions.submit(asked("objects", PERSON)).await.expect("taken in").execution().id;
    let mut followed = executions.follow(id, None).await.expect("followed");
    let all = while_running(&bench, async {
        let mut all = Vec::new();
        while let Some(event) = followed.next().await {
            all.push((event.number, event.kind.as_str()));
        }
        all
    });
    let all = all.await;
    let kinds: Vec<&str> = all.iter().map(|(_, kind)| *kind).collect();
    assert_eq!(kinds, ["queued", "started", "step_finished", "step_finished", "step_finished", "finished"]);
    assert!(all.is_sorted_by(|a, b| a.0 < b.0), "{all:?}");
    let mut rest = executions.follow(id, Some(all[3].0)).await.expect("followed");
    assert_eq!(rest.next().await.map(|event| event.number), Some(all[4].0));
    assert_eq!(rest.next().await.map(|event| event.number), Some(all[5].0));
    assert_eq!(rest.next().await, None);
    // After a restart the steps are not known any more; the end has the same number.
    let fresh =
        progress::Progress::default().follow(id).from(&executions.get(id).await.expect("there"), Some(all[3].0));
    let mut fresh = fresh;
    assert_eq!(fresh.next().await.map(|event| event.number), Some(all[5].0));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_ended_the_process_again_and_again_fails() {
    let bench = Bench::new();
    let executions = &bench.services.executions;
    let id = executions.submit(asked("objects", PERSON)).await.expect("taken in").execution().id;
    for _ in 0..3 {
        executions.archive().begin(id).expect("begun");
    }
    let over = while_running(&bench, executions.wait(id, Duration::from_secs(60))).await.expect("waited");
    assert_eq!(over.failure.map(|failure| failure.reason), Some(FailureReason::Crashed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_alerts_keeps_and_fills_the_library_once() {
    let bench = Bench::new();
    let executions = &bench.services.executions;
    let pipeline: Pipeline = toml::from_str(
        r#"
        name = "watch"
        steps = [
            { id = "find", type = "detect@1", inputs = { image = "$inputs.image" }, parameters = { model = "nanodet-g-320", labels = ["person"] } },
            { id = "say", type = "alert@1", inputs = { a = "$steps.find.objects", image = "$inputs.image" }, parameters = { message = "{{ a | length }} at the gate" } },
            { id = "keep", type = "keep@1", inputs = { value = "$steps.find.objects" }, parameters = { name = "found" } },
            { id = "photo", type = "library@1", inputs = { image = "$inputs.image" }, parameters = { tags = ["gate"] } },
        ]
        "#,
    )
    .expect("a pipeline");
    let request = ExecutionRequest { pipeline: Asked::Inline(Box::new(pipeline)), ..asked("", PERSON) };
    let execution = while_running(&bench, over(executions, request)).await;
    assert_eq!(execution.state, ExecutionState::Finished, "{:?}", execution.failure);
    let kept: Vec<&str> = execution.files.iter().filter(|file| file.kept).map(|file| file.file.file.as_str()).collect();
    assert_eq!(kept, ["keep-found.json"]);

    let alerts = alerts(&bench).await;
    let [alert] = alerts.as_slice() else { panic!("{alerts:?}") };
    let event = &alert.event;
    assert_eq!((&*event.camera, &*event.rule, event.kind), ("pipelines", "watch", crate::event::EventKind::Alert));
    assert_eq!(event.message.as_deref(), Some("1 at the gate"));
    let still = bench.services.media.still(event).expect("a still");
    assert!(still.is_file());

    // The same once more, as after a stop between the deed and its note: nothing is done twice.
    let kept = Arc::new(crate::block::Encoded { bytes: Vec::new(), media_type: "image/jpeg", extension: "jpg" });
    let before = Effect::Keep { name: "before".to_owned(), file: kept };
    let effects = [before, Effect::Alert { message: "1 at the gate".to_owned(), picture: None }];
    let effects = effects.map(|effect| StepEffect { step: "watch".to_owned(), effect });
    executions.carry_out(&execution, &effects).await.expect("known");
    let photos = bench.store.photos().by_id(None, 10).await.expect("photos");
    assert_eq!(photos.len(), 1);
    assert_eq!(photos[0].tags, ["gate"]);
    assert_eq!(self::alerts(&bench).await.len(), 1);
}

async fn alerts(bench: &Bench) -> Vec<crate::service::EventRecord> {
    let query = crate::service::EventQuery { limit: 10, ..crate::service::EventQuery::default() };
    bench.services.events.list(query, |_| true).await.expect("events").events
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_count_as_a_try_and_a_lost_file_fails_at_once() {
    let bench = Bench::new();
    let executions = &bench.services.executions;
    let request = asked("objects", PERSON);
    let id = executions.submit(request).await.expect("taken in").execution().id;
    let stop = CancellationToken::new();
    let mut followed = executions.follow(id, Some(1)).await.expect("followed");
    let stopping = async {
        assert_eq!(followed.next().await.map(|event| event.kind.as_str()), Some("started"));
        stop.cancel();
    };
    futures::join!(executions.run(stop.clone()), stopping);
    let waiting = executions.get(id).await.expect("there");
    assert!(waiting.state == ExecutionState::Queued && waiting.attempts == 0 || waiting.state.is_over(), "{waiting:?}");

    let lost = executions.submit(asked("objects", PERSON)).await.expect("taken in").execution().clone();
    let (path, _) = executions.file(&lost, "input-image.jpg").expect("a file");
    std::fs::remove_file(path).expect("lost");
    let lost = while_running(&bench, executions.wait(lost.id, Duration::from_secs(60))).await.expect("waited");
    assert_eq!(lost.failure.map(|failure| failure.reason), Some(FailureReason::Storage));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_gives_up_and_sends_it_again_has_one_execution() {
    let bench = Bench::new();
    bench.store.note_filled().expect("filled");
    let executions = &bench.services.executions;
    for n in 0..30 {
        let keyed = || ExecutionRequest { idempotency_key: Some(format!("key-{n}")), ..asked("objects", PERSON) };
        let mut given_up = Box::pin(executions.submit(keyed()));
        // It goes once the work has begun.
        assert!(futures::poll!(&mut given_up).is_pending());
        drop(given_up);
        executions.submit(keyed()).await.expect("taken in");
    }
    let found = executions.find(ExecutionQuery { limit: 100, ..ExecutionQuery::default() }).await.expect("found");
    assert_eq!(found.executions.len(), 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_before_is_answered_also_without_its_pipeline_and_its_volume_is_named_where_that_is_away() {
    let bench = Bench::new();
    bench.store.note_filled().expect("filled");
    let executions = &bench.services.executions;
    let text = "name = 'mine'\n[[steps]]\nid = 'small'\ntype = 'resize@1'\ninputs.image = '$inputs.image'\n\
                parameters.width = 8\n[outputs]\npicture = '$steps.small.image'";
    let pipeline: Pipeline = toml::from_str(text).expect("a pipeline");
    bench.services.pipelines.save(&pipeline, None).expect("saved");
    let keyed = || ExecutionRequest { idempotency_key: Some("k".to_owned()), ..asked("mine", PERSON) };
    let first = executions.submit(keyed()).await.expect("taken in").execution().id;
    bench.services.pipelines.remove("mine").expect("removed");
    assert!(matches!(executions.submit(keyed()).await.expect("known"), Accepted::Known(known) if known.id == first));
    let other = ExecutionRequest { pipeline: Asked::Named("mine".to_owned(), Some(2)), ..keyed() };
    let refused = executions.submit(other).await.expect_err("another version");
    assert!(matches!(refused, ExecutionRefusal::Executor(ExecutorError::KeyReused)), "{refused}");
    let picture = |bytes: &'static [u8]| {
        let picture = GivenPicture { name: "yard.jpg".to_owned(), bytes: bytes.into(), is_live: true };
        let inputs = BTreeMap::from([("image".to_owned(), picture)]);
        ExecutionRequest { idempotency_key: Some("live".to_owned()), inputs, ..asked("objects", PERSON) }
    };
    let of_camera = executions.submit(picture(PERSON)).await.expect("taken in").execution().id;
    let again = executions.submit(picture(b"\xff\xd8\xff what it shows later")).await.expect("known");
    assert!(matches!(&again, Accepted::Known(known) if known.id == of_camera), "{again:?}");
    bench.health.set_spooling(true);
    assert!(matches!(executions.get(first).await, Err(ExecutorError::Away)));
}
