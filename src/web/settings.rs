//! `[web]`: how the page is reached.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::{proxy_login, tls};

/// The name of the local socket in the folder that the service manager gave the daemon, or in that of its state.
pub const SOCKET: &str = "api.sock";
/// The local socket of the service, as systemd/outpost.service has it.
pub const SERVICE_SOCKET: &str = "/run/outpost/api.sock";

/// `[web]`: the page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address and port. Default: `127.0.0.1:8080`.
    pub listen: SocketAddr,
    /// Names that the box is reached by, beside its addresses, its host name, and that with `.local`. Default: none.
    pub names: Vec<String>,
    /// Serve beyond loopback without TLS. Default: false.
    pub plain_http: bool,
    /// The socket by which programs on the box ask. Default: `api.sock` in the service's runtime folder
    /// (/run/outpost/api.sock), or in `storage.path` where there is none.
    pub socket: Option<PathBuf>,
    /// Live views at once, of all cameras: video and Motion JPEG. Default: 16.
    pub max_viewers: u16,
    /// The certificate.
    pub tls: tls::Config,
    /// Logins by an identity-aware proxy. Default: none.
    pub proxy_login: Option<proxy_login::Config>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            names: Vec::new(),
            plain_http: false,
            socket: None,
            max_viewers: 16,
            tls: tls::Config::default(),
            proxy_login: None,
        }
    }
}

impl Config {
    /// # Errors
    /// When settings contradict one another, or say nothing of what would be unsafe; names the key and what it may be.
    pub fn validate(&self) -> Result<()> {
        let tls::Config { enabled, certificate, key } = &self.tls;
        ensure!(
            certificate.is_some() == key.is_some(),
            "web.tls.certificate and web.tls.key belong together: name both files, or none"
        );
        for file in [certificate, key, &self.socket].into_iter().flatten() {
            ensure!(file.is_absolute(), "web: {} is not an absolute path", file.display());
        }
        ensure!(
            !(self.plain_http && (*enabled == Some(true) || (certificate.is_some() && *enabled != Some(false)))),
            "web.plain_http = true and web.tls exclude each other: leave one of them out"
        );
        ensure!(
            self.listen.ip().is_loopback() || self.plain_http || *enabled != Some(false),
            "web.listen is {}, which others can reach, and web.tls.enabled is false: leave that out, or set \
             web.plain_http = true if all that goes to and from the page may be read on its way",
            self.listen
        );
        ensure!(self.max_viewers > 0, "web.max_viewers is 0; at least one has to be allowed");
        if let Some(proxy) = &self.proxy_login {
            proxy.validate()?;
        }
        for name in &self.names {
            let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c));
            ensure!(is_name, "web.names: {name:?} is not a host name such as \"cams.farm.example\"");
        }
        Ok(())
    }

    /// Whether a listener on `address` speaks TLS.
    pub fn has_tls(&self, address: IpAddr) -> bool {
        let by_default =
            || self.tls.certificate.is_some() || !(address.to_canonical().is_loopback() || self.plain_http);
        self.tls.enabled.unwrap_or_else(by_default)
    }

    /// Whether the operator or the service manager said where the local socket belongs.
    pub(super) fn is_socket_chosen(&self) -> bool {
        self.socket.is_some() || std::env::var_os("RUNTIME_DIRECTORY").is_some()
    }

    /// The local socket; `folder` is that of the daemon's state.
    pub fn socket_in(&self, folder: &Path) -> PathBuf {
        let of_service = || Some(PathBuf::from(std::env::var_os("RUNTIME_DIRECTORY")?).join(SOCKET));
        self.socket.clone().or_else(of_service).unwrap_or_else(|| folder.join(SOCKET))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        toml::from_str(text).expect("TOML")
    }

    fn refusal(text: &str) -> String {
        config(text).validate().expect_err(text).to_string()
    }

    #[test]
    fn beyond_loopback_there_is_tls_unless_plain_http_is_said() {
        let cases = [
            ("listen = \"127.0.0.1:80\"", false),
            ("listen = \"[::1]:80\"", false),
            ("listen = \"0.0.0.0:443\"", true),
            ("listen = \"[::]:443\"", true),
            ("listen = \"10.0.0.5:80\"\nplain_http = true", false),
            ("listen = \"127.0.0.1:443\"\ntls.enabled = true", true),
            ("listen = \"127.0.0.1:443\"\ntls = { certificate = \"/c\", key = \"/k\" }", true),
            ("tls = { certificate = \"/c\", key = \"/k\", enabled = false }", false),
        ];
        for (text, expected) in cases {
            let config = config(text);
            config.validate().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(config.has_tls(config.listen.ip()), expected, "{text}");
        }
    }

    #[test]
    fn contradictions_are_refused_with_what_to_do() {
        let cases = [
            ("tls.certificate = \"/c\"", "web.tls.certificate and web.tls.key belong together"),
            ("tls = { certificate = \"c\", key = \"/k\" }", "c is not an absolute path"),
            ("socket = \"api.sock\"", "api.sock is not an absolute path"),
            ("plain_http = true\ntls.enabled = true", "exclude each other"),
            ("listen = \"0.0.0.0:80\"\ntls.enabled = false", "web.plain_http = true"),
            ("names = [\"https://farm.example\"]", "web.names: \"https://farm.example\""),
        ];
        for (text, expected) in cases {
            let said = refusal(text);
            assert!(said.contains(expected), "{text}: {said}");
        }
    }

    #[test]
    fn the_local_socket_is_the_configured_one_or_beside_the_state() {
        let folder = Path::new("/var/lib/x");
        assert_eq!(config("socket = \"/run/x.sock\"").socket_in(folder), Path::new("/run/x.sock"));
        if std::env::var_os("RUNTIME_DIRECTORY").is_none() {
            assert_eq!(Config::default().socket_in(folder), Path::new("/var/lib/x/api.sock"));
        }
    }
}
