//! Whether an answer is what its schema says, to the letter: a field that the schema does not have is an error.

use serde_json::Value;

use super::DOCUMENT;

/// What differs between the answer to a GET of `path` (as the router has it) and the document.
pub(in crate::web) fn differences(path: &str, answer: &Value) -> Vec<String> {
    let responses = &DOCUMENT["paths"][path]["get"]["responses"];
    let schema = &responses["200"]["content"]["application/json"]["schema"];
    assert!(schema.is_object(), "the document has no answer for {path}");
    let mut found = Vec::new();
    check(schema, answer, path, &mut found);
    found
}

fn resolved(schema: &Value) -> &Value {
    match schema["$ref"].as_str() {
        Some(name) => &DOCUMENT["components"]["schemas"][name.rsplit('/').next().expect("a name")],
        None => schema,
    }
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("the check does not know type {other}"),
    }
}

fn check(schema: &Value, value: &Value, place: &str, found: &mut Vec<String>) {
    let schema = resolved(schema);
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !kinds.is_empty() && !kinds.iter().any(|kind| is_of(kind, value)) {
        found.push(format!("{place}: {value} is none of {kinds:?}"));
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        found.push(format!("{place}: {value} is none of {allowed:?}"));
    }
    if let Value::Array(items) = value {
        items.iter().for_each(|item| check(&schema["items"], item, &format!("{place}[]"), found));
    }
    let (Value::Object(fields), false) = (value, schema["x-free"] == true) else { return };
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !fields.contains_key(name) {
            found.push(format!("{place}: {name} is missing"));
        }
    }
    for (name, value) in fields {
        let known = [&schema["properties"][name], &schema["additionalProperties"]];
        match known.into_iter().find(|schema| schema.is_object()) {
            Some(schema) => check(schema, value, &format!("{place}.{name}"), found),
            None => found.push(format!("{place}: {name} is not in the schema")),
        }
    }
}
