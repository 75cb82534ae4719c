//! What a name decides is decided by a type: the written forms of destinations, and the names of files, are taken apart
//! in one place each.

use super::{module_path, rust_files};
use crate::harness::repository;

/// Texts that one module alone may hold, with that module and what says the same elsewhere.
const TEXTS: [(&str, &str, &str); 6] = [
    ("\"upload/", "destination", "Destination::upload"),
    ("\"webhook/", "destination", "Destination::webhook"),
    ("\"event.json\"", "asset", "asset::SIDECAR"),
    ("\"thumb.jpg\"", "asset", "asset::THUMBNAIL"),
    ("ends_with(\".", "asset", "MediaKind"),
    ("starts_with(\"clip", "asset", "MediaKind"),
];

/// The part of a file that is compiled into the product: what comes before its tests, without comments.
fn product(file: &str, text: &str) -> String {
    let is_test = |part: &&str| matches!(*part, "tests" | "fixture" | "bench" | "hanging");
    if module_path(file).iter().any(is_test) {
        return String::new();
    }
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn wrong_texts(file: &str, text: &str) -> Vec<String> {
    let text = product(file, text);
    let mut wrong = Vec::new();
    for (forbidden, home, instead) in TEXTS {
        // A quote within a text is escaped: an example for a user.
        let found = text.match_indices(forbidden).any(|(at, _)| !text[..at].ends_with('\\'));
        if found && module_path(file).first() != Some(&home) {
            wrong.push(format!("{file}: {forbidden} belongs to {home}; use {instead}"));
        }
    }
    wrong
}

#[test]
fn destinations_and_kinds_of_files_are_types() {
    let files = rust_files(&repository().join("src"));
    let wrong: Vec<String> = files.iter().flat_map(|(file, text)| wrong_texts(file, text)).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn texts_that_decide_are_seen() {
    let wrong = [
        ("store/commit.rs", "if name.starts_with(\"upload/\") {}"),
        ("app/mod.rs", "let name = format!(\"webhook/{name}\");"),
        ("store/place.rs", "file.ends_with(\".jpg\")"),
        ("web/api.rs", "if file != \"event.json\" {}"),
    ];
    for (file, text) in wrong {
        assert_eq!(wrong_texts(file, text).len(), 1, "{file}: {text}");
    }
    let fine = [
        ("destination.rs", "const UPLOAD: &str = \"upload/\";"),
        ("asset.rs", "pub const SIDECAR: &str = \"event.json\";"),
        ("web/queue.rs", "let example = \"{\\\"outlet\\\": \\\"upload/cloud\\\"}\";"),
        (
            "web/queue.rs",
            "/// Such as \"upload/cloud\".\n#[cfg(test)]\nmod tests {\n    const NAME: &str = \"upload/a\"; }",
        ),
        ("store/tests/mod.rs", "const NAME: &str = \"upload/a\";"),
    ];
    for (file, text) in fine {
        assert_eq!(wrong_texts(file, text), Vec::<String>::new(), "{file}: {text}");
    }
}
