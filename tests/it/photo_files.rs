//! What the library finds in photos of every kind, beside what exiftool, Pillow and LittleCMS find; and that no file hurts
//! the process that reads them, or the daemon.

use std::process::Command;

use serde_json::Value;

use crate::harness::config::Config;
use crate::harness::daemon::Daemon;
use crate::harness::process::run;
use crate::harness::{Scratch, fixture, repository};

#[test]
fn every_file_becomes_a_photo_or_a_clear_refusal_and_says_what_exiftool_says() {
    let scratch = Scratch::new("photo-files");
    let corpus = scratch.path("corpus");
    let photos = repository().join("tests/photos");
    // Debian's own Python has Debian's Pillow.
    run(Command::new("/usr/bin/python3").arg(photos.join("corpus.py")).arg(&corpus));
    let mut judge = Command::new("/usr/bin/python3");
    judge.arg(photos.join("judge.py")).arg(env!("CARGO_BIN_EXE_outpost")).arg(&corpus);
    println!("{}", run(&mut judge));
}

#[test]
fn the_daemon_lives_on_after_files_that_are_made_to_hurt() {
    let scratch = Scratch::new("hurtful-photos");
    let daemon = Daemon::start(&scratch, Config::new(&scratch).played_once("yard", &fixture("leaves.mp4"), 4.0));
    let torn = |name: &str, content: &[u8]| {
        let path = scratch.path(name);
        std::fs::write(&path, content).expect("write");
        path
    };
    let video = std::fs::read(fixture("leaves.mp4")).expect("read");
    let heic = [&b"\0\0\0\x18ftypheic\0\0\0\0mif1heic\0\0\x40\0meta"[..], &[0xff; 300]].concat();
    let files = [
        torn("huge.png", &huge_png(50_000)),
        torn("torn.heic", &heic),
        torn("torn.mp4", &video[..video.len() / 2]),
        repository().join("tests/reference/dog.png"),
    ];
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error"]);
    for file in &files {
        curl.arg("--form").arg(format!("file=@{}", file.display()));
    }
    let text = run(curl.arg(format!("{}api/v1/photos", daemon.page())));
    let answer: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    let photos = answer["photos"].as_array().expect("outcomes");
    assert!(photos.len() == 4 && photos.iter().all(|photo| photo["outcome"] == "added"), "{answer}");
    let facts = |number: usize| {
        let id = photos[number]["id"].as_str().expect("an id");
        daemon.json(&format!("/api/v1/photos/{id}"))["facts"].clone()
    };
    let reason = |number: usize| facts(number)["unreadable"].as_str().unwrap_or_default().to_owned();
    assert!(reason(0).contains("50000x50000 pixels are more than"), "{}", reason(0));
    assert!(reason(1).contains("damaged or cut off"), "{}", reason(1));
    let dog = facts(3);
    assert!(dog["unreadable"].is_null() && dog["perceptual"].is_string() && dog["placeholder"].is_string(), "{dog}");
}

/// The beginning of a PNG of `side` by `side` pixels, which is all that is looked at.
fn huge_png(side: u32) -> Vec<u8> {
    let chunk = |kind: &[u8; 4], data: &[u8]| {
        let length = u32::try_from(data.len()).expect("short").to_be_bytes();
        let named = [&kind[..], data].concat();
        [&length[..], &named, &crc32(&named).to_be_bytes()].concat()
    };
    let header = [&side.to_be_bytes()[..], &side.to_be_bytes(), &[1, 0, 0, 0, 0]].concat();
    [b"\x89PNG\r\n\x1a\n".to_vec(), chunk(b"IHDR", &header), chunk(b"IDAT", b"\x78\x9c\x03\0\0\0\0\x01")].concat()
}

fn crc32(bytes: &[u8]) -> u32 {
    let step =
        |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)));
    !bytes.iter().fold(u32::MAX, step)
}
