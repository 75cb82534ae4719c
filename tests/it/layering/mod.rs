//! The rules of the layout, checked on the source text: a layer imports only downwards, stages do not
//! import each other, each heavy crate has one door, files stay small and their names say something.

mod circles;
mod manual;
mod ownership;
mod texts;
mod tokens;
mod words;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::harness::repository;
use tokens::{Token, tokens};

/// Modules by layer, lowest first. `main` stands for main.rs; lib.rs only lists modules.
const LAYERS: [&[&str]; 7] = [
    &[
        "age_limit",
        "allocator",
        "byte_size",
        "clock",
        "durable",
        "fuzz",
        "health",
        "load",
        "metrics",
        "seal",
        "telemetry",
        "supervise",
        "volume_folder",
        "waiting",
        "zone",
    ],
    &[
        "allowance",
        "asset",
        "away",
        "frame",
        "detection",
        "control",
        "destination",
        "event",
        "execution",
        "photo",
        "polygon",
        "reception",
        "schedule",
        "segment",
        "coverage",
        "status",
    ],
    &["source", "gate", "decode", "infer", "track", "rules", "mux", "picture", "store", "access", "audit", "discovery"],
    &[
        "archive",
        "record",
        "recovery",
        "timekeeper",
        "coverage_export",
        "retention",
        "upload",
        "lake",
        "alert",
        "live",
        "library",
        "block",
        "executor",
        "webrtc",
    ],
    &["service"],
    &["web"],
    &["pipeline", "backtest", "cameras", "config", "reload", "volume_session", "app", "cli", "main"],
];

/// Layers of stages, whose modules know nothing of each other. The others are vocabularies and wiring,
/// within which modules build on one another.
const STAGES: [usize; 3] = [2, 3, 5];

/// The peers that a module of a layer of stages may build on all the same: all of these work on one archive. Their tests
/// may use any of them.
const PEERS: [(&str, &[&str]); 8] = [
    ("archive", &[]),
    ("record", &["archive"]),
    ("recovery", &["archive", "record"]),
    ("timekeeper", &["archive"]),
    ("coverage_export", &["archive"]),
    ("retention", &["archive"]),
    ("library", &["archive"]),
    ("executor", &["archive"]),
];

/// Crates that only one place may touch, with the beginnings of the paths of that place.
const DOORS: [(&str, &[&str]); 40] = [
    ("retina", &["source/rtsp"]),
    ("v4l", &["source/v4l2"]),
    ("ffmpeg_next", &["decode/", "source/replay", "source/libav", "mux/", "picture/coded/"]),
    ("tract_onnx", &["infer/"]),
    ("ort", &["infer/"]),
    ("sled", &["store/"]),
    ("object_store", &["upload/"]),
    ("reqwest", &["upload/", "alert/webhook", "cli/daemon.rs", "web/proxy_login/source.rs", "webrtc/whep/"]),
    ("rumqttc", &["alert/mqtt"]),
    ("parquet", &["lake/file.rs"]),
    ("age", &["seal/"]),
    ("argon2", &["access/"]),
    ("totp_rs", &["access/"]),
    ("qrcode", &["access/"]),
    ("axum", &["web/"]),
    ("minijinja", &["block/"]),
    ("tonic", &["web/inference/"]),
    ("tonic_prost", &["web/inference/"]),
    ("prost", &["web/inference/"]),
    ("tower_http", &["web/"]),
    ("hyper", &["web/server/"]),
    ("rcgen", &["web/tls/", "webrtc/crypto/"]),
    ("ring", &["web/proxy_login/", "web/tls/", "webrtc/"]),
    ("str0m", &["webrtc/"]),
    ("dimpl", &["webrtc/crypto/"]),
    ("aes", &["webrtc/crypto/"]),
    ("ctr", &["webrtc/crypto/"]),
    ("clap", &["cli/", "cli.rs", "main.rs", "telemetry/"]),
    ("systemd", &["supervise/"]),
    ("toml_edit", &["config/"]),
    ("nom_exif", &["picture/"]),
    ("fast_image_resize", &["picture/", "frame/scale.rs"]),
    ("font8x8", &["block/lettering.rs"]),
    ("moxcms", &["picture/colour.rs"]),
    ("zune_jpeg", &["picture/open.rs"]),
    ("tar", &["service/library_export.rs", "library/backup.rs", "library/tests/backup.rs"]),
    ("flate2", &["library/backup.rs", "library/tests/backup.rs"]),
    ("notify", &["service/folders/changes.rs"]),
    ("walkdir", &["library/folders/walk.rs"]),
    ("quick_xml", &["picture/embedded/"]),
];

const LONGEST_FILE: usize = 500;

/// Lines of the composition root, its tests included: it builds, runs and stops, and knows nothing else.
const LONGEST_APP: usize = 800;

/// Words that say nothing about what a thing is for.
const EMPTY_WORDS: [&str; 8] = ["util", "utils", "helper", "helpers", "common", "misc", "manager", "managers"];

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

/// Path of a file's module: `source/rtsp.rs` and `source/rtsp/mod.rs` are both `source::rtsp`.
fn module_path(file: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = file.trim_end_matches(".rs").split('/').collect();
    if parts.last() == Some(&"mod") || parts.as_slice() == ["lib"] {
        parts.pop();
    }
    parts
}

/// What a file (path relative to src/) does against the rules of layers and doors.
fn wrong_imports(file: &str, text: &str) -> Vec<String> {
    let path = module_path(file);
    let Some(&module) = path.first() else { return Vec::new() };
    let Some(own_layer) = layer(module) else {
        return vec![format!("{file}: {module} belongs to no layer; name its layer in {}", file!())];
    };
    let tokens = tokens(text);
    let mut wrong = Vec::new();
    for (line, imported) in root_modules(&tokens, path.len()) {
        let Some(other_layer) = layer(&imported) else { continue };
        let peer_allowed = !STAGES.contains(&own_layer) || may_build_on(file, module, &imported);
        if imported != module && (other_layer > own_layer || (other_layer == own_layer && !peer_allowed)) {
            wrong.push(format!("{file}:{line}: {module} (layer {own_layer}) imports {imported} (layer {other_layer})"));
        }
    }
    let local = local_names(&tokens);
    for (line, name) in path_heads(&tokens).into_iter().filter(|(_, name)| !local.contains(name)) {
        if let Some((_, doors)) = DOORS.iter().find(|(door, _)| *door == name)
            && !doors.iter().any(|door| file.starts_with(door))
        {
            wrong.push(format!("{file}:{line}: {name} may only be used in {}", doors.join(", ")));
        }
    }
    wrong
}

/// Whether `module` may import its peer `other`.
fn may_build_on(file: &str, module: &str, other: &str) -> bool {
    let of = |name: &str| PEERS.iter().find(|(known, _)| *known == name);
    let Some((_, allowed)) = of(module) else { return false };
    allowed.contains(&other) || of(other).is_some() && is_test(file)
}

/// Whether a file holds tests alone.
fn is_test(file: &str) -> bool {
    file.ends_with("/tests.rs") || file.contains("/tests/")
}

/// Modules of the crate's root that are named through `crate::` or enough of `super::`, with their lines.
///
/// `depth` is the number of modules from the root to the file.
fn root_modules(tokens: &[Token<'_>], depth: usize) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut braces = 0usize;
    // Brace depths at which inline modules began: inside them, `super` reaches one module less far.
    let mut inline = Vec::new();
    for (i, token) in tokens.iter().enumerate() {
        match token.text {
            "{" => {
                if i >= 2 && tokens[i - 2].text == "mod" {
                    inline.push(braces);
                }
                braces += 1;
            }
            "}" => {
                braces = braces.saturating_sub(1);
                if inline.last() == Some(&braces) {
                    inline.pop();
                }
            }
            "crate" | "super" if i == 0 || tokens[i - 1].text != "::" => {
                let mut rest = &tokens[i..];
                let mut ups = 0;
                while let [Token { text: "super", .. }, Token { text: "::", .. }, tail @ ..] = rest {
                    (rest, ups) = (tail, ups + 1);
                }
                match rest {
                    [Token { text: "crate", .. }, Token { text: "::", .. }, tail @ ..] => names(tail, &mut found),
                    _ if ups > 0 && ups == depth + inline.len() => names(rest, &mut found),
                    _ => {}
                }
            }
            _ => {}
        }
    }
    found
}

/// The first name of a path, or those of each path of a group `{a::b, c}`.
fn names(tokens: &[Token<'_>], found: &mut Vec<(usize, String)>) {
    let Some(first) = tokens.first() else { return };
    if first.text != "{" {
        found.push((first.line, first.text.to_owned()));
        return;
    }
    let mut depth = 0;
    for (i, token) in tokens.iter().enumerate() {
        match token.text {
            "{" => depth += 1,
            "}" => depth -= 1,
            name if depth == 1 && matches!(tokens[i - 1].text, "{" | ",") => found.push((token.line, name.to_owned())),
            _ => {}
        }
        if depth == 0 {
            return;
        }
    }
}

/// Names that begin a path (`name::`) or are used whole (`use name;`, `use name as`), with their lines.
fn path_heads<'a>(tokens: &[Token<'a>]) -> Vec<(usize, &'a str)> {
    let before = |i: usize| i.checked_sub(1).and_then(|j| tokens.get(j)).map_or("", |token| token.text);
    let after = |i: usize| tokens.get(i + 1).map_or("", |token| token.text);
    let heads = tokens.iter().enumerate().filter(|&(i, _)| {
        let begins_path = after(i) == "::" && before(i) != "::";
        // `::name::` at the beginning of a path names a crate too.
        let absolute = after(i) == "::" && before(i) == "::" && (i < 2 || !tokens[i - 2].is_name());
        begins_path || absolute || matches!(before(i), "use")
    });
    heads.map(|(_, token)| (token.line, token.text)).collect()
}

/// Names that are modules of ours in this file, whatever crate is called the same: declared here, or named in a
/// `use` of our own paths.
fn local_names<'a>(tokens: &[Token<'a>]) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    for (i, token) in tokens.iter().enumerate() {
        let rest = tokens[i..].iter().map(|token| token.text);
        match token.text {
            "mod" => found.extend(rest.skip(1).take(1)),
            "use" if tokens.get(i + 1).is_some_and(|next| matches!(next.text, "crate" | "self" | "super")) => {
                found.extend(rest.take_while(|text| *text != ";"));
            }
            _ => {}
        }
    }
    found
}

/// What is wrong with a file's size, with its name and with the names of its types and modules.
fn wrong_shape(file: &str, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let lines = text.lines().count();
    if lines > LONGEST_FILE {
        wrong.push(format!("{file}: {lines} lines, more than {LONGEST_FILE}; split it by what its parts do"));
    }
    for part in module_path(file) {
        if let Some(word) = empty_word(part) {
            wrong.push(format!("{file}: a file named {word} says nothing; name what it is for"));
        }
    }
    let tokens = tokens(text);
    for pair in tokens.windows(2) {
        let declares = matches!(pair[0].text, "mod" | "struct" | "enum" | "trait" | "type" | "union");
        if declares && let Some(word) = empty_word(pair[1].text) {
            wrong.push(format!("{file}:{}: {} says nothing ({word}); name what it is for", pair[1].line, pair[1].text));
        }
    }
    wrong
}

/// The first word without meaning in a snake_case or CamelCase name.
fn empty_word(name: &str) -> Option<String> {
    let mut words = vec![String::new()];
    for c in name.chars() {
        if c == '_' || c.is_uppercase() {
            words.push(String::new());
        }
        if c != '_'
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
    }
    words.into_iter().find(|word| EMPTY_WORDS.contains(&word.as_str()))
}

/// Rust files below a folder of the repository, with paths relative to it.
fn rust_files(folder: &Path) -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("read a source folder") {
            let path = entry.expect("read a source folder").path();
            match path.extension() {
                _ if path.is_dir() => walk(&path, found),
                Some(extension) if extension == "rs" => found.push(path),
                _ => {}
            }
        }
    }
    let mut paths = Vec::new();
    walk(folder, &mut paths);
    paths.sort();
    let relative = |path: &Path| path.strip_prefix(folder).expect("below the folder").display().to_string();
    paths.iter().map(|path| (relative(path), std::fs::read_to_string(path).expect("read a source file"))).collect()
}

#[test]
fn layers_import_downwards_and_heavy_crates_have_one_door() {
    let files = rust_files(&repository().join("src"));
    assert!(files.len() > 20, "the sources were found");
    let wrong: Vec<String> = files.iter().flat_map(|(file, text)| wrong_imports(file, text)).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn files_are_small_and_names_say_something() {
    let mut wrong = Vec::new();
    for folder in ["src", "tests"] {
        let files = rust_files(&repository().join(folder));
        wrong.extend(
            files
                .iter()
                .flat_map(|(file, text)| wrong_shape(file, text))
                .map(|violation| format!("{folder}/{violation}")),
        );
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_composition_root_only_builds_runs_and_stops() {
    let files = rust_files(&repository().join("src/app"));
    assert!(!files.is_empty(), "the sources were found");
    let lines: usize = files.iter().map(|(_, text)| text.lines().count()).sum();
    assert!(
        lines <= LONGEST_APP,
        "src/app has {lines} lines, more than {LONGEST_APP}; product logic belongs into src/service"
    );
}

#[test]
fn every_module_has_a_layer() {
    let lib = std::fs::read_to_string(repository().join("src/lib.rs")).expect("read lib.rs");
    let tokens = tokens(&lib);
    let modules: Vec<&str> = tokens.windows(2).filter(|pair| pair[0].text == "mod").map(|pair| pair[1].text).collect();
    assert!(modules.contains(&"clock"), "{modules:?}");
    let homeless: Vec<&&str> = modules.iter().filter(|module| layer(module).is_none()).collect();
    assert!(homeless.is_empty(), "{homeless:?}");
}

#[cfg(test)]
mod samples {
    use super::*;

    fn errors(file: &str, text: &str) -> String {
        wrong_imports(file, text).join("\n")
    }

    #[test]
    fn an_import_upwards_or_of_a_peer_is_seen() {
        let cases = [
            ("clock.rs", "use crate::frame::Frame;", "clock (layer 0) imports frame (layer 1)"),
            ("source/rtsp.rs", "use crate::decode::Decoder;", "source (layer 2) imports decode (layer 2)"),
            ("upload/key.rs", "use crate::{\n    event::Event,\n    alert::payload,\n};", "upload/key.rs:3: upload"),
            ("store/mod.rs", "fn f() { crate::web::serve() }", "store (layer 2) imports web (layer 5)"),
            ("gate/motion.rs", "use super::super::track::Track;", "gate (layer 2) imports track"),
            ("gate/mod.rs", "mod tests { use super::super::infer; }", "gate (layer 2) imports infer"),
            ("rules/mod.rs", "use super::{track::Track, event};", "rules (layer 2) imports track"),
            ("web/mod.rs", "pub(crate) use crate::app::App;", "web (layer 5) imports app (layer 6)"),
            ("attic.rs", "", "attic belongs to no layer"),
        ];
        for (file, text, expected) in cases {
            let said = errors(file, text);
            assert!(said.contains(expected), "{file}: {text}\n{said}");
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }

    #[test]
    fn imports_downwards_and_within_a_module_are_fine() {
        let cases = [
            ("event.rs", "use crate::clock::Clock;\nuse crate::detection::BBox;"),
            ("upload/mod.rs", "use crate::store::{Store, self};\nuse crate::upload::key::Key;"),
            ("source/rtsp.rs", "use super::Packet; use crate::frame;"),
            ("source/mod.rs", "mod tests { use super::*; use super::rtsp; }"),
            ("app.rs", "use crate::config::Config; use crate::pipeline::Pipeline; use crate::web;"),
            ("clock.rs", "// use crate::web;\n/* crate::app::App */ const S: &str = \"crate::web::x\";"),
            ("clock.rs", "const S: &str = r#\"\"crate::web::x\"#; const C: char = '\"'; // '\"'\n"),
            ("lib.rs", "pub mod web;"),
        ];
        for (file, text) in cases {
            assert_eq!(errors(file, text), "", "{file}: {text}");
        }
    }

    #[test]
    fn a_heavy_crate_through_the_wrong_door_is_seen() {
        let cases = [
            ("web/api.rs", "use sled::Db;"),
            ("web/api.rs", "fn f() -> ::sled::Db { todo!() }"),
            ("source/v4l2.rs", "use retina::client;"),
            ("record/snapshot.rs", "use ffmpeg_next as ffmpeg;"),
            ("app.rs", "use axum::Router;"),
            ("app.rs", "use crate::supervise; use systemd::daemon; fn f() { systemd::ready(); }"),
            ("supervise/mod.rs", "use {std::fs, clap::Parser};"),
        ];
        for (file, text) in cases {
            assert!(errors(file, text).contains("may only be used in"), "{file}: {text}");
        }
        let fine = [
            ("store/event_log.rs", "use sled::Db;"),
            ("source/rtsp/session.rs", "use retina::client;"),
            ("mux/output.rs", "use ffmpeg_next::format;"),
            ("supervise/mod.rs", "mod systemd; fn f() { systemd::ready(); }"),
            ("app/mod.rs", "use crate::supervise::{Backoff, systemd}; fn f() { systemd::ready(); }"),
            ("infer/mod.rs", "mod sled; fn f() { sled::pull(); }"),
            ("web/api.rs", "/// Like sled::Db.\nfn f() { self.axum(); let sled = 1; crate::frame::sled::x(); }"),
        ];
        for (file, text) in fine {
            assert_eq!(errors(file, text), "", "{file}: {text}");
        }
    }

    #[test]
    fn long_files_and_empty_names_are_seen() {
        assert!(wrong_shape("store/mod.rs", &"\n".repeat(501))[0].contains("501 lines"));
        assert_eq!(wrong_shape("store/mod.rs", &"\n".repeat(500)), Vec::<String>::new());
        assert_eq!(wrong_shape("store/file_utils.rs", "").len(), 1);
        assert_eq!(wrong_shape("a.rs", "struct CameraManager; mod common { } enum Misc { A }").len(), 3);
        assert_eq!(
            wrong_shape("a.rs", "struct Utilisation; // struct Helper;\nfn common_start() {}"),
            Vec::<String>::new()
        );
    }
}
