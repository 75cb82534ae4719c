//! All text of the page lies in one place, in every language.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::super::texts::Language;
use super::{Bench, Site};

type Texts = BTreeMap<String, String>;

/// Text that is the same in every language: names, numbers, signs.
const NAMES: [&str; 5] = ["Outpost", "journalctl -u outpost", "outpost user add NAME --role admin", "English", "·"];
/// Words of scripts that look like text and are none: names of keys, of errors and of the standard.
const WORDS_OF_SCRIPTS: [&str; 16] = [
    "NotAllowedError",
    "Bearer ${token}",
    "Backspace",
    "Android|iPhone|iPad|Windows|Mac OS|Linux",
    "Firefox|Edg|OPR|Chrome|Safari",
    "Chrome",
    "Edge",
    "Opera",
    "Edg",
    "TypeError",
    "TimeoutError",
    "Escape",
    "Enter",
    "Delete",
    "Home",
    "Files",
];

fn texts(language: Language) -> Texts {
    serde_json::from_str(language.file()).unwrap_or_else(|error| panic!("{}: {error}", language.tag()))
}

fn files(folder: &str, extension: &str) -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web").join(folder);
    let paths = std::fs::read_dir(folder).expect("folder").map(|entry| entry.expect("entry").path());
    let wanted = paths.filter(|path| path.extension().is_some_and(|found| found == extension));
    wanted.map(|path| (path.clone(), std::fs::read_to_string(&path).expect("a text"))).collect()
}

/// What stands between `open` and the next `close`, each time.
fn between<'a>(text: &'a str, open: &str, close: char) -> Vec<&'a str> {
    text.split(open).skip(1).filter_map(|rest| rest.split_once(close)).map(|(inside, _)| inside).collect()
}

/// A key without its plural form.
fn stem(key: &str) -> &str {
    key.strip_suffix(".one").or_else(|| key.strip_suffix(".other")).unwrap_or(key)
}

fn parameters(text: &str) -> BTreeSet<&str> {
    between(text, "{", '}').into_iter().collect()
}

#[test]
fn every_language_has_every_text_with_the_same_parameters() {
    let english = texts(Language::English);
    for language in Language::ALL {
        let texts = texts(language);
        let stems = |texts: &Texts| texts.keys().map(|key| stem(key).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(stems(&texts), stems(&english), "{}", language.tag());
        for (key, text) in &texts {
            assert_eq!(parameters(text), parameters(&english[key]), "{}: {key}", language.tag());
            assert!(!text.trim().is_empty(), "{}: {key}", language.tag());
        }
    }
    for key in english.keys().filter_map(|key| key.strip_suffix(".one")) {
        assert!(english.contains_key(&format!("{key}.other")), "{key}");
    }
}

#[tokio::test]
async fn every_text_is_used_and_every_text_that_is_used_is_there() {
    let site = Site::open(Bench::new()).await;
    let sent: Texts = serde_json::from_slice(&site.get("/assets/en.json").await.body).expect("texts");
    let known = texts(Language::English);
    let (mut used, mut in_templates) = (BTreeSet::new(), BTreeSet::new());
    let mut prefixes = BTreeSet::new();
    for (path, text) in files("templates", "html") {
        for key in between(&text, "shell.t(\"", '"') {
            assert!(known.contains_key(key), "{}: there is no text {key:?}", path.display());
            used.insert(key.to_owned());
            in_templates.insert(key.to_owned());
        }
    }
    let rust = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web/shell.rs")).expect("a text");
    for name in between(&rust, "\"nav.", '"') {
        used.insert(format!("nav.{name}"));
        in_templates.insert(format!("nav.{name}"));
    }
    for (path, text) in files("assets", "js") {
        // A key stands in a string of its own: where it is asked for, or in a table that is gone through.
        let strings = between(&text, "\"", '"').into_iter().chain(text.split('"').skip(1).step_by(2));
        for string in strings.filter(|string| known.keys().any(|key| stem(key) == *string)) {
            used.insert(string.to_owned());
        }
        for key in between(&text, " t(\"", '"').into_iter().chain(between(&text, "(t(\"", '"')) {
            assert!(known.keys().any(|known| stem(known) == key), "{}: there is no text {key:?}", path.display());
        }
        prefixes.extend(between(&text, "t(`", '$').into_iter().map(str::to_owned));
        prefixes.extend(between(&text, "named(\"", '"').into_iter().map(|prefix| format!("{prefix}.")));
    }
    let shown = |key: &&String| {
        used.contains(stem(key)) && !in_templates.contains(*key)
            || prefixes.iter().any(|prefix| key.starts_with(prefix))
    };
    let missing: Vec<&String> = known.keys().filter(shown).filter(|key| !sent.contains_key(*key)).collect();
    assert!(missing.is_empty(), "scripts show and are not sent {missing:?}");
    assert!(sent.len() < known.len(), "what templates alone show is not sent");
    let unused: Vec<&String> = known
        .keys()
        .filter(|key| !used.contains(stem(key)) && !prefixes.iter().any(|prefix| key.starts_with(prefix)))
        .collect();
    assert!(unused.is_empty(), "nothing uses {unused:?}");
    let without: Vec<&String> =
        prefixes.iter().filter(|prefix| !known.keys().any(|key| key.starts_with(*prefix))).collect();
    assert!(without.is_empty(), "there is no text that begins with {without:?}");
}

/// The text of a template: what is left of it without tags and without what is filled in.
fn literal_text(template: &str) -> String {
    let mut text = String::new();
    let mut rest = template;
    while let Some(at) = rest.find(['<', '{']) {
        let (before, from) = rest.split_at(at);
        text += before;
        let close = if from.starts_with("{{") {
            "}}"
        } else if from.starts_with("{%") {
            "%}"
        } else {
            ">"
        };
        let (_, after) = from.split_once(close).expect("what is opened is closed");
        rest = after;
    }
    text + rest
}

#[test]
fn no_text_stands_in_a_template_or_in_a_script() {
    let without_names = |text: &str| NAMES.iter().fold(text.to_owned(), |text, name| text.replace(name, ""));
    for (path, template) in files("templates", "html") {
        // A tag may hold what is filled in, and that a ">".
        let filled: String =
            template.split("{{").map(|part| part.split_once("}}").map_or(part, |(_, rest)| rest)).collect();
        let text = without_names(&literal_text(&filled));
        assert!(!text.chars().any(char::is_alphabetic), "{}: {:?}", path.display(), text.trim());
        for attribute in ["alt=\"", "aria-label=\"", "placeholder=\"", "title=\""] {
            for value in between(&filled, attribute, '"') {
                assert!(!value.chars().any(char::is_alphabetic), "{}: {attribute}{value}", path.display());
            }
        }
    }
    for (path, script) in files("assets", "js") {
        let code: String = script.lines().filter(|line| !line.trim_start().starts_with(['/', '*'])).collect();
        for string in code.split('"').skip(1).step_by(2).chain(code.split('`').skip(1).step_by(2)) {
            let mut letters = string.chars();
            let is_sentence =
                letters.next().is_some_and(char::is_uppercase) && letters.next().is_some_and(char::is_lowercase);
            let is_known =
                WORDS_OF_SCRIPTS.contains(&string) || string.starts_with("Arrow") || string.starts_with("Page");
            assert!(!is_sentence || is_known, "{}: {string:?}", path.display());
        }
    }
    for (path, style) in files("assets", "css") {
        for value in between(&style, "content: \"", '"') {
            assert!(!value.chars().any(char::is_alphabetic), "{}: {value}", path.display());
        }
    }
}

#[test]
fn no_id_stands_twice_on_a_page() {
    let all: BTreeMap<String, String> = files("templates", "html")
        .into_iter()
        .map(|(path, text)| (path.file_name().expect("a name").to_string_lossy().into_owned(), text))
        .collect();
    let frame = ["document.html", "base.html", "choices.html"];
    for (name, page) in all.iter().filter(|(name, _)| !frame.contains(&name.as_str())) {
        let texts = [page].into_iter().chain(frame.iter().filter_map(|name| all.get(*name)));
        let mut seen = BTreeSet::new();
        for id in texts.flat_map(|text| between(text, " id=\"", '"')) {
            assert!(seen.insert(id), "{name}: {id:?}");
        }
    }
}

#[test]
fn every_cause_has_a_text_with_its_values() {
    let known = texts(Language::English);
    for (code, sentence) in crate::status::CAUSES {
        let text = known.get(&format!("cause.{code}")).unwrap_or_else(|| panic!("no text for the cause {code}"));
        assert!(parameters(text).is_subset(&parameters(sentence)), "{code}: {text}");
    }
    let codes: BTreeSet<&str> = crate::status::CAUSES.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes.len(), crate::status::CAUSES.len(), "one sentence for a code");
    assert_eq!(known.keys().filter(|key| key.starts_with("cause.")).count(), codes.len());
}
