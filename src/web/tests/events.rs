//! The list of events: filters, cursors, tags.

use super::*;
use crate::clock::Clock;
use crate::destination::destination;
use crate::event::{Event, Phase, fixture};
use crate::service::fixture::upload;
use crate::store::{Change, Delivery};

/// Ids of the events that a query gives, as numbers, with what the page says beside them.
async fn asked(site: &Site, query: &str) -> (Vec<u64>, serde_json::Value) {
    let answer = site.get(&format!("/api/v1/events?{query}")).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    let page = answer.json();
    let events = page["events"].as_array().expect("a list");
    let number = |event: &serde_json::Value| {
        let id: crate::event::EventId = event["event"]["id"].as_str().expect("an id").parse().expect("an id");
        u64::try_from(u128::from_be_bytes(id.to_bytes())).expect("small")
    };
    (events.iter().map(number).collect(), page)
}

/// A box with events 1 to 6, each a minute after the one before.
async fn with_events() -> Bench {
    let bench = Bench::new();
    for n in 1..=6 {
        let event = Event {
            label: if n % 2 == 0 { "person" } else { "Dog" }.into(),
            rule: if n <= 3 { "front" } else { "back" }.into(),
            zones: if n == 4 { vec!["door".into(), "path".into()] } else { vec!["path".into()] },
            filed: Some("2026/11/22".into()),
            score: f32::from(u8::try_from(n).expect("small")) / 10.0,
            state: if n == 6 { crate::event::EventState::Open } else { crate::event::EventState::Ended },
            ..fixture::event(id(n), ["gate", "yard", "hall"][usize::try_from(n % 3).expect("small")], bench.clock.now())
        };
        let deliveries = if n == 5 { vec![upload("clip.mp4", 7), Delivery::Alert(Phase::End)] } else { Vec::new() };
        bench.store.events().record(Change { event, deliveries }).expect("record");
        bench.clock.advance(Duration::from_secs(60));
    }
    let outbox = bench.store.outboxes().get(&destination("mqtt")).expect("outbox");
    let leases = outbox.lease(1).await.expect("lease");
    outbox.dead_letter(leases.first().expect("the alert"), "refused").await.expect("give up");
    bench
}

#[tokio::test]
async fn each_filter_leaves_what_it_names() {
    let site = Site::open(with_events().await).await;
    let id = |n| id(n).to_string();
    let cases: [(&str, &[u64]); 21] = [
        ("", &[6, 5, 4, 3, 2, 1]),
        ("camera=gate", &[6, 3]),
        ("camera=gate&camera=hall", &[6, 5, 3, 2]),
        ("camera=nowhere", &[]),
        ("label=person", &[6, 4, 2]),
        ("label=person&label=Dog&rule=front", &[3, 2, 1]),
        ("zone=door", &[4]),
        ("zone=door&zone=path&state=open", &[6]),
        ("state=ended&state=interrupted&min_score=0.45", &[5]),
        ("since=2026-11-22T10:04:00Z", &[6, 5, 4]),
        ("since=2026-11-22T10:02:00Z&until=2026-11-22T10:04:00Z", &[3, 2]),
        ("text=DOG", &[5, 3, 1]),
        ("text=path+yar", &[4, 1]),
        ("text=nothing", &[]),
        (&format!("before={}&after={}", id(5), id(2)), &[4, 3]),
        (&format!("camera=gate&camera=yard&before={}&after={}", id(6), id(1)), &[4, 3]),
        (&format!("before={}&after={}", id(2), id(5)), &[]),
        ("delivery=waiting", &[5]),
        ("delivery=failed&outlet=mqtt", &[5]),
        ("delivery=failed&outlet=upload/cloud", &[]),
        ("delivery=delivered", &[]),
    ];
    for (query, expected) in cases {
        let (found, page) = asked(&site, query).await;
        assert_eq!((found, page.get("searched_back_to")), (expected.to_vec(), None), "{query}");
    }
    let wrong = ["state=over", "delivery=not_wanted", "delivery=lost", "min_score=2", "min_score=x", "min_score=NaN"];
    for query in wrong.into_iter().chain(["since=today", "outlet=mqtt", "delivery=failed&outlet=lake", "text="]) {
        let answer = site.get(&format!("/api/v1/events?{query}")).await;
        assert_eq!((answer.status, &answer.problem()["code"]), (400, &"bad_parameter".into()), "{query}");
    }
    let many: String = (0..51).map(|n| format!("&label=l{n}")).collect();
    assert_eq!(site.get(&format!("/api/v1/events?{many}")).await.problem()["parameter"]["allowed"], "50 times at most");
}

#[tokio::test]
async fn a_filter_that_matches_nothing_is_searched_in_bounded_steps() {
    let bench = Bench::new();
    for hundreds in 0..45 {
        let change = |n| Change { event: fixture::event(id(n), "yard", bench.clock.now()), deliveries: Vec::new() };
        let changes = (hundreds * 100 + 1..=hundreds * 100 + 100).map(change).collect();
        assert!(bench.store.events().record_all(changes).iter().all(Result::is_ok));
    }
    let site = Site::open(bench).await;
    let (found, page) = asked(&site, "delivery=failed").await;
    assert_eq!((found, &page["next"]), (Vec::new(), &id(501).to_string().into()));
    assert!(page["searched_back_to"].is_string(), "{page}");
    let (found, page) = asked(&site, &format!("delivery=failed&before={}", id(501))).await;
    assert_eq!((found, page.get("next"), page.get("searched_back_to")), (Vec::new(), None, None));
}

#[tokio::test]
async fn an_answer_that_is_known_is_not_sent_again() {
    let site = Site::open(with_events().await).await;
    let asked = async |target: &str, tag: &str| site.ask("GET", target, &format!("If-None-Match: {tag}\r\n")).await;
    let targets = ["/api/v1/config", "/api/v1/openapi.json", "/api/v1/queue/items?outlet=mqtt"];
    let event = format!("/api/v1/events/{}", id(4));
    for target in targets.into_iter().chain([event.as_str(), "/api/v1/events?camera=yard"]) {
        let answer = site.get(target).await;
        let tag = answer.header("etag");
        assert!(answer.status == 200 && tag.starts_with("W/\""), "{target}: {tag}");
        let again = asked(target, tag).await;
        assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, tag), "{target}");
        assert_eq!(asked(target, "\"another\"").await.status, 200, "{target}");
    }
    let list = "/api/v1/events";
    let tag = site.get(list).await.header("etag").to_owned();
    assert_ne!(site.get("/api/v1/events?limit=3").await.header("etag"), tag);
    site.bench.record(7, "yard", Vec::new()).await;
    let fresh = asked(list, &tag).await;
    assert_eq!((fresh.status, fresh.json()["events"].as_array().map(Vec::len)), (200, Some(7)));
    // Nothing is read for an answer that is known: not even an index that is out of service is missed.
    let tag = fresh.header("etag");
    site.bench.store.clone().close().expect("close the store");
    assert_eq!((asked(list, tag).await.status, site.get(list).await.status), (304, 500));
}
