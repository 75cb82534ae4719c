//! The first value that is there.

use super::super::spec::{ANY, Group, Port, Result as Gives, Spec};
use super::super::{Block, BlockError, Context, Input, Output};

pub(in super::super) struct First;

const SPEC: Spec = Spec {
    name: "first",
    version: 1,
    group: Group::Flow,
    about: "Gives the first value that is there: what a condition held back is taken from another way.",
    inputs: &[
        Port::new("a", ANY, "What is taken where it is there.").may_lack(),
        Port::new("b", ANY, "What is taken where a is not there, of the same kind.").may_lack().like("a"),
        Port::new("c", ANY, "What is taken where neither is there, of the same kind.").may_lack().like("a"),
    ],
    parameters: &[],
    outputs: &[Gives::same("value", "a", "The value; nothing where none is there.")],
};

impl Block for First {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, input: &Input<'_>, _: &Context<'_>) -> Result<Output, BlockError> {
        let first = ["a", "b", "c"].into_iter().find_map(|name| input.value(name));
        Ok(first.map_or_else(Output::default, |value| Output::of("value", value.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Value;
    use super::super::super::fixture::{Seen, one_number, run};

    #[test]
    fn what_is_missing_is_taken_from_the_next() {
        let of = |inputs: &[(&'static str, Value)]| run("first@1", inputs, "{}", &Seen::nothing()).expect("a result");
        let (one, two) = (("b", Value::Number(1.0)), ("c", Value::Number(2.0)));
        assert_eq!(one_number(&of(&[one.clone(), two.clone()]), "value"), 1.0);
        assert_eq!(one_number(&of(&[two]), "value"), 2.0);
        assert!(of(&[]).items.is_empty());
    }
}
