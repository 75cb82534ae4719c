//! Pictures that are sent to be run.

use super::*;

const PERSON: &[u8] = include_bytes!("../../../tests/fixtures/pictures/person.jpg");

impl Site {
    /// Sends files, each as a picture of its own.
    async fn give(&self, headers: &str, files: &[&[u8]]) -> Answer {
        let mut body = Vec::new();
        for file in files {
            body.extend(b"--edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.jpg\"\r\n\r\n");
            body.extend(*file);
            body.extend(b"\r\n");
        }
        body.extend(b"--edge--\r\n");
        let (host, length) = (self.address, body.len());
        let head = format!(
            "POST /api/v1/executions?pipeline=objects HTTP/1.1\r\nHost: {host}\r\n{headers}\
             Content-Type: multipart/form-data; boundary=edge\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        self.send([head.into_bytes(), body].concat()).await
    }
}

fn with_name(n: u8) -> Vec<u8> {
    // Behind the end of the picture is room for anything.
    [PERSON, &[n]].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_takes_in_nothing_yet_refuses_all_pictures_and_else_only_what_is_wrong() {
    let site = Site::open(Bench::new()).await;
    let pictures: Vec<Vec<u8>> = (0..3).map(with_name).collect();
    let files: Vec<&[u8]> = [&b"text"[..]].into_iter().chain(pictures.iter().map(Vec::as_slice)).collect();
    let keyed = "Idempotency-Key: batch\r\n";

    let early = site.give(keyed, &files).await;
    let problem = early.problem();
    assert_eq!((early.status, &problem["code"]), (503, &"busy".into()), "{problem}");
    let none = site.get("/api/v1/executions").await.json();
    assert_eq!(none["executions"], serde_json::json!([]), "nothing was taken in");

    site.bench.store.note_filled().expect("the index is filled");
    let answer = site.give(keyed, &files).await;
    let taken = answer.json();
    assert_eq!((answer.status, taken["executions"].as_array().map(Vec::len)), (202, Some(3)), "{taken}");
    assert_eq!((&taken["refused"][0]["place"], &taken["refused"][1]), (&0.into(), &serde_json::Value::Null), "{taken}");
    let again = site.give(keyed, &files).await.json();
    assert_eq!(again["executions"], taken["executions"], "the same request");
}

#[tokio::test]
async fn pages_of_other_sites_command_no_models() {
    let site = Site::open(Bench::new()).await;
    let (host, foreign) = (site.address, "Origin: http://elsewhere.example\r\n");
    let ask = |path: &str, headers: &str, body: &'static [u8]| {
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        site.send([head.as_bytes(), body].concat())
    };
    for path in ["/v2/repository/index", "/v2/repository/models/nanodet-g-320/unload"] {
        let refused = ask(path, foreign, b"").await;
        assert_eq!(refused.status, 400, "{path}");
        assert!(refused.text().contains("own page only"), "{}", refused.text());
    }
    let grpc = format!("{foreign}Content-Type: application/grpc\r\nTE: trailers\r\n");
    for method in ["ServerLive", "RepositoryModelUnload", "ModelInfer", "ModelStreamInfer"] {
        let refused = ask(&format!("/inference.GRPCInferenceService/{method}"), &grpc, &[0; 5]).await;
        assert_eq!(refused.header("grpc-status"), "7", "{method}: {:?}", refused.headers);
    }
    assert_eq!(ask("/v2/repository/index", "", b"").await.status, 200);
}
