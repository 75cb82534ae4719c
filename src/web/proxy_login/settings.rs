//! `[web.proxy_login]`: whose tokens are taken.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use axum::http::HeaderName;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::access::Role;

/// `[web.proxy_login]`: logins by tokens (JWT) of an identity-aware proxy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The header with the token. Default: `Cf-Access-Jwt-Assertion`.
    pub header: String,
    /// `iss` of the tokens.
    pub issuer: String,
    /// `aud` of the tokens: one of these.
    pub audience: Vec<String>,
    /// Where the proxy publishes its keys, by https.
    pub jwks_url: Option<String>,
    /// A file with its keys, instead.
    pub jwks_file: Option<PathBuf>,
    /// PEM file with the certificates that `jwks_url` is checked against. Default: those of the system.
    pub ca_file: Option<PathBuf>,
    /// The claim that names the user. Default: `email`.
    pub claim: String,
    /// Users of the box by what the proxy calls them, where that differs. Default: none.
    pub users: BTreeMap<String, String>,
    /// The role of those who are no users of the box: `viewer` or `operator`. Default: they are not let in.
    pub unknown_users: Option<Role>,
    /// How far the clocks of box and proxy may be apart, 5 min at most. Default: `1m`.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub leeway: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            header: "Cf-Access-Jwt-Assertion".to_owned(),
            issuer: String::new(),
            audience: Vec::new(),
            jwks_url: None,
            jwks_file: None,
            ca_file: None,
            claim: "email".to_owned(),
            users: BTreeMap::new(),
            unknown_users: None,
            leeway: Duration::from_secs(60),
        }
    }
}

impl Config {
    /// # Errors
    /// When something is missing without which any token would do, or cannot be; names the key and what it may be.
    pub fn validate(&self) -> Result<()> {
        self.header_name()?;
        ensure!(!self.issuer.is_empty(), "web.proxy_login.issuer is empty: set it to iss of the proxy's tokens");
        ensure!(
            !self.audience.is_empty() && self.audience.iter().all(|audience| !audience.is_empty()),
            "web.proxy_login.audience is empty: set it to aud of the tokens that are meant for this box"
        );
        ensure!(
            self.jwks_url.is_some() != self.jwks_file.is_some(),
            "web.proxy_login needs the proxy's keys: set either jwks_url or jwks_file"
        );
        if let Some(address) = &self.jwks_url {
            let url = Url::parse(address).map_err(|error| anyhow!("web.proxy_login.jwks_url: {error}"))?;
            ensure!(
                url.scheme() == "https",
                "web.proxy_login.jwks_url is {address}: it has to begin with https://, or anyone on the way could \
                 put in a key"
            );
        }
        ensure!(
            self.ca_file.is_none() || self.jwks_url.is_some(),
            "web.proxy_login.ca_file would do nothing: it is for jwks_url"
        );
        for file in [&self.jwks_file, &self.ca_file].into_iter().flatten() {
            ensure!(file.is_absolute(), "web.proxy_login: {} is not an absolute path", file.display());
        }
        ensure!(!self.claim.is_empty(), "web.proxy_login.claim is empty: set it to email, preferred_username or sub");
        ensure!(
            self.unknown_users != Some(Role::Admin),
            "web.proxy_login.unknown_users is admin: it may be viewer or operator; add admins as users"
        );
        let (leeway, most) = (self.leeway, Duration::from_secs(300));
        ensure!(leeway <= most, "web.proxy_login.leeway is {leeway:?}; at most 5m is allowed");
        Ok(())
    }

    pub(super) fn header_name(&self) -> Result<HeaderName> {
        let name = &self.header;
        name.parse().map_err(|_| anyhow!("web.proxy_login.header: {name:?} is no name of a header"))
    }
}
