//! The documentation names what exists: files and headings that it links to, routes and error codes of the API, texts of
//! the log that it quotes, tests and symbols that it points at.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::rust_files;
use crate::harness::repository;

/// Pages beside those in docs/.
const PAGES: [&str; 4] = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "models/NOTICE.md"];

/// Every page, by its path in the repository.
fn pages() -> Vec<(PathBuf, String)> {
    let folder = std::fs::read_dir(repository().join("docs")).expect("list docs/");
    let docs = folder.map(|entry| Path::new("docs").join(entry.expect("an entry").file_name()));
    let mut pages: Vec<PathBuf> = docs.filter(|page| page.extension().is_some_and(|end| end == "md")).collect();
    pages.extend(PAGES.map(PathBuf::from));
    pages.sort();
    pages.into_iter().map(|page| (page.clone(), read(&page))).collect()
}

fn read(page: &Path) -> String {
    std::fs::read_to_string(repository().join(page)).unwrap_or_else(|error| panic!("{}: {error}", page.display()))
}

/// The lines outside of blocks of code, which have no links and no headings.
fn prose(text: &str) -> Vec<&str> {
    let mut fenced = false;
    let is_prose = |line: &&str| {
        let is_fence = line.trim_start().starts_with("```");
        fenced ^= is_fence;
        !fenced && !is_fence && !line.starts_with("    ")
    };
    text.lines().filter(is_prose).collect()
}

/// The targets of the links in a text.
fn links(text: &str) -> Vec<String> {
    let text = prose(text).join("\n");
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target.to_owned()).collect()
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).into_iter().filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect()
}

fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// What is wrong with the links of a page.
fn broken_links(page: &Path, text: &str) -> Vec<String> {
    let folder = page.parent().unwrap_or(Path::new(""));
    let mut broken = Vec::new();
    for link in links(text).iter().filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
        let (file, heading) = link.split_once('#').unwrap_or((link, ""));
        let target = if file.is_empty() { page.to_owned() } else { folder.join(file) };
        let wrong = |reason: &str| format!("{}: {link}: {reason}", page.display());
        if !repository().join(&target).exists() {
            broken.push(wrong("there is no such file"));
        } else if !heading.is_empty() && !anchors(&read(&target)).contains(heading) {
            broken.push(wrong("the page has no such heading"));
        }
    }
    broken
}

/// The code spans of a text.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The rows of a section's tables, as cells; without the section, of the whole text.
fn rows<'a>(text: &'a str, section: &str) -> Vec<Vec<&'a str>> {
    let from = text.find(section).unwrap_or_else(|| panic!("no section {section}"));
    let within = text[from..].lines().skip(1).take_while(|line| section.is_empty() || !line.starts_with("## "));
    let cells = |line: &'a str| line.trim_matches('|').split(" | ").map(str::trim).collect::<Vec<_>>();
    within.filter(|line| line.starts_with("| ")).map(cells).collect()
}

/// The product's sources as one text, with strings that go over several lines joined.
fn sources() -> String {
    let mut all = String::new();
    for (_, text) in rust_files(&repository().join("src")) {
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let mut joined = line.to_owned();
            while joined.ends_with('\\') {
                joined.pop();
                joined += lines.next().unwrap_or_default().trim_start();
            }
            all += &joined.replace("\\\"", "\"");
            all.push('\n');
        }
    }
    all
}

/// The texts in `source` between `before` and the next quote.
fn quoted<'a>(source: &'a str, before: &'a str) -> impl Iterator<Item = &'a str> {
    source.split(before).skip(1).filter_map(|rest| rest.split('"').next())
}

/// The problems of the table in `src/web/problem.rs`: status and code. A row is `Name = "code", STATUS, ...`.
fn problems() -> BTreeSet<(String, String)> {
    let text = read(Path::new("src/web/problem.rs"));
    let table = text.split("\nproblems! {").nth(1).and_then(|rest| rest.split("\n}").next()).expect("the table");
    let row = |line: &str| {
        let (_, row) = line.trim().split_once(" = \"")?;
        let (code, rest) = row.split_once("\", ")?;
        Some((rest.split(',').next()?.to_owned(), code.to_owned()))
    };
    table.lines().filter_map(row).collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let pages = pages();
    assert!(pages.len() > 15, "the pages were found");
    let broken: Vec<String> = pages.iter().flat_map(|(page, text)| broken_links(page, text)).collect();
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn every_page_is_in_the_index() {
    let index = links(&read(Path::new("docs/README.md")));
    let is_listed =
        |page: &PathBuf| page.file_name().is_some_and(|name| index.iter().any(|link| name == link.as_str()));
    let docs = pages().into_iter().map(|(page, _)| page).filter(|page| page.starts_with("docs"));
    let missing: Vec<PathBuf> = docs.filter(|page| !page.ends_with("README.md") && !is_listed(page)).collect();
    assert!(missing.is_empty(), "docs/README.md does not list {missing:?}");
}

#[test]
fn the_api_page_has_every_route_and_every_error() {
    let page = read(Path::new("docs/api.md"));
    let documented: Vec<&str> = spans(&page).collect();
    let web: String = rust_files(&repository().join("src/web"))
        .into_iter()
        .filter(|(file, _)| !file.starts_with("tests/"))
        .map(|(_, text)| text)
        .collect();
    let methods = ["get", "look", "post", "put", "patch", "delete"];
    let of_method = |method: &str| -> Vec<String> {
        let prefix = format!(".{method}(\"/");
        let method = if method == "look" { "get" } else { method };
        quoted(&web, &prefix).map(|path| format!("{} /{path}", method.to_uppercase())).collect()
    };
    let routes: Vec<String> = methods.into_iter().flat_map(of_method).collect();
    assert!(routes.len() > 30, "the routes were found: {routes:?}");
    let missing: Vec<&String> = routes.iter().filter(|route| !documented.contains(&route.as_str())).collect();
    assert!(missing.is_empty(), "docs/api.md has no row for {missing:?}");

    let problems = problems();
    assert!(problems.len() > 10, "the problems were found: {problems:?}");
    let rows = rows(&page, "## Problems");
    let of_page: BTreeSet<&str> = rows.iter().skip(1).filter_map(|row| spans(row.get(1)?).next()).collect();
    let of_table: BTreeSet<&str> = problems.iter().map(|(_, code)| code.as_str()).collect();
    assert_eq!(of_page, of_table, "the table of problems in docs/api.md, and that in src/web/problem.rs");
}

#[test]
fn quoted_texts_are_what_the_program_says() {
    let (page, sources) = (read(Path::new("docs/troubleshooting.md")), sources());
    let cells: Vec<&str> = rows(&page, "").into_iter().filter_map(|row| row.first().copied()).collect();
    let texts: Vec<&str> = cells.iter().flat_map(|cell| spans(cell)).filter(|text| text.contains(' ')).collect();
    assert!(texts.len() > 40, "the texts were found");
    let parts = |text: &&str| text.split('…').map(|part| part.trim().to_owned()).collect::<Vec<_>>();
    let is_wrong = |text: &&&str| parts(text).iter().any(|part| !sources.contains(part.as_str()));
    let wrong: Vec<&&str> = texts.iter().filter(is_wrong).collect();
    assert!(wrong.is_empty(), "docs/troubleshooting.md quotes what src/ does not say: {wrong:#?}");
}

/// Whether a file in Rust defines `symbol`: a function, a type, a constant, a module, a field or a variant.
fn defines(text: &str, symbol: &str) -> bool {
    const KINDS: [&str; 8] = ["fn", "struct", "enum", "trait", "type", "const", "static", "mod"];
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text.lines().any(|line| {
        let line = line.trim_start();
        let line = line.strip_prefix("pub(").and_then(|rest| rest.split_once(") ")).map_or(line, |(_, rest)| rest);
        let mut words = line.split(|c| !is_word(c)).filter(|word| !matches!(*word, "pub" | "async" | "unsafe" | ""));
        let (first, second) = (words.next(), words.next());
        let is_member = first == Some(symbol)
            && line
                .trim_start_matches("pub ")
                .strip_prefix(symbol)
                .is_some_and(|rest| rest.starts_with([':', ',', '(', ' ']));
        is_member || (first.is_some_and(|kind| KINDS.contains(&kind)) && second == Some(symbol))
    })
}

#[test]
fn named_tests_files_and_symbols_exist() {
    let page = read(Path::new("docs/develop.md"));
    let mut wrong = Vec::new();
    for row in rows(&page, "## Where things are decided").iter().skip(1) {
        let [question, files, symbols] = row.as_slice() else { panic!("three cells are wanted: {row:?}") };
        let read = |file: &str| std::fs::read_to_string(repository().join(file));
        let texts: Vec<String> = spans(files).filter_map(|file| read(file).ok()).collect();
        let has = |symbol: &str| texts.iter().any(|text| defines(text, symbol));
        wrong.extend(spans(files).filter(|file| read(file).is_err()).map(|file| format!("{question}: no file {file}")));
        wrong.extend(spans(symbols).filter(|symbol| !has(symbol)).map(|symbol| format!("{question}: no {symbol}")));
    }
    let extensions = page.split("## Where an extension goes").nth(1).and_then(|rest| rest.split("\n## ").next());
    let named = spans(extensions.expect("the section on extensions"));
    let files: Vec<&str> = named.filter(|name| name.starts_with("src/") || name.starts_with("tests/")).collect();
    assert!(files.len() > 15, "the files of the extensions were found: {files:?}");
    wrong.extend(files.iter().filter(|file| !repository().join(file).exists()).map(|file| format!("no file {file}")));
    let tests: Vec<(String, String)> =
        ["src", "tests/it"].iter().flat_map(|place| rust_files(&repository().join(place))).collect();
    for row in rows(&page, "## Promises and their tests").iter().skip(1) {
        for name in row.get(1).into_iter().flat_map(|cell| spans(cell)) {
            let (module, function) = name.rsplit_once("::").unwrap_or(("", name));
            let is_it = |(file, text): &(String, String)| {
                super::module_path(file).join("::") == module && text.contains(&format!("fn {function}("))
            };
            if !tests.iter().any(is_it) {
                wrong.push(format!("no test {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "docs/develop.md:\n{}", wrong.join("\n"));
}

#[test]
fn a_test_stands_behind_each_promise_of_the_readme() {
    let (readme, page) = (read(Path::new("README.md")), read(Path::new("docs/develop.md")));
    let promises = readme.lines().filter_map(|line| line.strip_prefix("- **")?.split_once(".**"));
    let promises: Vec<&str> = promises.map(|(promise, _)| promise).collect();
    assert!(promises.len() > 5, "the promises were found: {promises:?}");
    let shown = rows(&page, "## Promises and their tests");
    let shown: Vec<&str> = shown.iter().skip(1).filter_map(|row| row.first().copied()).collect();
    assert_eq!(promises, shown);
}

#[test]
fn broken_links_are_seen() {
    let page = Path::new("docs/api.md");
    for wrong in ["[a](none.md)", "[a](mqtt.md#no-such-heading)", "[a](#no-such-heading)", "[a](../none)"] {
        assert_eq!(broken_links(page, wrong).len(), 1, "{wrong}");
    }
    let fine = "[a](mqtt.md#commands) [b](../README.md) [c](#routes) [d](https://example.org/#x)\n\n    [e](none.md)\n";
    assert_eq!(broken_links(page, fine), Vec::<String>::new());
    assert_eq!(anchor("`/api/v1/queue/…`"), "apiv1queue");
    assert_eq!(anchor("What can't: 2 (or 3)"), "what-cant-2-or-3");
}
