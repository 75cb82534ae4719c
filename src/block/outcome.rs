//! What a camera shows of a run: the objects that its pipeline gives, and its values.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::run::Outcome;
use super::value::{Item, Object, Value, within};

/// The output whose objects are shown where there are several.
const SHOWN: &str = "objects";

impl Outcome {
    /// The objects that it gives, in shares of the whole picture: those of the output `objects`, or else of all outputs. `None`
    /// where no output gives any.
    pub fn objects(&self) -> Option<Vec<Object>> {
        let of = |items: &mut dyn Iterator<Item = &Item>| {
            let mut all: Option<Vec<Object>> = None;
            for value in items.flat_map(Item::values) {
                let Value::Objects(found) = value else { continue };
                let shape = |object: &Object| object.shape.as_ref().map(|shape| Arc::new(shape.within(found.place)));
                let whole = |object: &Object| Object {
                    bbox: within(object.bbox, found.place),
                    shape: shape(object),
                    ..object.clone()
                };
                all.get_or_insert_default().extend(found.objects.iter().map(whole));
            }
            all
        };
        match self.outputs.get(SHOWN) {
            Some(shown) => of(&mut std::iter::once(shown)),
            None => of(&mut self.outputs.values()),
        }
    }

    /// Numbers, texts and tables that it gives, by output; lists as lists.
    pub fn values(&self) -> BTreeMap<String, serde_json::Value> {
        let values = self.outputs.iter().filter_map(|(name, item)| Some((name.clone(), plain(item)?)));
        values.collect()
    }
}

fn plain(item: &Item) -> Option<serde_json::Value> {
    match item {
        Item::Absent | Item::One(Value::Image(_) | Value::Objects(_) | Value::Regions(_)) => None,
        Item::One(value) => Some(value.to_json()),
        Item::Many(items) => {
            let values: Vec<serde_json::Value> = items.iter().filter_map(plain).collect();
            (!values.is_empty()).then(|| values.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::value::{Objects, WHOLE};
    use super::*;
    use crate::detection::{BBox, Detection};

    fn found(label: &str, place: BBox) -> Item {
        let bbox = BBox { x: 0.0, y: 0.0, w: 0.5, h: 0.5 };
        let object = Detection { label: label.into(), score: 0.5, bbox, shape: None };
        Item::One(Value::Objects(Objects { objects: vec![object.into()], place }))
    }

    fn outcome(outputs: Vec<(&str, Item)>) -> Outcome {
        let outputs = outputs.into_iter().map(|(name, item)| (name.to_owned(), item)).collect();
        Outcome { outputs, ..Outcome::default() }
    }

    #[test]
    fn objects_of_parts_lie_in_the_whole_and_the_output_of_that_name_goes_before_others() {
        let half = BBox { x: 0.5, y: 0.0, w: 0.5, h: 1.0 };
        let all = outcome(vec![("a", found("dog", WHOLE)), ("b", Item::Many(vec![found("cat", half)]))]);
        let objects = all.objects().expect("objects");
        assert_eq!(objects.iter().map(|object| &*object.label).collect::<Vec<_>>(), ["dog", "cat"]);
        assert_eq!(objects[1].bbox, BBox { x: 0.5, y: 0.0, w: 0.25, h: 0.5 });
        let named = outcome(vec![("a", found("dog", WHOLE)), ("objects", found("cat", WHOLE))]);
        assert_eq!(named.objects().expect("objects").len(), 1);
        assert_eq!(outcome(vec![("n", Item::One(Value::Number(1.0)))]).objects(), None);
    }

    #[test]
    fn values_are_what_is_neither_picture_nor_object() {
        let items = Item::Many(vec![Item::One(Value::Number(2.0)), Item::Absent]);
        let all =
            outcome(vec![("found", found("dog", WHOLE)), ("n", items), ("said", Item::One(Value::Text("x".into())))]);
        let expected = BTreeMap::from([("n".to_owned(), serde_json::json!([2.0])), ("said".to_owned(), "x".into())]);
        assert_eq!(all.values(), expected);
    }
}
