//! config/outpost.toml is the manual: it has every key, and its defaults are the program's.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Camera, Config};
use crate::{alert, library, upload, web};

pub(super) const FILE: &str = include_str!("../../config/outpost.toml");

/// The file with its defaults switched on, with each first `#` before a key removed.
pub(super) fn switched_on() -> String {
    let setting = |line: &str| {
        line.strip_prefix('#')
            .filter(|rest| rest.starts_with(|c: char| c == '[' || c.is_ascii_lowercase()))
            .map(str::to_owned)
    };
    FILE.lines().map(|line| setting(line).unwrap_or_else(|| line.to_owned()) + "\n").collect()
}

#[test]
fn the_documented_defaults_are_the_programs_own() {
    let documented: Config = toml::from_str(&switched_on()).expect("the switched-on file parses");
    let scanner = library::WatchedFolder {
        path: "/srv/scanner".into(),
        owner: "anna".to_owned(),
        private: false,
        tags: vec!["scanned".to_owned()],
    };
    let expected = Config {
        web: web::Config { proxy_login: Some(web::ProxyLoginConfig::default()), ..web::Config::default() },
        mqtt: Some(alert::Config::default()),
        webhook: BTreeMap::from([("office".to_owned(), alert::WebhookConfig::default())]),
        upload: BTreeMap::from([("cloud".to_owned(), upload::Config::default())]),
        library: library::Config {
            watch: BTreeMap::from([("scanner".to_owned(), scanner)]),
            ..library::Config::default()
        },
        camera: BTreeMap::from([("yard".to_owned(), Camera::default())]),
        ..Config::default()
    };
    assert_eq!(documented, expected);
}

#[test]
fn the_file_as_installed_changes_nothing() {
    let installed: Config = toml::from_str(FILE).expect("the file parses");
    assert_eq!(installed, Config::default());
}

/// The keys that a section knows, from what it says about one that it does not.
fn keys_of(section: &str) -> Vec<String> {
    let probe = format!("{section}\nno-such-key = 1\n");
    let said = toml::from_str::<Config>(&probe).expect_err("an unknown key").message().to_owned();
    assert!(said.starts_with("unknown field `no-such-key`"), "{said}");
    said.split('`').skip(3).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_key_is_documented() {
    let sections = [
        "[device]",
        "[storage]",
        "[spool]",
        "[archive]",
        "[archive.encoder]",
        "[retention]",
        "[library]",
        "[library.watch.scanner]",
        "[executions]",
        "[infer]",
        "[load]",
        "[web]",
        "[web.tls]",
        "[web.proxy_login]",
        "[mqtt]",
        "[webhook.office]",
        "[upload.cloud]",
        "[lake]",
        "[camera.yard]",
        "[camera.yard.source]",
        "[camera.yard.decode]",
        "[camera.yard.motion]",
        "[camera.yard.detect]",
        "[camera.yard.track]",
        "[camera.yard.zones.gate]",
        "[camera.yard.lines.fence]",
        "[[camera.yard.rules]]",
        "[camera.yard.pipeline]",
        "[camera.yard.record]",
    ];
    let is_key = |line: &str, key: &str| {
        let line = line.trim_start_matches(['#', ' ']);
        line.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='))
    };
    for section in sections {
        let from = FILE.lines().position(|line| line.trim_start_matches(['#', ' ']) == section);
        let from = from.unwrap_or_else(|| panic!("{section} is not documented"));
        let of_section: Vec<&str> = FILE.lines().skip(from + 1).take_while(|line| !is_header(line)).collect();
        for key in keys_of(section) {
            let is_a_section = sections.iter().any(|s| s.trim_matches(['[', ']']).split('.').any(|part| part == key));
            // Rules take `zone` for `zones` and the like; the plural is what is documented.
            let plural = format!("{key}s");
            let documented = of_section.iter().any(|line| is_key(line, &key) || is_key(line, &plural));
            assert!(documented || is_a_section, "{section} {key} is not documented");
        }
    }
}

/// The blocks of TOML in a page.
fn examples(page: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{page}: {error}"));
    let blocks = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.map(|block| block.lines().map(|line| line.trim().to_owned() + "\n").collect()).collect()
}

#[test]
fn examples_of_the_documentation_are_configurations() {
    for page in ["README.md", "docs/install.md", "docs/cameras.md", "docs/sealed.md"] {
        let examples = examples(page);
        assert!(!examples.is_empty(), "{page} has no example");
        for example in examples {
            toml::from_str::<Config>(&example).unwrap_or_else(|error| panic!("{page}: {error}\n{example}"));
        }
    }
    // What the guide adds step by step is one good file in the end.
    let whole = examples("docs/install.md").concat();
    Config::parse(&whole).unwrap_or_else(|error| panic!("docs/install.md: {error}\n{whole}"));
}

fn is_header(line: &str) -> bool {
    let line = line.trim_start_matches(['#', ' ']);
    line.starts_with('[') && line.ends_with(']')
}
