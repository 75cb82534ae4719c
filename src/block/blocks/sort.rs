//! Things in an order.

use std::cmp::Ordering;

use super::super::spec::{Group, OBJECTS, Param, ParamKind, Port, Preset, Result as Gives, Spec};
use super::super::{Block, BlockError, Context, Input, Object, Objects, Output, Value};
use crate::execution::Kind;

pub(in super::super) struct Sort;

const SPEC: Spec = Spec {
    name: "sort",
    version: 1,
    group: Group::Objects,
    about: "Puts things in an order, and keeps the first.",
    inputs: &[Port::new("objects", OBJECTS, "The things.")],
    parameters: &[
        Param::new(
            "by",
            ParamKind::Choice(&["score", "area", "left", "top"]),
            "What comes first: the highest score, the largest area, what is leftmost (left), or what is uppermost (top).",
        )
        .or(Preset::Text("score")),
        Param::new("reverse", ParamKind::Flag, "Whether the order is the other way round.").or(Preset::Flag(false)),
        Param::new("most", ParamKind::Whole { min: 1.0, max: 10_000.0 }, "How many are kept, the first ones.")
            .or(Preset::Number(10_000.0)),
    ],
    outputs: &[Gives::new("objects", Kind::Objects, "The things in order.")],
};

impl Block for Sort {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, input: &Input<'_>, _: &Context<'_>) -> Result<Output, BlockError> {
        let (found, settings) = (input.objects("objects")?, input.settings);
        let (by, is_reverse) = (settings.text("by"), settings.flag("reverse"));
        let mut objects = found.objects.clone();
        objects.sort_by(|a, b| if is_reverse { order(b, a, by) } else { order(a, b, by) });
        objects.truncate(settings.whole("most") as usize);
        Ok(Output::of("objects", Value::Objects(Objects { objects, place: found.place })))
    }
}

fn order(a: &Object, b: &Object, by: &str) -> Ordering {
    match by {
        "area" => b.bbox.area().total_cmp(&a.bbox.area()),
        "left" => a.bbox.x.total_cmp(&b.bbox.x),
        "top" => a.bbox.y.total_cmp(&b.bbox.y),
        _ => b.score.total_cmp(&a.score),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{Seen, objects, one_objects, run};

    #[test]
    fn each_order_has_its_first() {
        let things = [
            ("dog", 0.5, [0.2, 0.1, 0.1, 0.1]),
            ("cat", 0.9, [0.3, 0.2, 0.2, 0.2]),
            ("cow", 0.7, [0.1, 0.3, 0.5, 0.5]),
        ];
        let sorted = |parameters: &str| {
            let output = run("sort@1", &[("objects", objects(&things))], parameters, &Seen::nothing()).expect("sorted");
            one_objects(&output, "objects").objects.iter().map(|object| object.label.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(sorted("{}"), ["cat", "cow", "dog"]);
        assert_eq!(sorted(r#"{"by": "area", "most": 2}"#), ["cow", "cat"]);
        assert_eq!(sorted(r#"{"by": "left"}"#), ["cow", "dog", "cat"]);
        assert_eq!(sorted(r#"{"by": "top", "reverse": true}"#), ["cow", "cat", "dog"]);
    }
}
