//! TLS of the page: the certificate of the operator, or one of the box's own.
//!
//! A certificate in files is read again when they change. One that cannot be used is refused, and the one before goes on.

mod names;
mod self_signed;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use parking_lot::RwLock;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio_rustls::{Accept, TlsAcceptor};
use tracing::{info, warn};

use crate::clock::Clock;
use crate::health::PageCertificate;

pub(super) use names::{addresses, host_names, outward_address};

/// How often it is looked whether the files changed. What they are then has to stay for as long before it is read: they
/// are often written one after the other.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often it is looked whether a certificate of the box's own comes to its end.
const RENEW_EVERY: Duration = Duration::from_secs(3600);

/// `[web.tls]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether the page speaks HTTPS alone. Default: yes where `web.listen` is beyond loopback, or `certificate` is set.
    pub enabled: Option<bool>,
    /// PEM file with the certificate, and those that lead to its authority. Default: the box makes one itself.
    pub certificate: Option<PathBuf>,
    /// PEM file with its private key.
    pub key: Option<PathBuf>,
}

/// TLS of a listener.
#[derive(Clone)]
pub(super) struct Tls {
    acceptor: TlsAcceptor,
    current: Arc<Current>,
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    Files { certificate: PathBuf, key: PathBuf },
    SelfSigned { folder: PathBuf, clock: Arc<dyn Clock> },
}

/// The certificate in use.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().clone())
    }
}

impl Tls {
    /// With the certificate that `config` names, or one that lies in `folder`, where it is made if need be.
    ///
    /// # Errors
    /// When there is none that can be used; names the file, and what to do.
    pub(super) async fn new(config: &Config, folder: &Path, clock: &Arc<dyn Clock>) -> Result<Self> {
        let source = match (&config.certificate, &config.key) {
            (Some(certificate), Some(key)) => Source::Files { certificate: certificate.clone(), key: key.clone() },
            _ => Source::SelfSigned { folder: folder.to_owned(), clock: clock.clone() },
        };
        let current = Arc::new(Current(RwLock::new(load(&source).await?)));
        let provider = Arc::new(ring::default_provider());
        let mut server = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(current.clone());
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(server)), current, source })
    }

    pub(super) fn accept<I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(&self, io: I) -> Accept<I> {
        self.acceptor.accept(io)
    }

    /// SHA-256 of the certificate as browsers show it.
    pub(super) fn fingerprint(&self) -> String {
        fingerprint(&self.current.0.read())
    }

    /// The certificate in use.
    #[cfg(test)]
    pub(super) fn certificate(&self) -> CertificateDer<'static> {
        self.current.0.read().cert[0].clone()
    }

    /// The certificate, as it is shown.
    fn shown(&self) -> PageCertificate {
        PageCertificate { sha256: self.fingerprint(), self_signed: self.is_self_signed() }
    }

    /// Whether the box made its certificate itself.
    pub(super) fn is_self_signed(&self) -> bool {
        matches!(self.source, Source::SelfSigned { .. })
    }

    /// Keeps the certificate up to date, for ever. `note` is given what it is, and what it became.
    pub(super) async fn keep_current(&self, note: impl Fn(PageCertificate)) -> ! {
        note(self.shown());
        match &self.source {
            Source::Files { certificate, key } => self.follow([certificate, key], &note).await,
            Source::SelfSigned { .. } => loop {
                tokio::time::sleep(RENEW_EVERY).await;
                self.load_again(&note).await;
            },
        }
    }

    async fn follow(&self, files: [&Path; 2], note: impl Fn(PageCertificate)) -> ! {
        let mut known = stamps(files).await;
        let mut seen = known.clone();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = stamps(files).await;
            if now != known && now == seen {
                known.clone_from(&now);
                self.load_again(&note).await;
            }
            seen = now;
        }
    }

    async fn load_again(&self, note: impl Fn(PageCertificate)) {
        match load(&self.source).await {
            Ok(new) if new.cert == self.current.0.read().cert => {}
            Ok(new) => {
                let sha256 = fingerprint(&new);
                *self.current.0.write() = new;
                note(self.shown());
                info!(sha256, "the page has another certificate");
            }
            Err(error) => {
                let error = format!("{error:#}");
                warn!(error, "the page's new certificate cannot be used, the one before goes on");
            }
        }
    }
}

/// Finds out whether the files that `config` names can be used.
///
/// # Errors
/// Names the file, and what to do.
pub(super) async fn check(config: &Config) -> Result<()> {
    let (Some(certificate), Some(key)) = (config.certificate.clone(), config.key.clone()) else { return Ok(()) };
    load(&Source::Files { certificate, key }).await.map(drop)
}

/// The same, while nothing else goes on.
pub(super) fn check_files(config: &Config) -> Result<()> {
    let (Some(certificate), Some(key)) = (&config.certificate, &config.key) else { return Ok(()) };
    read(certificate, key).map(drop)
}

async fn load(source: &Source) -> Result<Arc<CertifiedKey>> {
    let source = source.clone();
    let load = move || match source {
        Source::Files { certificate, key } => read(&certificate, &key),
        Source::SelfSigned { folder, clock } => self_signed::load_or_make(&folder, &*clock),
    };
    Ok(Arc::new(tokio::task::spawn_blocking(load).await.context("read the certificate")??))
}

/// The certificate and the key in two files, or in one.
fn read(certificate: &Path, key: &Path) -> Result<CertifiedKey> {
    let text = |file: &Path| std::fs::read(file).with_context(|| format!("read {}", file.display()));
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text(certificate)?).collect();
    let chain = chain.map_err(|error| anyhow!("{}: {error}", certificate.display()))?;
    if chain.is_empty() {
        return Err(anyhow!("{} has no certificate in PEM format", certificate.display()));
    }
    let private = PrivateKeyDer::from_pem_slice(&text(key)?)
        .map_err(|error| anyhow!("{} has no private key in PEM format: {error}", key.display()))?;
    CertifiedKey::from_der(chain, private, &ring::default_provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            anyhow!("the key in {} is not that of the certificate in {}", key.display(), certificate.display())
        }
        error => anyhow!("{} and {}: {error}", certificate.display(), key.display()),
    })
}

fn fingerprint(key: &CertifiedKey) -> String {
    let digest = key.cert.first().map(Sha256::digest).unwrap_or_default();
    let bytes: Vec<String> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(":")
}

/// What changes when a file is written again or replaced.
async fn stamps(files: [&Path; 2]) -> Vec<Option<(u64, u64, u64, i64, i64)>> {
    let files = files.map(Path::to_owned);
    let stamp = |file: &PathBuf| {
        let found = std::fs::metadata(file).ok()?;
        Some((found.dev(), found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
    };
    let read = move || files.iter().map(stamp).collect();
    tokio::task::spawn_blocking(read).await.unwrap_or_default()
}
