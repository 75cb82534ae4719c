//! Photos and events of cameras in one list.

use jiff::ToSpan;
use jiff::civil::DateTime;
use serde_json::{Value, json};

use super::library::Users;
use super::*;
use crate::event::{Event, EventState, fixture};
use crate::photo::{Taken, TakenFrom};
use crate::store::Change;

/// A box with 30 photos, a third of them private, and 30 events of two cameras, all within half an hour.
async fn mixed() -> Users {
    let users = Users::new().await;
    let bench = &users.site.bench;
    let mut dice = fastrand::Rng::with_seed(11);
    let begin: DateTime = "2026-11-22T10:00:00".parse().expect("a time");
    for n in 1..=30 {
        let camera = if n % 2 == 0 { "yard" } else { "gate" };
        let event = Event {
            label: if n % 3 == 0 { "person" } else { "heron" }.into(),
            state: EventState::Ended,
            ..fixture::event(id(n), camera, bench.clock.now())
        };
        bench.store.events().record(Change { event, deliveries: Vec::new() }).expect("record");
        bench.clock.advance(Duration::from_secs(dice.u64(0..120)));
        users.photo(100 + n, |photo| {
            let at = begin.checked_add(dice.i64(0..1800).seconds()).expect("a time");
            photo.taken = Taken::local(at, TakenFrom::Original);
            photo.private = n % 3 == 0;
        });
    }
    users
}

/// All pages of a search: the ids of photos and events, with their times on the wall.
async fn all(users: &Users, query: &str, limit: usize, headers: &str) -> Vec<(String, String)> {
    let (mut found, mut place) = (Vec::new(), String::new());
    loop {
        let answer = users.site.ask("GET", &format!("/api/v1/search?q={query}&limit={limit}{place}"), headers).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        let page = answer.json();
        let items = page["found"].as_array().expect("a list");
        assert!(items.len() <= limit);
        found.extend(items.iter().map(|item| {
            let of = item["photo"].as_object().or(item["event"].as_object()).expect("a photo or an event");
            assert_eq!(item["kind"] == "photo", item["event"].is_null(), "{item}");
            (of["id"].as_str().expect("an id").to_owned(), item["at"].as_str().expect("a time").to_owned())
        }));
        let Some(next) = page["next"].as_str() else { return found };
        place = format!("&before={next}");
    }
}

#[tokio::test]
async fn photos_and_events_come_in_the_order_of_time_whatever_the_length_of_a_page() {
    let users = mixed().await;
    let whole = all(&users, "", 500, &users.anna).await;
    assert_eq!(whole.len(), 60);
    assert!(whole.is_sorted_by(|a, b| a.1 >= b.1), "{whole:?}");
    for limit in [1, 2, 3, 7, 59, 60] {
        assert_eq!(all(&users, "", limit, &users.anna).await, whole, "{limit}");
    }
    assert_eq!(all(&users, "", 7, &users.bea).await.len(), 50, "without what is Anna's own");
    assert_eq!(all(&users, "", 7, &users.cy).await.len(), 15, "the events of one camera");
    for (query, number) in [
        ("heron", 50),
        ("tag:heron", 30),
        ("label:heron", 20),
        ("type:event", 30),
        ("type:event%20camera:gate", 15),
        ("-type:event", 30),
        ("label:person%20-camera:gate", 5),
        ("is:private", 10),
        ("after:2026-11-23", 0),
        ("on:2026-11-22", 60),
    ] {
        assert_eq!(all(&users, query, 7, &users.anna).await.len(), number, "{query}");
    }
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_said() {
    let users = Users::new().await;
    for (query, says) in [
        ("before=yesterday", "`next` of a page before"),
        ("before=~x", "`next` of a page before"),
        ("album=01KAMZXQ5D3V7N2WJ8R4T6Y9BC", "the parameters q, before and limit"),
        ("limit=0", "from 1 to 500"),
        ("q=place:tokyo", "is no filter"),
    ] {
        let answer = users.site.ask("GET", &format!("/api/v1/search?{query}"), &users.anna).await;
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.text().contains(says), "{query}: {}", answer.text());
    }
    let none = users.site.ask("GET", "/api/v1/search?before=-~-", &users.anna).await;
    assert_eq!((none.status, &none.json()), (200, &json!({ "found": Value::Array(Vec::new()) })));
}
