//! The strips of all cameras, playback and exports: what each caller gets.

use super::*;
use crate::access::{NewUser, Role};
use crate::archive::RecordingLevel;
use crate::service::recordings::{REORDERED, three_segments};
use crate::web::openapi::schema_check::differences;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

const PASSWORD: &str = "correct horse battery";

/// A box with 3 s of video, 3 s more, a gap of 5 s, and 3 s again; when they begin; and an address of that time.
async fn recorded() -> (Site, Timestamp) {
    let bench = Bench::new();
    bench.record(4, "yard", Vec::new()).await;
    let begin = three_segments(&bench, REORDERED);
    (Site::open(bench).await, begin)
}

fn after(begin: Timestamp, seconds: i64) -> Timestamp {
    begin + SignedDuration::from_secs(seconds)
}

impl Site {
    /// A user of camera `yard` from `since` on, and the header of its session.
    async fn limited(&self, name: &str, role: Role, since: Timestamp) -> String {
        let cameras = serde_json::from_value(json!({ "yard": { "since": since } })).expect("grants");
        let new = NewUser { name: name.into(), password: PASSWORD.into(), role, cameras };
        self.bench.access.add_user(new).expect("a user");
        self.cookie(name).await
    }

    /// Carries out the exports that wait.
    async fn export(&self) {
        let (exports, stop) = (self.bench.services.exports.clone(), CancellationToken::new());
        let pending = async {
            let waits = |exports: Vec<crate::service::Export>| exports.iter().any(|one| one.finished.is_none());
            while waits(exports.list().await.expect("a list")) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            stop.cancel();
        };
        tokio::join!(exports.run(stop.clone()), pending);
    }
}

fn command(begin: Timestamp, seconds: i64) -> String {
    json!({ "camera": "yard", "from": begin, "until": after(begin, seconds) }).to_string()
}

#[tokio::test]
async fn strips_pieces_and_exports_are_what_their_schemas_say() {
    let (site, begin) = recorded().await;
    let span = format!("since={begin}&until={}", after(begin, 20));
    let strips = site.get(&format!("/api/v1/timeline?{span}&camera=yard&resolution_s=1")).await.json();
    assert_eq!(differences("/api/v1/timeline", &strips), Vec::<String>::new());
    let states: Vec<&str> = strips["cameras"][0]["spans"]
        .as_array()
        .expect("spans")
        .iter()
        .filter_map(|span| span["state"].as_str())
        .collect();
    assert_eq!(states, ["recorded", "stopped", "recorded", "stopped"]);
    let all = site.get("/api/v1/timeline?since=2026-11-22T00:00:00Z&until=2026-11-22T12:00:00Z").await.json();
    assert_eq!((all["cameras"].as_array().map(Vec::len), &all["resolution_s"]), (Some(3), &json!(43)));
    let of_yard = all["cameras"].as_array().expect("a list").iter().find(|of| of["camera"] == "yard").expect("yard");
    assert_eq!((&of_yard["events"][0]["count"], &of_yard["events"][0]["id"]), (&json!(1), &json!(id(4))));
    assert_eq!(site.get("/api/v1/timeline?camera=attic").await.status, 404);

    let video = site.get(&format!("/api/v1/cameras/yard/video?{span}")).await.json();
    assert_eq!(differences("/api/v1/cameras/{name}/video", &video), Vec::<String>::new());
    let pieces = video["pieces"].as_array().expect("pieces");
    assert_eq!(pieces.len(), 3);
    for piece in pieces {
        let file = site.ask("GET", piece["url"].as_str().expect("an address"), "Range: bytes=4-7\r\n").await;
        assert_eq!((file.status, file.body.as_slice()), (206, b"ftyp".as_slice()));
    }
    assert_eq!(site.get(&format!("/api/v1/cameras/attic/video?{span}")).await.status, 404);

    let picture = site.get(&format!("/api/v1/cameras/yard/preview.jpg?at={}", after(begin, 4))).await;
    assert_eq!((picture.status, picture.header("content-type")), (200, "image/jpeg"));
    assert_eq!(picture.header("x-taken"), after(begin, 4).to_string());
    assert_eq!(
        site.get(&format!("/api/v1/cameras/yard/preview.jpg?at={}&within_s=1", after(begin, 9))).await.status,
        204
    );
}

#[tokio::test]
async fn an_export_is_asked_for_once_made_downloaded_and_deleted() {
    let (site, begin) = recorded().await;
    let key = "Idempotency-Key: abc\r\n";
    let begun = site.post("/api/v1/exports", key, &command(begin, 20)).await;
    assert_eq!(begun.status, 202, "{}", begun.text());
    let (place, id) = (begun.header("location").to_owned(), begun.json()["id"].clone());
    assert_eq!(place, format!("/api/v1/exports/{}", id.as_str().expect("an id")));
    let again = site.post("/api/v1/exports", key, &command(begin, 20)).await;
    assert_eq!((&again.json()["id"], again.header("location")), (&id, place.as_str()));
    assert_eq!(site.get(&format!("{place}/video.mp4")).await.status, 404, "not yet");
    site.export().await;
    let done = site.get(&place).await.json();
    assert_eq!((&done["state"], &done["progress"]), (&json!("done"), &json!(1.0)), "{done}");
    assert_eq!(differences("/api/v1/exports/{id}", &done), Vec::<String>::new());
    let list = site.get("/api/v1/exports").await.json();
    assert_eq!((differences("/api/v1/exports", &list), &list["exports"][0]), (Vec::new(), &done));
    let file = site.get(done["url"].as_str().expect("an address")).await;
    assert_eq!((file.status, file.body.len() as u64), (200, done["bytes"].as_u64().expect("a size")));
    let name = done["file"].as_str().expect("a name");
    assert!(name.starts_with("yard_2026-11-2") && name.ends_with(".mp4"), "{name}");
    assert_eq!(file.header("content-disposition"), format!("attachment; filename=\"{name}\""));
    let json = "Content-Type: application/json\r\n";
    assert_eq!(site.ask("DELETE", &place, "").await.status, 415, "what a form of another page could send");
    assert_eq!(site.ask("DELETE", &place, json).await.status, 204);
    assert_eq!((site.get(&place).await.status, site.ask("DELETE", &place, json).await.status), (404, 404));
    for (body, status, code) in [
        (command(begin, 0), 400, "bad_command"),
        (command(begin, 90_000), 400, "bad_command"),
        (command(after(begin, -3600), 60), 409, "refused"),
        (r#"{"camera": "yard"}"#.to_owned(), 400, "bad_command"),
        (command(begin, 9).replace("yard", "attic"), 409, "refused"),
    ] {
        let answer = site.post("/api/v1/exports", "", &body).await;
        assert_eq!((answer.status, &answer.problem()["code"]), (status, &json!(code)), "{body}");
    }
    site.bench.archive.room.set_level(RecordingLevel::NoContinuous);
    let full = site.post("/api/v1/exports", "", &command(begin, 9)).await;
    assert_eq!((full.status, &full.problem()["code"]), (507, &json!("no_room")));
    assert!(full.text().contains("free some space"), "{}", full.text());
    site.bench.archive.room.set_level(RecordingLevel::Full);
    site.bench.health.set_spooling(true);
    let away = site.post("/api/v1/exports", "", &command(begin, 9)).await;
    assert_eq!((away.status, &away.problem()["code"]), (503, &json!("volume_away")));
}

#[tokio::test]
async fn who_sees_some_cameras_or_times_gets_those_alone() {
    let (site, begin) = recorded().await;
    let export = site.post("/api/v1/exports", "", &command(begin, 9)).await.json();
    site.export().await;
    for role in [Role::Admin, Role::Operator, Role::Viewer] {
        site.add(role.as_str(), role);
    }
    let late = site.limited("late", Role::Operator, after(begin, 10)).await;
    let other = {
        let cameras = serde_json::from_value(json!({ "lost": {} })).expect("grants");
        let new = NewUser { name: "other".into(), password: PASSWORD.into(), role: Role::Operator, cameras };
        site.bench.access.add_user(new).expect("a user");
        site.cookie("other").await
    };
    let (viewer, operator) = (site.cookie("viewer").await, site.cookie("operator").await);
    let span = format!("since={begin}&until={}", after(begin, 20));
    let ask = async |target: &str, who: &str| site.ask("GET", target, who).await;

    let video = format!("/api/v1/cameras/yard/video?{span}");
    let pieces = async |who: &str| ask(&video, who).await.json()["pieces"].as_array().map(Vec::len);
    assert_eq!((pieces(&viewer).await, pieces(&late).await), (Some(3), Some(1)));
    assert_eq!(ask(&video, &other).await.status, 404);
    let strips = ask(&format!("/api/v1/timeline?{span}"), &late).await.json();
    let of_late = strips["cameras"].as_array().expect("a list");
    assert_eq!((of_late.len(), &of_late[0]["camera"]), (1, &json!("yard")));
    let first: Timestamp = of_late[0]["spans"][0]["from"].as_str().and_then(|at| at.parse().ok()).expect("a time");
    assert_eq!((first, &of_late[0]["events"]), (after(begin, 10), &json!([])));
    assert_eq!(ask(&format!("/api/v1/timeline?{span}&camera=yard"), &other).await.status, 404);
    let picture = |seconds| format!("/api/v1/cameras/yard/preview.jpg?within_s=10&at={}", after(begin, seconds));
    assert_eq!((ask(&picture(4), &viewer).await.status, ask(&picture(4), &late).await.status), (200, 204));
    assert_eq!((ask(&picture(12), &late).await.status, ask(&picture(12), &other).await.status), (200, 404));

    let place = format!("/api/v1/exports/{}", export["id"].as_str().expect("an id"));
    for target in [place.clone(), format!("{place}/video.mp4")] {
        for (who, status) in [(&viewer, 200), (&operator, 200), (&late, 404), (&other, 404)] {
            assert_eq!(ask(&target, who).await.status, status, "{target}");
        }
    }
    let listed = async |who: &str| ask("/api/v1/exports", who).await.json()["exports"].as_array().map(Vec::len);
    assert_eq!((listed(&viewer).await, listed(&late).await, listed(&other).await), (Some(1), Some(0), Some(0)));
    let json = "Content-Type: application/json\r\n";
    for (who, status) in [(&viewer, 403), (&late, 404), (&other, 404), (&operator, 204)] {
        assert_eq!(site.ask("DELETE", &place, &format!("{who}{json}")).await.status, status);
    }
    let add = async |who: &str, from, seconds| site.post("/api/v1/exports", who, &command(from, seconds)).await;
    assert_eq!(add(&viewer, begin, 9).await.status, 403);
    assert_eq!(add(&other, begin, 9).await.status, 404);
    assert_eq!(add(&late, begin, 9).await.status, 400, "a time before it was granted");
    let of_late = add(&late, after(begin, 10), 9).await;
    assert_eq!((of_late.status, of_late.json()["by"].clone()), (202, json!("late")), "{}", of_late.text());
    site.export().await;
    let shown: Value = ask(of_late.header("location"), &late).await.json();
    assert_eq!((&shown["state"], shown["parts"].as_array().map(Vec::len)), (&json!("done"), Some(1)), "{shown}");
    // What was asked for is in the audit log.
    let admin = site.cookie("admin").await;
    let noted = ask("/api/v1/audit?text=exports", &admin).await.json();
    let noted = noted["entries"].to_string();
    assert!(noted.contains("/api/v1/exports yard 2026-11-22"), "{noted}");
}
