//! What runs has an owner, and the health board is a display: nothing is spawned beside `supervise`, and no part goes by
//! what it reads on the board.

use super::rust_files;
use super::tokens::{Token, tokens};
use crate::harness::repository;

/// Modules of the data path, from the source to what lies on the disk.
const DATA_PATH: [&str; 16] = [
    "source",
    "gate",
    "decode",
    "infer",
    "track",
    "rules",
    "store",
    "mux",
    "archive",
    "record",
    "recovery",
    "timekeeper",
    "coverage_export",
    "retention",
    "pipeline",
    "frame",
];

/// What writes to the board, and what makes or shares one.
const WRITES: [&str; 10] = [
    "camera",
    "stages",
    "change_sessions",
    "assess",
    "set_model",
    "set_no_detector",
    "set_left_out",
    "set_pace",
    "note_store",
    "clone",
];

/// Threads and tasks that are started outside of `supervise`: the beginning of the file's path, how often, and why.
const SPAWNS: [(&str, usize, &str); 10] = [
    ("source/thread.rs", 1, "the reader of one connection, joined by the source that owns it"),
    (
        "store/worker/mod.rs",
        4,
        "threads of one open index, which end with it; a hung disk is noticed by the deadlines of its calls",
    ),
    ("store/process_lock.rs", 1, "a trial of the disk with a deadline, left behind where the disk hangs"),
    ("app/", 2, "a trial of the disk with a deadline, and the end of an index whose volume is dead"),
    ("volume_session/", 2, "a trial of the disk with a deadline, and the end of an index whose volume is dead"),
    ("record/", 1, "closes what is open on a volume that may hang"),
    ("web/server/mod.rs", 2, "tasks of connections and of their requests, tracked by the server and ended with it"),
    (
        "webrtc/whep/mod.rs",
        1,
        "says to a camera that a source was dropped, with a deadline; its session ends without, too",
    ),
    ("cli/demo.rs", 1, "prints events of the demonstration, aborted at its end"),
    ("supervise/", usize::MAX, "the primitive itself, and what waits for signals as long as the process lives"),
];

/// What panics where it cannot print.
const PRINTS: [&str; 5] = ["println", "print", "eprintln", "eprint", "dbg"];

fn prints(file: &str, text: &str) -> Vec<String> {
    let tokens = tokens(product(text));
    let pairs = tokens.iter().zip(tokens.iter().skip(1));
    let found = pairs.filter(|(name, next)| PRINTS.contains(&name.text) && next.text == "!");
    found.map(|(name, _)| format!("{file}:{}: {}!", name.line, name.text)).collect()
}

#[test]
fn nothing_is_printed_that_panics_without_a_reader() {
    let files = rust_files(&repository().join("src"));
    let found: Vec<String> =
        files.iter().filter(|(file, _)| !is_test(file)).flat_map(|(file, text)| prints(file, text)).collect();
    assert!(found.is_empty(), "use cli/output.rs, or telemetry::complain:\n{}", found.join("\n"));
    assert_eq!(prints("cli/check.rs", "fn main() {\n    println!(\"good\");\n}\n"), ["cli/check.rs:2: println!"]);
    assert!(prints("cli/check.rs", "fn main() { print(\"println!\"); }").is_empty());
}

fn is_test(file: &str) -> bool {
    file.contains("tests/")
        || file.ends_with("tests.rs")
        || file.ends_with("fixture.rs")
        || file.ends_with("hanging.rs")
        || file.ends_with("fuzz.rs")
}

/// A file without its tests, which come last.
fn product(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text)
}

/// Lines at which a task or a thread is started. Blocking calls (`spawn_blocking`) belong to the task that waits for them.
fn spawns(text: &str) -> Vec<usize> {
    let tokens = tokens(product(text));
    let starts = |at: &[Token<'_>]| {
        let text: Vec<&str> = at.iter().map(|token| token.text).collect();
        matches!(text[..], ["tokio" | "task" | "thread", "::", "spawn", "(", ..] | ["spawn_thread", "(", ..])
            || matches!(text[..], [".", "spawn" | "spawn_on", "(", argument] if argument != ")")
    };
    let is_start = |i: usize| {
        let declares = i > 0 && tokens[i - 1].text == "fn";
        !declares && starts(&tokens[i..(i + 4).min(tokens.len())])
    };
    (0..tokens.len()).filter(|&i| is_start(i)).map(|i| tokens[i].line).collect()
}

/// Where a file of the data path reads the health board.
fn board_reads(file: &str, text: &str) -> Vec<String> {
    if !DATA_PATH.iter().any(|module| file.split(['/', '.']).next() == Some(module)) || is_test(file) {
        return Vec::new();
    }
    let tokens = tokens(product(text));
    let reads = tokens.windows(4).filter(|four| {
        four[0].text == "health" && four[1].text == "." && four[3].text == "(" && !WRITES.contains(&four[2].text)
    });
    reads
        .map(|four| format!("{file}:{}: reads health.{}(); pass it through a channel", four[0].line, four[2].text))
        .collect()
}

#[test]
fn nothing_is_spawned_beside_the_primitive() {
    let mut wrong = Vec::new();
    for (file, text) in rust_files(&repository().join("src")).iter().filter(|(file, _)| !is_test(file)) {
        let lines = spawns(text);
        let allowed = SPAWNS.iter().find(|(start, ..)| file.starts_with(start)).map_or(0, |(_, most, _)| *most);
        if lines.len() > allowed {
            wrong.push(format!("{file}: spawns at {lines:?}; use supervise::Supervisor, or give the reason in SPAWNS"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_data_path_does_not_go_by_the_health_board() {
    let files = rust_files(&repository().join("src"));
    let wrong: Vec<String> = files.iter().flat_map(|(file, text)| board_reads(file, text)).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn a_read_of_the_board_and_a_stray_spawn_are_seen() {
    let read = "fn f(&self) { if self.shared.health.objects(&self.camera) > 0 {} }";
    assert!(board_reads("pipeline/vision.rs", read)[0].contains("pipeline/vision.rs:1: reads health.objects()"));
    assert_eq!(board_reads("web/status.rs", read), Vec::<String>::new(), "outlets may");
    assert_eq!(board_reads("archive/tests/ledger.rs", read), Vec::<String>::new());
    let write =
        "fn f(&self) { self.shared.health.camera(&self.camera, |c| c.fps = 0.0); let h = shared.health.clone(); }";
    assert_eq!(board_reads("pipeline/feed.rs", write), Vec::<String>::new());
    for text in [
        "fn f() { tokio::spawn(g()); }",
        "fn f() { std::thread::spawn(g); }",
        "fn f() { std::thread::Builder::new().spawn(g) }",
        "fn f() { spawn_thread(name, g) }",
        "fn f() { tasks.spawn(g()) }",
    ] {
        assert_eq!(spawns(text), [1], "{text}");
    }
    for text in [
        "fn f() { tokio::task::spawn_blocking(g); }",
        "pub fn spawn_thread(name: &str) {}",
        "fn f() { Command::new(name).spawn()?; }",
        "#[cfg(test)]\nmod tests { fn f() { tokio::spawn(g()); } }",
    ] {
        assert_eq!(spawns(text), Vec::<usize>::new(), "{text}");
    }
}
