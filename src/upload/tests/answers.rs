//! Services that answer in manners of their own, over HTTP.

use std::collections::BTreeMap;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// How the service differs from Amazon's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// It refuses requests with a checksum of S3, as Backblaze B2, older Ceph and gateways do.
    NoChecksums,
    /// The key may write and not read.
    WriteOnly,
    /// It states no ETag for objects.
    NoEtags,
    /// It answers to clips, whatever comes with them, as others do to checksums.
    NoClips,
}

/// An object store over HTTP that keeps what it is given, and counts the uploads of each key.
#[derive(Debug)]
struct Service {
    manner: Manner,
    objects: Mutex<BTreeMap<String, (u32, Vec<u8>)>>,
    refused: AtomicU32,
}

/// The head of a request in lower case, and its body.
async fn request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let mut body = bytes.split_off(end);
    let head = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
    let length = header(&head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some((head, body))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

impl Service {
    async fn start(manner: Manner) -> (Arc<Self>, String) {
        let service = Arc::new(Self { manner, objects: Mutex::default(), refused: AtomicU32::new(0) });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let served = service.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let service = served.clone();
                tokio::spawn(async move {
                    while let Some((head, body)) = request(&mut stream).await {
                        let answer = service.answer(&head, body);
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        (service, endpoint)
    }

    fn answer(&self, head: &str, body: Vec<u8>) -> String {
        let mut words = head.split_whitespace();
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default().to_owned());
        let said = |status: &str, headers: &str, body: &str| {
            format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
        };
        let mut objects = self.objects.lock().expect("lock");
        match method {
            "put" if self.manner == Manner::NoChecksums && head.contains("x-amz-checksum") => {
                self.refused.fetch_add(1, Ordering::SeqCst);
                let reason = "<Error><Code>InvalidArgument</Code><Message>Unsupported header 'x-amz-checksum-sha256' \
                              received for this API call.</Message></Error>";
                said("400 Bad Request", "", reason)
            }
            "put" if self.manner == Manner::NoClips && path.ends_with("clip.mp4") => {
                said("501 Not Implemented", "", "<Error><Code>NotImplemented</Code></Error>")
            }
            "put" => {
                let (count, kept) = objects.entry(path).or_default();
                (*count, *kept) = (*count + 1, body);
                let etag = if self.manner == Manner::NoEtags { "" } else { "ETag: \"of-its-own\"\r\n" };
                said("200 OK", etag, "")
            }
            "head" if self.manner == Manner::WriteOnly => {
                "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n".to_owned()
            }
            "head" => match objects.get(&path) {
                Some((_, kept)) => format!(
                    "HTTP/1.1 200 OK\r\nLast-Modified: Sat, 28 Nov 2026 00:00:00 GMT\r\nContent-Length: {}\r\n\r\n",
                    kept.len()
                ),
                None => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
            },
            _ => said("405 Method Not Allowed", "", ""),
        }
    }

    /// How often each object was uploaded, by the end of its key.
    fn uploads(&self) -> Vec<(String, u32)> {
        let objects = self.objects.lock().expect("lock");
        let last = |key: &String| key.rsplit('/').next().unwrap_or_default().to_owned();
        objects.iter().map(|(key, (count, _))| (last(key), *count)).collect()
    }
}

/// Uploads three files to a service. Gives it, what was remarked, and the bench.
async fn upload_to(manner: Manner, checksum: Checksum) -> (Arc<Service>, Vec<String>, Bench) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (service, endpoint) = Service::start(manner).await;
    let bench = Bench::new();
    for file in ["event.json", "snapshot.jpg", "clip.mp4"] {
        bench.add(file, file.as_bytes()).await;
    }
    let secret = bench.dir.path().join("secret");
    fs::write(&secret, "secret").expect("write");
    let config = Config {
        url: "s3://bucket".to_owned(),
        endpoint: Some(endpoint),
        allow_http: true,
        access_key_id: Some("key".to_owned()),
        secret_access_key_file: Some(secret),
        checksum,
        ..Config::default()
    };
    let mut uploader = bench.uploader_with(config);
    uploader.link = Link::hasty;
    let running = Running::start(uploader);
    bench.until_drained().await;
    running.stop().await;
    let remarks = bench.health.outlets()[0].remarks.clone();
    (service, remarks, bench)
}

fn once_each() -> Vec<(String, u32)> {
    ["clip.mp4", "event.json", "snapshot.jpg"].map(|file| (file.to_owned(), 1)).to_vec()
}

/// Works with: stores | S3 that refuses x-amz-checksum headers (Backblaze B2, older Ceph, gateways) | checksums are left out from the first refusal on; health says what is compared instead
#[tokio::test]
async fn a_service_without_checksums_gets_every_file_and_costs_no_attempt() {
    let (service, remarks, bench) = upload_to(Manner::NoChecksums, Checksum::Auto).await;
    assert_eq!(service.uploads(), once_each());
    assert_eq!(bench.dead().await, []);
    assert!(service.refused.load(Ordering::SeqCst) >= 1, "nothing was refused");
    assert!(remarks.iter().any(|remark| remark.contains("takes no checksums")), "{remarks:?}");
    let (service, remarks, _) = upload_to(Manner::NoChecksums, Checksum::Off).await;
    assert_eq!((service.refused.load(Ordering::SeqCst), remarks), (0, Vec::new()), "off sends none");
}

/// Works with: stores | S3 keys that may write and not read (403 to HEAD), files that go as one request | each is sent once, what the service answers to it is the proof; health says so
#[tokio::test]
async fn a_key_that_may_only_write_sends_each_file_once() {
    let (service, remarks, bench) = upload_to(Manner::WriteOnly, Checksum::Auto).await;
    assert_eq!(service.uploads(), once_each());
    assert_eq!(bench.dead().await, []);
    assert!(remarks.iter().any(|remark| remark.contains("may not read there")), "{remarks:?}");
    assert_eq!(bench.health.outlets()[0].online, Some(true));
}

/// Works with: stores | S3 that states no ETag, files that go as one request | each is sent once and compared by its size
#[tokio::test]
async fn an_answer_without_an_etag_is_an_answer() {
    let (service, _, bench) = upload_to(Manner::NoEtags, Checksum::Auto).await;
    assert_eq!(service.uploads(), once_each());
    assert_eq!(bench.dead().await, []);
}

#[tokio::test]
async fn what_is_refused_without_a_checksum_too_is_given_up_and_holds_back_no_other_file() {
    let (service, _, bench) = upload_to(Manner::NoClips, Checksum::Auto).await;
    let dead: Vec<String> = bench.dead().await.into_iter().map(|(file, ..)| file).collect();
    assert_eq!(dead, ["clip.mp4"]);
    let arrived: Vec<String> = service.uploads().into_iter().map(|(file, _)| file).collect();
    assert_eq!(arrived, ["event.json", "snapshot.jpg"]);
}
