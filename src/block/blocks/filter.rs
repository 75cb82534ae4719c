//! Some of the things.

use super::super::settings::{Settings, Wrong};
use super::super::spec::{Group, OBJECTS, Param, ParamKind, Port, Preset, REGIONS, Result as Gives, Spec};
use super::super::{Block, BlockError, Context, Input, Models, Object, Objects, Output, Region, Value};
use crate::execution::Kind;

pub(in super::super) struct Filter;

const SHARE: ParamKind = ParamKind::Number { min: 0.0, max: 1.0 };

const SPEC: Spec = Spec {
    name: "filter",
    version: 1,
    group: Group::Objects,
    about: "Keeps the things that meet all conditions.",
    inputs: &[
        Port::new("objects", OBJECTS, "The things."),
        Port::new("regions", REGIONS, "Areas: things in one of them are kept.").optional(),
    ],
    parameters: &[
        Param::new("labels", ParamKind::Texts, "Labels that are kept; none for all.").or(Preset::Nothing),
        Param::new("min_score", SHARE, "Things below this score are left out.").or(Preset::Number(0.0)),
        Param::new("min_area", SHARE, "Things that cover a smaller share of the picture are left out.")
            .or(Preset::Number(0.0)),
        Param::new("max_area", SHARE, "Things that cover a larger share of the picture are left out.")
            .or(Preset::Number(1.0)),
        Param::new("area", ParamKind::Area, "Things in this area are kept; none for all of the picture.")
            .or(Preset::Nothing),
        Param::new(
            "point",
            ParamKind::Choice(&["bottom", "centre"]),
            "What of a thing must lie in an area: the middle of its lower edge (bottom), or its centre.",
        )
        .or(Preset::Text("bottom")),
        Param::new("invert", ParamKind::Flag, "Whether it keeps those that do not meet all conditions.")
            .or(Preset::Flag(false)),
    ],
    outputs: &[Gives::new("objects", Kind::Objects, "The things that are kept.")],
};

impl Block for Filter {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn check(&self, settings: &Settings, _: &dyn Models) -> Vec<Wrong> {
        let (min, max) = (settings.number("min_area"), settings.number("max_area"));
        if min <= max {
            return Vec::new();
        }
        let reason = format!("{min} is more than max_area, which is {max}, so nothing would be kept");
        vec![Wrong::new("min_area", reason, "set min_area below max_area")]
    }

    fn run(&self, input: &Input<'_>, _: &Context<'_>) -> Result<Output, BlockError> {
        let (objects, settings) = (input.objects("objects")?, input.settings);
        let regions = input.value("regions").map(|_| input.regions("regions"));
        let is_kept = |object: &&Object| meets_all(object, settings, regions) != settings.flag("invert");
        let kept = objects.objects.iter().filter(is_kept).cloned().collect();
        Ok(Output::of("objects", Value::Objects(Objects { objects: kept, place: objects.place })))
    }
}

fn meets_all(object: &Object, settings: &Settings, regions: Option<&[Region]>) -> bool {
    // A box that goes beyond the picture covers no more than all of it.
    let area = f64::from(object.bbox.area()).min(1.0);
    let point = object.point(settings.text("point"));
    object.is_one_of(settings.texts("labels"))
        && f64::from(object.score) >= settings.number("min_score")
        && (settings.number("min_area")..=settings.number("max_area")).contains(&area)
        && settings.area("area").is_none_or(|area| area.contains(point))
        && regions.is_none_or(|regions| regions.iter().any(|region| region.points.contains(point)))
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{Seen, objects, one_objects, region, run, settings};
    use super::*;

    fn kept(parameters: &str, regions: Option<Vec<Region>>) -> Vec<String> {
        let things = [
            ("dog", 0.9, [0.0, 0.0, 0.2, 0.2]),
            ("cat", 0.5, [0.5, 0.5, 0.1, 0.1]),
            ("cow", 0.3, [0.6, 0.0, 0.4, 0.9]),
        ];
        let mut inputs = vec![("objects", objects(&things))];
        inputs.extend(regions.map(|regions| ("regions", Value::Regions(regions))));
        let output = run("filter@1", &inputs, parameters, &Seen::nothing()).expect("things");
        one_objects(&output, "objects").objects.iter().map(|object| object.label.to_string()).collect()
    }

    #[test]
    fn things_that_miss_a_condition_are_left_out() {
        let lower = r#"[[0, 0.5], [1, 0.5], [1, 1], [0, 1]]"#;
        let cases: [(&str, &[&str]); 9] = [
            ("{}", &["dog", "cat", "cow"]),
            (r#"{"labels": ["cat", "cow"]}"#, &["cat", "cow"]),
            (r#"{"min_score": 0.5}"#, &["dog", "cat"]),
            (r#"{"min_area": 0.02}"#, &["dog", "cow"]),
            (r#"{"max_area": 0.05}"#, &["dog", "cat"]),
            (&format!(r#"{{"area": {lower}}}"#), &["cat", "cow"]),
            (&format!(r#"{{"area": {lower}, "point": "centre"}}"#), &["cat"]),
            (&format!(r#"{{"area": {lower}, "invert": true}}"#), &["dog"]),
            (r#"{"labels": ["cat"], "min_score": 0.6}"#, &[]),
        ];
        for (parameters, expected) in cases {
            assert_eq!(kept(parameters, None), expected, "{parameters}");
        }
    }

    #[test]
    fn any_region_will_do_and_none_keeps_nothing() {
        let left = region("left", &[[0.0, 0.0], [0.3, 0.0], [0.3, 1.0], [0.0, 1.0]]);
        let right = region("right", &[[0.7, 0.0], [1.0, 0.0], [1.0, 1.0], [0.7, 1.0]]);
        assert_eq!(kept("{}", Some(vec![left, right])), ["dog", "cow"]);
        assert!(kept("{}", Some(Vec::new())).is_empty());
    }

    #[test]
    fn areas_that_leave_nothing_are_refused() {
        let wrong = settings("filter", r#"{"min_area": 0.5, "max_area": 0.1}"#, &Seen::nothing()).expect_err("refused");
        assert_eq!(wrong[0].field, "min_area");
    }
}
