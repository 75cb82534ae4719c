//! The pages: templates that are filled in for a language and a caller, and a handful of files inside the binary, so that
//! all works without any other host.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use askama::Template;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::compact::{Written, compact};
use super::problem::{Code, Problem};
use super::refusal::Spoken;
use super::routes::{Needs, Routes};
use super::shell::Shell;
use super::texts::Language;

pub(super) struct Asset {
    pub(super) name: &'static str,
    kind: &'static str,
    /// As it was written.
    pub(super) source: &'static str,
}

impl Asset {
    fn sent(&self) -> String {
        match self.kind {
            SVG => self.source.to_owned(),
            CSS => compact(self.source, Written::StyleSheet),
            _ => compact(self.source, Written::Script),
        }
    }
}

const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! file {
    ($name:literal, $kind:expr) => {
        Asset { name: $name, kind: $kind, source: include_str!(concat!("assets/", $name)) }
    };
}

/// What the pages consist of beside their text.
pub(super) static FILES: &[Asset] = &[
    file!("app.css", CSS),
    file!("app.js", JS),
    file!("account.js", JS),
    file!("audit.js", JS),
    file!("cameras.js", JS),
    file!("concerns.js", JS),
    file!("coverage.js", JS),
    file!("delivery.js", JS),
    file!("dom.js", JS),
    file!("event-list.js", JS),
    file!("event-page.js", JS),
    file!("event-view.js", JS),
    file!("events.css", CSS),
    file!("events.js", JS),
    file!("form.js", JS),
    file!("format.js", JS),
    file!("keys.js", JS),
    file!("live.css", CSS),
    file!("live.js", JS),
    file!("live-overlay.js", JS),
    file!("live-pipeline.js", JS),
    file!("live-player.js", JS),
    file!("login.js", JS),
    file!("links.js", JS),
    file!("models.css", CSS),
    file!("models.js", JS),
    file!("partial.js", JS),
    file!("people.js", JS),
    file!("people-cameras.js", JS),
    file!("photos.css", CSS),
    file!("photos.js", JS),
    file!("photos-albums.js", JS),
    file!("photos-dialog.js", JS),
    file!("photos-follow.js", JS),
    file!("photos-folders.js", JS),
    file!("photos-gallery.js", JS),
    file!("photos-map.js", JS),
    file!("photos-search.js", JS),
    file!("photos-selection.js", JS),
    file!("photos-upload.js", JS),
    file!("photos-share.js", JS),
    file!("photos-similar.js", JS),
    file!("photos-storage.js", JS),
    file!("photos-usage.js", JS),
    file!("pipelines.css", CSS),
    file!("pipelines.js", JS),
    file!("pipelines-executions.js", JS),
    file!("pipelines-form.js", JS),
    file!("pipelines-graph.js", JS),
    file!("pipelines-trial.js", JS),
    file!("publish.js", JS),
    file!("setup.css", CSS),
    file!("setup.js", JS),
    file!("setup-backtest.js", JS),
    file!("setup-draw.js", JS),
    file!("setup-rules.js", JS),
    file!("share-form.js", JS),
    file!("share.js", JS),
    file!("shared.js", JS),
    file!("shell.js", JS),
    file!("switches.js", JS),
    file!("system.css", CSS),
    file!("system.js", JS),
    file!("texts.js", JS),
    file!("timeline.css", CSS),
    file!("timeline.js", JS),
    file!("timeline-draw.js", JS),
    file!("timeline-export.js", JS),
    file!("timeline-player.js", JS),
    file!("timeline-pointer.js", JS),
    file!("favicon.svg", SVG),
];

/// What is sent of each of [`FILES`].
static SENT: LazyLock<Vec<String>> = LazyLock::new(|| FILES.iter().map(Asset::sent).collect());

/// The texts of each of [`Language::ALL`] that scripts show; those of templates are on the page already.
static SENT_TEXTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let scripts: String = FILES.iter().filter(|file| file.kind == JS).map(|file| file.source).collect();
    let of_scripts = |language: Language| {
        let texts: BTreeMap<String, String> = serde_json::from_str(language.file()).unwrap_or_default();
        let used: BTreeMap<_, _> = texts.into_iter().filter(|(key, _)| is_used(&scripts, key)).collect();
        serde_json::to_string(&used).unwrap_or_default()
    };
    Language::ALL.map(of_scripts).to_vec()
});

/// Whether scripts may show the text of `key`: it stands in them, or they put it together of its beginning and a name.
fn is_used(scripts: &str, key: &str) -> bool {
    let stem = key.strip_suffix(".one").or_else(|| key.strip_suffix(".other")).unwrap_or(key);
    let begins = |at: usize| {
        let beginning = stem.get(..at).unwrap_or_default();
        scripts.contains(&format!("`{beginning}.")) || scripts.contains(&format!("named(\"{beginning}\""))
    };
    scripts.contains(&format!("\"{stem}\"")) || stem.match_indices('.').any(|(at, _)| begins(at))
}

/// One tag for all files: they change together, with the binary. Weak, since it is the same with and without compression.
static TAG: LazyLock<String> = LazyLock::new(|| {
    let files = FILES.iter().map(|asset| asset.source).chain(Language::ALL.map(Language::file));
    tag(files)
});

fn tag<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    texts.into_iter().for_each(|text| hash.update(text));
    let hash = hex::encode(hash.finalize());
    format!("W/\"{}\"", hash.get(..16).unwrap_or_default())
}

/// Makes a template's type out of its file, and a handler out of that.
macro_rules! page {
    ($name:ident, $file:literal) => {{
        #[derive(Template)]
        #[template(path = $file)]
        struct $name {
            shell: Shell,
        }
        |request: Request| async move { page(&request, StatusCode::OK, |shell| $name { shell }.render()) }
    }};
}

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/", Needs::VIEW, page!(Overview, "overview.html"))
        .get("/events", Needs::VIEW, page!(Events, "events.html"))
        .get("/events/{id}", Needs::VIEW, page!(OneEvent, "event.html"))
        .get("/login", Needs::Nothing, page!(Login, "login.html"))
        .get("/shared", Needs::Nothing, page!(Shared, "shared.html"))
        .get("/account", Needs::Login, page!(Account, "account.html"))
        .get("/timeline", Needs::VIEW, page!(Timeline, "timeline.html"))
        .get("/photos", Needs::VIEW, page!(Photos, "photos.html"))
        .get("/cameras", Needs::ADMINISTER, page!(Cameras, "cameras.html"))
        // Who has a link with a token needs no login; the page shows nothing of the box.
        .get("/cameras/{name}/publish", Needs::Nothing, page!(Publish, "publish.html"))
        .get("/models", Needs::VIEW, page!(Models, "models.html"))
        .get("/pipelines", Needs::VIEW, page!(Pipelines, "pipelines.html"))
        .get("/system", Needs::VIEW, page!(System, "system.html"))
        .get("/audit", Needs::ADMINISTER, page!(AuditLog, "audit.html"))
        .get("/people", Needs::ADMINISTER, page!(People, "people.html"))
        .get("/assets/{file}", Needs::Nothing, asset)
}

/// What stands where there is no page, and no route of the API.
pub(super) async fn not_found(request: Request) -> Response {
    if let Some(answer) = Spoken::at(request.uri().path()).nothing() {
        return answer;
    }
    #[derive(Template)]
    #[template(path = "lost.html")]
    struct Lost {
        shell: Shell,
    }
    page(&request, StatusCode::NOT_FOUND, |shell| Lost { shell }.render())
}

/// A page of the box, for its caller and in its language; what it shows of the box it asks for itself.
fn page(request: &Request, status: StatusCode, render: impl FnOnce(Shell) -> askama::Result<String>) -> Response {
    let body = match render(Shell::new(request.uri().path(), request.headers(), request.extensions())) {
        Ok(body) => body,
        Err(error) => return Problem::new(Code::Internal, format!("the page cannot be made: {error}")).into_response(),
    };
    let tag = tag([body.as_str()]);
    let mut answer = answer(request.headers(), &tag, "text/html; charset=utf-8", body);
    if answer.status() == StatusCode::OK {
        *answer.status_mut() = status;
    }
    answer.headers_mut().append(header::VARY, HeaderValue::from_static("accept-language, cookie"));
    answer
}

async fn asset(file: Result<Path<String>, PathRejection>, request: Request) -> Response {
    let Ok(Path(name)) = file else { return not_found(request).await };
    if let Some((asset, sent)) = FILES.iter().zip(&*SENT).find(|(asset, _)| asset.name == name) {
        return answer(request.headers(), &TAG, asset.kind, sent.as_str());
    }
    let tag = name.strip_suffix(".json");
    let texts = Language::ALL.iter().zip(&*SENT_TEXTS).find(|(language, _)| tag == Some(language.tag()));
    match texts {
        Some((_, texts)) => answer(request.headers(), &TAG, "application/json", texts.as_str()),
        None => not_found(request).await,
    }
}

/// `body`, unless the browser has it already.
fn answer(request: &HeaderMap, tag: &str, kind: &'static str, body: impl IntoResponse) -> Response {
    let fixed = [(header::ETAG, tag), (header::CACHE_CONTROL, "no-cache"), (header::CONTENT_TYPE, kind)];
    let known = request.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    if known.is_some_and(|tags| tags.contains(tag)) {
        return (StatusCode::NOT_MODIFIED, fixed).into_response();
    }
    (fixed, body).into_response()
}
