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
    /// It encrypts with a key of its own, so that its ETags are of other bytes.
    Encrypts,
    /// It does not know questions about objects.
    NoHead,
    /// It answers 400 to HEAD and GET, and no reason.
    NoAnswers,
    /// Its session token expires with the first file, until it is renewed: 400, whose reason stands in the body, which
    /// an answer to HEAD has not.
    Expires,
    /// It completes the first upload in parts and hangs up before it says so.
    LosesAnswer,
    /// It refuses the first uploads, each for another reason that lies with no file.
    Busy,
}

/// Larger than what is sent as one request.
const LARGE: usize = (5 << 20) + 1000;

/// An object store over HTTP that keeps what it is given, and counts the uploads of each key.
#[derive(Debug)]
struct Service {
    manner: Manner,
    objects: Mutex<BTreeMap<String, (u32, Vec<u8>)>>,
    /// Parts of uploads that are not complete, by key and number.
    parts: Mutex<BTreeMap<String, BTreeMap<u32, Vec<u8>>>>,
    /// Parts that came.
    sent: AtomicU32,
    /// Objects that came with nothing to compare them with.
    unproven: AtomicU32,
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
    head.lines().find_map(|limiter| limiter.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

fn said(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

impl Service {
    async fn start(manner: Manner) -> (Arc<Self>, String) {
        let service = Arc::new(Self {
            manner,
            objects: Mutex::default(),
            parts: Mutex::default(),
            sent: AtomicU32::new(0),
            unproven: AtomicU32::new(0),
            refused: AtomicU32::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let served = service.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let service = served.clone();
                tokio::spawn(async move {
                    while let Some((head, body)) = request(&mut stream).await {
                        let answer = service.answer(&head, body);
                        // No answer where none is to be received.
                        if answer.is_empty() || stream.write_all(answer.as_bytes()).await.is_err() {
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
        if let Some((key, query)) = path.split_once('?') {
            return self.answer_in_parts(method, key, query, body);
        }
        if self.manner == Manner::Busy && method == "put" {
            let reasons = ["405 Method Not Allowed", "423 Locked", "507 Insufficient Storage"];
            let turn = self.refused.fetch_add(1, Ordering::SeqCst) as usize;
            // More often than any file would be tried.
            if let Some(status) = reasons.iter().cycle().take(60).nth(turn) {
                return said(status, "Content-Type: text/html\r\n", "<html><title>Not now</title></html>");
            }
        }
        let mut objects = self.objects.lock();
        if self.manner == Manner::Expires && self.refused.load(Ordering::SeqCst) == 0 && !objects.is_empty() {
            let body = "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>";
            return said("400 Bad Request", "", if method == "head" { "" } else { body });
        }
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
                if header(head, "content-md5").or(header(head, "x-amz-checksum-sha256")).is_none() {
                    self.unproven.fetch_add(1, Ordering::SeqCst);
                }
                let (count, kept) = objects.entry(path).or_default();
                (*count, *kept) = (*count + 1, body);
                said("200 OK", self.etag(), "")
            }
            "head" | "get" if self.manner == Manner::NoAnswers => said("400 Bad Request", "", ""),
            "head" if self.manner == Manner::NoHead => said("405 Method Not Allowed", "", ""),
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

    fn etag(&self) -> &'static str {
        match self.manner {
            Manner::NoEtags => "",
            Manner::Encrypts => {
                "ETag: \"0123456789abcdef0123456789abcdef\"\r\nx-amz-server-side-encryption: aws:kms\r\n"
            }
            _ => "ETag: \"of-its-own\"\r\n",
        }
    }

    /// The requests of an upload in parts.
    fn answer_in_parts(&self, method: &str, key: &str, query: &str, body: Vec<u8>) -> String {
        let mut parts = self.parts.lock();
        let number = query.split('&').find_map(|pair| pair.strip_prefix("partnumber=")?.parse().ok());
        match (method, number) {
            ("post", _) if query.starts_with("uploads") => {
                parts.insert(key.to_owned(), BTreeMap::new());
                let id = "<InitiateMultipartUploadResult><UploadId>one</UploadId></InitiateMultipartUploadResult>";
                said("200 OK", "", id)
            }
            ("put", Some(number)) => {
                self.sent.fetch_add(1, Ordering::SeqCst);
                parts.get_mut(key).expect("begun").insert(number, body);
                said("200 OK", self.etag(), "")
            }
            ("post", _) => {
                let Some(parts) = parts.remove(key) else {
                    return said("404 Not Found", "", "<Error><Code>NoSuchUpload</Code></Error>");
                };
                let mut objects = self.objects.lock();
                let (count, kept) = objects.entry(key.to_owned()).or_default();
                (*count, *kept) = (*count + 1, parts.into_values().flatten().collect());
                let etag = if self.manner == Manner::NoEtags { "" } else { "<ETag>\"of-its-own-2\"</ETag>" };
                let result = format!("<CompleteMultipartUploadResult>{etag}</CompleteMultipartUploadResult>");
                if self.manner == Manner::LosesAnswer { String::new() } else { said("200 OK", "", &result) }
            }
            ("delete", _) => {
                parts.remove(key);
                said("204 No Content", "", "")
            }
            _ => said("405 Method Not Allowed", "", ""),
        }
    }

    /// How often each object was uploaded, by the end of its key.
    fn uploads(&self) -> Vec<(String, u32)> {
        let objects = self.objects.lock();
        let last = |key: &String| key.rsplit('/').next().unwrap_or_default().to_owned();
        objects.iter().map(|(key, (count, _))| (last(key), *count)).collect()
    }
}

/// Uploads three files to a service. Gives it, what was remarked, and the bench.
async fn upload_to(manner: Manner, checksum: Checksum) -> (Arc<Service>, Vec<String>, Bench) {
    let (service, endpoint) = Service::start(manner).await;
    let bench = Bench::new();
    for file in ["event.json", "snapshot.jpg", "clip.mp4"] {
        bench.add(file, file.as_bytes()).await;
    }
    let config = s3(&bench, endpoint, checksum);
    let remarks = upload_with(&bench, config).await;
    (service, remarks, bench)
}

/// Uploads a clip that goes in parts. Gives the service, what was remarked and how often the clip came.
async fn upload_large_to(manner: Manner) -> (Arc<Service>, Vec<String>) {
    let (service, endpoint) = Service::start(manner).await;
    let bench = Bench::new();
    let content: Vec<u8> = (0..LARGE).map(|n| (n / 7) as u8).collect();
    bench.add("clip.mp4", &content).await;
    let config = s3(&bench, endpoint, Checksum::Auto);
    let remarks = upload_with(&bench, config).await;
    assert_eq!(bench.dead().await, []);
    let kept: Vec<Vec<u8>> = service.objects.lock().values().map(|(_, kept)| kept.clone()).collect();
    assert!(kept == [content], "another clip arrived");
    (service, remarks)
}

fn s3(bench: &Bench, endpoint: String, checksum: Checksum) -> Config {
    let secret = bench.dir.path().join("secret");
    fs::write(&secret, "secret").expect("write");
    Config {
        url: "s3://bucket".to_owned(),
        endpoint: Some(endpoint),
        allow_http: true,
        access_key_id: Some("key".to_owned()),
        secret_access_key_file: Some(secret),
        checksum,
        ..Config::default()
    }
}

/// Uploads what is queued. Gives what was remarked.
async fn upload_with(bench: &Bench, config: Config) -> Vec<String> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut uploader = bench.uploader_with(config);
    uploader.link = Link::hasty;
    let running = Running::start(uploader);
    bench.until_drained().await;
    running.stop().await;
    bench.health.outlets()[0].remarks.clone()
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
    assert_eq!(service.unproven.load(Ordering::SeqCst), 0, "an MD5 goes instead");
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

/// Works with: stores | S3 keys that may write and not read, files in parts | each is sent once; health says that nothing is compared
#[tokio::test]
async fn a_large_clip_is_sent_once_with_a_key_that_may_only_write() {
    let (service, remarks) = upload_large_to(Manner::WriteOnly).await;
    assert_eq!((service.sent.load(Ordering::SeqCst), service.uploads()), (2, vec![("clip.mp4".to_owned(), 1)]));
    assert!(remarks.iter().any(|remark| remark.contains("may not read there")), "{remarks:?}");
}

/// Works with: stores | S3 that encrypts with keys of its own (SSE-KMS) | its ETags are not taken for checksums
#[tokio::test]
async fn a_large_clip_is_sent_once_to_a_service_that_encrypts() {
    let (service, remarks) = upload_large_to(Manner::Encrypts).await;
    assert_eq!((service.sent.load(Ordering::SeqCst), remarks), (2, Vec::new()));
    let (service, _, bench) = upload_to(Manner::Encrypts, Checksum::Auto).await;
    assert_eq!((service.uploads(), bench.dead().await), (once_each(), Vec::new()));
}

/// Works with: stores | S3 that states no ETag, files in parts | parts are listed by their MD5, the file is compared by its size
#[tokio::test]
async fn a_large_clip_is_sent_once_to_a_service_without_etags() {
    let (service, _) = upload_large_to(Manner::NoEtags).await;
    assert_eq!(service.sent.load(Ordering::SeqCst), 2);
}

/// Works with: stores | links that break when an upload in parts is complete but not acknowledged | the file is asked for before it would be sent again
#[tokio::test]
async fn a_large_clip_whose_completion_was_not_heard_is_not_sent_again() {
    let (service, _) = upload_large_to(Manner::LosesAnswer).await;
    assert_eq!((service.sent.load(Ordering::SeqCst), service.uploads()), (2, vec![("clip.mp4".to_owned(), 1)]));
}

/// Works with: stores | services that do not answer to HEAD (400, 405, 501) | each file is sent once; health says that nothing is compared
#[tokio::test]
async fn a_service_that_cannot_be_asked_gets_every_file_once() {
    let (service, remarks, bench) = upload_to(Manner::NoHead, Checksum::Auto).await;
    assert_eq!((service.uploads(), bench.dead().await), (once_each(), Vec::new()));
    assert!(remarks.iter().any(|remark| remark.contains("HEAD")), "{remarks:?}");
    let (service, remarks, bench) = upload_to(Manner::NoAnswers, Checksum::Auto).await;
    assert_eq!((service.uploads(), bench.dead().await), (once_each(), Vec::new()));
    assert!(remarks.iter().any(|remark| remark.contains("HTTP 400") && remark.contains("clock")), "{remarks:?}");
}

/// Works with: stores | S3 session tokens that expire during an upload (HTTP 400 to HEAD, without a reason) | the destination counts as one that refuses, the reason is asked for and shown, and files wait until the token is renewed
#[tokio::test]
async fn a_token_that_expires_before_a_file_is_verified_is_named_and_costs_no_file() {
    let (service, endpoint) = Service::start(Manner::Expires).await;
    let bench = Bench::new();
    for file in ["event.json", "snapshot.jpg", "clip.mp4"] {
        bench.add(file, file.as_bytes()).await;
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut uploader = bench.uploader_with(s3(&bench, endpoint, Checksum::Auto));
    uploader.link = Link::hasty;
    let running = Running::start(uploader);
    let problem = || bench.health.outlets().first().and_then(|outlet| outlet.last_error.clone()).unwrap_or_default();
    while !problem().contains("ExpiredToken") {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert!(problem().contains("session token is no longer valid, renew it"), "{}", problem());
    // The token is renewed.
    service.refused.store(1, Ordering::SeqCst);
    bench.until_drained().await;
    running.stop().await;
    assert_eq!(bench.dead().await, []);
    let arrived: Vec<String> = service.uploads().into_iter().map(|(file, _)| file).collect();
    assert_eq!(arrived, ["clip.mp4", "event.json", "snapshot.jpg"]);
    assert_eq!(bench.health.outlets()[0].remarks, Vec::<String>::new());
}

/// Works with: stores | WebDAV servers that are locked, full, or lost a race for a folder for a while | every file arrives, none loses an attempt
#[tokio::test]
async fn a_web_server_that_refuses_for_a_while_gets_every_file() {
    let (service, endpoint) = Service::start(Manner::Busy).await;
    let bench = Bench::new();
    for file in ["event.json", "snapshot.jpg", "clip.mp4"] {
        bench.add(file, file.as_bytes()).await;
    }
    upload_with(&bench, Config { url: endpoint, allow_http: true, ..Config::default() }).await;
    assert!(service.refused.load(Ordering::SeqCst) > 60, "it was asked too seldom");
    assert_eq!((service.uploads(), bench.dead().await), (once_each(), Vec::new()));
}
