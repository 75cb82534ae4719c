//! Facts that several faces show agree.

use std::time::Duration;

use jiff::SignedDuration;

use super::fixture::{Bench, OUTLETS, upload};
use super::{ItemState, QueueAction, QueueCommand, QueueQuery};
use crate::alert::StatusProvider;
use crate::archive::RecordingLevel;
use crate::clock::{Clock, Mono};
use crate::destination::destination;
use crate::event::DeliveryState;
use crate::health::{Pace, Stages};
use crate::load::{self, Governor, Reading};
use crate::source::SourceError;
use crate::status::{Cause, ForecastState};

#[tokio::test]
async fn a_queue_is_the_same_on_the_page_in_reports_and_by_name() {
    let bench = Bench::new();
    bench.record(1, "yard", vec![upload("clip.mp4", 7)]).await;
    bench.clock.advance(Duration::from_secs(60));
    bench.health.outlet("upload/cloud", bench.clock.mono(), Err("no route".to_owned()));
    let status = bench.services.status.read().await.expect("status");
    let names: Vec<&str> = status.outlets.iter().map(|queue| queue.name.as_str()).collect();
    assert_eq!(names, OUTLETS, "in the order of the configuration");
    let cloud = &status.outlets[2];
    assert_eq!((cloud.items, cloud.bytes, cloud.oldest_wait_s), (1, 7, Some(60)));
    assert_eq!((cloud.online, cloud.last_error.as_deref()), (Some(false), Some("no route")));
    let report = bench.services.report().await.expect("report");
    let stats = bench.store.stats().wait().expect("stats");
    let json = |queue| serde_json::to_string(queue).expect("JSON");
    assert_eq!(json(&report.status.outlets[2]), json(cloud));
    assert_eq!(json(&bench.services.queues.status(&destination("upload/cloud"), &stats)), json(cloud));
    let unknown = bench.services.queues.status(&destination("lake"), &stats);
    assert_eq!((unknown.items, unknown.online, unknown.state_for_s), (0, None, 150), "silent since the start");
}

#[tokio::test]
async fn the_day_of_a_report_is_the_timeline_of_the_page_summed_up() {
    let bench = Bench::new();
    let event = bench.record(1, "yard", Vec::new()).await;
    bench.clock.advance(Duration::from_secs(60));
    let (since, until) = ("2026-11-22T00:00:00Z".parse().expect("a time"), bench.clock.wall());
    let timeline = bench.services.timeline.of("yard", since, until).await.expect("timeline").expect("known");
    assert_eq!(timeline.events.iter().map(|mark| mark.id).collect::<Vec<_>>(), [event.id]);
    let today = bench.services.timeline.today("yard").await.expect("today");
    let lasted: SignedDuration = timeline.coverage.iter().map(|span| span.until.duration_since(span.from)).sum();
    let sum = today.recorded_s + today.watched_s + today.offline_s + today.shed_s + today.stopped_s;
    assert_eq!((today.day.as_str(), sum), ("2026-11-22", lasted.as_secs()));
    let later = bench.services.timeline.of("yard", until, until).await.expect("timeline").expect("known");
    assert!(later.events.is_empty(), "it ended before");
    assert_eq!(bench.services.timeline.of("attic", since, until).await.expect("timeline"), None);
}

#[tokio::test]
async fn delivery_comes_in_the_order_of_the_configuration() {
    let bench = Bench::new();
    let event = bench.record(1, "yard", vec![upload("clip.mp4", 7)]).await;
    let record = bench.services.events.get(event.id).await.expect("event").expect("known");
    let states: Vec<_> = record.delivery.iter().map(|of| (of.outlet.as_str(), of.state)).collect();
    use DeliveryState::{Delivered, Waiting};
    assert_eq!(states, [("mqtt", Delivered), ("webhook/ops", Delivered), ("upload/cloud", Waiting)]);
}

#[tokio::test]
async fn a_queue_is_paused_by_the_switch_that_mqtt_knows() {
    let bench = Bench::new();
    bench.record(1, "yard", vec![upload("clip.mp4", 7)]).await;
    let pause = || QueueCommand { outlet: "upload/cloud".to_owned(), ..QueueCommand::default() };
    for changed in [1, 0] {
        let answer = bench.services.queues.command(QueueAction::Pause, pause()).await.expect("command");
        assert_eq!(answer.expect("not refused").changed, changed);
    }
    assert!(bench.control.switches().paused.contains("upload/cloud"));
    let query = QueueQuery { outlet: "upload/cloud".to_owned(), dead: false, limit: 9 };
    let items = bench.services.queues.items(query).await.expect("items").expect("known");
    assert_eq!(
        items.iter().map(|item| (item.what.as_str(), item.state)).collect::<Vec<_>>(),
        [("clip.mp4", ItemState::Waiting)]
    );
}

#[tokio::test]
async fn the_disk_is_foreseen_and_the_events_of_the_day_are_counted() {
    let bench = Bench::new();
    for n in 1..4 {
        bench.record(n, "yard", Vec::new()).await;
    }
    let status = bench.services.status.read().await.expect("status");
    let yard = status.cameras.iter().find(|camera| &*camera.name == "yard").expect("a camera");
    assert_eq!((yard.events_today, status.disk.forecast.state), (Some(3), ForecastState::Unknown));
    let over = Duration::from_secs(7200);
    bench.health.set_pace(Pace { over, written: [("clips", 1_000_000)].into() });
    let forecast = bench.services.status.read().await.expect("status").disk.forecast;
    assert_eq!((forecast.bytes_per_day, forecast.measured_s), (Some(12_000_000), Some(7200)), "{forecast:?}");
    assert!(forecast.text.contains("at the pace of the last 2 h (12.0 MB a day)"), "{forecast:?}");
    let midnight = Duration::from_secs(15 * 3600);
    bench.clock.advance(midnight);
    bench.record(5, "yard", Vec::new()).await;
    let status = bench.services.status.read().await.expect("status");
    let yard = status.cameras.iter().find(|camera| &*camera.name == "yard").expect("a camera");
    assert_eq!(yard.events_today, Some(1), "a new day");
}

fn code(reason: &str) -> Option<&'static str> {
    Cause::of(reason).map(|cause| cause.code)
}

#[test]
fn what_sources_say_has_a_cause() {
    let (what, reason) = (|| "rtsp://h/1".to_owned(), || "why".to_owned());
    for (error, expected) in [
        (SourceError::Unreachable { what: what(), reason: reason() }, "unreachable"),
        (SourceError::Unauthorised { what: what(), reason: reason() }, "access"),
        (SourceError::NotFound { what: what(), reason: reason() }, "not_found"),
        (SourceError::Busy { what: what(), reason: reason() }, "busy"),
        (SourceError::Unsupported { what: what(), reason: reason() }, "unusable"),
        (SourceError::Protocol { what: what(), reason: reason() }, "misbehaves"),
        (SourceError::Lost { what: what(), reason: reason() }, "lost"),
        (SourceError::Ended, "played"),
    ] {
        assert_eq!(code(&error.to_string()), Some(expected), "{error}");
    }
}

#[test]
fn what_stages_and_volumes_say_has_a_cause() {
    let second = |n: u64| Mono(n * 1_000_000_000);
    let trouble = |note: &dyn Fn(&mut Stages)| {
        let mut stages = Stages::default();
        note(&mut stages);
        stages.judge(second(500), true, true).map(|trouble| trouble.reason).unwrap_or_default()
    };
    let takes = |stages: &mut Stages, key: bool| {
        for at in 1..10 {
            stages.decoding.takes(second(at), key);
        }
    };
    assert_eq!(code(&trouble(&|stages| takes(stages, false))), Some("keyless_decoding"));
    assert_eq!(code(&trouble(&|stages| takes(stages, true))), Some("pictureless"));
    let fails = |stages: &mut Stages| {
        takes(stages, true);
        stages.decoding.fails("why".to_owned());
    };
    assert_eq!(code(&trouble(&fails)), Some("undecoded"));
    let broken = |stages: &mut Stages| stages.no_detector = Some((second(1), "why".to_owned()));
    assert_eq!(code(&trouble(&broken)), Some("undetected"));
    let levels =
        [RecordingLevel::NoContinuous, RecordingLevel::Snapshots, RecordingLevel::Metadata, RecordingLevel::Nothing];
    for level in levels {
        assert!(code(level.left_out().expect("words")).is_some(), "{level:?}");
    }
}

#[test]
fn why_load_is_shed_has_a_cause() {
    let wait = Duration::from_secs(60);
    for (reading, expected) in [
        (Reading { cpu: Some(1.0), ..Reading::default() }, "processor"),
        (Reading { memory_bytes: Some(u64::MAX / 2), ..Reading::default() }, "memory"),
        (Reading { temperature_c: Some(120.0), ..Reading::default() }, "hot"),
        (Reading { disk_wait: wait, ..Reading::default() }, "disk_wait"),
        (Reading { decode_wait: wait, ..Reading::default() }, "decoder_wait"),
    ] {
        let mut governor = Governor::new(load::Config::default(), Some(1 << 30));
        governor.judge(Mono(0), &reading);
        let decision = governor.judge(Mono(60_000_000_000), &reading).expect("it sheds");
        assert_eq!(code(&decision.reason), Some(expected), "{}", decision.reason);
    }
}
