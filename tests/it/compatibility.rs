//! `docs/compatibility.md` says what works with what; its tables are made from the tests that show it.
//!
//! A test says what it shows in a line of its documentation:
//!
//! ```text
//! /// Works with: <area> | <what, as a user would name it> | <what Outpost does>
//! ```
//!
//! With `OUTPOST_UPDATE_DOCS=1` the page is rewritten, without it the page must be up to date.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::repository;

const MARK: &str = "/// Works with:";
const BEGIN: &str = "<!-- generated from the tests: begin -->\n";
const END: &str = "<!-- generated from the tests: end -->\n";

/// The areas in the order of the page, with their headings.
const AREAS: [(&str, &str); 9] = [
    ("cameras", "Cameras"),
    ("clips", "Recorded video"),
    ("pictures", "Pictures and files"),
    ("page", "Logins and live video"),
    ("models", "Models"),
    ("brokers", "MQTT brokers and Home Assistant"),
    ("stores", "Cloud stores"),
    ("disks", "Disks and file systems"),
    ("system", "Clock, zone, service and configuration"),
];

/// One line of a table.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    what: String,
    how: String,
    test: String,
}

/// Rows by area that the tests of a file show. The error says what is wrong with a line.
fn rows_of(module: &str, text: &str) -> Result<Vec<(String, Row)>, String> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let mut rows = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let Some(said) = line.strip_prefix(MARK) else { continue };
        let wrong = |reason: &str| format!("{module}, line {}: {reason}: {line}", number + 1);
        let fields: Vec<&str> = said.split('|').map(str::trim).collect();
        let [area, what, how] = fields.as_slice() else { return Err(wrong("three fields are wanted")) };
        if !AREAS.iter().any(|(name, _)| name == area) || what.is_empty() || how.is_empty() {
            return Err(wrong("an area of the page and two texts are wanted"));
        }
        let below = &lines[number + 1..];
        let header: Vec<&&str> =
            below.iter().take_while(|line| line.starts_with("//") || line.starts_with("#[")).collect();
        if !header.iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test")) {
            return Err(wrong("no test follows"));
        }
        let function = below.get(header.len()).and_then(|line| line.split_once("fn ")).map(|(_, rest)| rest);
        let Some((name, _)) = function.and_then(|rest| rest.split_once('(')) else {
            return Err(wrong("no function follows"));
        };
        let row = Row { what: (*what).to_owned(), how: (*how).to_owned(), test: format!("{module}::{name}") };
        rows.push(((*area).to_owned(), row));
    }
    Ok(rows)
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("list sources").flatten() {
        let path = entry.path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The module of a source file as test runners name it.
fn module_of(file: &Path) -> String {
    let inside = file.strip_prefix(repository()).expect("inside");
    let inside = inside.strip_prefix("tests/it").or_else(|_| inside.strip_prefix("src")).unwrap_or(inside);
    let text = inside.with_extension("").display().to_string().replace('/', "::");
    text.strip_suffix("::mod").map(str::to_owned).unwrap_or(text)
}

fn tables() -> String {
    let mut files = Vec::new();
    for folder in ["src", "tests"] {
        rust_files(&repository().join(folder), &mut files);
    }
    let mut by_area: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    // This file shows the form of a line without being one.
    for file in files.iter().filter(|file| !file.ends_with("tests/it/compatibility.rs")) {
        let text = fs::read_to_string(file).expect("read a source file");
        for (area, row) in rows_of(&module_of(file), &text).unwrap_or_else(|wrong| panic!("{wrong}")) {
            by_area.entry(area).or_default().push(row);
        }
    }
    let mut out = String::new();
    for (area, heading) in AREAS {
        let Some(rows) = by_area.get_mut(area) else { continue };
        rows.sort();
        out += &format!("\n## {heading}\n\n| what | what Outpost does | shown by |\n|---|---|---|\n");
        for Row { what, how, test } in rows {
            out += &format!("| {what} | {how} | `{test}` |\n");
        }
    }
    out + "\n"
}

#[test]
fn the_page_of_what_works_with_what_is_what_the_tests_show() {
    let path = repository().join("docs/compatibility.md");
    let page = fs::read_to_string(&path).expect("the page");
    let (head, rest) = page.split_once(BEGIN).expect("where the tables begin");
    let (tables_now, tail) = rest.split_once(END).expect("where the tables end");
    let wanted = tables();
    if tables_now == wanted {
        return;
    }
    assert!(std::env::var_os("OUTPOST_UPDATE_DOCS").is_some(), "docs/compatibility.md is out of date: make docs");
    fs::write(&path, format!("{head}{BEGIN}{wanted}{END}{tail}")).expect("write the page");
}

#[test]
fn lines_are_read_and_wrong_ones_are_refused() {
    let good = "/// Works with: cameras | a | b\n#[test]\nfn shows_it() {\n";
    let row = Row { what: "a".into(), how: "b".into(), test: "m::shows_it".into() };
    assert_eq!(rows_of("m", good), Ok(vec![("cameras".to_owned(), row)]));
    for (text, reason) in [
        ("/// Works with: cameras | a\n#[test]\nfn x() {", "three fields"),
        ("/// Works with: boats | a | b\n#[test]\nfn x() {", "an area"),
        ("/// Works with: cameras | a | b\nfn x() {", "no test"),
    ] {
        let said = rows_of("m", text).expect_err(text);
        assert!(said.contains(reason), "{said}");
    }
}
