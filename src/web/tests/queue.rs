//! The routes that change something: commands to queues.

use serde_json::json;

use super::*;

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

const JSON: &str = "Content-Type: application/json\r\n";

#[tokio::test]
async fn commands_reach_their_queue_and_refusals_say_why() {
    let site = Site::open(Fake::default()).await;
    let one = site.order("retry", JSON, r#"{"outlet": "upload/cloud", "seq": 7}"#).await;
    assert_eq!((one.status, one.json()), (200, json!({"changed": 7, "bytes": 0, "sending": 0, "more": false})));
    let many = r#"{"outlet": "upload/cloud", "select": {"numbers": [[1, 9]], "state": "waiting", "kind": "clip"}}"#;
    assert_eq!(site.order("drop", JSON, many).await.status, 200);
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
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (status, &code.into()), "{action} {body:.40}");
    }
}

#[tokio::test]
async fn what_pages_of_others_can_make_a_browser_send_changes_nothing() {
    let site = Site::open(Fake::default()).await;
    let body = r#"{"outlet": "upload/cloud"}"#;
    let form = site.order("pause", "Content-Type: application/x-www-form-urlencoded\r\n", body).await;
    assert_eq!((form.status, &form.json()["error"]["code"]), (415, &"not_json".into()));
    for headers in ["Origin: http://evil.example\r\n", "Sec-Fetch-Site: cross-site\r\n"] {
        let answer = site.order("pause", &format!("{JSON}{headers}"), body).await;
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (403, &"foreign_page".into()), "{headers}");
    }
    // A link, or a picture's source.
    assert_eq!(site.get("/api/v1/queue/pause").await.status, 405);
}

#[tokio::test]
async fn items_are_listed_for_a_queue_that_there_is() {
    let site = Site::open(Fake::default()).await;
    let listed = site.get("/api/v1/queue/items?outlet=upload%2Fcloud&state=dead").await;
    assert_eq!((listed.status, listed.json()), (200, json!({"items": []})));
    assert_eq!(site.get("/api/v1/queue/items?outlet=nowhere").await.status, 404);
    assert_eq!(site.get("/api/v1/queue/items").await.status, 400);
}
