//! How many different things there were.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::spec::{Group, OBJECTS, Param, ParamKind, Port, Preset, Result as Gives, Spec};
use super::super::{Block, BlockError, Context, Input, Output, Table, TableCell, Value};
use crate::execution::Kind;

pub(in super::super) struct CountUnique;

/// Most numbers of tracks that are remembered, the highest ones; lower ones ended long ago.
const MOST_TRACKS: usize = 10_000;
/// Most labels that are counted; no model has more.
const MOST_LABELS: usize = 10_000;

const SPEC: Spec = Spec {
    name: "count_unique",
    version: 1,
    group: Group::Objects,
    about: "Counts the different things of a stream so far, by the numbers that track gives.",
    inputs: &[Port::new("objects", OBJECTS, "The things that are followed in this picture.").single()],
    parameters: &[Param::new("labels", ParamKind::Texts, "Labels that count; none for all.").or(Preset::Nothing)],
    outputs: &[
        Gives::new("table", Kind::Table, "A row for each label: label, count."),
        Gives::new("number", Kind::Number, "How many there were in all."),
    ],
};

/// What it remembers.
#[derive(Default)]
struct Counts {
    by_label: BTreeMap<Arc<str>, u64>,
    tracks: BTreeSet<u64>,
    /// No track up to this one is counted any more.
    forgotten: u64,
}

impl Counts {
    fn see(&mut self, track: u64, label: &Arc<str>) {
        if track <= self.forgotten || !self.tracks.insert(track) {
            return;
        }
        if self.by_label.len() < MOST_LABELS || self.by_label.contains_key(label) {
            *self.by_label.entry(label.clone()).or_default() += 1;
        }
        if self.tracks.len() > MOST_TRACKS
            && let Some(lowest) = self.tracks.pop_first()
        {
            self.forgotten = lowest;
        }
    }
}

impl Block for CountUnique {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, input: &Input<'_>, context: &Context<'_>) -> Result<Output, BlockError> {
        let labels = input.settings.texts("labels");
        let counted = input.objects("objects")?.objects.iter().filter(|object| object.is_one_of(labels));
        let tracks = counted.map(|object| object.track.map(|track| (track, &object.label)));
        let tracks: Option<Vec<_>> = tracks.collect();
        let tracks =
            tracks.ok_or_else(|| BlockError::step("the things have no numbers; put a track step before it"))?;
        let by_label = context.remember(|counts: &mut Counts| {
            tracks.iter().for_each(|(track, label)| counts.see(*track, label));
            counts.by_label.clone()
        });
        let total: u64 = by_label.values().sum();
        let row =
            |(label, count): (Arc<str>, u64)| vec![TableCell::Text(label.to_string()), TableCell::Number(count as f64)];
        let rows = by_label.into_iter().map(row).collect();
        let columns = ["label", "count"].map(str::to_owned).to_vec();
        let table = Value::Table(Table { columns, rows });
        Ok(Output::of("table", table).and("number", Value::Number(total as f64)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{Seen, one_number, one_table, run_with};
    use super::super::super::value::WHOLE;
    use super::super::super::{Memory, Object, Objects};
    use super::*;
    use crate::clock::Mono;
    use crate::detection::BBox;

    fn seen(memory: &Memory, things: &[(&str, Option<u64>)]) -> Result<(f64, usize), String> {
        let object = |(label, track): &(&str, Option<u64>)| {
            let bbox = BBox { x: 0.1, y: 0.1, w: 0.1, h: 0.1 };
            Object { label: (*label).into(), score: 0.5, bbox, track: *track, shape: None }
        };
        let objects = Objects { objects: things.iter().map(object).collect(), place: WHOLE };
        let inputs = [("objects", Value::Objects(objects))];
        let output = run_with("count_unique@1", &inputs, "{}", &Seen::nothing(), memory, Mono::default());
        let output = output.map_err(|error| error.message)?;
        Ok((one_number(&output, "number"), one_table(&output, "table").rows.len()))
    }

    #[test]
    fn each_thing_counts_once_in_all_pictures() {
        let memory = Memory::default();
        assert_eq!(seen(&memory, &[]), Ok((0.0, 0)));
        assert_eq!(seen(&memory, &[("dog", Some(1)), ("cat", Some(2))]), Ok((2.0, 2)));
        assert_eq!(seen(&memory, &[("dog", Some(1)), ("dog", Some(3))]), Ok((3.0, 2)));
        assert_eq!(seen(&memory, &[]), Ok((3.0, 2)));
        assert!(seen(&memory, &[("dog", None)]).expect_err("no number").contains("track step"));
    }

    #[test]
    fn what_it_remembers_is_bounded() {
        let (mut counts, label) = (Counts::default(), Arc::from("dog"));
        for track in (1..=12_000).chain(1..=12_000) {
            counts.see(track, &label);
        }
        assert_eq!((counts.by_label[&label], counts.tracks.len()), (12_000, MOST_TRACKS));
    }
}
