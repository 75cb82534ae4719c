//! The description of all blocks: what the editor's palette and the documentation are made of.

use serde::Serialize;
use serde_json::Value;

use super::Block;
use super::blocks;
use super::spec::{Gives, Param, ParamKind, Port, Result};

/// A block as it is described.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BlockDescription {
    /// As steps name it: `detect@1`.
    #[serde(rename = "type")]
    pub block: String,
    /// Under what it is listed: vision, picture, objects, flow, value, sink.
    pub group: &'static str,
    /// What it does.
    pub about: &'static str,
    /// What it takes of other steps.
    pub inputs: Vec<PortDescription>,
    /// How it is set.
    pub parameters: Vec<ParamDescription>,
    /// What it gives.
    pub outputs: Vec<OutputDescription>,
}

/// An input of a block.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PortDescription {
    /// Its name.
    pub name: &'static str,
    /// What it may be.
    pub kinds: Vec<&'static str>,
    /// The input that it must be of one kind with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub same_as: Option<&'static str>,
    /// Whether it must be connected.
    pub required: bool,
    /// Whether it takes a list as a whole.
    pub list: bool,
    /// What it is.
    pub about: &'static str,
}

/// A parameter of a block.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ParamDescription {
    /// Its name.
    pub name: &'static str,
    /// What it may be: number, whole, text, choice, flag, texts, model, colour, area, expression, template,
    /// templates.
    pub kind: &'static str,
    /// Its value where none is set; one must be set where there is none here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// The least number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// The greatest number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// What may be chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choices: Option<&'static [&'static str]>,
    /// What it is for.
    pub about: &'static str,
}

/// An output of a block.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutputDescription {
    /// Its name.
    pub name: &'static str,
    /// What it is; none where it is what an input is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    /// The input that it is like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub same_as: Option<&'static str>,
    /// Whether it is a list.
    pub list: bool,
    /// What it is.
    pub about: &'static str,
}

/// All blocks, by group and name.
pub fn describe_blocks() -> Vec<BlockDescription> {
    let mut all: Vec<BlockDescription> = blocks::ALL.iter().map(|block| describe(*block)).collect();
    all.sort_by(|a, b| (a.group, &a.block).cmp(&(b.group, &b.block)));
    all
}

fn describe(block: &dyn Block) -> BlockDescription {
    let spec = block.spec();
    BlockDescription {
        block: format!("{}@{}", spec.name, spec.version),
        group: spec.group.as_str(),
        about: spec.about,
        inputs: spec.inputs.iter().map(port).collect(),
        parameters: spec.parameters.iter().map(param).collect(),
        outputs: spec.outputs.iter().map(output).collect(),
    }
}

fn port(port: &Port) -> PortDescription {
    let Port { name, kinds, required, list, like: same_as, about, .. } = *port;
    let kinds = kinds.iter().map(|kind| kind.as_str()).collect();
    PortDescription { name, kinds, same_as, required, list, about }
}

fn param(param: &Param) -> ParamDescription {
    let (min, max) = match param.kind {
        ParamKind::Number { min, max } | ParamKind::Whole { min, max } => (Some(min), Some(max)),
        _ => (None, None),
    };
    let choices = if let ParamKind::Choice(choices) = param.kind { Some(choices) } else { None };
    let (name, kind, about) = (param.name, param.kind.as_str(), param.about);
    ParamDescription { name, kind, default: param.preset.map(|preset| preset.to_json()), min, max, choices, about }
}

fn output(output: &Result) -> OutputDescription {
    let (kind, same_as) = match output.gives {
        Gives::Kind(kind) => (Some(kind.as_str()), None),
        Gives::Same(input) => (None, Some(input)),
    };
    OutputDescription { name: output.name, kind, same_as, list: output.list, about: output.about }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::execution::{Kind, is_name};

    #[test]
    fn each_block_is_described_once_and_in_sentences() {
        let all = describe_blocks();
        let names: BTreeSet<&str> = all.iter().map(|block| block.block.as_str()).collect();
        assert_eq!(names.len(), all.len());
        for block in &all {
            let abouts =
                block.inputs.iter().map(|port| port.about).chain(block.outputs.iter().map(|output| output.about));
            for about in abouts.chain(block.parameters.iter().map(|param| param.about)).chain([block.about]) {
                assert!(about.ends_with('.') && about.starts_with(char::is_uppercase), "{}: {about:?}", block.block);
            }
            let inputs: BTreeSet<&str> = block.inputs.iter().map(|port| port.name).collect();
            for output in &block.outputs {
                assert!(output.same_as.is_none_or(|input| inputs.contains(input)), "{}: {}", block.block, output.name);
            }
            let fields = inputs.iter().chain(block.parameters.iter().map(|param| &param.name));
            assert!(fields.clone().all(|name| is_name(name)), "{}: {fields:?}", block.block);
        }
    }

    #[test]
    fn each_file_of_a_block_is_listed() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/block/blocks");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .expect("the folder of the blocks")
            .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()))
            .filter(|name| name != "mod")
            .collect();
        files.sort_unstable();
        let mut listed: Vec<&str> = blocks::ALL.iter().map(|block| block.spec().name).collect();
        listed.sort_unstable();
        assert_eq!(files, listed);
    }

    /// docs/blocks.md, as the blocks describe themselves.
    fn page() -> String {
        let mut page =
            "# Blocks\n\nWhat the steps of [pipelines](pipelines.md) can be. This page is made from the blocks: \
                        `make docs` writes it again.\n"
                .to_owned();
        let mut group = "";
        for block in describe_blocks() {
            if block.group != group {
                group = block.group;
                page += &format!("\n## {}\n", title(group));
            }
            page += &format!("\n### `{}`\n\n{}\n", block.block, block.about);
            if block.inputs.len() + block.parameters.len() + block.outputs.len() > 0 {
                page += "\n| | name | what it is | |\n|---|---|---|---|\n";
            }
            for PortDescription { name, kinds, required, list, about, .. } in &block.inputs {
                let kinds = if kinds.len() == Kind::ALL.len() { "any".to_owned() } else { kinds.join(", ") };
                let marks = [(*list, "a list as a whole"), (!*required, "may be left open")];
                let marks: Vec<&str> = marks.into_iter().filter(|(is, _)| *is).map(|(_, mark)| mark).collect();
                page += &format!("| input | `{name}` | {kinds} | {} |\n", joined(about, &marks.join(", ")));
            }
            for ParamDescription { name, kind, default, min, max, choices, about } in &block.parameters {
                let bounds = match (min, max, choices) {
                    (Some(min), Some(max), _) => format!("{kind}, {min} to {max}"),
                    (.., Some(choices)) => choices.join(", "),
                    _ => (*kind).to_owned(),
                };
                let preset = default.as_ref().map(|value| format!("`{value}` where it is not set")).unwrap_or_default();
                page += &format!("| parameter | `{name}` | {bounds} | {} |\n", joined(about, &preset));
            }
            for OutputDescription { name, kind, same_as, list, about } in &block.outputs {
                let kind = kind.map(str::to_owned).or_else(|| same_as.map(|input| format!("as `{input}`")));
                let list = if *list { "a list" } else { "" };
                page += &format!("| output | `{name}` | {} | {} |\n", kind.unwrap_or_default(), joined(about, list));
            }
        }
        page
    }

    fn title(group: &str) -> &'static str {
        match group {
            "vision" => "Models",
            "picture" => "Pictures",
            "objects" => "Things",
            "flow" => "Flow",
            "value" => "Values",
            _ => "What leaves the pipeline",
        }
    }

    fn joined(about: &str, more: &str) -> String {
        let about = about.replace('|', "\\|");
        if more.is_empty() { about } else { format!("{about} ({more})") }
    }

    #[test]
    fn the_page_of_the_blocks_is_what_they_say() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/blocks.md");
        let page = page();
        if std::env::var_os("OUTPOST_UPDATE_DOCS").is_some() {
            std::fs::write(&path, &page).expect("write docs/blocks.md");
        }
        assert_eq!(
            std::fs::read_to_string(path).expect("docs/blocks.md"),
            page,
            "docs/blocks.md is out of date: make docs"
        );
    }
}
