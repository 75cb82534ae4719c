//! From a URL to an object store.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::local::LocalFileSystem;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use reqwest::header::HeaderValue;

use super::config::{Checksum, Config};
use super::http::{self, Connector, Service};
use super::limiter::BandwidthLimiter;
use super::link::{Failure, Kind, describe};
use super::place::Place;

const MIB: u64 = 1024 * 1024;

/// An object store, ready to be talked to.
#[derive(Clone, Debug)]
pub(super) struct Remote {
    pub store: Arc<dyn ObjectStore>,
    /// Uploads in parts whose ids are ours to keep; a folder has none.
    pub parts: Option<Parts>,
    /// The smallest part that the service takes, in bytes.
    pub smallest_part: u64,
    /// How larger files go where there are no parts.
    pub whole: Whole,
    /// Whether each object is sent with a checksum for the service to compare.
    pub checksums: bool,
    /// The folder, where the destination is one.
    pub folder: Option<PathBuf>,
    /// The line that its requests go over.
    pub limiter: BandwidthLimiter,
}

/// How a file goes that is too large for memory, to a destination that takes no parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whole {
    /// Written piece by piece.
    Pieces,
    /// As the body of one request, read from the disk on the way.
    Request,
}

/// [`MultipartStore`] that can be shown.
#[derive(Clone)]
pub(super) struct Parts(pub Arc<dyn MultipartStore>);

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Parts")
    }
}

impl Remote {
    /// Reads the secrets and makes the client; makes no connection yet, except for the folder of a `file://` URL,
    /// which it makes. Blocks on files.
    ///
    /// # Errors
    /// [`Failure::Refused`] where a person has to act, [`Failure::Link`] where waiting may help.
    pub(super) fn open(config: &Config, limiter: &BandwidthLimiter) -> Result<Self, Failure> {
        let build = |error: object_store::Error| Failure::Refused(describe(&error));
        let connector = |authorization, service| -> Result<Connector, Failure> {
            Ok(Connector { limiter: limiter.clone(), certificates: certificates(config)?, authorization, service })
        };
        match Place::parse(&config.url).map_err(Failure::Refused)? {
            Place::Folder(folder) => Self::open_folder(folder, limiter),
            Place::Web { url } => {
                let builder = HttpBuilder::new()
                    .with_url(url)
                    .with_http_connector(connector(authorization(config)?, Service::Web)?)
                    .with_client_options(client_options(config))
                    .with_retry(retries());
                let store = Arc::new(builder.build().map_err(build)?);
                Ok(Self {
                    store,
                    parts: None,
                    smallest_part: 0,
                    whole: Whole::Request,
                    checksums: false,
                    folder: None,
                    limiter: limiter.clone(),
                })
            }
            Place::S3 { bucket, prefix } => {
                let mut builder = AmazonS3Builder::new()
                    .with_bucket_name(bucket)
                    .with_region(&config.region)
                    .with_virtual_hosted_style_request(config.virtual_hosted)
                    .with_http_connector(connector(None, Service::S3)?)
                    .with_client_options(client_options(config))
                    .with_retry(retries());
                if config.checksum != Checksum::Off {
                    // The service compares what arrived with a hash of what was sent.
                    builder = builder.with_checksum_algorithm(object_store::aws::Checksum::SHA256);
                }
                if let Some(endpoint) = &config.endpoint {
                    builder = builder.with_endpoint(endpoint);
                }
                if let Some(id) = &config.access_key_id {
                    builder = builder.with_access_key_id(id);
                }
                if let Some(file) = &config.secret_access_key_file {
                    builder = builder.with_secret_access_key(secret(file)?);
                }
                if let Some(file) = &config.session_token_file {
                    builder = builder.with_token(secret(file)?);
                }
                let checksums = config.checksum != Checksum::Off;
                let made = Self::prefixed(builder.build().map_err(build)?, prefix, 5 * MIB, limiter);
                Ok(Self { checksums, ..made })
            }
            Place::Google { bucket, prefix } => {
                let mut builder = GoogleCloudStorageBuilder::new()
                    .with_bucket_name(bucket)
                    .with_http_connector(connector(None, Service::Api)?)
                    .with_client_options(client_options(config))
                    .with_retry(retries());
                if let Some(endpoint) = &config.endpoint {
                    builder = builder.with_base_url(endpoint);
                }
                if let Some(file) = &config.service_account_file {
                    builder = builder.with_service_account_key(secret(file)?);
                }
                Ok(Self::prefixed(builder.build().map_err(build)?, prefix, 5 * MIB, limiter))
            }
            Place::Azure { container, prefix } => {
                let mut builder = MicrosoftAzureBuilder::new()
                    .with_container_name(container)
                    .with_account(config.account.clone().unwrap_or_default())
                    .with_http_connector(connector(None, Service::Api)?)
                    .with_client_options(client_options(config))
                    .with_retry(retries());
                if let Some(endpoint) = &config.endpoint {
                    builder = builder.with_endpoint(endpoint.clone());
                }
                if let Some(file) = &config.account_key_file {
                    builder = builder.with_access_key(secret(file)?);
                }
                Ok(Self::prefixed(builder.build().map_err(build)?, prefix, MIB, limiter))
            }
        }
    }

    fn prefixed<T: ObjectStore + MultipartStore + Clone>(
        store: T,
        prefix: Path,
        smallest_part: u64,
        limiter: &BandwidthLimiter,
    ) -> Self {
        let store = PrefixStore::new(store, prefix);
        Self {
            store: Arc::new(store.clone()),
            parts: Some(Parts(Arc::new(store))),
            smallest_part,
            whole: Whole::Pieces,
            checksums: false,
            folder: None,
            limiter: limiter.clone(),
        }
    }

    fn open_folder(folder: PathBuf, limiter: &BandwidthLimiter) -> Result<Self, Failure> {
        let link = |what: &str, error: &dyn std::fmt::Display| Failure::Link(format!("{what}: {error}"));
        if !folder.is_dir() {
            // Only the last part is made: a missing parent is a disk that is not mounted.
            match folder.parent() {
                Some(parent) if !parent.is_dir() => {
                    return Err(Failure::Link(format!("{} does not exist; is the disk mounted?", parent.display())));
                }
                _ => {}
            }
            std::fs::create_dir(&folder).map_err(|e| link(&format!("create {}", folder.display()), &e))?;
        }
        // Acknowledged means on the disk, there as here.
        let store =
            LocalFileSystem::new_with_prefix(&folder).map_err(|e| link("open the folder", &e))?.with_fsync(true);
        Ok(Self {
            store: Arc::new(store),
            parts: None,
            smallest_part: 0,
            whole: Whole::Pieces,
            checksums: false,
            folder: Some(folder),
            limiter: limiter.clone(),
        })
    }

    /// What answers there, for the meaning of its answers.
    pub(super) fn kind(&self) -> Kind {
        match (&self.folder, self.whole) {
            (Some(_), _) => Kind::Folder,
            (None, Whole::Request) => Kind::Web,
            (None, Whole::Pieces) => Kind::Service,
        }
    }

    /// Whether the folder of a `file://` destination is still there; a disk can be pulled.
    pub(super) fn check(&self) -> Result<(), Failure> {
        match &self.folder {
            Some(folder) if !folder.is_dir() => {
                Err(Failure::Link(format!("{} does not exist any more; is the disk mounted?", folder.display())))
            }
            _ => Ok(()),
        }
    }

    /// Removes what copies of this object that a power cut ended have left beside it. `object_store` names the
    /// files that it is still writing `<object>#1`, `#2` and so on, and never comes back to one.
    pub(super) fn tidy(&self, key: &Path) {
        let Some(folder) = &self.folder else { return };
        let left_over = |number: u32| folder.join(format!("{key}#{number}"));
        let mut number = 1;
        while std::fs::remove_file(left_over(number)).is_ok() {
            number += 1;
        }
    }
}

/// For the stores themselves; connections are made by our [`Connector`].
fn client_options(config: &Config) -> ClientOptions {
    ClientOptions::new()
        .with_allow_http(config.allow_http)
        .with_content_type_for_suffix("json", "application/json")
        .with_content_type_for_suffix("jpg", "image/jpeg")
        .with_content_type_for_suffix("mp4", "video/mp4")
        .with_content_type_for_suffix("parquet", "application/vnd.apache.parquet")
}

fn certificates(config: &Config) -> Result<Vec<reqwest::Certificate>, Failure> {
    let Some(file) = &config.ca_file else { return Ok(Vec::new()) };
    let pem = std::fs::read(file).map_err(|e| unreadable(file, &e))?;
    http::certificates(file, &pem)
}

/// What a web server wants to see with every request.
fn authorization(config: &Config) -> Result<Option<HeaderValue>, Failure> {
    let Some(file) = &config.password_file else { return Ok(None) };
    let password = secret(file)?;
    let text = match &config.username {
        Some(user) => format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}"))),
        None => format!("Bearer {password}"),
    };
    let mut value = HeaderValue::try_from(text)
        .map_err(|_| Failure::Refused(format!("{} holds characters that no token has", file.display())))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// Lasting retries are the outbox's; these only bridge a hiccup.
fn retries() -> RetryConfig {
    let backoff =
        BackoffConfig { init_backoff: Duration::from_millis(200), max_backoff: Duration::from_secs(2), base: 2.0 };
    RetryConfig { backoff, max_retries: 2, retry_timeout: Duration::from_secs(20) }
}

fn secret(file: &FilePath) -> Result<String, Failure> {
    let text = std::fs::read_to_string(file).map_err(|e| unreadable(file, &e))?;
    let text = text.trim();
    if text.is_empty() {
        return Err(Failure::Refused(format!("{} is empty", file.display())));
    }
    Ok(text.to_owned())
}

fn unreadable(file: &FilePath, error: &std::io::Error) -> Failure {
    Failure::Refused(format!("{} cannot be read: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_web_server_gets_a_user_agent() {
        let dir = tempfile::tempdir().expect("tempdir");
        let file = dir.path().join("password");
        std::fs::write(&file, "s3cret\n").expect("write");
        let with = |username: Option<&str>| {
            let config = Config {
                username: username.map(str::to_owned),
                password_file: Some(file.clone()),
                ..Config::default()
            };
            authorization(&config).expect("readable").expect("a header")
        };
        // printf farm:s3cret | base64
        assert_eq!(with(Some("farm")), "Basic ZmFybTpzM2NyZXQ=");
        assert_eq!(with(None), "Bearer s3cret");
        assert!(with(None).is_sensitive(), "it is not shown in logs");
        assert!(authorization(&Config::default()).expect("nothing to read").is_none());
    }
}
