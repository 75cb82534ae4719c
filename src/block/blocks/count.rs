//! How many things there are.

use super::super::spec::{Group, OBJECTS, Param, ParamKind, Port, Preset, Result as Gives, Spec};
use super::super::{Block, BlockError, Context, Input, Output, Value};
use crate::execution::Kind;

pub(in super::super) struct Count;

const SPEC: Spec = Spec {
    name: "count",
    version: 1,
    group: Group::Objects,
    about: "Counts things, by label where labels are named.",
    inputs: &[Port::new("objects", OBJECTS, "The things; of a list of pictures, all together.").list()],
    parameters: &[Param::new("labels", ParamKind::Texts, "Labels that count; none for all.").or(Preset::Nothing)],
    outputs: &[Gives::new("number", Kind::Number, "How many there are.")],
};

impl Block for Count {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, input: &Input<'_>, _: &Context<'_>) -> Result<Output, BlockError> {
        let labels = input.settings.texts("labels");
        let lists = input.values("objects").into_iter().filter_map(|value| match value {
            Value::Objects(objects) => Some(&objects.objects),
            _ => None,
        });
        let counts =
            lists.flatten().filter(|object| labels.is_empty() || labels.iter().any(|label| **label == *object.label));
        Ok(Output::of("number", Value::Number(counts.count() as f64)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Value;
    use super::super::super::fixture::{Seen, objects, one, run};

    const DOG: (&str, f32, [f32; 4]) = ("dog", 0.9, [0.1, 0.1, 0.2, 0.2]);
    const CAT: (&str, f32, [f32; 4]) = ("cat", 0.5, [0.5, 0.5, 0.2, 0.2]);

    fn count(lists: &[&[(&str, f32, [f32; 4])]], parameters: &str) -> f64 {
        let inputs: Vec<_> = lists.iter().map(|things| ("objects", objects(things))).collect();
        let output = run("count@1", &inputs, parameters, &Seen::nothing()).expect("a number");
        if let Value::Number(number) = one(&output, "number") { number } else { panic!("no number") }
    }

    #[test]
    fn things_of_all_pictures_of_a_list_are_counted() {
        assert_eq!(count(&[&[DOG, CAT, CAT]], "{}"), 3.0);
        assert_eq!(count(&[&[DOG, CAT], &[DOG], &[]], r#"{"labels": ["dog"]}"#), 2.0);
        assert_eq!(count(&[&[]], "{}"), 0.0);
    }
}
