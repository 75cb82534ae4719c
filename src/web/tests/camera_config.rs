//! The settings of cameras by HTTP: who may, what is asked of the configuration, and how refusals are answered. What the
//! configuration makes of it is tested there.

use serde_json::json;

use super::*;
use crate::access::Role;
use crate::service::{CameraEdit, CameraSettings, ConfigRequest, EditRefusal, EditRequest, Edited, ReloadQueue};
use crate::status::{ConfigState, ConfigStatus};

/// Answers edits with `outcome`, and gives what was asked.
async fn answer(queue: &mut ReloadQueue, outcome: Result<Edited, EditRefusal>) -> (CameraEdit, Option<String>) {
    match queue.requests.recv().await.expect("a request") {
        ConfigRequest::Edit(EditRequest { edit, revision, reply }) => {
            reply.send(outcome).expect("someone waits");
            (edit, revision)
        }
        other => panic!("an edit is wanted: {other:?}"),
    }
}

fn edited(state: ConfigState) -> Edited {
    let status = ConfigStatus { state, ..ConfigStatus::default() };
    Edited { revision: "r2".to_owned(), file: Some("/etc/outpost.toml".to_owned()), status }
}

impl Site {
    async fn send_json(&self, method: &str, target: &str, headers: &str, body: serde_json::Value) -> Answer {
        let (host, body) = (self.address, body.to_string());
        let length = body.len();
        self.send(&format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n{headers}\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        ))
        .await
    }
}

#[tokio::test]
async fn an_edit_names_the_revision_and_answers_whether_it_is_to_be_confirmed() {
    let (bench, mut queue) = Bench::with_config();
    let site = Site::open(bench).await;
    let target = "/api/v1/cameras/yard/config";
    let patch = json!({"record": {"post_roll": "9s"}});
    let asked = site.send_json("PATCH", target, "If-Match: W/\"r1\"\r\n", patch.clone());
    let (answered, (edit, revision)) = tokio::join!(asked, answer(&mut queue, Ok(edited(ConfigState::Confirming))));
    assert_eq!((answered.status, answered.header("etag")), (202, "\"r2\""), "{}", answered.text());
    assert_eq!(answered.json()["status"]["state"], "confirming");
    let wanted = CameraEdit::Change { name: "yard".to_owned(), patch: patch.as_object().expect("an object").clone() };
    assert_eq!((edit, revision.as_deref()), (wanted, Some("r1")));

    let asked = site.send_json("DELETE", target, "If-Match: *\r\n", json!({}));
    let (answered, (edit, revision)) = tokio::join!(asked, answer(&mut queue, Ok(edited(ConfigState::InUse))));
    assert_eq!((answered.status, edit, revision), (200, CameraEdit::Remove { name: "yard".to_owned() }, None));

    let refusals = [
        (EditRefusal::Unknown("yard".to_owned()), 404, "not_found"),
        (EditRefusal::Exists("yard".to_owned()), 409, "refused"),
        (EditRefusal::Changed("r3".to_owned()), 412, "changed_meanwhile"),
        (EditRefusal::Invalid { reason: "no".to_owned(), problems: Vec::new() }, 422, "invalid_config"),
        (EditRefusal::NotWritten("read-only".to_owned()), 409, "refused"),
        (EditRefusal::Busy, 503, "busy"),
        (EditRefusal::Stopping, 503, "stopping"),
    ];
    for (refusal, status, code) in refusals {
        let asked = site.send_json("PATCH", target, "", json!({}));
        let (answered, _) = tokio::join!(asked, answer(&mut queue, Err(refusal)));
        assert_eq!((answered.status, &answered.problem()["code"]), (status, &code.into()));
    }
    assert_eq!(site.send_json("PATCH", target, "If-Match: \"\"\r\n", json!({})).await.status, 400);
    assert_eq!(site.send_json("PATCH", target, "", json!([])).await.status, 400);
    assert_eq!(site.send_json("PATCH", target, "Origin: http://evil.example\r\n", json!({})).await.status, 403);
}

#[tokio::test]
async fn settings_come_with_their_tag() {
    let (bench, mut queue) = Bench::with_config();
    let site = Site::open(bench).await;
    let settings = CameraSettings {
        camera: "yard".to_owned(),
        revision: "r1".to_owned(),
        file: "/etc/outpost.toml".to_owned(),
        settings: json!({}),
        effective: json!({}),
        labels: vec!["person".to_owned()],
    };
    let give = async {
        match queue.requests.recv().await.expect("a request") {
            ConfigRequest::Settings(request) => request.reply.send(Ok(settings)).expect("someone waits"),
            other => panic!("settings are wanted: {other:?}"),
        }
    };
    let (answered, ()) = tokio::join!(site.get("/api/v1/cameras/yard/config"), give);
    assert_eq!((answered.status, answered.header("etag")), (200, "\"r1\""));
    assert_eq!(answered.json()["labels"], json!(["person"]));
}

#[tokio::test]
async fn secrets_are_not_in_the_audit_log_and_no_one_but_admins_changes_cameras() {
    let (bench, mut queue) = Bench::with_config();
    let site = Site::open(bench).await;
    site.add("anna", Role::Admin);
    site.add("otto", Role::Operator);
    let (anna, otto) = (site.cookie("anna").await, site.cookie("otto").await);
    let patch = json!({"source": {"url": "rtsp://192.0.2.7/x", "password": "purple-goat"}});
    let target = "/api/v1/cameras/yard/config";
    assert_eq!(site.send_json("PATCH", target, &otto, patch.clone()).await.status, 403);
    let asked = site.send_json("PATCH", target, &anna, patch);
    let (answered, _) = tokio::join!(asked, answer(&mut queue, Ok(edited(ConfigState::InUse))));
    assert_eq!(answered.status, 200);
    let audit = site.ask("GET", "/api/v1/audit", &anna).await;
    assert!(audit.text().contains("/api/v1/cameras/yard/config source") && !audit.text().contains("purple-goat"));
    let found = site.ask("GET", "/api/v1/cameras/found", &anna).await;
    assert_eq!((found.status, &found.json()["network"]), (200, &json!([])));
}

#[tokio::test]
async fn rules_are_tried_over_a_bounded_time() {
    let site = Site::open(Bench::new()).await;
    let target = "/api/v1/cameras/yard/rules/try";
    for hours in [0.0, -1.0, 169.0] {
        assert_eq!(site.send_json("POST", target, "", json!({ "hours": hours })).await.status, 400, "{hours}");
    }
    assert_eq!(site.send_json("POST", target, "", json!({"hours": 1, "source": {}})).await.status, 400);
    assert_eq!(site.get(target).await.status, 404, "none yet");
    // The box of the tests runs none.
    assert_eq!(site.send_json("POST", target, "", json!({"hours": 2, "rules": []})).await.problem()["code"], "refused");
}
