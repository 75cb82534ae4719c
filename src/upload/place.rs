//! Where a destination is, by its URL.

use std::path::PathBuf;

use object_store::path::Path;
use url::Url;

/// Kind of a destination, and what distinguishes it from others of that kind.
pub(super) enum Place {
    Folder(PathBuf),
    S3 { bucket: String, prefix: Path },
    Google { bucket: String, prefix: Path },
    Azure { container: String, prefix: Path },
    Web { url: Url },
}

impl Place {
    /// What the key `url` says.
    ///
    /// # Errors
    /// A sentence that names the key and what it may be.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        const KINDS: &str =
            "file:///folder, s3://bucket/prefix, gs://bucket/prefix, az://container/prefix or https://host/folder";
        if url.is_empty() {
            return Err(format!("url: missing; one of {KINDS}"));
        }
        let url = Url::parse(url).map_err(|e| format!("url: not a URL ({e}); one of {KINDS}"))?;
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
            return Err("url: credentials and options do not belong into a URL".to_owned());
        }
        if url.scheme() == "file" {
            let folder = url.to_file_path().map_err(|()| "url: file:// needs an absolute path".to_owned())?;
            return Ok(Place::Folder(folder));
        }
        if matches!(url.scheme(), "http" | "https") {
            return Ok(Place::Web { url });
        }
        let bucket = url.host_str().filter(|host| !host.is_empty());
        let bucket = bucket.ok_or_else(|| format!("url: no bucket or container; one of {KINDS}"))?.to_owned();
        let prefix = Path::from_url_path(url.path()).map_err(|e| format!("url: the prefix is not valid: {e}"))?;
        match url.scheme() {
            "s3" => Ok(Place::S3 { bucket, prefix }),
            "gs" => Ok(Place::Google { bucket, prefix }),
            "az" => Ok(Place::Azure { container: bucket, prefix }),
            other => Err(format!("url: {other}:// is not known; one of {KINDS}")),
        }
    }
}
