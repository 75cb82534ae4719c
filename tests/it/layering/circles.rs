//! Files of one folder do not need each other in a circle: each can be read with what it imports, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use super::tokens::{Token, tokens};
use super::{module_path, names, rust_files};
use crate::harness::repository;

type Imports = BTreeMap<String, BTreeSet<String>>;

/// The modules of `folder`, tests left out, with those of the same folder that each imports. What a `mod.rs` hands on
/// counts for nothing: it names them all.
fn imports(folder: &str, files: &[(String, String)]) -> Imports {
    let files = files.iter().filter(|(file, _)| {
        let path = module_path(file);
        path.first() == Some(&folder)
            && !path.iter().any(|part| matches!(*part, "tests" | "fixture" | "fuzz" | "bench"))
    });
    let modules: Vec<(Vec<&str>, &str)> = files.map(|(file, text)| (module_path(file), text.as_str())).collect();
    let known: BTreeSet<String> = modules.iter().map(|(path, _)| path.join("/")).collect();
    let of_module = |(path, text): &(Vec<&str>, &str)| {
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let found = relative_imports(&tokens(text), path);
        let own = path.join("/");
        let found = found.into_iter().filter(|module| *module != own && known.contains(module));
        (own.clone(), found.collect::<BTreeSet<_>>())
    };
    modules.iter().filter(|(path, _)| path.len() > 1).map(of_module).collect()
}

/// Modules that paths beginning with `super::` lead to, seen from the module at `path`.
fn relative_imports(tokens: &[Token<'_>], path: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (i, token) in tokens.iter().enumerate() {
        if token.text != "super" || i > 0 && tokens[i - 1].text == "::" {
            continue;
        }
        let (mut rest, mut ups) = (&tokens[i..], 0);
        while let [Token { text: "super", .. }, Token { text: "::", .. }, tail @ ..] = rest {
            (rest, ups) = (tail, ups + 1);
        }
        let Some(parent) = path.len().checked_sub(ups).and_then(|length| path.get(..length)) else { continue };
        let mut heads = Vec::new();
        names(rest, &mut heads);
        found.extend(heads.into_iter().map(|(_, head)| [parent, &[head.as_str()]].concat().join("/")));
    }
    found
}

/// Modules that reach themselves through others.
fn in_circles(imports: &Imports) -> BTreeSet<&str> {
    let reaches_itself = |module: &str| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![module]);
        while let Some(at) = next.pop() {
            for to in imports.get(at).into_iter().flatten() {
                if seen.insert(to.as_str()) {
                    next.push(to);
                }
            }
        }
        seen.contains(module)
    };
    imports.keys().map(String::as_str).filter(|module| reaches_itself(module)).collect()
}

#[test]
fn files_of_a_folder_need_each_other_in_one_direction() {
    let files = rust_files(&repository().join("src"));
    let folders: BTreeSet<&str> = files.iter().filter_map(|(file, _)| Some(file.split_once('/')?.0)).collect();
    assert!(folders.len() > 20, "the folders were found: {folders:?}");
    let circles = folders.iter().filter_map(|folder| {
        let imports = imports(folder, &files);
        let circle: Vec<String> = in_circles(&imports).into_iter().map(str::to_owned).collect();
        (!circle.is_empty()).then_some(circle)
    });
    let circles: Vec<Vec<String>> = circles.collect();
    assert!(circles.is_empty(), "these files need each other: {circles:?}");
}

#[test]
fn a_circle_is_seen() {
    let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let files = [
        file("store/mod.rs", "mod a; mod b; mod c;"),
        file("store/a.rs", "use super::b::B;"),
        file("store/b.rs", "use super::{Store, c::d::D};\n#[cfg(test)]\nmod tests { use super::super::a; }"),
        file("store/c/mod.rs", "mod d;"),
        file("store/c/d.rs", "fn f() { super::super::b::g() }"),
    ];
    assert_eq!(in_circles(&imports("store", &files)), BTreeSet::new(), "what a mod.rs hands on counts for nothing");
    let mut circular = files.to_vec();
    circular.push(file("store/e.rs", "use super::{a::A, f};"));
    circular.push(file("store/f.rs", "use super::e::E;"));
    assert_eq!(in_circles(&imports("store", &circular)), BTreeSet::from(["store/e", "store/f"]));
}
