//! Areas that are always the same.

use super::super::settings::{Settings, Wrong};
use super::super::spec::{Group, Param, ParamKind, Port, REGIONS, Result as Gives, Spec};
use super::super::{Block, BlockError, Context, Input, Models, Output, Region, Value};
use crate::execution::{Kind, LONGEST_NAME};

pub(in super::super) struct Regions;

/// Most areas that are chained.
const MOST: usize = 100;

const SPEC: Spec = Spec {
    name: "regions",
    version: 1,
    group: Group::Objects,
    about: "Gives an area of the picture, together with those of steps before it.",
    inputs: &[Port::new("regions", REGIONS, "Further areas.").optional()],
    parameters: &[
        Param::new("name", ParamKind::Text { longest: LONGEST_NAME }, "The name of the area."),
        Param::new("area", ParamKind::Area, "Its corners, in shares of the picture."),
    ],
    outputs: &[Gives::new("regions", Kind::Regions, "The further areas, and this one.")],
};

impl Block for Regions {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn check(&self, settings: &Settings, _: &dyn Models) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        if settings.text("name").trim().is_empty() {
            wrong.push(Wrong::new("name", "it is empty", "give the area a name"));
        }
        if settings.area("area").is_none() {
            wrong.push(Wrong::new("area", "it has no corners", "list at least 3 corners as [[x, y], ...]"));
        }
        wrong
    }

    fn run(&self, input: &Input<'_>, _: &Context<'_>) -> Result<Output, BlockError> {
        let mut regions = input.regions("regions").to_vec();
        let name = input.settings.text("name").to_owned();
        if regions.iter().any(|region| region.name == name) {
            return Err(BlockError::step(format!("there are two areas by the name {name:?}; give each its own")));
        }
        regions.extend(input.settings.area("area").map(|area| Region { name, points: area.clone() }));
        if regions.len() > MOST {
            return Err(BlockError::too_large(format!("there are {} areas, and {MOST} are the most", regions.len())));
        }
        Ok(Output::of("regions", Value::Regions(regions)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{Seen, one, run, settings};
    use super::*;

    fn chained(names: &[&str]) -> Result<Vec<String>, String> {
        let mut before = Vec::new();
        for name in names {
            let parameters = format!(r#"{{"name": "{name}", "area": [[0, 0], [1, 0], [1, 1]]}}"#);
            let output = run("regions@1", &before, &parameters, &Seen::nothing()).map_err(|error| error.message)?;
            before = vec![("regions", one(&output, "regions"))];
        }
        match before.into_iter().next() {
            Some((_, Value::Regions(regions))) => Ok(regions.into_iter().map(|region| region.name).collect()),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn areas_are_chained_in_order() {
        assert_eq!(chained(&["door", "gate"]), Ok(vec!["door".to_owned(), "gate".to_owned()]));
        assert!(chained(&["door", "door"]).expect_err("twice").contains("two areas by the name \"door\""));
    }

    #[test]
    fn an_area_without_name_or_corners_is_refused() {
        let wrong = settings("regions", r#"{"name": " ", "area": []}"#, &Seen::nothing()).expect_err("refused");
        assert_eq!(wrong.iter().map(|wrong| wrong.field.as_str()).collect::<Vec<_>>(), ["name", "area"]);
    }
}
