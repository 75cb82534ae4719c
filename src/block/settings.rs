//! The parameters of a step, as its block reads them: checked against the spec, with presets where nothing is set.

use std::collections::BTreeMap;

use serde_json::Value;

use super::expression::Expression;
use super::spec::{Param, ParamKind, Preset, Spec};
use super::{Models, expression};
use crate::polygon::Polygon;

/// Most texts of one list.
const MOST_TEXTS: usize = 1000;

/// A parameter that cannot be like that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// Its name.
    pub field: String,
    /// What is wrong.
    pub reason: String,
    /// What to do.
    pub cure: String,
}

impl Wrong {
    pub(super) fn new(field: &str, reason: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { field: field.to_owned(), reason: reason.into(), cure: cure.into() }
    }
}

/// One parameter.
#[derive(Clone, Debug)]
pub(super) enum Setting {
    Number(f64),
    Text(String),
    Flag(bool),
    Texts(Vec<String>),
    Colour([u8; 3]),
    Area(Option<Polygon>),
    Expression(Expression),
    Expressions(Vec<Expression>),
}

/// All parameters of one step.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings(BTreeMap<&'static str, Setting>);

impl Settings {
    /// The parameters of a step with this block: `given` by name.
    pub(super) fn read(spec: &Spec, given: &BTreeMap<String, Value>, models: &dyn Models) -> Result<Self, Vec<Wrong>> {
        let (mut settings, mut wrong) = (BTreeMap::new(), Vec::new());
        for name in given.keys().filter(|name| !spec.parameters.iter().any(|param| param.name == **name)) {
            wrong.push(unknown(spec, name));
        }
        for param in spec.parameters {
            // The preset of a template is compiled as one that is given.
            let compiled = param.preset.filter(|_| matches!(param.kind, ParamKind::Template | ParamKind::Expression));
            let compiled = compiled.map(|preset| preset.to_json());
            match (given.get(param.name).or(compiled.as_ref()), param.preset) {
                (Some(value), _) => match read(param, value, models) {
                    Ok(setting) => {
                        settings.insert(param.name, setting);
                    }
                    Err((reason, cure)) => wrong.push(Wrong::new(param.name, reason, cure)),
                },
                (None, Some(preset)) => {
                    settings.insert(param.name, preset.setting(param.kind));
                }
                (None, None) => {
                    wrong.push(Wrong::new(param.name, "it is not set", format!("set {}: {}", param.name, param.about)));
                }
            }
        }
        if wrong.is_empty() { Ok(Self(settings)) } else { Err(wrong) }
    }

    fn get(&self, name: &str) -> Option<&Setting> {
        self.0.get(name)
    }

    /// The number `name`; what the spec does not have is 0.
    pub(super) fn number(&self, name: &str) -> f64 {
        if let Some(Setting::Number(number)) = self.get(name) { *number } else { 0.0 }
    }

    /// The whole number `name`.
    pub(super) fn whole(&self, name: &str) -> u32 {
        self.number(name) as u32
    }

    pub(super) fn text(&self, name: &str) -> &str {
        if let Some(Setting::Text(text)) = self.get(name) { text } else { "" }
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), Some(Setting::Flag(true)))
    }

    pub(super) fn texts(&self, name: &str) -> &[String] {
        if let Some(Setting::Texts(texts)) = self.get(name) { texts } else { &[] }
    }

    pub(super) fn colour(&self, name: &str) -> [u8; 3] {
        if let Some(Setting::Colour(colour)) = self.get(name) { *colour } else { [0; 3] }
    }

    pub(super) fn area(&self, name: &str) -> Option<&Polygon> {
        if let Some(Setting::Area(area)) = self.get(name) { area.as_ref() } else { None }
    }

    pub(super) fn expression(&self, name: &str) -> Option<&Expression> {
        if let Some(Setting::Expression(expression)) = self.get(name) { Some(expression) } else { None }
    }

    pub(super) fn expressions(&self, name: &str) -> &[Expression] {
        if let Some(Setting::Expressions(expressions)) = self.get(name) { expressions } else { &[] }
    }

    /// Names in expressions and templates that are no input of the block, or one that is not connected.
    pub(super) fn wrong_variables(&self, spec: &Spec, is_connected: impl Fn(&str) -> bool) -> Vec<Wrong> {
        let known: Vec<&str> = spec.inputs.iter().map(|port| port.name).collect();
        let mut wrong = Vec::new();
        for (field, setting) in &self.0 {
            let expressions = match setting {
                Setting::Expression(expression) => std::slice::from_ref(expression),
                Setting::Expressions(expressions) => expressions,
                _ => continue,
            };
            for expression in expressions {
                for name in expression.unknown(&known) {
                    let cure =
                        if known.is_empty() { "use none".to_owned() } else { format!("use {}", known.join(", ")) };
                    wrong.push(Wrong::new(field, format!("it uses {name}, which is no input of {}", spec.name), cure));
                }
                for name in expression.variables().filter(|name| known.contains(name) && !is_connected(name)) {
                    let reason = format!("it uses {name}, and the input {name} is not connected");
                    wrong.push(Wrong::new(field, reason, format!("connect inputs.{name}, or leave {name} out")));
                }
            }
        }
        wrong
    }
}

impl Preset {
    fn setting(self, kind: ParamKind) -> Setting {
        match (self, kind) {
            (Self::Number(number), _) => Setting::Number(number),
            (Self::Text(text), ParamKind::Colour) => Setting::Colour(colour(text).unwrap_or_default()),
            (Self::Text(text), _) => Setting::Text(text.to_owned()),
            (Self::Flag(flag), _) => Setting::Flag(flag),
            (Self::Nothing, ParamKind::Area) => Setting::Area(None),
            (Self::Nothing, ParamKind::Templates) => Setting::Expressions(Vec::new()),
            (Self::Nothing, _) => Setting::Texts(Vec::new()),
        }
    }

    /// As JSON.
    pub(super) fn to_json(self) -> Value {
        match self {
            Self::Number(number) if number.fract() == 0.0 => (number as i64).into(),
            Self::Number(number) => number.into(),
            Self::Text(text) => text.into(),
            Self::Flag(flag) => flag.into(),
            Self::Nothing => Value::Array(Vec::new()),
        }
    }
}

fn unknown(spec: &Spec, name: &str) -> Wrong {
    let known: Vec<&str> = spec.parameters.iter().map(|param| param.name).collect();
    let nearest = known.iter().max_by_key(|known| (strsim::jaro_winkler(known, name) * 1e6) as u32);
    let cure = match nearest {
        Some(nearest) => format!("did you mean {nearest}? There are: {}", known.join(", ")),
        None => "leave it out".to_owned(),
    };
    Wrong::new(name, format!("{}@{} has no such parameter", spec.name, spec.version), cure)
}

/// Reads one value. The error is what is wrong, and what to do.
fn read(param: &Param, value: &Value, models: &dyn Models) -> Result<Setting, (String, String)> {
    let wrong = |needs: &str| (format!("{value} is not {needs}"), format!("set {needs}"));
    match param.kind {
        ParamKind::Number { min, max } => {
            let number = value.as_f64().filter(|number| (min..=max).contains(number));
            number.map(Setting::Number).ok_or_else(|| wrong(&format!("a number from {min} to {max}")))
        }
        ParamKind::Whole { min, max } => {
            let number = value.as_f64().filter(|number| (min..=max).contains(number) && number.fract() == 0.0);
            number.map(Setting::Number).ok_or_else(|| wrong(&format!("a whole number from {min} to {max}")))
        }
        ParamKind::Text { longest } => {
            let text = value.as_str().filter(|text| text.len() <= longest);
            let text = text.ok_or_else(|| wrong(&format!("text of at most {longest} bytes")))?;
            Ok(Setting::Text(text.to_owned()))
        }
        ParamKind::Choice(choices) => {
            let text = value.as_str().filter(|text| choices.contains(text));
            let text = text.ok_or_else(|| wrong(&format!("one of {}", choices.join(", "))))?;
            Ok(Setting::Text(text.to_owned()))
        }
        ParamKind::Flag => value.as_bool().map(Setting::Flag).ok_or_else(|| wrong("true or false")),
        ParamKind::Texts => texts(value).map(Setting::Texts).ok_or_else(|| wrong("a list of texts")),
        // The block knows which there are.
        ParamKind::Webhook => {
            value.as_str().map(|name| Setting::Text(name.to_owned())).ok_or_else(|| wrong("the name of a webhook"))
        }
        ParamKind::Model => {
            let name = value.as_str().ok_or_else(|| wrong("the name of a model"))?;
            let installed = models.installed();
            let is_known = |name: &str| installed.iter().any(|known| known == name);
            // `name/2` is one version.
            let has_version = |(model, _): (&str, &str)| is_known(model) && models.labels(name).is_some();
            if is_known(name) || name.split_once('/').is_some_and(has_version) {
                return Ok(Setting::Text(name.to_owned()));
            }
            let there = if installed.is_empty() { "none".to_owned() } else { installed.join(", ") };
            Err((format!("there is no model {name:?} on this box"), format!("install it, or take one of: {there}")))
        }
        ParamKind::Colour => {
            let colour = value.as_str().and_then(colour);
            colour.map(Setting::Colour).ok_or_else(|| wrong("a colour as #rrggbb"))
        }
        ParamKind::Area => area(value),
        ParamKind::Expression | ParamKind::Template => {
            let text = value.as_str().ok_or_else(|| wrong("text"))?;
            let read = if param.kind == ParamKind::Template { expression::template } else { expression::expression };
            read(text).map(Setting::Expression)
        }
        ParamKind::Templates => {
            let texts = texts(value).ok_or_else(|| wrong("a list of texts"))?;
            let read = texts.iter().map(|text| expression::template(text)).collect::<Result<_, _>>();
            read.map(Setting::Expressions)
        }
    }
}

fn texts(value: &Value) -> Option<Vec<String>> {
    let values = value.as_array().filter(|values| values.len() <= MOST_TEXTS)?;
    values.iter().map(|text| text.as_str().map(str::to_owned)).collect()
}

fn area(value: &Value) -> Result<Setting, (String, String)> {
    let cure = || "list corners as [[x, y], ...], each from 0 to 1, in order around the area".to_owned();
    let points: Vec<[f32; 2]> =
        serde_json::from_value(value.clone()).map_err(|_| (format!("{value} is no list of corners"), cure()))?;
    if points.is_empty() {
        return Ok(Setting::Area(None));
    }
    Polygon::new(points).map(|area| Setting::Area(Some(area))).map_err(|error| (error.to_string(), cure()))
}

fn colour(text: &str) -> Option<[u8; 3]> {
    let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6)?;
    let bytes = hex::decode(digits).ok()?;
    <[u8; 3]>::try_from(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Seen;
    use super::super::spec::Group;
    use super::*;

    const SPEC: Spec = Spec {
        name: "test",
        version: 1,
        group: Group::Value,
        about: "A test.",
        inputs: &[],
        parameters: &[
            Param::new("share", ParamKind::Number { min: 0.0, max: 1.0 }, "A share.").or(Preset::Number(0.5)),
            Param::new("count", ParamKind::Whole { min: 1.0, max: 9.0 }, "How many."),
            Param::new("colour", ParamKind::Colour, "A colour.").or(Preset::Text("#102030")),
            Param::new("area", ParamKind::Area, "An area.").or(Preset::Nothing),
            Param::new("model", ParamKind::Model, "A model.").or(Preset::Text("m")),
        ],
        outputs: &[],
    };

    fn read(json: &str) -> Result<Settings, Vec<Wrong>> {
        let given = serde_json::from_str(json).expect("JSON");
        Settings::read(&SPEC, &given, &Seen::nothing())
    }

    #[test]
    fn what_is_not_set_has_its_preset() {
        let settings = read(r#"{"count": 3}"#).expect("settings");
        assert_eq!((settings.number("share"), settings.whole("count")), (0.5, 3));
        assert_eq!(settings.colour("colour"), [0x10, 0x20, 0x30]);
        assert!(settings.area("area").is_none());
    }

    #[test]
    fn each_wrong_value_is_named_with_reason_and_cure() {
        let cases = [
            (r#"{}"#, "count", "not set", "How many"),
            (r#"{"count": 2.5}"#, "count", "2.5 is not a whole number from 1 to 9", "set a whole"),
            (r#"{"count": 1, "share": "much"}"#, "share", "\"much\" is not a number from 0 to 1", "set a number"),
            (r##"{"count": 1, "colour": "#12"}"##, "colour", "is not a colour", "#rrggbb"),
            (r#"{"count": 1, "area": [[0, 0], [1, 1]]}"#, "area", "at least 3", "corners"),
            (r#"{"count": 1, "cuont": 1}"#, "cuont", "no such parameter", "did you mean count?"),
            (r#"{"count": 1, "model": "x"}"#, "model", "no model \"x\"", "seer"),
        ];
        for (json, field, reason, cure) in cases {
            let wrong = read(json).expect_err(json);
            let [only] = wrong.as_slice() else { panic!("{json}: {wrong:?}") };
            assert_eq!(only.field, field);
            assert!(only.reason.contains(reason) && only.cure.contains(cure), "{only:?}");
        }
        assert_eq!(read(r#"{"share": 2, "count": 0}"#).expect_err("two").len(), 2);
    }
}
