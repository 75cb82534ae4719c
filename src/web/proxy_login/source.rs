//! Where the proxy's keys come from: its address or a file, and a copy on the disk for when it is out of reach.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use reqwest::{Certificate, Client, redirect};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::key_set::KeySet;
use super::settings::Config;
use crate::durable;

/// How long the proxy may take to give its keys.
const FETCHED_WITHIN: Duration = Duration::from_secs(10);
/// No set of keys is longer, bytes.
const LONGEST: usize = 256 << 10;

/// Where the keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Address { url: String, ca_file: Option<PathBuf> },
    File(PathBuf),
}

/// The copy on the disk.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// The address that the keys are from.
    from: String,
    /// It was not earlier when this was written, seconds since 1970.
    at_least: i64,
    jwks: Value,
}

impl Source {
    pub(super) fn of(config: &Config) -> Self {
        match (&config.jwks_url, &config.jwks_file) {
            (Some(url), _) => Self::Address { url: url.clone(), ca_file: config.ca_file.clone() },
            (None, file) => Self::File(file.clone().unwrap_or_default()),
        }
    }

    /// What identifies it: its address, or its path.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Address { url, .. } => url.clone(),
            Self::File(file) => file.display().to_string(),
        }
    }

    /// The keys as they are published now, and the text that they were read from.
    ///
    /// # Errors
    /// When they cannot be had, or are none; names their place.
    pub(super) async fn read(&self) -> Result<(KeySet, Vec<u8>)> {
        let text = match self {
            Self::Address { url, ca_file } => fetch(url, ca_file.as_deref()).await,
            Self::File(file) => {
                let file = file.clone();
                tokio::task::spawn_blocking(move || read_file(&file)).await.context("read the keys")?
            }
        };
        let text = text.with_context(|| self.name())?;
        Ok((KeySet::parse(&text).with_context(|| self.name())?, text))
    }
}

async fn fetch(url: &str, ca_file: Option<&Path>) -> Result<Vec<u8>> {
    let mut builder = Client::builder()
        .https_only(true)
        .redirect(redirect::Policy::none())
        .timeout(FETCHED_WITHIN)
        .user_agent(concat!("outpost/", env!("CARGO_PKG_VERSION")));
    if let Some(file) = ca_file {
        builder = builder.tls_certs_only(certificates(file.to_owned()).await?);
    }
    let client = builder.build().context("set up HTTP")?;
    let mut answer = client.get(url).send().await.map_err(|error| deepest(&error))?;
    let status = answer.status();
    ensure!(status.is_success(), "the answer is {status}");
    let mut text = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|error| deepest(&error))? {
        text.extend_from_slice(&piece);
        ensure!(text.len() <= LONGEST, "the answer is longer than {LONGEST} bytes, which no JWKS is");
    }
    Ok(text)
}

/// The cause in words for the operator.
fn deepest(error: &reqwest::Error) -> anyhow::Error {
    let mut cause: &dyn Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    anyhow!("{cause}")
}

async fn certificates(file: PathBuf) -> Result<Vec<Certificate>> {
    let read = move || {
        let pem = std::fs::read(&file).with_context(|| format!("read ca_file {}", file.display()))?;
        let found = Certificate::from_pem_bundle(&pem);
        let found = found.with_context(|| format!("ca_file {} is not valid PEM", file.display()))?;
        ensure!(!found.is_empty(), "ca_file {} holds no certificate in PEM form", file.display());
        Ok(found)
    };
    tokio::task::spawn_blocking(read).await.context("read ca_file")?
}

fn read_file(file: &Path) -> Result<Vec<u8>> {
    let length = std::fs::metadata(file)?.len();
    ensure!(length <= LONGEST as u64, "the file has {length} bytes, which no JWKS has");
    Ok(std::fs::read(file)?)
}

/// Writes a copy of keys. Blocks on the disk.
pub(super) fn keep(copy: &Path, from: &str, jwks: &[u8], at_least: i64) -> Result<()> {
    let kept = Kept { from: from.to_owned(), at_least, jwks: serde_json::from_slice(jwks)? };
    let kept = serde_json::to_vec(&kept)?;
    if let Some(folder) = copy.parent() {
        std::fs::create_dir_all(folder)?;
    }
    Ok(durable::replace(copy, &kept)?)
}

/// The keys of the copy, the text that they were read from, and since when it is at least. Blocks on the disk.
///
/// # Errors
/// When there is none, or it is of another place.
pub(super) fn kept(copy: &Path, from: &str) -> Result<(KeySet, Vec<u8>, i64)> {
    let kept: Kept = serde_json::from_slice(&std::fs::read(copy)?)?;
    ensure!(kept.from == from, "the copy is of {}", kept.from);
    let text = serde_json::to_vec(&kept.jwks)?;
    Ok((KeySet::parse(&text)?, text, kept.at_least))
}
