//! What the daemon may log: a scenario fails on every ERROR, WARN or panic that it did not announce.
//!
//! [`Scratch`](super::Scratch) asks when a test is over, for all logs of the daemon in its folder. With `OUTPOST_LOG_GATE`
//! set to the path of a file nothing fails, and unannounced lines are appended to that file, each behind the name of its
//! test: a list of what a new scenario has to announce.

use std::io::Write;
use std::path::{Path, PathBuf};

/// What any daemon may log, and why.
const HARMLESS: [(&str, &str); 3] = [
    ("the archive's volume is slow: a small write took", "its disk is busy; nothing is left out for that"),
    ("too much to do: doing less", "the machine that runs the tests is busy"),
    (
        "the disk is too slow for this camera, leaving out packets",
        "its disk is busy; tests that need every packet count them",
    ),
];
/// The levels that have to be announced; as announcements they allow every line that is no panic.
pub const LEVELS: [&str; 2] = [" ERROR ", " WARN "];

/// Folders below a scratch folder that are searched for logs: the folder itself, and one that a machine shares.
const DEPTH: usize = 1;

/// Fails the test of `folder` when a log in it has a line that neither `expected` nor [`HARMLESS`] allows, or that is
/// `forbidden`.
pub fn check(folder: &Path, expected: &[String], forbidden: &[String]) {
    let logs = logs(folder, DEPTH);
    let texts = logs.iter().map(|log| String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()).into_owned());
    let unannounced: Vec<String> = texts.flat_map(|text| unannounced(&text, expected, forbidden)).collect();
    if unannounced.is_empty() {
        return;
    }
    match std::env::var_os("OUTPOST_LOG_GATE") {
        Some(file) => collect(Path::new(&file), &unannounced),
        None => panic!("the daemon logged what this test did not announce:\n{}", unannounced.join("\n")),
    }
}

/// Files `outpost*.log` in a folder and those below it.
fn logs(folder: &Path, depth: usize) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("outpost") && name.ends_with(".log") {
            found.push(path);
        } else if depth > 0 && path.is_dir() {
            found.extend(logs(&path, depth - 1));
        }
    }
    found
}

/// Lines of `log` that nothing allows, or that are forbidden.
fn unannounced(log: &str, expected: &[String], forbidden: &[String]) -> Vec<String> {
    let harmless = HARMLESS.iter().map(|(text, _)| *text);
    let allowed: Vec<&str> = expected.iter().map(String::as_str).chain(harmless).collect();
    let is_forbidden = |line: &str| forbidden.iter().any(|text| line.contains(text.as_str()));
    let is_allowed = |line: &str| !is_forbidden(line) && allowed.iter().any(|text| line.contains(text));
    log.lines().filter(|line| is_grave(line) && !is_allowed(line)).map(str::to_owned).collect()
}

/// Whether a line is an error or a warning, or the message of a panic.
fn is_grave(line: &str) -> bool {
    // The time has 27 characters; the level stands right behind it.
    let head = line.get(..36).unwrap_or(line);
    let is_logged = head.starts_with(|first: char| first.is_ascii_digit());
    (is_logged && LEVELS.iter().any(|level| head.contains(level)))
        || (line.starts_with("thread '") && line.contains("panicked at"))
}

fn collect(file: &Path, lines: &[String]) {
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    let text: String = lines.iter().map(|line| format!("{test}\t{line}\n")).collect();
    let file = std::fs::File::options().create(true).append(true).open(file);
    file.and_then(|mut file| file.write_all(text.as_bytes())).expect("write the list of log lines");
}

#[test]
fn warnings_errors_and_panics_are_found_and_what_was_announced_is_not() {
    let log = "2026-11-28T10:00:00.000000Z  INFO started version=\"0.1.0\"\n\
               2026-11-28T10:00:01.000000Z  WARN camera{camera=gate}: connection lost error=\"timeout\"\n\
               2026-11-28T10:00:02.000000Z ERROR cannot write\n\
               2026-11-28T10:00:02.500000Z ERROR cannot read\n\
               thread 'vis-gate' (12) panicked at src/decode/mod.rs:1:1:\n\
               outpost: WARN is a word here\n";
    let found = |expected: &[&str]| {
        let expected: Vec<String> = expected.iter().map(|&text| text.to_owned()).collect();
        unannounced(log, &expected, &["cannot read".to_owned()]).len()
    };
    assert_eq!((found(&[]), found(&["connection lost"]), found(&["connection lost", "cannot", "vis-gate"])), (4, 3, 1));
}

#[test]
fn a_scenario_with_an_unannounced_warning_fails() {
    let end = |announced: &[&str]| {
        let scratch = super::Scratch::new("gate");
        std::fs::write(scratch.path("outpost.log"), "2026-11-28T10:00:01Z  WARN something\n").expect("write a log");
        scratch.expect_log(announced);
        let folder = scratch.path("");
        let passed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(scratch))).is_ok();
        let kept = folder.exists();
        let _ = std::fs::remove_dir_all(folder);
        (passed, kept)
    };
    assert_eq!((end(&["something"]), end(&["another thing"])), ((true, false), (false, true)));
}
