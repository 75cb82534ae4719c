//! The routes that change something: commands to queues.

use serde_json::json;

use super::*;
use crate::destination::destination;
use crate::service::fixture::upload;

impl Site {
    async fn order(&self, action: &str, headers: &str, body: &str) -> Answer {
        let (host, length) = (self.address, body.len());
        self.send(&format!(
            "POST /api/v1/queue/{action} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n{headers}\
             Connection: close\r\n\r\n{body}"
        ))
        .await
    }
}

/// A box with a clip that was given up.
async fn with_a_dead_letter() -> Bench {
    let bench = Bench::new();
    bench.record(4, "yard", vec![upload("clip.mp4", 7)]).await;
    let outbox = bench.store.outboxes().get(&destination("upload/cloud")).expect("outbox");
    let leases = outbox.lease(1).await.expect("lease");
    outbox.dead_letter(leases.first().expect("the clip"), "refused").await.expect("give up");
    bench
}

const JSON: &str = "Content-Type: application/json\r\n";

#[tokio::test]
async fn commands_reach_their_queue_and_refusals_say_why() {
    let site = Site::open(with_a_dead_letter().await).await;
    let listed = site.get("/api/v1/queue/items?outlet=upload%2Fcloud&state=dead").await.json();
    let seq = listed["items"][0]["seq"].as_u64().expect("a dead letter");
    let one = site.order("retry", JSON, &format!(r#"{{"outlet": "upload/cloud", "seq": {seq}}}"#)).await;
    assert_eq!((one.status, one.json()), (200, json!({"changed": 1, "bytes": 7, "sending": 0, "more": false})));
    let many = r#"{"outlet": "upload/cloud", "select": {"numbers": [[1, 9]], "state": "waiting", "kind": "clip"}}"#;
    let many = site.order("drop", JSON, many).await;
    assert_eq!((many.status, &many.json()["changed"]), (200, &1.into()));
    for (action, body, status, code) in [
        ("pause", r#"{"outlet": "mqtt"}"#, 409, "refused"),
        ("drop", r#"{"outlet": "nowhere"}"#, 404, "not_found"),
        ("drop", r#"{"outlet": "upload/cloud", "all": true}"#, 400, "bad_command"),
        ("drop", r#"{"outlet": "upload/cloud", "select": {"kind": "film"}}"#, 400, "bad_command"),
        ("resume", "{", 400, "bad_command"),
        ("resume", &"x".repeat(70_000), 413, "too_large"),
        ("explode", r#"{"outlet": "upload/cloud"}"#, 404, "not_found"),
    ] {
        let answer = site.order(action, JSON, body).await;
        assert_eq!((answer.status, &answer.problem()["code"]), (status, &code.into()), "{action} {body:.40}");
    }
}

#[tokio::test]
async fn a_command_under_one_key_is_carried_out_once() {
    let site = Site::open(with_a_dead_letter().await).await;
    let body = r#"{"outlet": "upload/cloud"}"#;
    let keyed = format!("{JSON}Idempotency-Key: 7f3a\r\n");
    let first = site.order("retry", &keyed, body).await;
    let again = site.order("retry", &keyed, body).await;
    assert_eq!((first.status, &first.json()["changed"], first.header("idempotency-replayed")), (200, &1.into(), ""));
    assert_eq!((again.status, again.json(), again.header("idempotency-replayed")), (200, first.json(), "true"));
    for (action, body) in [("retry", r#"{"outlet": "mqtt"}"#), ("drop", body)] {
        let other = site.order(action, &keyed, body).await;
        assert_eq!((other.status, &other.problem()["code"]), (422, &"idempotency_key_reused".into()), "{action}");
    }
    let fresh = site.order("retry", &format!("{JSON}Idempotency-Key: 7f3b\r\n"), body).await;
    assert_eq!((fresh.status, &fresh.json()["changed"]), (200, &0.into()));
}

#[tokio::test]
async fn what_pages_of_others_can_make_a_browser_send_changes_nothing() {
    let site = Site::open(Bench::new()).await;
    let body = r#"{"outlet": "upload/cloud"}"#;
    let form = site.order("pause", "Content-Type: application/x-www-form-urlencoded\r\n", body).await;
    assert_eq!((form.status, &form.problem()["code"]), (415, &"not_json".into()));
    for headers in ["Origin: http://evil.example\r\n", "Sec-Fetch-Site: cross-site\r\n"] {
        let answer = site.order("pause", &format!("{JSON}{headers}"), body).await;
        assert_eq!((answer.status, &answer.problem()["code"]), (403, &"foreign_page".into()), "{headers}");
    }
    // A link, or a picture's source.
    assert_eq!(site.get("/api/v1/queue/pause").await.status, 405);
}

#[tokio::test]
async fn items_are_listed_for_a_queue_that_there_is() {
    let site = Site::open(with_a_dead_letter().await).await;
    let listed = site.get("/api/v1/queue/items?outlet=upload%2Fcloud&state=dead").await;
    let item = &listed.json()["items"][0];
    assert_eq!((listed.status, &item["what"], &item["error"]), (200, &"clip.mp4".into(), &"refused".into()));
    let none = site.get("/api/v1/queue/items?outlet=mqtt&state=dead").await;
    assert_eq!((none.status, none.json()), (200, json!({"items": []})));
    assert_eq!(site.get("/api/v1/queue/items?outlet=nowhere").await.status, 404);
    assert_eq!(site.get("/api/v1/queue/items").await.status, 400);
}
