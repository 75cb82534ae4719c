//! All routes of the page and the API, each with what a caller needs for it.
//!
//! A route cannot be added without that, and the table of all of them is what the tests of access and of the documentation
//! go through.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::handler::Handler;
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{MethodFilter, MethodRouter, on};

use super::Shared;
use super::problem::Problem;
use super::session::not_logged_in;
use crate::access::{Caller, Role};

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
        self.add(Method::GET, MethodFilter::GET, path, needs, handler)
    }

    /// Adds a route that acts.
    pub(super) fn post<H, T>(self, path: &'static str, needs: Needs, handler: H) -> Self
    where
        H: Handler<T, Arc<Shared>>,
        T: 'static,
    {
        self.add(Method::POST, MethodFilter::POST, path, needs, handler)
    }

    /// Adds a route that changes what is there.
    pub(super) fn patch<H, T>(self, path: &'static str, needs: Needs, handler: H) -> Self
    where
        H: Handler<T, Arc<Shared>>,
        T: 'static,
    {
        self.add(Method::PATCH, MethodFilter::PATCH, path, needs, handler)
    }

    /// Adds a route that removes.
    pub(super) fn delete<H, T>(self, path: &'static str, needs: Needs, handler: H) -> Self
    where
        H: Handler<T, Arc<Shared>>,
        T: 'static,
    {
        self.add(Method::DELETE, MethodFilter::DELETE, path, needs, handler)
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
        handler: H,
    ) -> Self
    where
        H: Handler<T, Arc<Shared>>,
        T: 'static,
    {
        let checked: MethodRouter<Arc<Shared>> =
            on(on_method, handler).route_layer(from_fn(move |request, next| check(needs, request, next)));
        self.router = self.router.route(path, checked);
        self.table.push(Route { method, path, needs });
        self
    }
}

/// Lets a request through to a route that needs `needs`.
async fn check(needs: Needs, request: Request, next: Next) -> Response {
    let is_page = !request.uri().path().starts_with("/api/");
    let refusal = match (needs, request.extensions().get::<Caller>()) {
        (Needs::Nothing, _) | (Needs::Login, Some(_)) => None,
        (Needs::Role(role), Some(caller)) if caller.may(role) => None,
        (Needs::Role(role), Some(caller)) => {
            let message =
                format!("{} has the role {}; this needs {}", caller.name, caller.role.as_str(), role.as_str());
            Some(Problem::new(StatusCode::FORBIDDEN, "not_allowed", message).into_response())
        }
        (_, None) if is_page => Some(Redirect::to("/login").into_response()),
        (_, None) => Some(not_logged_in().into_response()),
    };
    match refusal {
        Some(refusal) => refusal,
        None => next.run(request).await,
    }
}
