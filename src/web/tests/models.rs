//! Models: the list, their speed, and pictures that are sent to them.

use super::*;
use crate::web::openapi::schema_check::differences;

const PERSON: &[u8] = include_bytes!("../../../tests/fixtures/pictures/person.jpg");

impl Site {
    async fn show(&self, target: &str, headers: &str, picture: &[u8]) -> Answer {
        let (host, length) = (self.address, picture.len());
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: {host}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        self.send([head.as_bytes(), picture].concat()).await
    }
}

fn path(rest: &str) -> String {
    format!("/api/v1/models/nanodet-g-320/{rest}")
}

const JPEG: &str = "Content-Type: image/jpeg\r\n";

#[tokio::test]
async fn a_model_is_listed_measured_and_sees_what_is_in_a_picture() {
    let site = Site::open(Bench::new()).await;
    let listed = site.get("/api/v1/models").await.json();
    let model = &listed["models"][0];
    assert_eq!((&model["name"], &model["cameras"][0]), (&"nanodet-g-320".into(), &"yard".into()), "{listed}");
    assert_eq!((&model["manifest"]["width"], &model["manifest"]["labels"][0]), (&320.into(), &"person".into()));
    assert!(model.get("speed").is_none(), "it has not run: {listed}");
    let measured = site.post(&path("speed"), "", "{}").await;
    assert_eq!(measured.status, 200, "{}", measured.text());
    assert!(measured.json()["runs"].as_u64() >= Some(1));
    let listed = site.get("/api/v1/models").await.json();
    assert_eq!(listed["models"][0]["speed"], measured.json());
    assert_eq!(differences("/api/v1/models", &listed), Vec::<String>::new());

    let seen = site.show(&path("detections?min_score=0.4"), JPEG, PERSON).await;
    assert_eq!(seen.status, 200, "{}", seen.text());
    let seen = seen.json();
    let detections = seen["detections"].as_array().expect("a list");
    assert!(detections.iter().any(|detection| detection["label"] == "person"), "{seen}");
    assert!(detections.iter().all(|detection| detection["score"].as_f64() >= Some(0.4)), "{seen}");
    assert_eq!((&seen["width"], &seen["height"]), (&560.into(), &371.into()));
}

#[tokio::test]
async fn what_is_no_picture_or_no_model_is_refused_with_the_reason() {
    let site = Site::open(Bench::new()).await;
    let at = path("detections");
    let cases: [(&str, &str, &[u8], u16, &str); 7] = [
        (&at, "Content-Type: application/json\r\n", b"{}", 415, "not_a_picture"),
        (&at, "Content-Type: image/jpeg\r\nSec-Fetch-Site: cross-site\r\n", PERSON, 403, "foreign_page"),
        (&at, JPEG, b"GIF89a", 422, "picture_unusable"),
        (&at, JPEG, &PERSON[..90], 422, "picture_unusable"),
        (&at, JPEG, b"", 422, "picture_unusable"),
        ("/api/v1/models/none/detections", JPEG, PERSON, 404, "not_found"),
        ("/api/v1/models/nanodet-g-320/detections?min_score=2", JPEG, PERSON, 400, "bad_parameter"),
    ];
    for (target, headers, picture, status, code) in cases {
        let refused = site.show(target, headers, picture).await;
        assert_eq!((refused.status, &refused.problem()["code"]), (status, &code.into()), "{target} {headers}");
    }
    let large = vec![0; 17 << 20];
    assert_eq!(site.show(&at, JPEG, &large).await.problem()["code"], "too_large");
    let unknown = site.post("/api/v1/models/..%2Fx/speed", "", "{}").await;
    assert_eq!(unknown.problem()["code"], "not_found");
}

#[tokio::test]
async fn while_the_box_has_too_much_to_do_no_model_is_tried() {
    let site = Site::open(Bench::new()).await;
    let (level, reason) = (crate::load::LoadLevel::HalfRate, "95 °C, limit 90 °C".to_owned());
    site.bench.health.set_load(crate::health::LoadHealth { level, reason, ..Default::default() });
    for busy in [site.post(&path("speed"), "", "{}").await, site.show(&path("detections"), JPEG, PERSON).await] {
        let problem = busy.problem();
        assert_eq!((busy.status, &problem["code"]), (503, &"busy".into()));
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("95 °C")), "{problem}");
    }
}
