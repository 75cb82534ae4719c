//! Answers over a thin link: text is compressed for clients that take it, media never are.

use super::*;

/// The answer to a client that takes gzip. HTTP/1.0 has no chunks, so the body comes as it is.
async fn packed(site: &Site, method: &str, target: &str, headers: &str) -> Answer {
    let host = site.address;
    site.send(&format!("{method} {target} HTTP/1.0\r\nHost: {host}\r\nAccept-Encoding: gzip\r\n{headers}\r\n")).await
}

/// What is in a gzip file without a name.
fn unpacked(gzip: &[u8]) -> Vec<u8> {
    let deflated = gzip.get(10..gzip.len().saturating_sub(8)).expect("head and tail");
    miniz_oxide::inflate::decompress_to_vec(deflated).expect("deflate")
}

#[tokio::test]
async fn text_is_compressed_where_the_client_takes_it() {
    let bench = Bench::new();
    for n in 1..=20 {
        bench.record(n, "yard", Vec::new()).await;
    }
    let site = Site::open(bench).await;
    for target in ["/", "/assets/app.css", "/assets/events.js", "/api/v1/events", "/metrics"] {
        let (plain, answer) = (site.get(target).await, packed(&site, "GET", target, "").await);
        assert_eq!((plain.status, plain.header("content-encoding")), (200, ""), "{target}");
        assert_eq!(plain.header("content-length"), plain.body.len().to_string(), "{target}");
        assert_eq!((answer.status, answer.header("content-encoding")), (200, "gzip"), "{target}");
        for answer in [&plain, &answer] {
            assert!(answer.header("vary").contains("accept-encoding"), "{target}");
            assert!(answer.header("content-security-policy").starts_with("default-src 'self'"), "{target}");
        }
        for header in ["content-type", "cache-control", "etag"] {
            assert_eq!(answer.header(header), plain.header(header), "{target}");
        }
        assert!(2 * answer.body.len() < plain.body.len(), "{target}: {} bytes", answer.body.len());
        // Metrics go on meanwhile.
        if target != "/metrics" {
            assert_eq!(unpacked(&answer.body), plain.body, "{target}");
        }
        let head = packed(&site, "HEAD", target, "").await;
        assert_eq!((head.header("content-encoding"), head.body.len()), ("gzip", 0), "{target}");
    }
    let known = site.get("/").await.header("etag").to_owned();
    let same = packed(&site, "GET", "/", &format!("If-None-Match: {known}\r\n")).await;
    assert_eq!((same.status, same.body.len()), (304, 0));
    assert_eq!(packed(&site, "GET", "/healthz", "").await.header("content-encoding"), "", "no packet is saved");
    let refuses = site.ask("GET", "/", "Accept-Encoding: gzip;q=0, identity\r\n").await;
    assert_eq!(refuses.header("content-encoding"), "");
}

#[tokio::test]
async fn media_keep_their_bytes_and_their_ranges() {
    let bench = with_files().await;
    let text = format!("{{\"padding\": \"{}\"}}", " ".repeat(10_000));
    std::fs::write(bench.folder(4, "yard").join("event.json"), &text).expect("write");
    let site = Site::open(bench).await;
    for (file, content) in [("digits.mp4", "0123456789"), ("event.json", &text)] {
        let whole = packed(&site, "GET", &media(file), "").await;
        assert_eq!((whole.status, whole.header("content-encoding"), whole.text()), (200, "", content));
        assert_eq!((whole.header("accept-ranges"), whole.header("vary")), ("bytes", ""));
        assert_eq!(whole.header("content-length"), content.len().to_string());
        let part = packed(&site, "GET", &media(file), "Range: bytes=2-5\r\n").await;
        assert_eq!((part.status, part.header("content-encoding"), part.text()), (206, "", &content[2..=5]));
        assert_eq!(part.header("content-range"), format!("bytes 2-5/{}", content.len()));
    }
}
