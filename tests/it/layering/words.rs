//! Names and texts use the terms that engineers search for: words that the project has given up stay away.

use std::path::{Path, PathBuf};

use crate::harness::repository;

/// Retired words, with what is said instead.
const RETIRED: [(&str, &str); 35] = [
    ("anew", "again"),
    ("anybody", "name the component"),
    ("chores", "background jobs"),
    ("complaint", "diagnostic, error"),
    ("complaints", "diagnostics, errors"),
    ("court", "command parser"),
    ("desk", "context"),
    ("doorman", "limited listener"),
    ("era", "volume session"),
    ("eras", "volume sessions"),
    ("everybody", "name the component"),
    ("heart", "heartbeat"),
    ("hearts", "heartbeats"),
    ("house", "device"),
    ("hurry", "priority"),
    ("news", "updates, new records"),
    ("nobody", "name the component"),
    ("obey", "execute"),
    ("obeyed", "executed"),
    ("obeys", "executes"),
    ("retell", "migrate"),
    ("retold", "migrated"),
    ("seat", "owned state, permit"),
    ("seats", "connections, permits"),
    ("shelf", "folder"),
    ("somebody", "name the component"),
    ("studio", "cache"),
    ("tell", "publish, report, export"),
    ("telling", "publishing, reporting, exporting"),
    ("tellings", "publications"),
    ("tells", "publishes, reports, exports"),
    ("told", "published, reported, exported"),
    ("untold", "pending"),
    ("whoever", "name the component"),
    ("whom", "name the component"),
];

/// Files with text of ours, by the ends of their names.
const TEXTS: [&str; 9] = ["rs", "md", "toml", "js", "html", "py", "sh", "service", "Makefile"];
const PLACES: [&str; 11] = [
    "src",
    "tests",
    "docs",
    "config",
    "packaging",
    "systemd",
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Makefile",
    "models",
];

/// The words of a text, in small letters: `HeartDeadline` and `heart_deadline` are two words each.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut last_was_small) = (vec![String::new()], false);
    for letter in line.chars() {
        if !letter.is_alphabetic() || letter.is_uppercase() && last_was_small {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut()
            && letter.is_alphabetic()
        {
            word.extend(letter.to_lowercase());
        }
        last_was_small = letter.is_lowercase();
    }
    words
}

fn retired(line: &str) -> Option<(&'static str, &'static str)> {
    let words = words(line);
    RETIRED.into_iter().find(|(retired, _)| words.iter().any(|word| word == retired))
}

fn texts(place: &Path, found: &mut Vec<PathBuf>) {
    if place.is_dir() {
        for entry in std::fs::read_dir(place).expect("list").map(|entry| entry.expect("entry").path()) {
            texts(&entry, found);
        }
    } else if TEXTS.iter().any(|end| place.to_string_lossy().ends_with(end)) {
        found.push(place.to_owned());
    }
}

#[test]
fn retired_words_stay_away() {
    let mut files = Vec::new();
    PLACES.iter().for_each(|place| texts(&repository().join(place), &mut files));
    assert!(files.len() > 300, "{} files", files.len());
    let mut wrong = Vec::new();
    // This list itself.
    for file in files.iter().filter(|file| !file.ends_with("layering/words.rs")) {
        let Ok(text) = std::fs::read_to_string(file) else { continue };
        for (number, line) in text.lines().enumerate() {
            if let Some((word, better)) = retired(line) {
                wrong.push(format!("{}:{}: \"{word}\" (write: {better})", file.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{} retired words:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_word_is_found_in_names_and_texts_and_not_within_others() {
    for line in ["struct Era;", "fn is_told()", "ToldOnce", "TELLINGS", "// who told it"] {
        assert!(retired(line).is_some(), "{line}");
    }
    for line in ["camera", "several", "courteous", "storytelling", "household"] {
        assert_eq!(retired(line), None, "{line}");
    }
}
