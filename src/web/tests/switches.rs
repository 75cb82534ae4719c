//! Switches of cameras, and what the status says of them.

use serde_json::json;

use super::*;
use crate::access::Role;

impl Site {
    async fn switch(&self, camera: &str, headers: &str, body: &str) -> Answer {
        let (host, length) = (self.address, body.len());
        self.send(&format!(
            "PATCH /api/v1/cameras/{camera}/switches HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\
             Content-Type: application/json\r\n{headers}Connection: close\r\n\r\n{body}"
        ))
        .await
    }
}

#[tokio::test]
async fn a_camera_that_is_switched_off_is_shown_with_what_switches_it_on() {
    let site = Site::open(Bench::new()).await;
    let before = site.get("/api/v1/status").await.json();
    assert_eq!((&before["cameras"][0]["record"], &before["cameras"][0]["detect"]), (&json!("events"), &json!("on")));
    let answer = site.switch("yard", "", r#"{"record": false}"#).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"detect": true, "record": false})));
    assert!(!site.bench.control.switches().records("yard"));
    let status = site.get("/api/v1/status").await.json();
    assert_eq!(status["cameras"][0]["record"], "switched_off");
    let concern = &status["concerns"][0];
    assert_eq!((&concern["code"], &concern["subject"]), (&json!("recording_switched_off"), &json!("yard")));
    assert_eq!((&concern["remedy"], &status["summary"]["recording"]), (&json!("switch_on_recording"), &json!(0)));
    let again = site.switch("yard", "", r#"{"record": true, "detect": true}"#).await;
    assert_eq!((again.status, again.json()), (200, json!({"detect": true, "record": true})));
    assert_eq!(site.get("/api/v1/status").await.json()["cameras"][0]["record"], "events");
    for (camera, body, status, code) in [
        ("nowhere", r#"{"record": false}"#, 404, "not_found"),
        ("yard", r#"{"recrod": false}"#, 400, "bad_command"),
        ("yard", "", 400, "bad_command"),
    ] {
        let answer = site.switch(camera, "", body).await;
        assert_eq!((answer.status, &answer.problem()["code"]), (status, &json!(code)), "{camera} {body}");
    }
}

#[tokio::test]
async fn an_operator_switches_the_cameras_that_it_sees_and_no_others() {
    let site = Site::open(Bench::new()).await;
    for (name, role) in [("admin", Role::Admin), ("olga", Role::Operator)] {
        site.add(name, role);
    }
    let none = std::collections::BTreeMap::from([("gate".to_owned(), crate::access::Grant::default())]);
    let change = crate::access::UserChange { cameras: Some(Some(none)), ..Default::default() };
    site.bench.access.change_user("olga", change).expect("changed");
    let cookie = site.cookie("olga").await;
    let answer = site.switch("yard", &cookie, r#"{"record": false}"#).await;
    assert_eq!((answer.status, &answer.problem()["code"]), (404, &json!("not_found")));
    assert!(site.bench.control.switches().records("yard"));
}
