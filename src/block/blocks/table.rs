//! Things as a table.

use super::super::spec::{Group, OBJECTS, Port, Result as Gives, Spec};
use super::super::{Block, BlockError, Context, Input, Object, Output, Table as Rows, TableCell, Value};
use crate::detection::BBox;
use crate::execution::Kind;

pub(in super::super) struct Table;

const COLUMNS: [&str; 7] = ["label", "score", "x", "y", "w", "h", "track"];

const SPEC: Spec = Spec {
    name: "table",
    version: 1,
    group: Group::Objects,
    about: "Makes a table of things: label, score, x, y, w, h, track.",
    inputs: &[Port::new("objects", OBJECTS, "The things.")],
    parameters: &[],
    outputs: &[Gives::new("table", Kind::Table, "A row for each thing; its track is empty where nothing follows it.")],
};

impl Block for Table {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, input: &Input<'_>, _: &Context<'_>) -> Result<Output, BlockError> {
        let rows = input.objects("objects")?.objects.iter().map(row).collect();
        Ok(Output::of("table", Value::Table(Rows { columns: COLUMNS.map(str::to_owned).to_vec(), rows })))
    }
}

fn row(object: &Object) -> Vec<TableCell> {
    let number = |number: f32| TableCell::Number(f64::from(number));
    let BBox { x, y, w, h } = object.bbox;
    let track = object.track.map_or_else(|| TableCell::Text(String::new()), |track| TableCell::Number(track as f64));
    vec![
        TableCell::Text(object.label.to_string()),
        number(object.score),
        number(x),
        number(y),
        number(w),
        number(h),
        track,
    ]
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{Seen, objects, one_table, run};
    use super::*;

    #[test]
    fn each_thing_is_a_row() {
        let inputs = [("objects", objects(&[("dog", 0.5, [0.25, 0.5, 0.125, 1.0])]))];
        let table = one_table(&run("table@1", &inputs, "{}", &Seen::nothing()).expect("a table"), "table");
        assert_eq!(table.columns, COLUMNS);
        let text = |text: &str| TableCell::Text(text.to_owned());
        let numbers = [0.5, 0.25, 0.5, 0.125, 1.0].map(TableCell::Number);
        assert_eq!(table.rows, [[vec![text("dog")], numbers.to_vec(), vec![text("")]].concat()]);
    }
}
