//! What is configured of one destination: `[upload.<name>]`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use url::Url;

use super::place::Place;
use crate::allowance::Metered;
use crate::asset::MediaKind;
use crate::schedule::Schedule;
use crate::seal::Recipient;

/// Whether S3 is sent a checksum with every object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Checksum {
    /// Unless the service refuses it.
    #[default]
    Auto,
    /// Always.
    Sha256,
    /// Never.
    Off,
}

/// What goes under some condition; each includes those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Allowed {
    /// Nothing at all.
    Nothing,
    /// `event.json`, documents.
    Metadata,
    /// Pictures too.
    #[default]
    Stills,
    /// Everything.
    All,
}

/// What is added to the names of sealed files.
pub(super) const SEALED_SUFFIX: &str = ".age";

/// Whether files of this kind are sealed, for a destination that seals: everything but what they are found by and tables,
/// which are read there. What is said of a photo is as personal as the photo.
pub(super) fn is_sealed(kind: MediaKind) -> bool {
    matches!(kind, MediaKind::PhotoSidecar | MediaKind::ExecutionSidecar)
        || !kind.is_account() && kind != MediaKind::LakeTable
}

/// One destination: `[upload.<name>]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where to: `file:///folder`, `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`, or
    /// `https://host/folder` of a WebDAV server. Required.
    pub url: String,
    /// Address of the service, for S3 that is not AWS, for an Azure or Google service elsewhere. Default: the
    /// provider's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// S3: region. Default `us-east-1`.
    pub region: String,
    /// S3: id of the access key. Default: credentials of the machine (instance or web identity).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    /// S3: file that holds the secret access key. Needed with `access_key_id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_access_key_file: Option<PathBuf>,
    /// S3: file that holds a session token. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_token_file: Option<PathBuf>,
    /// Azure: storage account. Required there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Azure: file that holds the account's key. Required there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_key_file: Option<PathBuf>,
    /// Google: file that holds the service account's JSON. Default: credentials of the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account_file: Option<PathBuf>,
    /// WebDAV: user name. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// WebDAV: file that holds the user's password; without `username`, a bearer token. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// File with PEM certificates to trust besides the system's, for a service with a certificate of your own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Whether an `http://` endpoint is acceptable. Default `false`.
    pub allow_http: bool,
    /// S3: bucket in the host name (`bucket.host`) instead of in the path (`host/bucket`). Default `false`.
    pub virtual_hosted: bool,
    /// S3: whether a SHA-256 goes with every object, which the service compares with what arrived: `auto` sends it unless
    /// the service refuses such headers, `sha256` always, `off` never. Default `auto`.
    pub checksum: Checksum,
    /// Files sent at a time, 1 to 16; metadata and pictures have places of their own besides, up to twice as many in all.
    /// Default 2.
    pub parallel: usize,
    /// The most that is sent, in kbit/s, 8 at least. Default: as fast as it goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_kbit_per_s: Option<u64>,
    /// The most that is sent in an hour, in bytes, 65536 at least; a tenth of it is kept for metadata and pictures.
    /// Default: no limit.
    #[serde(with = "crate::byte_size::optional", skip_serializing_if = "Option::is_none")]
    pub hourly_bytes: Option<u64>,
    /// The same for a day.
    #[serde(with = "crate::byte_size::optional", skip_serializing_if = "Option::is_none")]
    pub daily_bytes: Option<u64>,
    /// The same for a month.
    #[serde(with = "crate::byte_size::optional", skip_serializing_if = "Option::is_none")]
    pub monthly_bytes: Option<u64>,
    /// When everything may be sent, in local time: `["22:00-06:00", "sat,sun"]`. Default: always.
    pub windows: Schedule,
    /// What is sent at other times: `nothing`, `metadata`, `stills` or `all`. Default `stills`.
    pub outside_windows: Allowed,
    /// Whether sending costs by the byte: `yes`, `no`, or `auto`, as NetworkManager says where there is one. Default
    /// `auto`.
    pub metered: Metered,
    /// What is sent then: `nothing`, `metadata`, `stills` or `all`. Default `stills`.
    pub on_metered: Allowed,
    /// Public keys of age (`age1...`): clips and pictures are encrypted to all of them before they leave. Default: none.
    pub seal_to: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: String::new(),
            endpoint: None,
            region: "us-east-1".to_owned(),
            access_key_id: None,
            secret_access_key_file: None,
            session_token_file: None,
            account: None,
            account_key_file: None,
            service_account_file: None,
            username: None,
            password_file: None,
            ca_file: None,
            allow_http: false,
            virtual_hosted: false,
            checksum: Checksum::Auto,
            parallel: 2,
            max_kbit_per_s: None,
            hourly_bytes: None,
            daily_bytes: None,
            monthly_bytes: None,
            windows: Schedule::default(),
            outside_windows: Allowed::Stills,
            metered: Metered::Auto,
            on_metered: Allowed::Stills,
            seal_to: Vec::new(),
        }
    }
}

impl Config {
    /// Checks what the types cannot. Reads no files: a secret may arrive later.
    ///
    /// # Errors
    /// A sentence that names the key and what it may be.
    pub fn validate(&self) -> Result<(), String> {
        if !(1..=16).contains(&self.parallel) {
            return Err(format!("parallel: {} is not within 1 to 16", self.parallel));
        }
        if let Some(limit) = self.max_kbit_per_s.filter(|limit| *limit < 8) {
            return Err(format!("max_kbit_per_s: {limit} is less than 8"));
        }
        let budgets = [
            ("hourly_bytes", self.hourly_bytes),
            ("daily_bytes", self.daily_bytes),
            ("monthly_bytes", self.monthly_bytes),
        ];
        if let Some((key, Some(bytes))) = budgets.iter().find(|(_, budget)| budget.is_some_and(|bytes| bytes < 1 << 16))
        {
            return Err(format!("{key}: {bytes} is less than 65536"));
        }
        for key in &self.seal_to {
            key.parse::<Recipient>().map_err(|error| format!("seal_to: {error}"))?;
        }
        self.validate_place()
    }

    /// The folder, where the destination is one.
    pub fn folder(&self) -> Option<PathBuf> {
        match Place::parse(&self.url) {
            Ok(Place::Folder(folder)) => Some(folder),
            _ => None,
        }
    }

    /// Checks everything but the files that secrets lie in.
    fn validate_place(&self) -> Result<(), String> {
        if let Some(endpoint) = &self.endpoint {
            let url = Url::parse(endpoint).map_err(|e| format!("endpoint: {endpoint:?} is not a URL: {e}"))?;
            match url.scheme() {
                "https" => {}
                "http" if self.allow_http => {}
                "http" => {
                    return Err("endpoint: http:// is not encrypted; set allow_http = true to accept that".to_owned());
                }
                other => return Err(format!("endpoint: {other}:// is neither https:// nor http://")),
            }
            if !url.username().is_empty() || url.password().is_some() {
                return Err("endpoint: credentials do not belong into a URL".to_owned());
            }
        }
        match Place::parse(&self.url)? {
            Place::S3 { .. } if self.access_key_id.is_some() != self.secret_access_key_file.is_some() => {
                Err("access_key_id and secret_access_key_file: one needs the other".to_owned())
            }
            Place::Azure { .. } if self.account.is_none() => Err("account: az:// needs it".to_owned()),
            Place::Azure { .. } if self.account_key_file.is_none() => {
                Err("account_key_file: az:// needs it".to_owned())
            }
            Place::Web { url } if url.scheme() == "http" && !self.allow_http => {
                Err("url: http:// is not encrypted; set allow_http = true to accept that".to_owned())
            }
            Place::Web { .. } if self.username.is_some() && self.password_file.is_none() => {
                Err("password_file: username needs it".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// What stands behind the object key of an event's file `file`: sealed files have another name.
    pub fn key_suffix(&self, kind: MediaKind) -> &'static str {
        let seals = !self.seal_to.is_empty() && is_sealed(kind);
        if seals { SEALED_SUFFIX } else { "" }
    }

    /// What stands before every object key in the bucket: empty, or a path that ends in `/`. Empty for a folder.
    pub fn key_prefix(&self) -> String {
        match Place::parse(&self.url) {
            Ok(Place::S3 { prefix, .. } | Place::Google { prefix, .. } | Place::Azure { prefix, .. }) => {
                let prefix = String::from(prefix);
                if prefix.is_empty() { prefix } else { prefix + "/" }
            }
            Ok(Place::Folder(_) | Place::Web { .. }) | Err(_) => String::new(),
        }
    }
}
