//! The document as a page: made here, of the same table, so that it is there without any other host.

use std::fmt::Write;

use serde_json::Value;

use super::super::problem::Code;
use super::document::schemas;
use super::{Operation, Parameter, all};

const HEAD: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
    <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>Outpost API</title>\
    <meta name=\"color-scheme\" content=\"light dark\"><link rel=\"icon\" href=\"/assets/favicon.svg\">\
    <link rel=\"stylesheet\" href=\"/assets/app.css\"></head><body><header class=\"top\"><div class=\"wrap top-row\">\
    <a href=\"/\"><img class=\"logo\" src=\"/assets/favicon.svg\" width=\"36\" height=\"36\" alt=\"Overview\"></a>\
    <div class=\"who\"><h1>Outpost API</h1></div></div></header><main class=\"wrap reference\">\
    <p>The same as an OpenAPI document: <a href=\"/api/v1/openapi.json\">openapi.json</a>. Programs send \
    <code>Authorization: Bearer KEY</code>; keys are made on the page <a href=\"/people\">Users and keys</a>.</p>";

pub(super) fn page() -> String {
    let mut page = HEAD.to_owned();
    for operation in all() {
        section(&mut page, operation);
    }
    page += "<h2 id=\"problems\">Problems</h2><div class=\"scroll\" tabindex=\"0\"><table class=\"list\"><thead><tr><th>status</th><th>code</th><th>meaning</th>\
             <th>what to do</th></tr></thead><tbody>";
    for code in Code::ALL {
        let known = code.documented();
        let cells = [known.status.to_string(), known.code.to_owned(), known.title.to_owned(), known.help.to_owned()];
        row(&mut page, &cells);
    }
    page += "</tbody></table></div><h2>Schemas</h2>";
    if let Value::Object(schemas) = schemas() {
        for (name, schema) in &schemas {
            let text = serde_json::to_string_pretty(schema).unwrap_or_default();
            let _ = write!(
                page,
                "<h3 id=\"{name}\">{name}</h3><pre class=\"scroll\" tabindex=\"0\">{}</pre>",
                escaped(&text)
            );
        }
    }
    page + "</main></body></html>\n"
}

fn section(page: &mut String, operation: &Operation) {
    let method = operation.method.to_uppercase();
    let (path, summary) = (escaped(operation.path), escaped(operation.summary));
    let _ = write!(page, "<h2><code>{method} {path}</code></h2><p>{summary}.</p>");
    let parameters: Vec<&Parameter> = operation.parameters.iter().copied().flatten().collect();
    if !parameters.is_empty() {
        *page += "<div class=\"scroll\" tabindex=\"0\"><table class=\"list\"><thead><tr><th>parameter</th><th>in</th><th>meaning</th><th>allowed</th></tr></thead><tbody>";
        for parameter in parameters {
            let cells = [parameter.name, parameter.place, parameter.description, parameter.schema];
            row(page, &cells.map(str::to_owned));
        }
        *page += "</tbody></table></div>";
    }
    if let Some(body) = operation.body {
        let _ = write!(page, "<p>Body: <a href=\"#{body}\">{body}</a></p>");
    }
    *page += "<ul>";
    for answer in operation.answers {
        let schema = answer.content.and_then(|(_, schema)| schema);
        let link = schema.map(|schema| format!(" <a href=\"#{schema}\">{schema}</a>")).unwrap_or_default();
        let _ = write!(page, "<li>{}: {}{link}</li>", answer.status, escaped(answer.description));
    }
    for code in operation.problems {
        let known = code.documented();
        let _ = write!(page, "<li>{}: <a href=\"#problems\">{}</a></li>", known.status, known.code);
    }
    *page += "</ul>";
}

fn row(page: &mut String, cells: &[String]) {
    let cells: String = cells.iter().map(|cell| format!("<td>{}</td>", escaped(cell))).collect();
    let _ = write!(page, "<tr>{cells}</tr>");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
