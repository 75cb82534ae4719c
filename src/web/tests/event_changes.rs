//! What people do with events: each change, who may make it, and of which events.

use serde_json::{Value, json};

use super::*;
use crate::access::{NewUser, Role};
use crate::archive::sidecar::write_event;
use crate::destination::destination;
use crate::event::Event;
use crate::service::fixture::upload;
use crate::store::{Change, Delivery};

const JSON: &str = "Content-Type: application/json\r\n";

/// A box with filed events 1 to 4, odd ones of `yard` and even ones of `gate`, with their sidecars.
async fn with_sidecars() -> Site {
    let bench = Bench::new();
    for n in 1..=4 {
        let camera = if n % 2 == 1 { "yard" } else { "gate" };
        let event = bench.record(n, camera, Vec::new()).await;
        let event = Event { filed: Some("2026/11/22".into()), pictures: Vec::new(), ..event };
        write_event(&bench.folder(n, camera), &event).expect("a sidecar");
        bench.store.events().record(Change { event, deliveries: vec![upload("event.json", 3)] }).expect("record");
    }
    let site = Site::open(bench).await;
    for role in [Role::Admin, Role::Operator, Role::Viewer] {
        site.add(role.as_str(), role);
    }
    let cameras = serde_json::from_value(json!({ "yard": {} })).expect("grants");
    let new = NewUser { name: "olga".into(), password: access::PASSWORD.into(), role: Role::Operator, cameras };
    site.bench.access.add_user(new).expect("a user");
    site
}

fn event(n: u64) -> String {
    format!("/api/v1/events/{}", id(n))
}

impl Site {
    async fn act(&self, method: &str, target: &str, headers: &str, body: &Value) -> Answer {
        let (body, host) = (body.to_string(), self.address);
        let length = body.len();
        self.send(&format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\n{JSON}{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        ))
        .await
    }

    async fn listed(&self, query: &str, headers: &str) -> Vec<String> {
        let page = self.ask("GET", &format!("/api/v1/events?{query}"), headers).await.json();
        let ids = page["events"].as_array().expect("a list").iter().map(|record| record["event"]["id"].clone());
        ids.map(|id| id.as_str().expect("an id").to_owned()).collect()
    }
}

fn ids(numbers: &[u64]) -> Vec<String> {
    numbers.iter().map(|n| id(*n).to_string()).collect()
}

#[tokio::test]
async fn what_is_said_of_an_event_is_answered_listed_and_on_the_disk() {
    let site = with_sidecars().await;
    let anna = site.cookie("operator").await;
    let body = json!({ "pinned": true, "tags": ["van", "van", "parcel"], "note": "the \"gardener\"\n", "verdict": "false_alarm" });
    let answer = site.act("PATCH", &event(1), &anna, &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let record = answer.json();
    assert_eq!(crate::web::openapi::schema_check::differences("/api/v1/events/{id}", &record), Vec::<String>::new());
    let said = &record["event"]["annotations"];
    assert_eq!(
        (&said["tags"], &said["note"], &said["verdict"], &said["by"]),
        (&json!(["van", "parcel"]), &json!("the \"gardener\""), &json!("false_alarm"), &json!("operator"))
    );
    let text = std::fs::read_to_string(site.bench.folder(1, "yard").join("event.json")).expect("a sidecar");
    let written: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&written["annotations"], &written["pinned"]), (said, &json!(true)));
    let reviewed = site.act("PATCH", &event(2), &anna, &json!({ "reviewed": true })).await.json();
    assert_eq!(reviewed["reviewed"][0]["by"], "operator");
    let viewer = site.cookie("viewer").await;
    for (query, of_operator, of_viewer) in [
        ("tag=van", ids(&[1]), ids(&[1])),
        ("tag=bus", ids(&[]), ids(&[])),
        ("pinned=true", ids(&[1]), ids(&[1])),
        ("pinned=false", ids(&[4, 3, 2]), ids(&[4, 3, 2])),
        ("verdict=false_alarm", ids(&[1]), ids(&[1])),
        ("verdict=none&verdict=true_alarm", ids(&[4, 3, 2]), ids(&[4, 3, 2])),
        ("reviewed=true", ids(&[2]), ids(&[])),
        ("reviewed=false", ids(&[4, 3, 1]), ids(&[4, 3, 2, 1])),
        ("text=GARDENER", ids(&[1]), ids(&[1])),
        ("text=parc+yard", ids(&[1]), ids(&[1])),
        ("camera=yard&tag=van&reviewed=false", ids(&[1]), ids(&[1])),
    ] {
        assert_eq!(
            (site.listed(query, &anna).await, site.listed(query, &viewer).await),
            (of_operator, of_viewer),
            "{query}"
        );
    }
    let cleared = json!({ "pinned": false, "tags": [], "note": "", "verdict": "none", "reviewed": false });
    let record = site.act("PATCH", &event(1), &anna, &cleared).await.json();
    assert_eq!(
        record["event"]["annotations"].as_object().map(|said| said.keys().cloned().collect::<Vec<_>>()),
        Some(vec!["at".to_owned(), "by".to_owned()])
    );
    for wrong in [
        json!({ "tags": [""] }),
        json!({ "tags": [" x"] }),
        json!({ "tags": ["x\u{7}"] }),
        json!({ "tags": vec!["x".repeat(41)] }),
        json!({ "tags": (0..13).map(|n| n.to_string()).collect::<Vec<_>>() }),
        json!({ "note": "x".repeat(1001) }),
        json!({ "note": "\u{0}" }),
        json!({ "verdict": "maybe" }),
        json!({ "mood": 1 }),
    ] {
        let answer = site.act("PATCH", &event(1), &anna, &wrong).await;
        assert_eq!((answer.status, &answer.problem()["code"]), (400, &json!("bad_command")), "{wrong}");
    }
    let longest =
        json!({ "note": "\"".repeat(1000), "tags": (0..12).map(|n| format!("{n:\"<40}")).collect::<Vec<_>>() });
    assert_eq!(site.act("PATCH", &event(1), &anna, &longest).await.status, 200, "what is allowed fits");
}

#[tokio::test]
async fn a_viewer_says_only_what_it_has_looked_through() {
    let site = with_sidecars().await;
    let viewer = site.cookie("viewer").await;
    assert_eq!(site.act("PATCH", &event(1), &viewer, &json!({ "reviewed": true })).await.status, 200);
    for body in [
        json!({ "pinned": true }),
        json!({ "note": "x", "reviewed": true }),
        json!({ "tags": [] }),
        json!({ "verdict": "none" }),
    ] {
        let answer = site.act("PATCH", &event(2), &viewer, &body).await;
        assert_eq!((answer.status, &answer.problem()["code"]), (403, &json!("not_allowed")), "{body}");
    }
    assert_eq!(site.listed("reviewed=true", &viewer).await, ids(&[1]), "a refused command does nothing of it");
    for action in ["pin", "unpin", "delete", "retry"] {
        let body = json!({ "action": action, "ids": [id(1)] });
        assert_eq!(site.act("POST", "/api/v1/events/bulk", &viewer, &body).await.status, 403, "{action}");
    }
    let body = json!({ "action": "review", "ids": [id(2), id(3)] });
    assert_eq!(site.act("POST", "/api/v1/events/bulk", &viewer, &body).await.status, 200);
    assert_eq!(site.listed("reviewed=true", &viewer).await, ids(&[3, 2, 1]));
    assert_eq!(site.act("DELETE", &event(1), &viewer, &json!({})).await.status, 403);
    assert_eq!(site.listed("", &viewer).await.len(), 4);
}

#[tokio::test]
async fn an_operator_of_some_cameras_changes_nothing_of_the_others() {
    let site = with_sidecars().await;
    let (olga, admin) = (site.cookie("olga").await, site.cookie("admin").await);
    let (own, foreign) = (event(1), event(2));
    let before = site.ask("GET", &foreign, &admin).await.body;
    for (method, suffix, body) in [
        ("PATCH", "", json!({ "note": "x" })),
        ("PATCH", "", json!({ "reviewed": true })),
        ("POST", "/retry", json!({})),
        ("DELETE", "", json!({})),
    ] {
        let answer = site.act(method, &format!("{foreign}{suffix}"), &olga, &body).await;
        assert_eq!((answer.status, &answer.problem()["code"]), (404, &json!("not_found")), "{method}{suffix} {body}");
        assert_eq!(
            site.act(method, &format!("{own}{suffix}"), &olga, &body).await.status,
            200,
            "{method}{suffix} {body}"
        );
    }
    for action in ["review", "unreview", "pin", "unpin", "tag", "untag", "delete", "retry"] {
        let tags = if action.ends_with("tag") { json!(["x"]) } else { json!([]) };
        let body = json!({ "action": action, "ids": [id(2), id(3)], "tags": tags });
        let answer = site.act("POST", "/api/v1/events/bulk", &olga, &body).await;
        let outcomes = answer.json()["outcomes"].take();
        assert_eq!(outcomes[0], json!({ "id": id(2), "outcome": "not_found" }), "{action}");
        let expected = if action == "retry" { "not_found" } else { "done" };
        assert_eq!(outcomes[1]["outcome"], expected, "{action}: event 3 is deleted before the last");
    }
    assert_eq!(site.ask("GET", &foreign, &admin).await.body, before, "nothing of it changed");
}

#[tokio::test]
async fn a_change_that_was_decided_by_what_is_not_so_any_more_is_refused() {
    let site = with_sidecars().await;
    let anna = site.cookie("operator").await;
    let tag = site.ask("GET", &event(1), &anna).await.header("etag").to_owned();
    let expecting = |tag: &str| format!("{anna}If-Match: {tag}\r\n");
    let answer = site.act("PATCH", &event(1), &expecting(&tag), &json!({ "note": "one" })).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    for (method, body) in [("PATCH", json!({ "note": "two" })), ("DELETE", json!({}))] {
        let late = site.act(method, &event(1), &expecting(&tag), &body).await;
        assert_eq!((late.status, &late.problem()["code"]), (412, &json!("changed_meanwhile")));
    }
    let fresh = answer.header("etag").to_owned();
    assert_eq!(site.act("PATCH", &event(1), &expecting(&fresh), &json!({ "note": "two" })).await.status, 200);
}

#[tokio::test]
async fn many_at_once_each_with_its_outcome() {
    let site = with_sidecars().await;
    let anna = site.cookie("operator").await;
    let bulk = async |body: Value| site.act("POST", "/api/v1/events/bulk", &anna, &body).await;
    let outcomes = async |body: Value| {
        let answer = bulk(body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let all = answer.json()["outcomes"].take();
        all.as_array()
            .expect("a list")
            .iter()
            .map(|one| one["outcome"].as_str().expect("a word").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        outcomes(json!({ "action": "tag", "ids": [id(1), id(2), id(9)], "tags": ["van", "x"] })).await,
        ["done", "done", "not_found"]
    );
    assert_eq!(outcomes(json!({ "action": "untag", "ids": [id(1)], "tags": ["x"] })).await, ["done"]);
    assert_eq!((site.listed("tag=van", &anna).await, site.listed("tag=x", &anna).await), (ids(&[2, 1]), ids(&[2])));
    assert_eq!(outcomes(json!({ "action": "pin", "ids": [id(1)] })).await, ["done"]);
    assert_eq!(
        outcomes(json!({ "action": "delete", "ids": [id(1), id(2)] })).await,
        ["refused", "done"],
        "pinned ones stay"
    );
    assert_eq!(site.listed("", &anna).await, ids(&[4, 3, 1]));
    let many: Vec<_> = (0..101).map(id).collect();
    for wrong in [
        json!({ "action": "review", "ids": [] }),
        json!({ "action": "review", "ids": many }),
        json!({ "action": "tag", "ids": [id(1)] }),
        json!({ "action": "pin", "ids": [id(1)], "tags": ["x"] }),
        json!({ "action": "burn", "ids": [id(1)] }),
        json!({ "action": "pin", "ids": ["x"] }),
    ] {
        let answer = bulk(wrong.clone()).await;
        assert_eq!((answer.status, &answer.problem()["code"]), (400, &json!("bad_command")), "{wrong}");
    }
}

#[tokio::test]
async fn a_deleted_event_names_who_still_has_it_and_failed_deliveries_are_tried_again() {
    let site = with_sidecars().await;
    let anna = site.cookie("operator").await;
    let outbox = site.bench.store.outboxes().get(&destination("upload/cloud")).expect("outbox");
    for lease in outbox.lease(10).await.expect("lease") {
        if lease.event.as_ref().map(|event| event.id) == Some(id(1)) {
            outbox.ack(&lease).await.expect("delivered");
        } else {
            outbox.dead_letter(&lease, "refused").await.expect("give up");
        }
    }
    let failed = async || site.listed("delivery=failed", &anna).await;
    assert_eq!(failed().await, ids(&[4, 3, 2]));
    let answer = site.act("POST", &format!("{}/retry", event(2)), &anna, &json!({})).await;
    assert_eq!((answer.status, answer.json()), (200, json!({ "changed": 1 })));
    assert_eq!(failed().await, ids(&[4, 3]));
    let body = json!({ "action": "retry", "ids": [id(3), id(1)] });
    assert_eq!(site.act("POST", "/api/v1/events/bulk", &anna, &body).await.status, 200);
    assert_eq!(failed().await, ids(&[4]));
    let record = site.ask("GET", &event(4), &anna).await;
    assert_eq!(record.status, 200);
    let alert = Change {
        event: site.bench.store.events().get(id(1)).await.expect("read").expect("there"),
        deliveries: vec![Delivery::Alert(crate::event::Phase::Update)],
    };
    site.bench.store.events().record(alert).expect("record");
    let gone = site.act("DELETE", &event(1), &anna, &json!({})).await;
    assert_eq!((gone.status, gone.json()), (200, json!({ "id": id(1), "kept_at": ["upload/cloud"] })));
    let gone = site.act("DELETE", &event(4), &anna, &json!({})).await;
    assert_eq!((gone.status, gone.json()), (200, json!({ "id": id(4), "kept_at": [] })));
    assert!(!site.bench.archive.layout().folder("yard", id(1)).exists());
    assert_eq!((failed().await, site.ask("GET", &event(1), &anna).await.status), (ids(&[]), 404));
    let stats = site.bench.store.stats().await.expect("stats");
    let items: Vec<_> =
        stats.outboxes.iter().map(|queue| (queue.name.as_str(), queue.items, queue.dead_letters)).collect();
    assert_eq!(items, [("mqtt", 0, 0), ("upload/cloud", 2, 0), ("webhook/ops", 0, 0)], "its alert is not published");
    let audit = site.ask("GET", "/api/v1/audit?text=DELETE", &site.cookie("admin").await).await.json();
    assert!(audit["entries"][0]["target"].as_str().expect("text").contains("person at gate"), "{audit}");
}
