//! What all pages have in common: their language, who looks at them, and the way to the others.

use axum::http::{Extensions, HeaderMap};

use super::routes::Needs;
use super::texts::Language;
use crate::access::{Caller, CallerKind, Role};

/// The pages that the navigation leads to, each with its text and what a caller needs for it.
const PAGES: &[(&str, &str, Needs)] = &[
    ("/", "nav.overview", Needs::VIEW),
    ("/events", "nav.events", Needs::VIEW),
    ("/timeline", "nav.timeline", Needs::VIEW),
    ("/photos", "nav.photos", Needs::VIEW),
    ("/cameras", "nav.cameras", Needs::ADMINISTER),
    ("/models", "nav.models", Needs::VIEW),
    ("/pipelines", "nav.pipelines", Needs::VIEW),
    ("/system", "nav.system", Needs::VIEW),
    ("/people", "nav.people", Needs::ADMINISTER),
    ("/audit", "nav.audit", Needs::ADMINISTER),
];

/// The pages whose scripts fill in what they show, and say when that is done (`showFilled` in `assets/dom.js`).
const FILLED_BY_SCRIPT: [&str; 8] =
    ["/", "/account", "/cameras", "/models", "/pipelines", "/people", "/system", "/audit"];

/// What a template knows beside its own text.
pub(super) struct Shell {
    language: Language,
    path: String,
    caller: Option<Caller>,
}

/// One entry of the navigation.
pub(super) struct Link {
    pub(super) path: &'static str,
    pub(super) text: &'static str,
    pub(super) is_here: bool,
}

impl Shell {
    /// Of a request for the page at `path`.
    pub(super) fn new(path: &str, headers: &HeaderMap, extensions: &Extensions) -> Self {
        Self {
            language: Language::of_request(headers),
            path: path.to_owned(),
            caller: extensions.get::<Caller>().cloned(),
        }
    }

    /// The text of `key`.
    pub(super) fn t(&self, key: &'static str) -> &'static str {
        self.language.text(key)
    }

    pub(super) fn language(&self) -> &'static str {
        self.language.tag()
    }

    pub(super) fn languages(&self) -> [Language; 2] {
        Language::ALL
    }

    /// Pages that the caller may open.
    pub(super) fn links(&self) -> Vec<Link> {
        let may = |needs| match (needs, &self.caller) {
            (Needs::Role(role), Some(caller)) => caller.may(role),
            (Needs::Nothing | Needs::Login, _) => true,
            (Needs::Role(_), None) => false,
        };
        let pages = PAGES.iter().filter(|(_, _, needs)| may(*needs));
        pages.map(|(path, text, _)| Link { path, text: self.t(text), is_here: self.is_at(path) }).collect()
    }

    pub(super) fn is_at(&self, path: &str) -> bool {
        self.path == path
    }

    /// The class of a page as it begins.
    pub(super) fn body_class(&self) -> &'static str {
        if FILLED_BY_SCRIPT.contains(&self.path.as_str()) { "filling" } else { "" }
    }

    /// Whether what acts on the whole box is offered.
    pub(super) fn acts(&self) -> bool {
        self.caller.as_ref().is_some_and(|caller| caller.may(Role::Operator) && caller.sees_everything())
    }

    /// Whether what acts on the cameras that the caller sees is offered.
    pub(super) fn may_operate(&self) -> bool {
        self.caller.as_ref().is_some_and(|caller| caller.may(Role::Operator))
    }

    /// Whether the caller may share files by links.
    pub(super) fn may_share(&self) -> bool {
        self.caller.as_ref().is_some_and(|caller| caller.may(Role::Operator))
    }

    /// Whether the caller may do everything.
    pub(super) fn is_admin(&self) -> bool {
        self.caller.as_ref().is_some_and(|caller| caller.may(Role::Admin))
    }

    /// Whether someone is logged in, and can log out.
    pub(super) fn has_session(&self) -> bool {
        self.is_kind(CallerKind::Session)
    }

    /// Whether the box has no users.
    pub(super) fn is_unprotected(&self) -> bool {
        self.is_kind(CallerKind::Unprotected)
    }

    fn is_kind(&self, kind: CallerKind) -> bool {
        self.caller.as_ref().is_some_and(|caller| caller.kind == kind)
    }

    /// The user's name.
    pub(super) fn name(&self) -> &str {
        self.caller.as_ref().map_or("", |caller| &caller.name)
    }
}
