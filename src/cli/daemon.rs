//! Talks to the daemon that runs on this box, as its page does.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde::Serialize;
use serde_json::Value;

use crate::config::Config;
use crate::reload::Kept;

/// How long it may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// The running daemon.
pub(super) struct Daemon {
    /// Where it may answer: the address in the file, and that of the last good configuration, which is in use where the
    /// file was changed.
    listen: Vec<SocketAddr>,
    client: reqwest::Client,
}

impl Daemon {
    /// The one that runs with this configuration.
    ///
    /// # Errors
    /// When the configuration cannot be read.
    pub(super) fn new(config: &Path) -> Result<Self> {
        // Fails only when another provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut listen = vec![Config::load(config)?.web.listen];
        let in_use = Kept::of_service().load().map(|kept| kept.config.web.listen);
        listen.extend(in_use.filter(|in_use| !listen.contains(in_use)));
        let client = reqwest::Client::builder().no_proxy().timeout(ANSWER_WITHIN).build()?;
        Ok(Self { listen, client })
    }

    /// Asks for `path` below `/api/v1/`.
    ///
    /// # Errors
    /// What the daemon says, or that there is none.
    pub(super) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value> {
        let ask = |mut url: url::Url| {
            url.query_pairs_mut().extend_pairs(query);
            self.client.get(url)
        };
        self.answer(path, ask).await?.into_good()
    }

    /// Gives a command.
    ///
    /// # Errors
    /// As [`Daemon::get`].
    pub(super) async fn post(&self, path: &str, command: &impl Serialize) -> Result<Value> {
        self.send(path, command).await?.into_good()
    }

    /// Gives a command whose answer says itself whether it was carried out.
    ///
    /// # Errors
    /// As [`Daemon::get`].
    pub(super) async fn post_any(&self, path: &str, command: &impl Serialize) -> Result<Value> {
        let answer = self.send(path, command).await?;
        if answer.is_problem { answer.into_good() } else { Ok(answer.json) }
    }

    async fn send(&self, path: &str, command: &impl Serialize) -> Result<Answer> {
        let body = serde_json::to_vec(command)?;
        let ask = |url| self.client.post(url).header("content-type", "application/json").body(body.clone());
        self.answer(path, ask).await
    }

    async fn answer(&self, path: &str, ask: impl Fn(url::Url) -> reqwest::RequestBuilder) -> Result<Answer> {
        let mut silent = Vec::new();
        for listen in &self.listen {
            let url: url::Url = format!("http://{listen}/api/v1/{path}").parse()?;
            match ask(url).send().await {
                Ok(answer) => return Answer::read(answer, listen).await,
                Err(error) if error.is_connect() => silent.push(listen.to_string()),
                Err(error) => return Err(anyhow!(error.without_url()).context(format!("ask the daemon at {listen}"))),
            }
        }
        Err(anyhow!("no daemon answers at {}: \"systemctl status outpost\" says whether it runs", silent.join(" or ")))
    }
}

struct Answer {
    json: Value,
    is_success: bool,
    is_problem: bool,
}

impl Answer {
    async fn read(answer: reqwest::Response, listen: &SocketAddr) -> Result<Self> {
        let kind = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok());
        let is_problem = kind.is_some_and(|kind| kind.starts_with("application/problem+json"));
        let (status, body) = (answer.status(), answer.bytes().await.context("read the daemon's answer")?);
        let json: Value = serde_json::from_slice(&body)
            .with_context(|| format!("what answers at {listen} is not outpost ({status})"))?;
        Ok(Self { json, is_success: status.is_success(), is_problem })
    }

    fn into_good(self) -> Result<Value> {
        if !self.is_success {
            bail!("{}", self.json["detail"].as_str().unwrap_or("the daemon refused without saying why"));
        }
        Ok(self.json)
    }
}

/// `12.3 MB`.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let step = usize::try_from(count.checked_ilog10().unwrap_or_default() / 3).unwrap_or_default().min(UNITS.len() - 1);
    let unit = UNITS.get(step).copied().unwrap_or_default();
    if step == 0 {
        return format!("{count} {unit}");
    }
    format!("{:.1} {unit}", count as f64 / 1000f64.powi(i32::try_from(step).unwrap_or_default()))
}

/// `3 h 20 min`.
pub(super) fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_for_people() {
        let sizes = [0, 999, 1000, 12_345_678, u64::MAX].map(bytes);
        assert_eq!(sizes, ["0 B", "999 B", "1.0 kB", "12.3 MB", "18446744.1 TB"]);
        assert_eq!([59, 60, 3661, 90_000].map(duration), ["59 s", "1 min", "1 h 1 min", "1 d 1 h"]);
    }
}
