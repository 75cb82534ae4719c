//! Changes single keys of a TOML text. All else stays as a person wrote it, byte for byte.

use serde_json::{Map, Value as Json};
use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, TableLike, Value};

/// Changes `table` as `patch` says, which is a JSON merge patch (RFC 7396): null removes a key, an object is gone into, all
/// else replaces what was there. What is there already is not touched. A list of objects with names is compared name by name.
///
/// # Errors
/// When TOML has no such value; names the key.
pub(super) fn merge(table: &mut dyn TableLike, patch: &Map<String, Json>) -> Result<(), String> {
    for (key, wanted) in patch {
        let within = |reason: String| format!("{key}: {reason}");
        let Some(known) = table.get_mut(key).filter(|known| !known.is_none()) else {
            if !wanted.is_null() {
                table.insert(key, item(wanted).map_err(within)?);
            }
            continue;
        };
        match (known, wanted) {
            (_, Json::Null) => drop(table.remove(key)),
            (known, wanted) if is_same(known, wanted) => {}
            (Item::ArrayOfTables(known), Json::Array(items)) if items.iter().all(Json::is_object) => {
                if items.is_empty() {
                    table.remove(key);
                } else {
                    merge_tables(known, items).map_err(within)?;
                }
            }
            (known, Json::Object(inner)) if known.is_table_like() => {
                if let Some(known) = known.as_table_like_mut() {
                    merge(known, inner).map_err(within)?;
                }
            }
            (Item::Value(known), wanted) => {
                // A comment behind the value stays.
                let decor = known.decor().clone();
                *known = value(wanted).map_err(within)?;
                *known.decor_mut() = decor;
            }
            (known, wanted) => *known = item(wanted).map_err(within)?,
        }
    }
    Ok(())
}

/// The tables that `wanted` names are kept with their comments, and changed where they differ.
fn merge_tables(known: &mut ArrayOfTables, wanted: &[Json]) -> Result<(), String> {
    let name_of = |table: &Table| table.get("name").and_then(Item::as_str).map(str::to_owned);
    let before: Vec<Table> = known.iter().cloned().collect();
    let (mut tables, mut places) = (Vec::new(), Vec::new());
    for wanted in wanted.iter().filter_map(Json::as_object) {
        let name = wanted.get("name").and_then(Json::as_str);
        let place = before.iter().position(|table| name.is_some() && name_of(table).as_deref() == name);
        let place = place.filter(|place| !places.contains(place));
        let mut table = place.and_then(|place| before.get(place)).cloned().unwrap_or_default();
        let gone: Vec<String> =
            table.iter().map(|(key, _)| key.to_owned()).filter(|key| !wanted.contains_key(key)).collect();
        gone.iter().for_each(|key| drop(table.remove(key)));
        merge(&mut table, wanted)?;
        places.extend(place);
        tables.push(table);
    }
    // Tables stand where they stood, unless their order is another one.
    if !places.is_sorted() {
        tables.iter_mut().for_each(|table| table.set_position(None));
    }
    known.clear();
    tables.into_iter().for_each(|table| known.push(table));
    Ok(())
}

/// What `item` says, as JSON.
pub(super) fn json(item: &Item) -> Json {
    match item {
        Item::None => Json::Null,
        Item::Value(value) => json_of_value(value),
        Item::Table(table) => Json::Object(table.iter().map(|(key, item)| (key.to_owned(), json(item))).collect()),
        Item::ArrayOfTables(tables) => {
            let fields = |table: &Table| table.iter().map(|(key, item)| (key.to_owned(), json(item))).collect();
            Json::Array(tables.iter().map(|table| Json::Object(fields(table))).collect())
        }
    }
}

fn json_of_value(value: &Value) -> Json {
    match value {
        Value::String(text) => text.value().as_str().into(),
        Value::Integer(number) => (*number.value()).into(),
        Value::Float(number) => (*number.value()).into(),
        Value::Boolean(flag) => (*flag.value()).into(),
        Value::Datetime(time) => time.value().to_string().into(),
        Value::Array(values) => Json::Array(values.iter().map(json_of_value).collect()),
        Value::InlineTable(table) => {
            Json::Object(table.iter().map(|(key, value)| (key.to_owned(), json_of_value(value))).collect())
        }
    }
}

/// Whether the text says what is wanted, however it is written: `1` and `1.0` are the same number.
fn is_same(known: &Item, wanted: &Json) -> bool {
    fn equal(a: &Json, b: &Json) -> bool {
        match (a, b) {
            (Json::Number(a), Json::Number(b)) => a.as_f64() == b.as_f64(),
            (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
            (Json::Object(a), Json::Object(b)) => {
                a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
            }
            (a, b) => a == b,
        }
    }
    // An object is a patch of its own, which may name some keys only.
    !wanted.is_object() && equal(&json(known), wanted)
}

/// What is new in the text: objects become sections.
fn item(wanted: &Json) -> Result<Item, String> {
    match wanted {
        Json::Object(fields) => Ok(Item::Table(section(fields)?)),
        Json::Array(items) if !items.is_empty() && items.iter().all(Json::is_object) => {
            let tables: Result<ArrayOfTables, String> = items.iter().filter_map(Json::as_object).map(section).collect();
            Ok(Item::ArrayOfTables(tables?))
        }
        other => value(other).map(Item::Value),
    }
}

fn section(fields: &Map<String, Json>) -> Result<Table, String> {
    let mut table = Table::new();
    // One that holds sections alone needs no line of its own.
    table.set_implicit(!fields.is_empty() && fields.values().all(|field| field.is_object() || field.is_null()));
    // As people begin a section: with what it is about.
    for first in ["name", "url"] {
        if let Some(value) = fields.get_key_value(first) {
            merge(&mut table, &Map::from_iter([(value.0.clone(), value.1.clone())]))?;
        }
    }
    merge(&mut table, fields)?;
    Ok(table)
}

fn value(wanted: &Json) -> Result<Value, String> {
    match wanted {
        Json::Null => Err("null stands for nothing within a list".to_owned()),
        Json::Bool(flag) => Ok((*flag).into()),
        Json::String(text) => Ok(text.as_str().into()),
        Json::Number(number) => {
            let whole = number.as_i64().map(Value::from);
            let number = whole.or_else(|| number.as_f64().map(Value::from));
            number.ok_or_else(|| "the number is too large".to_owned())
        }
        Json::Array(items) => Ok(items.iter().map(value).collect::<Result<Array, String>>()?.into()),
        Json::Object(fields) => {
            let fields = fields.iter().filter(|(_, field)| !field.is_null());
            let fields: Result<Vec<(String, Value)>, String> =
                fields.map(|(key, field)| Ok((key.clone(), value(field)?))).collect();
            Ok(fields?.into_iter().collect::<InlineTable>().into())
        }
    }
}

/// Takes the section `name` of `sections` out of `document`. What was written above it, before an empty line, stays: it is
/// often about the whole file.
pub(super) fn remove_section(document: &mut DocumentMut, sections: &str, name: &str) -> Option<Item> {
    let mut removed = document.get_mut(sections)?.as_table_like_mut()?.remove(name)?;
    let mut first = None;
    each_table(&mut removed, &mut |table| {
        let place = table.position();
        if !table.is_implicit() && first.as_ref().is_none_or(|(known, _)| place < *known) {
            let above = table.decor().prefix().and_then(|text| text.as_str()).unwrap_or_default();
            first = Some((place, above.to_owned()));
        }
    });
    let (place, above) = first.unwrap_or_default();
    let Some((kept, _)) = above.rsplit_once("\n\n").filter(|(kept, _)| kept.contains('#')) else {
        return Some(removed);
    };
    let kept = format!("{kept}\n\n");
    let mut next = None;
    each_table(document.as_item_mut(), &mut |table| {
        let at = table.position();
        if !table.is_implicit() && at > place && next.is_none_or(|known| at < known) {
            next = Some(at);
        }
    });
    match next {
        None => {
            let trailing = document.trailing().as_str().unwrap_or_default().to_owned();
            document.set_trailing(format!("{kept}{trailing}"));
        }
        Some(next) => each_table(document.as_item_mut(), &mut |table| {
            if table.position() == next && !table.is_implicit() {
                let own = table.decor().prefix().and_then(|text| text.as_str()).unwrap_or_default().to_owned();
                table.decor_mut().set_prefix(format!("{kept}{}", own.trim_start_matches('\n')));
            }
        }),
    }
    Some(removed)
}

/// Calls `act` with every table in `item` that has a header of its own.
pub(super) fn each_table(item: &mut Item, act: &mut dyn FnMut(&mut Table)) {
    match item {
        Item::Table(table) => {
            act(table);
            table.iter_mut().for_each(|(_, item)| each_table(item, act));
        }
        Item::ArrayOfTables(tables) => tables.iter_mut().for_each(|table| {
            act(table);
            table.iter_mut().for_each(|(_, item)| each_table(item, act));
        }),
        Item::None | Item::Value(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TEXT: &str = "# Our box.\n# Ask Ben.\n\n# The yard.\n[camera.yard]\nenabled   = true # for now\n\n\
                        [camera.yard.source]\n# The good stream.\nurl = 'rtsp://h/1'   # main\n\n\
                        # Who comes in?\n[[camera.yard.rules]]\nname = \"in\"\nlabels = [\n  \"person\", # people\n]\n\
                        [[camera.yard.rules]]\nname = \"out\" # and leaves\nmin_score = 0.50\n\n# The page.\n[web]\n\
                        listen = \"127.0.0.1:8080\"\n# The end.\n";

    fn patched(text: &str, patch: Json) -> String {
        let mut document: DocumentMut = text.parse().expect("TOML");
        merge(document.as_table_mut(), patch.as_object().expect("an object")).expect("a patch");
        let text = document.to_string();
        let _: DocumentMut = text.parse().expect("TOML again");
        text
    }

    #[test]
    fn one_key_is_changed_and_every_other_byte_stays() {
        let patch = json!({"camera": {"yard": {"source": {"url": "rtsp://h/2"}}}});
        assert_eq!(patched(TEXT, patch), TEXT.replace("'rtsp://h/1'", "\"rtsp://h/2\""));
        let same = json!({"camera": {"yard": {"enabled": true, "rules": [
            {"name": "in", "labels": ["person"]}, {"name": "out", "min_score": 0.5}]}}});
        assert_eq!(patched(TEXT, same), TEXT, "what is there already");
        assert_eq!(patched(TEXT, json!({})), TEXT);
    }

    #[test]
    fn rules_are_known_by_their_names() {
        let rules = json!([{"name": "in", "labels": ["person"]}, {"name": "out", "min_score": 0.6},
                           {"name": "new", "when": "enter", "zones": ["gate"]}]);
        let text = patched(TEXT, json!({"camera": {"yard": {"rules": rules}}}));
        let more = "min_score = 0.6\n\n[[camera.yard.rules]]\nname = \"new\"\nwhen = \"enter\"\nzones = [\"gate\"]\n";
        let mut sorted: Vec<&str> = text.lines().collect();
        let expected = TEXT.replace("min_score = 0.50\n", more);
        let mut wanted: Vec<&str> = expected.lines().collect();
        sorted.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(sorted, wanted, "{text}");
        let text = patched(TEXT, json!({"camera": {"yard": {"rules": [{"name": "out"}]}}}));
        assert!(text.contains("name = \"out\" # and leaves") && !text.contains("min_score"), "{text}");
        assert!(!patched(TEXT, json!({"camera": {"yard": {"rules": []}}})).contains("rules"));
        let turned = json!([{"name": "out", "min_score": 0.5}, {"name": "in", "labels": ["person"]}]);
        let text = patched(TEXT, json!({"camera": {"yard": {"rules": turned}}}));
        assert!(text.find("\"out\"") < text.find("\"in\""), "{text}");
    }

    #[test]
    fn sections_are_added_and_removed() {
        let zone = json!({"camera": {"yard": {"zones": {"gate": {"points": [[0, 0.25], [1, 0], [1, 1]]}}}}});
        let text = patched(TEXT, zone);
        assert!(text.contains("\n[camera.yard.zones.gate]\npoints = [[0, 0.25], [1, 0], [1, 1]]\n"), "{text}");
        let none = json!({"camera": {"yard": {"zones": {"gate": null}}}});
        assert_eq!(patched(&text, none), TEXT);
        let inline =
            patched("camera.yard = { source = { url = \"a\" } }\n", json!({"camera": {"yard": {"x": {"y": 1}}}}));
        assert_eq!(inline, "camera.yard = { source = { url = \"a\" } , x = { y = 1 } }\n");
    }

    #[test]
    fn what_is_written_above_a_removed_section_for_the_whole_file_stays() {
        let mut document: DocumentMut = TEXT.parse().expect("TOML");
        remove_section(&mut document, "camera", "yard").expect("it was there");
        assert_eq!(
            document.to_string(),
            "# Our box.\n# Ask Ben.\n\n# The page.\n[web]\nlisten = \"127.0.0.1:8080\"\n# The end.\n"
        );
        assert!(remove_section(&mut document, "camera", "yard").is_none());
    }
}
