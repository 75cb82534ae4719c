//! What the routes answer is what the OpenAPI document says.

use super::*;
use crate::service::fixture::upload;
use crate::web::openapi::schema_check::differences;

#[tokio::test]
async fn answers_have_the_fields_of_their_schemas_and_no_others() {
    let bench = Bench::new();
    bench.record(4, "yard", vec![upload("clip.mp4", 7)]).await;
    let site = Site::open(bench).await;
    let event = format!("/api/v1/events/{}", id(4));
    let asked = [
        ("/api/v1/status", "/api/v1/status"),
        ("/api/v1/events", "/api/v1/events?limit=1"),
        ("/api/v1/events/{id}", event.as_str()),
        ("/api/v1/cameras/{name}/timeline", "/api/v1/cameras/yard/timeline?since=2026-11-22T09:00:00Z"),
        ("/api/v1/queue/items", "/api/v1/queue/items?outlet=upload/cloud"),
        ("/api/v1/config", "/api/v1/config"),
        ("/api/v1/access", "/api/v1/access"),
        ("/api/v1/me", "/api/v1/me"),
        ("/api/v1/users", "/api/v1/users"),
        ("/api/v1/sessions", "/api/v1/sessions"),
        ("/api/v1/keys", "/api/v1/keys"),
        ("/api/v1/audit", "/api/v1/audit"),
        ("/api/v1/models", "/api/v1/models"),
        ("/api/v1/parts", "/api/v1/parts"),
        ("/api/v1/log", "/api/v1/log?level=warn"),
        ("/api/v1/diagnostics", "/api/v1/diagnostics"),
        ("/api/v1/jobs", "/api/v1/jobs"),
        ("/api/v1/search", "/api/v1/search"),
        ("/api/v1/problems", "/api/v1/problems"),
        ("/api/v1/problems/{code}", "/api/v1/problems/busy"),
        ("/api/v1/openapi.json", "/api/v1/openapi.json"),
    ];
    for (path, target) in asked {
        let answer = site.get(target).await;
        assert_eq!(answer.status, 200, "{target}");
        assert_eq!(differences(path, &answer.json()), Vec::<String>::new(), "{target}");
    }
    let page = site.get("/api/v1/docs").await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
}

#[test]
fn everything_that_an_event_may_have_is_in_its_schema() {
    let event = include_str!("../../../tests/fixtures/json/event.json");
    let event: serde_json::Value = serde_json::from_str(event).expect("JSON");
    let record = serde_json::json!({ "event": event, "delivery": [] });
    assert_eq!(differences("/api/v1/events/{id}", &record), Vec::<String>::new());
    let odd = serde_json::json!({ "event": event, "delivery": [{ "outlet": 1, "state": "lost", "more": true }] });
    assert_eq!(differences("/api/v1/events/{id}", &odd).len(), 3, "the check sees what is wrong");
}
