//! How many things are in each area.

use super::super::spec::{Group, OBJECTS, Param, ParamKind, Port, Preset, REGIONS, Result as Gives, Spec};
use super::super::{Block, BlockError, Context, Input, Output, Table, TableCell, Value};
use crate::execution::Kind;

pub(in super::super) struct CountInRegions;

const SPEC: Spec = Spec {
    name: "count_in_regions",
    version: 1,
    group: Group::Objects,
    about: "Counts the things in each area; one that is in two areas counts in both.",
    inputs: &[Port::new("objects", OBJECTS, "The things."), Port::new("regions", REGIONS, "The areas.")],
    parameters: &[
        Param::new("labels", ParamKind::Texts, "Labels that count; none for all.").or(Preset::Nothing),
        Param::new(
            "point",
            ParamKind::Choice(&["bottom", "centre"]),
            "What of a thing must lie in an area: the middle of its lower edge (bottom), or its centre.",
        )
        .or(Preset::Text("bottom")),
    ],
    outputs: &[Gives::new("table", Kind::Table, "A row for each area: region, count.")],
};

impl Block for CountInRegions {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, input: &Input<'_>, _: &Context<'_>) -> Result<Output, BlockError> {
        let (objects, settings) = (input.objects("objects")?, input.settings);
        let counted = objects.objects.iter().filter(|object| object.is_one_of(settings.texts("labels")));
        let points: Vec<[f32; 2]> = counted.map(|object| object.point(settings.text("point"))).collect();
        let rows = input.regions("regions").iter().map(|region| {
            let count = points.iter().filter(|point| region.points.contains(**point)).count();
            vec![TableCell::Text(region.name.clone()), TableCell::Number(count as f64)]
        });
        let columns = ["region", "count"].map(str::to_owned).to_vec();
        Ok(Output::of("table", Value::Table(Table { columns, rows: rows.collect() })))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Region;
    use super::super::super::fixture::{Seen, objects, one_table, region, run};
    use super::*;

    #[test]
    fn each_area_has_its_count() {
        let things = objects(&[
            ("dog", 0.9, [0.1, 0.1, 0.1, 0.1]),
            ("cat", 0.9, [0.1, 0.3, 0.1, 0.3]),
            ("dog", 0.9, [0.8, 0.8, 0.1, 0.1]),
        ]);
        let areas = vec![
            region("all", &[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]),
            region("upper", &[[0.0, 0.0], [1.0, 0.0], [1.0, 0.5], [0.0, 0.5]]),
        ];
        let counts = |parameters: &str, areas: &[Region]| {
            let inputs = [("objects", things.clone()), ("regions", Value::Regions(areas.to_vec()))];
            let table =
                one_table(&run("count_in_regions@1", &inputs, parameters, &Seen::nothing()).expect("counts"), "table");
            let numbers = table.rows.into_iter().map(|row| match row.as_slice() {
                [TableCell::Text(_), TableCell::Number(count)] => *count,
                other => panic!("{other:?}"),
            });
            numbers.collect::<Vec<_>>()
        };
        assert_eq!(counts("{}", &areas), [3.0, 1.0]);
        assert_eq!(counts(r#"{"point": "centre"}"#, &areas), [3.0, 2.0]);
        assert_eq!(counts(r#"{"labels": ["cat"]}"#, &areas), [1.0, 0.0]);
        assert!(counts("{}", &[]).is_empty());
    }
}
