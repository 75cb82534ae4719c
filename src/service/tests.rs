//! Facts that several faces show agree.

use std::time::Duration;

use jiff::SignedDuration;

use super::fixture::{Bench, OUTLETS, upload};
use super::{ItemState, QueueAction, QueueCommand, QueueQuery};
use crate::alert::StatusProvider;
use crate::clock::Clock;
use crate::destination::destination;
use crate::event::DeliveryState;

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
