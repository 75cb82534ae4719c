//! `[webhook.<name>]`: what can be set.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use reqwest::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use url::Url;

use super::signature::read_secret;

/// Headers that the box sets itself.
const OURS: [&str; 5] = ["content-type", "content-length", "host", "transfer-encoding", "connection"];

/// `[webhook.<name>]`: an address that alerts are posted to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where to: `https://host/path`. Credentials do not belong here. Required.
    pub url: String,
    /// File that holds the secret which signs each request, read at each; at least 16 bytes, a line end at its end
    /// is ignored. Default: none, requests are not signed.
    pub secret_file: Option<PathBuf>,
    /// Headers that are added, such as `{ X-Site = "farm-7" }`. Not for secrets. Default: none.
    pub headers: BTreeMap<String, String>,
    /// PEM file with the CA certificates that the receiver's is checked against. Default: those of the system.
    pub ca_file: Option<PathBuf>,
    /// How long one request may take, 1 s to 5 min. Default: `15s`.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub timeout: Duration,
    /// Alerts that are older when they could be sent are published in one digest per camera. `0s`: never. Default: `1h`.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub max_age: Duration,
    /// How often an alert that the receiver calls wrong (4xx) is tried before it is put aside, 1 to 100. Default: 10.
    pub tries: u32,
    /// Whether an `http://` address is acceptable. Default: false.
    pub allow_http: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: String::new(),
            secret_file: None,
            headers: BTreeMap::new(),
            ca_file: None,
            timeout: Duration::from_secs(15),
            max_age: Duration::from_secs(3600),
            tries: 10,
            allow_http: false,
        }
    }
}

impl Config {
    /// Checks everything that can be checked without the receiver and without reading secrets.
    ///
    /// # Errors
    /// Names the key, its value where it is no secret, and what is allowed.
    pub fn validate(&self) -> Result<()> {
        self.header_map()?;
        let (timeout, tries) = (self.timeout, self.tries);
        let allowed = Duration::from_secs(1)..=Duration::from_secs(300);
        ensure!(allowed.contains(&timeout), "timeout is {timeout:?}; allowed are 1s to 5m");
        ensure!((1..=100).contains(&tries), "tries is {tries}; allowed are 1 to 100");
        self.address().map(drop)
    }

    /// Reads the secret, as each request does.
    ///
    /// # Errors
    /// Names the file that cannot be used; never what it holds.
    pub fn check_files(&self) -> Result<()> {
        self.secret_file.as_deref().map_or(Ok(()), |file| read_secret(file).map(drop))
    }

    /// The address; parts of it may be secret, so that only its host is ever shown.
    pub(super) fn address(&self) -> Result<Url> {
        let url =
            Url::parse(&self.url).map_err(|e| anyhow!("url is not a URL ({e}); the form is https://host/path"))?;
        ensure!(
            url.username().is_empty() && url.password().is_none(),
            "url must not contain a user name or password: use secret_file"
        );
        ensure!(
            url.host_str().is_some_and(|host| !host.is_empty()),
            "url names no host; the form is https://host/path"
        );
        match url.scheme() {
            "https" => {}
            "http" if self.allow_http => {
                ensure!(self.ca_file.is_none(), "url is not encrypted, so ca_file would do nothing: use https://");
            }
            "http" => return Err(anyhow!("url is not encrypted: use https://, or set allow_http = true")),
            other => return Err(anyhow!("url has the scheme {other:?}; the form is https://host/path")),
        }
        Ok(url)
    }

    pub(super) fn header_map(&self) -> Result<Vec<(HeaderName, HeaderValue)>> {
        let header = |(name, value): (&String, &String)| {
            let error = |what: &str| anyhow!("headers: {name:?} {what}");
            let parsed: HeaderName = name.parse().map_err(|_| error("is no name of a header"))?;
            let is_ours = OURS.contains(&parsed.as_str()) || parsed.as_str().starts_with("outpost-");
            ensure!(!is_ours, error("is set by the box itself"));
            Ok((parsed, value.parse().map_err(|_| error("has a value that no header can have"))?))
        };
        self.headers.iter().map(header).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused_without_showing_secrets() {
        let good = Config { url: "https://example.org/hook/s3cret".into(), ..Config::default() };
        assert!(good.validate().is_ok());
        assert!(Config { url: "http://10.0.0.1/x".into(), allow_http: true, ..Config::default() }.validate().is_ok());
        let header = |name: &str, value: &str| Config { headers: [(name.into(), value.into())].into(), ..good.clone() };
        let cases = [
            (Config::default(), "url is not a URL"),
            (Config { url: "http://h/s3cret".into(), ..good.clone() }, "use https://, or set allow_http = true"),
            (Config { url: "ftp://h/s3cret".into(), ..good.clone() }, "the scheme \"ftp\""),
            (Config { url: "https://u:s3cret@h/".into(), ..good.clone() }, "must not contain a user name"),
            (
                Config { url: "http://h".into(), allow_http: true, ca_file: Some("ca".into()), ..good.clone() },
                "ca_file would do nothing",
            ),
            (Config { timeout: Duration::ZERO, ..good.clone() }, "timeout is 0ns; allowed are 1s to 5m"),
            (Config { tries: 0, ..good.clone() }, "tries is 0; allowed are 1 to 100"),
            (header("a b", "x"), "\"a b\" is no name of a header"),
            (header("Content-Type", "x"), "is set by the box itself"),
            (header("Outpost-Signature", "x"), "is set by the box itself"),
            (header("X-A", "a\nb"), "has a value that no header can have"),
        ];
        for (config, expected) in cases {
            let message = format!("{:#}", config.validate().expect_err(expected));
            assert!(message.contains(expected) && !message.contains("s3cret"), "{message}");
        }
    }
}
