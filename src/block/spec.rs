//! What a block is, takes and gives: what the check, the editor and the documentation know of it.

use crate::execution::Kind;

/// A block, as it is described.
pub(super) struct Spec {
    /// Its name in pipelines, before the `@`.
    pub name: &'static str,
    /// Its version, behind the `@`.
    pub version: u32,
    /// Under what the editor lists it.
    pub group: Group,
    /// What it does, in a sentence.
    pub about: &'static str,
    /// What it takes of other steps.
    pub inputs: &'static [Port],
    /// How it is set.
    pub parameters: &'static [Param],
    /// What it gives.
    pub outputs: &'static [Result],
}

/// Under what the editor lists a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    /// Models look at pictures.
    Vision,
    /// Pictures become others.
    Picture,
    /// Lists of things become others.
    Objects,
    /// Which steps run.
    Flow,
    /// Values become others.
    Value,
    /// What leaves the pipeline.
    Sink,
}

impl Group {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Vision => "vision",
            Self::Picture => "picture",
            Self::Objects => "objects",
            Self::Flow => "flow",
            Self::Value => "value",
            Self::Sink => "sink",
        }
    }
}

/// An input.
pub(super) struct Port {
    pub name: &'static str,
    /// What it may be.
    pub kinds: &'static [Kind],
    /// Whether it must be connected.
    pub required: bool,
    /// Whether it takes a list as a whole.
    pub list: bool,
    /// Whether the step runs all the same where it is connected and its value is missing.
    pub may_lack: bool,
    /// Whether it must not be an item of a list: the block remembers from one picture to the next.
    pub single: bool,
    /// The input that it must be of one kind with.
    pub like: Option<&'static str>,
    pub about: &'static str,
}

/// Whatever there is.
pub(super) const ANY: &[Kind] = &Kind::ALL;
/// One kind alone.
pub(super) const TEXT: &[Kind] = &[Kind::Text];
pub(super) const IMAGE: &[Kind] = &[Kind::Image];
pub(super) const OBJECTS: &[Kind] = &[Kind::Objects];
pub(super) const REGIONS: &[Kind] = &[Kind::Regions];

impl Port {
    /// An input that must be connected.
    pub(super) const fn new(name: &'static str, kinds: &'static [Kind], about: &'static str) -> Self {
        Self { name, kinds, required: true, list: false, may_lack: false, single: false, like: None, about }
    }

    /// The same, which need not be connected.
    pub(super) const fn optional(self) -> Self {
        Self { required: false, ..self }
    }

    /// The same, which need not be connected, and may lack its value.
    pub(super) const fn may_lack(self) -> Self {
        Self { required: false, may_lack: true, ..self }
    }

    /// The same, which must not be an item of a list.
    pub(super) const fn single(self) -> Self {
        Self { single: true, ..self }
    }

    /// The same, which must be of one kind with the input `other`.
    pub(super) const fn like(self, other: &'static str) -> Self {
        Self { like: Some(other), ..self }
    }

    /// The same, which takes a list as a whole.
    pub(super) const fn list(self) -> Self {
        Self { list: true, ..self }
    }
}

/// What an output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gives {
    /// Always this.
    Kind(Kind),
    /// What the input of this name is.
    Same(&'static str),
}

/// An output.
pub(super) struct Result {
    pub name: &'static str,
    pub gives: Gives,
    /// Whether it is a list.
    pub list: bool,
    pub about: &'static str,
}

impl Result {
    pub(super) const fn new(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self { name, gives: Gives::Kind(kind), list: false, about }
    }

    /// What the input `input` is.
    pub(super) const fn same(name: &'static str, input: &'static str, about: &'static str) -> Self {
        Self { name, gives: Gives::Same(input), list: false, about }
    }

    /// The same as a list.
    pub(super) const fn list(self) -> Self {
        Self { list: true, ..self }
    }
}

/// A parameter.
pub(super) struct Param {
    pub name: &'static str,
    pub kind: ParamKind,
    /// Its value where none is set; `None`: one must be set.
    pub preset: Option<Preset>,
    pub about: &'static str,
}

impl Param {
    /// A parameter that must be set.
    pub(super) const fn new(name: &'static str, kind: ParamKind, about: &'static str) -> Self {
        Self { name, kind, preset: None, about }
    }

    /// The same with a value where none is set.
    pub(super) const fn or(self, preset: Preset) -> Self {
        Self { preset: Some(preset), ..self }
    }
}

/// The value of a parameter where none is set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Preset {
    Number(f64),
    Text(&'static str),
    Flag(bool),
    /// No texts, templates or corners.
    Nothing,
}

/// What a parameter may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum ParamKind {
    /// A number from `min` to `max`.
    Number { min: f64, max: f64 },
    /// A whole number from `min` to `max`.
    Whole { min: f64, max: f64 },
    /// Text of at most so many bytes.
    Text { longest: usize },
    /// One of these.
    Choice(&'static [&'static str]),
    /// True or false.
    Flag,
    /// A list of texts; empty for all.
    Texts,
    /// Name of a model.
    Model,
    /// Name of a webhook.
    Webhook,
    /// `#rrggbb`.
    Colour,
    /// Corners of an area, `[[x, y], ...]` from 0 to 1; empty for none.
    Area,
    /// A Jinja expression.
    Expression,
    /// A Jinja template.
    Template,
    /// A list of Jinja templates.
    Templates,
}

impl ParamKind {
    /// Its written form.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Number { .. } => "number",
            Self::Whole { .. } => "whole",
            Self::Text { .. } => "text",
            Self::Choice(_) => "choice",
            Self::Flag => "flag",
            Self::Texts => "texts",
            Self::Model => "model",
            Self::Webhook => "webhook",
            Self::Colour => "colour",
            Self::Area => "area",
            Self::Expression => "expression",
            Self::Template => "template",
            Self::Templates => "templates",
        }
    }
}
