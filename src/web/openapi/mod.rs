//! What the API offers, as an OpenAPI 3.1 document and as a page to read.
//!
//! The table of routes is compared with the router's routes by a test, and what the routes answer with the
//! schemas, so that neither can be forgotten.

mod access;
mod cameras;
mod document;
mod events;
mod models;
mod operations;
mod photos;
mod pipelines;
#[cfg(test)]
pub(super) mod schema_check;
mod timeline;
mod viewer;

use std::sync::LazyLock;

use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::problem::{Code, Problem};
use super::reply;
use super::routes::{Needs, Routes};

static DOCUMENT: LazyLock<Value> = LazyLock::new(document::document);
static PAGE: LazyLock<String> = LazyLock::new(viewer::page);

/// What a route can be asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    place: &'static str,
    /// JSON.
    schema: &'static str,
    description: &'static str,
    is_required: bool,
}

impl Parameter {
    /// One of the query, which may be left out.
    pub(super) const fn query(name: &'static str, schema: &'static str, description: &'static str) -> Self {
        Self { name, place: "query", schema, description, is_required: false }
    }

    /// One of the query that has to be there.
    pub(super) const fn required(name: &'static str, schema: &'static str, description: &'static str) -> Self {
        Self { name, place: "query", schema, description, is_required: true }
    }

    const fn path(name: &'static str, schema: &'static str, description: &'static str) -> Self {
        Self { name, place: "path", schema, description, is_required: true }
    }

    const fn header(name: &'static str, schema: &'static str, description: &'static str) -> Self {
        Self { name, place: "header", schema, description, is_required: false }
    }
}

/// What a route may answer.
#[derive(Clone, Copy, Debug)]
struct Answer {
    status: u16,
    description: &'static str,
    /// Media type, and the name of the schema where it is JSON.
    content: Option<(&'static str, Option<&'static str>)>,
}

/// A route.
#[derive(Clone, Copy, Debug)]
struct Operation {
    method: &'static str,
    path: &'static str,
    name: &'static str,
    summary: &'static str,
    parameters: &'static [&'static [Parameter]],
    /// Name of the schema of what is sent; as JSON, unless the schema names another `x-media-type`.
    body: Option<&'static str>,
    answers: &'static [Answer],
    /// Beside those that every route may answer.
    problems: &'static [Code],
}

/// All routes of the API.
fn all() -> impl Iterator<Item = &'static Operation> {
    let of_data = operations::OPERATIONS.iter().chain(events::OPERATIONS).chain(timeline::OPERATIONS);
    let of_data = of_data
        .chain(photos::OPERATIONS)
        .chain(pipelines::OPERATIONS)
        .chain(cameras::OPERATIONS)
        .chain(models::OPERATIONS);
    of_data.chain(access::OPERATIONS)
}

pub(super) fn routes() -> Routes {
    Routes::default().get("/api/v1/openapi.json", Needs::Login, document).get("/api/v1/docs", Needs::Login, page)
}

async fn document(request: HeaderMap) -> Result<Response, Problem> {
    reply::json(&request, &*DOCUMENT)
}

async fn page() -> Response {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], PAGE.as_str()).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every `$ref` in `value`.
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_schema_is_there_and_used() {
        let mut found = BTreeSet::new();
        references(&DOCUMENT, &mut found);
        let schemas = DOCUMENT["components"]["schemas"].as_object().expect("schemas");
        let known: BTreeSet<String> = schemas.keys().map(|name| format!("#/components/schemas/{name}")).collect();
        assert_eq!(found, known);
    }

    #[test]
    fn every_route_of_the_router_is_described_and_no_other() {
        let table = crate::web::all_routes().finish().1;
        let of_router: BTreeSet<(String, &str)> = table
            .iter()
            .filter(|route| route.path.starts_with("/api/"))
            .map(|route| (route.method.as_str().to_lowercase(), route.path))
            .collect();
        let described: BTreeSet<(String, &str)> =
            all().map(|operation| (operation.method.to_owned(), operation.path)).collect();
        assert_eq!(of_router, described);
    }

    #[test]
    fn parameters_of_the_path_are_those_of_the_path() {
        for operation in all() {
            let parameters = operation.parameters.iter().copied().flatten();
            let named: BTreeSet<&str> =
                parameters.filter(|parameter| parameter.place == "path").map(|parameter| parameter.name).collect();
            let within: BTreeSet<&str> =
                operation.path.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect();
            assert_eq!(named, within, "{}", operation.path);
        }
    }

    #[test]
    fn names_of_operations_differ() {
        let names: BTreeSet<&str> = all().map(|operation| operation.name).collect();
        assert_eq!(names.len(), all().count());
    }

    #[test]
    fn the_page_shows_every_route_and_problem() {
        for operation in all() {
            assert!(PAGE.contains(operation.path), "{}", operation.path);
        }
        for code in Code::ALL {
            assert!(PAGE.contains(code.documented().code));
        }
        assert!(!PAGE.contains("http://") && !PAGE.contains("<script") && !PAGE.contains("style="));
    }
}
