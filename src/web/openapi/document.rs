//! The OpenAPI document, made of the table of routes.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::super::problem::{Code, MEDIA_TYPE};
use super::{Answer, Operation, Parameter, all};

/// What every route may answer.
const EVERYWHERE: [Code; 9] = [
    Code::HttpsNeeded,
    Code::NotLoggedIn,
    Code::NotAllowed,
    Code::TooSlow,
    Code::UriTooLong,
    Code::TooManyRequests,
    Code::WrongHost,
    Code::Internal,
    Code::NoAnswer,
];

pub(super) fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for operation in all() {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(operation.method.to_owned(), described(operation));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Outpost",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The API of one box. Fields are only ever added. Units are part of every name: `_s` seconds, `_bytes`.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" }
        },
        "servers": [{ "url": "/" }],
        "security": [{ "key": [] }, { "session": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A key that an admin made: page Users and keys, or `outpost key add`."
                },
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "outpost_session",
                    "description": "What a browser gets by `POST /api/v1/login`; `__Host-outpost_session` over HTTPS."
                }
            }
        }
    })
}

/// The schema of a body that is a picture.
pub(super) const PICTURE: &str = "Picture";

/// The schemas by name.
pub(super) fn schemas() -> Value {
    parsed(include_str!("schemas.json"))
}

/// Texts of ours.
fn parsed(json: &'static str) -> Value {
    serde_json::from_str(json).expect("a test reads all of these texts")
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn described(operation: &Operation) -> Value {
    let mut described = json!({
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": operation.parameters.iter().copied().flatten().map(parameter).collect::<Vec<_>>(),
        "responses": responses(operation),
    });
    if let (Some(schema), Some(fields)) = (operation.body, described.as_object_mut()) {
        let known = schemas();
        let kind = known.pointer(&format!("/{schema}/x-media-type")).and_then(Value::as_str);
        let kinds = match kind {
            Some(kind) => vec![kind],
            None if schema == PICTURE => vec!["image/jpeg", "image/png"],
            None => vec!["application/json"],
        };
        let content: BTreeMap<&str, Value> =
            kinds.iter().map(|kind| (*kind, json!({ "schema": reference(schema) }))).collect();
        fields.insert("requestBody".to_owned(), json!({ "required": true, "content": content }));
    }
    described
}

fn parameter(parameter: &Parameter) -> Value {
    json!({
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.is_required,
        "description": parameter.description,
        "schema": parsed(parameter.schema),
    })
}

fn responses(operation: &Operation) -> Value {
    let mut responses = BTreeMap::new();
    for answer in operation.answers {
        responses.insert(answer.status, response(answer));
    }
    let mut by_status: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for code in operation.problems.iter().chain(&EVERYWHERE) {
        let documented = code.documented();
        by_status.entry(documented.status).or_default().push(format!("`{}`", documented.code));
    }
    for (status, codes) in by_status {
        let problem = json!({ "schema": reference("Problem") });
        let described = responses.entry(status).or_insert_with(|| json!({ "description": "", "content": {} }));
        let text = described.get("description").and_then(Value::as_str).unwrap_or_default();
        let text = format!("{text} Problem: {}.", codes.join(", ")).trim().to_owned();
        if let Some(fields) = described.as_object_mut() {
            fields.insert("description".to_owned(), text.into());
        }
        if let Some(content) = described.get_mut("content").and_then(Value::as_object_mut) {
            content.insert(MEDIA_TYPE.to_owned(), problem);
        }
    }
    let responses = responses.into_iter().map(|(status, response)| (status.to_string(), response));
    Value::Object(responses.collect())
}

fn response(answer: &Answer) -> Value {
    match answer.content {
        None => json!({ "description": answer.description }),
        Some((kind, schema)) => {
            let content = schema.map_or_else(|| json!({}), |schema| json!({ "schema": reference(schema) }));
            json!({ "description": answer.description, "content": { kind: content } })
        }
    }
}
