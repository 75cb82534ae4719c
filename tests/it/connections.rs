//! How the page is reached: crowds, slow clients, TLS and HTTP/2, the local socket, sockets that systemd opens.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use crate::harness::config::Config;
use crate::harness::daemon::{Daemon, PROGRAM, STOP, outpost};
use crate::harness::process::{Process, run};
use crate::harness::tls::Certificate;
use crate::harness::{Scratch, fixture, http, port, seconds, wait_for, wait_until};

/// A box with one camera that is recorded all the time, and nothing to detect.
fn recorded(scratch: &Scratch) -> Config<'_> {
    let mut config = Config::new(scratch);
    config.add(&format!("[camera.gate.source]\nurl = \"replay:{}\"\nrepeat = true", fixture("people.mp4").display()));
    config.add("[camera.gate.detect]\nenabled = false\n[camera.gate.record]\nmode = \"continuous\"\nsegment = \"5s\"");
    config
}

/// The daemon with another page than that of the harness, once it is open.
fn start(scratch: &Scratch, config: Config<'_>) -> (Process, PathBuf, u16) {
    let (config, port) = config.write();
    let run = ["run".as_ref(), "--config".as_ref(), config.as_os_str()];
    let mut daemon = Process::start("outpost", PROGRAM, &run, scratch.path("outpost.log"));
    daemon.wait_ready(seconds(60), |log| log.contains("the page is open") && log.contains("running"));
    (daemon, config, port)
}

/// Replaces `from` in a configuration.
fn edit(config: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(config).expect("read");
    assert!(text.contains(from), "{from} in {text}");
    std::fs::write(config, text.replacen(from, to, 1)).expect("write");
}

/// What curl prints; with its exit code where it fails.
fn curl(arguments: &[&str]) -> String {
    let output = Command::new("curl").args(["--silent", "--show-error", "--max-time", "60"]).args(arguments).output();
    said(&output.expect("run curl"))
}

fn said(output: &Output) -> String {
    let text = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat();
    if output.status.success() { text } else { format!("{}: {text}", output.status) }
}

fn status_by_command(config: &Path) -> String {
    said(&outpost(&["status", "--config", &config.display().to_string()]))
}

/// A person who sends `bytes`, and nothing more.
fn guest(port: u16, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    // One that gave way already takes no more.
    let _ = stream.write_all(bytes);
    stream
}

#[test]
fn hundreds_of_viewers_and_of_idle_and_slow_connections_keep_no_one_out_and_recording_does_not_notice() {
    let scratch = Scratch::new("crowd");
    let mut daemon = Daemon::start(&scratch, recorded(&scratch));
    let port =
        daemon.page().trim_end_matches('/').rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let config = scratch.path("outpost.toml");
    let segments = || {
        let files = std::fs::read_dir(scratch.path("box/recordings/gate")).into_iter().flatten().flatten();
        files.filter(|file| file.path().extension().is_some_and(|extension| extension == "json")).count()
    };
    wait_until("a segment", seconds(60), || segments() >= 1);
    let viewers: Vec<_> = (0..200).map(|_| daemon.live("gate", "")).collect();
    let refusals: Vec<&String> = viewers.iter().filter_map(|viewer| viewer.as_ref().err()).collect();
    assert!(!refusals.is_empty() && refusals.len() < 200, "{} of 200 were refused", refusals.len());
    for refusal in refusals {
        assert!(refusal.contains("too_many_viewers"), "{refusal}");
    }
    let mut crowd = Vec::new();
    for n in 0..500 {
        let beginnings: [&[u8]; 3] =
            [b"", b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ", b"PRI * HTTP/2.0\r\n\r\n"];
        crowd.push(guest(port, beginnings[n % 3]));
        if n % 100 == 99 {
            assert_eq!(http::get(port, "/healthz").expect("an answer").status, 200, "with {n} others");
            let status = status_by_command(&config);
            assert!(status.contains("camera gate: "), "{status}");
        }
    }
    let before = segments();
    wait_until("two more segments", seconds(60), || segments() >= before + 2);
    assert_eq!(http::get(port, "/healthz").expect("an answer").status, 200);
    // Each of them ends without anyone's doing.
    for mut stream in crowd {
        stream.set_read_timeout(Some(Duration::from_secs(300))).expect("a limit");
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest);
        assert!(!ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock), "one is still open");
    }
    let (until, since) = (jiff::Timestamp::now(), jiff::Timestamp::now() - Duration::from_secs(600));
    let timeline = daemon.json(&format!("/api/v1/cameras/gate/timeline?since={since}&until={until}"));
    let coverage = timeline["coverage"].as_array().expect("coverage");
    let states: Vec<_> = coverage.iter().filter_map(|piece| piece["state"].as_str()).collect();
    assert!(states.iter().filter(|state| **state == "recorded").count() == 1, "a gap: {coverage:?}");
    assert!(daemon.terminate().success());
}

#[test]
fn the_boxs_own_certificate_is_the_one_in_the_log_and_http2_is_spoken() {
    let scratch = Scratch::new("self-signed");
    let mut config = recorded(&scratch);
    config.add("[web.tls]\nenabled = true");
    let (mut daemon, config, port) = start(&scratch, config);
    let file = scratch.path("box/web/self-signed.pem");
    assert_eq!(std::fs::metadata(&file).expect("a certificate").permissions().mode() & 0o777, 0o600);
    let (file, url) = (file.display().to_string(), |host: &str, path: &str| format!("https://{host}:{port}{path}"));
    let version = ["--write-out", "%{http_version} %{http_code}", "--output", "/dev/null"];
    let ask = |more: &[&str]| curl(&[&version[..], more].concat());
    assert_eq!(ask(&["--http2", "--cacert", &file, &url("localhost", "/healthz")]), "2 200");
    assert_eq!(ask(&["--http1.1", "--cacert", &file, &url("127.0.0.1", "/")]), "1.1 200");
    assert_eq!(ask(&["--http2", "-k", "--header", "Host: evil.example", &url("localhost", "/healthz")]), "2 421");
    // A command by HTTP/2, which has its host in another place.
    let (origin, reload) = (format!("origin: https://localhost:{port}"), url("localhost", "/api/v1/config/reload"));
    let json = ["--header", "content-type: application/json", "--header", &origin, "--data", "{}"];
    let post = [&json[..], &["--http2", "-k", &reload]].concat();
    assert_eq!(ask(&post), "2 200");
    let plain = |path: &str| format!("http://127.0.0.1:{port}{path}");
    let led =
        curl(&["--output", "/dev/null", "--write-out", "%{http_code} %{redirect_url}", &plain("/events?label=car")]);
    assert_eq!(led, format!("307 https://127.0.0.1:{port}/events?label=car"), "a browser is led to HTTPS");
    let refused = curl(&["--header", "Authorization: Bearer x", &plain("/api/v1/status")]);
    assert!(refused.contains("https_needed") && refused.contains(&url("127.0.0.1", "/api/v1/status")), "{refused}");
    let foreign = curl(&["--header", "Host: evil.example", &plain("/")]);
    assert!(!foreign.contains("https://evil.example"), "{foreign}");
    let shown = run(Command::new("openssl").args(["x509", "-noout", "-fingerprint", "-sha256", "-in", &file]));
    let (_, fingerprint) = shown.trim().split_once('=').expect("a fingerprint");
    assert!(daemon.log().contains(fingerprint), "{fingerprint}");
    assert!(status_by_command(&config).contains(fingerprint), "{fingerprint}");
    // Commands ask by the socket, and by HTTPS where there is none.
    assert!(status_by_command(&config).contains("camera gate: "));
    std::fs::remove_file(scratch.path("box/api.sock")).expect("remove the socket");
    assert!(status_by_command(&config).contains("camera gate: "));
    assert!(daemon.terminate(STOP).success());
}

/// The fingerprint of the certificate that is served on `port`.
fn served(port: u16) -> String {
    let shell = format!(
        "openssl s_client -connect 127.0.0.1:{port} </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha256"
    );
    run(Command::new("sh").args(["-c", &shell])).trim().to_owned()
}

#[test]
fn a_certificate_that_changes_is_used_and_a_broken_one_is_not() {
    let scratch = Scratch::new("certificate");
    scratch.expect_log(&["the page's new certificate cannot be used, the one before goes on"]);
    let other = Scratch::new("next-certificate");
    let (first, second) = (Certificate::make(&scratch), Certificate::make(&other));
    let mut config = recorded(&scratch);
    config.add(&format!(
        "[web.tls]\ncertificate = \"{}\"\nkey = \"{}\"",
        first.certificate.display(),
        first.key.display()
    ));
    let (mut daemon, _, port) = start(&scratch, config);
    let authority = first.authority.display().to_string();
    assert_eq!(curl(&["--cacert", &authority, &format!("https://localhost:{port}/healthz")]), "ok\n");
    let before = served(port);
    std::fs::write(&first.certificate, "-----BEGIN CERTIFICATE-----\ntorn").expect("write");
    daemon.wait_ready(seconds(60), |log| log.contains("the page's new certificate cannot be used"));
    assert_eq!(served(port), before);
    std::fs::copy(&second.certificate, &first.certificate).expect("write");
    std::fs::copy(&second.key, &first.key).expect("write");
    wait_until("the new certificate", seconds(60), || served(port) != before);
    let authority = second.authority.display().to_string();
    assert_eq!(curl(&["--cacert", &authority, &format!("https://localhost:{port}/healthz")]), "ok\n");
    assert!(daemon.terminate(STOP).success());
}

/// What curl says as a user of number 65534 in `groups`, by a socket.
fn as_a_stranger(socket: &Path, groups: &str) -> String {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", groups, "curl", "--silent", "--show-error", "--unix-socket"]);
    said(&command.arg(socket).arg("http://localhost/healthz").output().expect("run setpriv"))
}

#[test]
fn the_local_socket_is_for_root_and_the_daemons_group_and_survives_a_crash() {
    let scratch = Scratch::new("socket");
    // Where every user gets, as to /run/outpost.
    let folder = tempfile::tempdir().expect("tempdir");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("open the folder");
    let socket = folder.path().join("api.sock");
    let (path, _) = recorded(&scratch).write();
    edit(&path, "[web]\n", &format!("[web]\nsocket = \"{}\"\n", socket.display()));
    let run = ["run".as_ref(), "--config".as_ref(), path.as_os_str()];
    let mut daemon = Process::start("outpost", PROGRAM, &run, scratch.path("outpost.log"));
    daemon.wait_ready(seconds(60), |_| socket.exists());
    assert!(as_a_stranger(&socket, "--clear-groups").starts_with("exit status"), "a stranger is served");
    assert_eq!(as_a_stranger(&socket, "--groups=0"), "ok\n");
    daemon.wait_ready(seconds(60), |log| log.contains("running"));
    assert!(status_by_command(&path).contains("camera gate: "));
    daemon.kill();
    assert!(socket.exists());
    let mut daemon = Process::start("outpost", PROGRAM, &run, scratch.path("outpost.log"));
    wait_until("an answer by the socket again", seconds(60), || as_a_stranger(&socket, "--groups=0") == "ok\n");
    assert!(daemon.terminate(STOP).success());
    assert!(!socket.exists());
}

#[test]
fn without_the_right_to_the_socket_the_command_names_what_is_missing() {
    let scratch = Scratch::new("no-right");
    let socket = scratch.path("api.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("bind");
    std::os::unix::fs::chown(&socket, Some(65534), Some(65534)).expect("give it away");
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o660)).expect("close it");
    let (path, _) = recorded(&scratch).write();
    edit(&path, "[web]\n", &format!("[web]\nsocket = \"{}\"\n", socket.display()));
    let mut command = Command::new("setpriv");
    // Root as others are: what belongs to another user is closed to it.
    command.args(["--bounding-set=-dac_override,-dac_read_search", PROGRAM, "status", "--config"]).arg(&path);
    let said = said(&command.output().expect("run setpriv"));
    let expected =
        format!("{}: permission denied: run this as root, or as a member of group outpost", socket.display());
    assert!(said.contains(&expected), "{said}");
}

#[test]
fn sockets_that_systemd_opened_are_taken_over_and_outlive_a_reload() {
    let scratch = Scratch::new("activation");
    let (opened, socket) = (port::free(), scratch.path("opened.sock"));
    let (config, configured) = recorded(&scratch).write();
    let listen = [format!("127.0.0.1:{opened}"), socket.display().to_string()];
    let path = config.display().to_string();
    let arguments = ["-l", &listen[0], "-l", &listen[1], PROGRAM, "run", "--config", &path];
    let mut daemon = Process::start("outpost", "systemd-socket-activate", &arguments, scratch.path("outpost.log"));
    // The first to ask starts it.
    daemon.wait_ready(seconds(60), |_| http::get(opened, "/readyz").is_ok_and(|answer| answer.status == 200));
    assert!(TcpStream::connect(("127.0.0.1", configured)).is_err(), "web.listen is opened as well");
    let by_socket = || curl(&["--unix-socket", &listen[1], "http://localhost/healthz"]);
    assert_eq!(by_socket(), "ok\n");
    edit(&config, "[web]\n", "[web]\nnames = [\"cams.farm.example\"]\n");
    let reload = http::post(opened, "/api/v1/config/reload", &serde_json::json!({})).expect("an answer");
    assert_eq!(reload.status, 200, "{}", String::from_utf8_lossy(&reload.body));
    let url = format!("http://127.0.0.1:{opened}/healthz");
    wait_for("the new name", seconds(60), || {
        let answer = curl(&["--header", "Host: cams.farm.example", &url]);
        if answer == "ok\n" { Ok(()) } else { Err(answer) }
    });
    assert_eq!(by_socket(), "ok\n");
    assert!(daemon.terminate(STOP).success());
}

#[test]
fn a_reload_changes_names_and_tls_on_the_same_port() {
    let scratch = Scratch::new("reload-web");
    let (mut daemon, config, port) = start(&scratch, recorded(&scratch));
    let reload = |from: &str, to: &str| {
        edit(&config, from, to);
        let said = said(&outpost(&["reload", "--config", &config.display().to_string()]));
        assert!(said.contains("in use: web"), "{said}");
    };
    let named = |scheme: &str| {
        curl(&["-k", "--header", "Host: cams.farm.example", &format!("{scheme}://127.0.0.1:{port}/healthz")])
    };
    assert!(named("http").contains("wrong_host"));
    reload("[web]\n", "[web]\nnames = [\"cams.farm.example\"]\n");
    wait_until("the new name", seconds(60), || named("http") == "ok\n");
    reload("[archive]", "[web.tls]\nenabled = true\n[archive]");
    wait_until("TLS", seconds(60), || named("https") == "ok\n");
    assert!(status_by_command(&config).contains("camera gate: "));
    // A file that is not there is refused before anything changes.
    edit(&config, "enabled = true\n", "certificate = \"/nowhere.pem\"\nkey = \"/nowhere.key\"\n");
    scratch.expect_log(&["the configuration cannot be used, the one before goes on"]);
    let said = said(&outpost(&["reload", "--config", &config.display().to_string()]));
    assert!(said.contains("web.tls.certificate") && said.contains("read /nowhere.pem"), "{said}");
    assert_eq!(named("https"), "ok\n");
    assert!(daemon.terminate(STOP).success());
}
