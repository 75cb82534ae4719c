//! All routes of the page and the API, each with what a caller needs for it.
//!
//! A route cannot be added without that, and the table of all of them is what the tests of access and of the documentation
//! go through.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter, on};

use super::Shared;
use super::audit::{Noted, Noting};
use super::refusal::Spoken;
use super::session;
use crate::access::{Caller, Role};
use crate::audit::Audit;

/// What a caller needs for a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// Nothing at all: health, the login and what it is made of.
    Nothing,
    /// To be known, whatever the role: one's own sessions and password.
    Login,
    /// The role, or a higher one.
    Role(Role),
}

impl Needs {
    pub(super) const VIEW: Self = Self::Role(Role::Viewer);
    pub(super) const OPERATE: Self = Self::Role(Role::Operator);
    pub(super) const ADMINISTER: Self = Self::Role(Role::Admin);
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) needs: Needs,
}

/// Routes and their table.
#[derive(Default)]
pub(super) struct Routes {
    router: Router<Arc<Shared>>,
    table: Vec<Route>,
}

impl Routes {
    /// Adds a route that reads.
    pub(super) fn get<H, T>(self, path: &'static str, needs: Needs, handler: H) -> Self
    where
        H: Handler<T, Arc<Shared>>,
        T: 'static,
    {
        self.add(Method::GET, MethodFilter::GET, path, needs, Noting::Nothing, handler)
    }

    /// Adds a route whose answer is a look at what cameras took, which is noted in the audit log.
    pub(super) fn look<H, T>(self, path: &'static str, needs: Needs, handler: H) -> Self
    where
        H: Handler<T, Arc<Shared>>,
        T: 'static,
    {
        self.add(Method::GET, MethodFilter::GET, path, needs, Noting::Look, handler)
    }

    /// Adds a route that acts.
    pub(super) fn post<H, T>(self, path: &'static str, needs: Needs, handler: H) -> Self
    where
        H: Handler<T, Arc<Shared>>,
        T: 'static,
    {
        self.add(Method::POST, MethodFilter::POST, path, needs, Noting::Act, handler)
    }

    /// Adds a route that changes what is there.
    pub(super) fn patch<H, T>(self, path: &'static str, needs: Needs, handler: H) -> Self
    where
        H: Handler<T, Arc<Shared>>,
        T: 'static,
    {
        self.add(Method::PATCH, MethodFilter::PATCH, path, needs, Noting::Act, handler)
    }

    /// Adds a route that goes on with what another route has begun, and which was noted there.
    pub(super) fn proceed<H, T>(self, path: &'static str, needs: Needs, handler: H) -> Self
    where
        H: Handler<T, Arc<Shared>>,
        T: 'static,
    {
        self.add(Method::PATCH, MethodFilter::PATCH, path, needs, Noting::Nothing, handler)
    }

    /// Adds a route that removes.
    pub(super) fn delete<H, T>(self, path: &'static str, needs: Needs, handler: H) -> Self
    where
        H: Handler<T, Arc<Shared>>,
        T: 'static,
    {
        self.add(Method::DELETE, MethodFilter::DELETE, path, needs, Noting::Act, handler)
    }

    /// Adds the answer to browsers that ask whether a page of another site may send something to a route.
    pub(super) fn preflight<H, T>(self, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Shared>>,
        T: 'static,
    {
        self.add(Method::OPTIONS, MethodFilter::OPTIONS, path, Needs::Nothing, Noting::Nothing, handler)
    }

    /// Adds the routes of another part.
    pub(super) fn merge(mut self, other: Self) -> Self {
        self.router = self.router.merge(other.router);
        self.table.extend(other.table);
        self
    }

    /// The router, and what it consists of.
    pub(super) fn finish(self) -> (Router<Arc<Shared>>, Vec<Route>) {
        (self.router, self.table)
    }

    fn add<H, T>(
        mut self,
        method: Method,
        on_method: MethodFilter,
        path: &'static str,
        needs: Needs,
        noting: Noting,
        handler: H,
    ) -> Self
    where
        H: Handler<T, Arc<Shared>>,
        T: 'static,
    {
        let checked: MethodRouter<Arc<Shared>> =
            on(on_method, handler).route_layer(from_fn(move |request: Request, next: Next| {
                let rules = Rules { needs, path, noting };
                check(rules, request, next)
            }));
        self.router = self.router.route(path, checked);
        self.table.push(Route { method, path, needs });
        self
    }
}

/// What holds for the requests of a route.
#[derive(Clone, Copy)]
struct Rules {
    needs: Needs,
    path: &'static str,
    noting: Noting,
}

/// Lets a request through to its route, and notes in the audit log what is noted of it.
async fn check(Rules { needs, path, noting }: Rules, request: Request, next: Next) -> Response {
    let extensions = request.extensions();
    let (caller, target) = (extensions.get::<Caller>(), request.uri().path());
    let noted = extensions
        .get::<Audit>()
        .and_then(|audit| Noted::of(audit, request.method(), path, target, noting, caller, session::peer(extensions)));
    let asked = request.uri().path_and_query().map_or("/", |of| of.as_str());
    let answer = match refusal(needs, caller, target, asked) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    };
    if let Some(noted) = noted {
        noted.note(answer.status(), answer.extensions().get().cloned()).await;
    }
    answer
}

/// Why a request for `asked`, path and query, is not let through.
fn refusal(needs: Needs, caller: Option<&Caller>, path: &str, asked: &str) -> Option<Response> {
    match (needs, caller) {
        (Needs::Nothing, _) | (Needs::Login, Some(_)) => None,
        (Needs::Role(role), Some(caller)) if caller.may(role) => None,
        (Needs::Role(role), Some(caller)) => {
            let message =
                format!("{} has the role {}; this needs {}", caller.name, caller.role.as_str(), role.as_str());
            Some(Spoken::at(path).forbidden(message))
        }
        (_, None) => Some(Spoken::at(path).login(asked, session::NOT_LOGGED_IN.to_owned())),
    }
}
