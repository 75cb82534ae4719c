use std::sync::PoisonError;

use super::password::read_password;
use super::sessions::{GROUPS, group_of};
use super::*;
use crate::clock::SystemClock;
use crate::source::Role;

async fn refused(config: Config) -> SourceError {
    let clock = Arc::new(SystemClock::new());
    crate::source::connect(&config, Role::Main, clock).await.err().expect("must not connect")
}

fn at(port: u16) -> Config {
    Config { url: format!("rtsp://127.0.0.1:{port}/x"), ..Config::default() }
}

/// Answers one request with `answer` and closes; returns the port.
async fn camera_that_says(answer: &'static str) -> u16 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = listener.local_addr().expect("address").port();
    tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.expect("accept");
        let mut request = [0; 1024];
        let _ = connection.read(&mut request).await;
        let _ = connection.write_all(answer.as_bytes()).await;
    });
    port
}

#[tokio::test]
async fn a_closed_port_is_unreachable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = listener.local_addr().expect("address").port();
    drop(listener);
    let error = refused(at(port)).await;
    assert!(matches!(&error, SourceError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("cannot be reached: connection refused; check power"), "{error}");
}

#[tokio::test]
async fn answers_of_a_camera_are_told_apart() {
    let cases = [
        ("RTSP/1.0 401 Unauthorized\r\nCSeq: 1\r\nWWW-Authenticate: Basic realm=\"x\"\r\n\r\n", "refuses access"),
        ("RTSP/1.0 403 Forbidden\r\nCSeq: 1\r\n\r\n", "refuses access"),
        ("RTSP/1.0 404 Not Found\r\nCSeq: 1\r\n\r\n", "not found"),
        ("RTSP/1.0 453 Not Enough Bandwidth\r\nCSeq: 1\r\n\r\n", "is busy"),
        ("RTSP/1.0 500 Internal Server Error\r\nCSeq: 1\r\n\r\n", "misbehaves"),
        ("HTTP/1.1 400 Bad Request\r\n\r\n", "misbehaves"),
        ("", "misbehaves"),
    ];
    for (answer, expected) in cases {
        let error = refused(at(camera_that_says(answer).await)).await.to_string();
        assert!(error.contains(expected) && !error.contains('\n'), "{answer:?}: {error}");
    }
}

#[tokio::test]
async fn a_password_file_that_is_missing_or_wrong_is_named() {
    let dir = tempfile::tempdir().expect("tempdir");
    let with = |text: Option<&str>| {
        let path = dir.path().join("password");
        if let Some(text) = text {
            std::fs::write(&path, text).expect("write");
        }
        Config { username: Some("root".into()), password_file: Some(path), ..at(9) }
    };
    for (text, expected) in [(None, "cannot be read"), (Some("\n"), "is empty"), (Some("a\nb\n"), "more than one")] {
        let error = refused(with(text)).await;
        assert!(matches!(&error, SourceError::Unauthorised { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert_eq!(read_password(&with(Some("s3 cret\r\n")).password_file.expect("set")).await, Ok("s3 cret".to_owned()));
}

#[test]
fn an_address_has_one_session_group_while_it_is_in_use() {
    let url = Url::parse("rtsp://group.test/a").expect("valid");
    let first = group_of(&url);
    assert!(Arc::ptr_eq(&first, &group_of(&url)));
    drop(first);
    group_of(&Url::parse("rtsp://group.test/b").expect("valid"));
    let groups = GROUPS.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(!groups.contains_key(&url), "a dead group is forgotten");
}
