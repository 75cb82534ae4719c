//! Everything a connection needs before the first byte: address, credentials, TLS, last will.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, ensure};
use rumqttc::TlsConfiguration;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use url::{Host, Url};

use super::Config;
use super::wire::{Setup, Will};

/// Unconfirmed messages on the line at most.
pub(super) const WINDOW: u16 = 16;

/// How long a connection attempt may take, from name look-up to the broker's welcome.
pub(super) const CONNECT_TIMEOUT_S: u64 = 10;

/// Where the broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// Name or IP address, IPv6 without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: bool,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Address {
    /// # Errors
    /// Says what a broker URL looks like; never repeats credentials.
    pub(super) fn parse(text: &str) -> Result<Self> {
        const FORM: &str = "the form is mqtt://host:1883 or mqtts://host:8883";
        // The text itself is not repeated before it is known to hold no password.
        let url = Url::parse(text).map_err(|e| anyhow!("mqtt.url is not a URL ({e}); {FORM}"))?;
        ensure!(
            url.username().is_empty() && url.password().is_none(),
            "mqtt.url must not contain a user name or password: use mqtt.username and mqtt.password_file"
        );
        let tls = match url.scheme() {
            "mqtt" => false,
            "mqtts" => true,
            other => return Err(anyhow!("mqtt.url has the scheme {other:?}; {FORM}")),
        };
        ensure!(
            matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none(),
            "mqtt.url {text:?} has something after the port; {FORM}"
        );
        let host = match url.host() {
            Some(Host::Domain(name)) if !name.is_empty() => name.to_owned(),
            Some(Host::Ipv4(ip)) => ip.to_string(),
            Some(Host::Ipv6(ip)) => ip.to_string(),
            _ => return Err(anyhow!("mqtt.url {text:?} names no host; {FORM}")),
        };
        let port = url.port().unwrap_or(if tls { 8883 } else { 1883 });
        ensure!(port != 0, "mqtt.url {text:?} has the port 0; {FORM}");
        Ok(Self { host, port, tls })
    }
}

/// What one connection needs. Files are read again each time, so that a changed password or certificate counts from the
/// next try on.
///
/// # Errors
/// Names the file that cannot be read or used.
pub(super) fn setup(config: &Config, address: &Address, client_id: &str, will: Will) -> Result<Setup> {
    let credentials = match &config.username {
        Some(username) => {
            let password = config.password_file.as_deref().map(read_password).transpose()?.unwrap_or_default();
            Some((username.clone(), password))
        }
        None => None,
    };
    let tls = if address.tls { Some(TlsConfiguration::Rustls(Arc::new(tls_config(config)?))) } else { None };
    Ok(Setup {
        host: address.host.clone(),
        port: address.port,
        client_id: client_id.to_owned(),
        credentials,
        tls,
        keep_alive: config.keep_alive,
        connect_timeout_s: CONNECT_TIMEOUT_S,
        window: WINDOW,
        will,
    })
}

/// Reads what a connection would need.
///
/// # Errors
/// As [`setup`].
pub(super) fn check_files(config: &Config, address: &Address) -> Result<()> {
    config.password_file.as_deref().map(read_password).transpose()?;
    if address.tls {
        tls_config(config)?;
    }
    Ok(())
}

fn read_password(path: &Path) -> Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read mqtt.password_file {}", path.display()))?;
    let password = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    ensure!(!password.is_empty(), "mqtt.password_file {} is empty", path.display());
    Ok(password.to_owned())
}

fn tls_config(config: &Config) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = &config.ca_file {
        for certificate in certificates("ca_file", path)? {
            let added = roots.add(certificate);
            added.with_context(|| format!("mqtt.ca_file {} holds an unusable certificate", path.display()))?;
        }
    } else {
        // Single broken files in the system's folder are no reason to refuse; no certificate at all is.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        ensure!(!roots.is_empty(), "the system has no CA certificates: install ca-certificates or set mqtt.ca_file");
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("set up TLS")?
        .with_root_certificates(roots);
    let (Some(cert_file), Some(key_file)) = (&config.client_cert_file, &config.client_key_file) else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates("client_cert_file", cert_file)?;
    let key = PrivateKeyDer::from_pem_file(key_file)
        .map_err(|e| anyhow!("mqtt.client_key_file {} holds no usable key: {e}", key_file.display()))?;
    builder
        .with_client_auth_cert(chain, key)
        .context("mqtt.client_cert_file and mqtt.client_key_file do not work together")
}

fn certificates(key: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let pem = std::fs::read(path).with_context(|| format!("read mqtt.{key} {}", path.display()))?;
    let found = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|e| anyhow!("mqtt.{key} {} is not valid PEM: {e}", path.display()))?;
    ensure!(!found.is_empty(), "mqtt.{key} {} holds no certificate in PEM form", path.display());
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::wire::Protocol;
    use super::*;

    #[test]
    fn broker_urls() {
        let cases = [
            ("mqtt://broker", "broker:1883", false),
            ("mqtts://broker.example.org", "broker.example.org:8883", true),
            ("mqtt://10.0.0.7:18830/", "10.0.0.7:18830", false),
            ("mqtts://[fd00::1]", "[fd00::1]:8883", true),
        ];
        for (text, shown, tls) in cases {
            let address = Address::parse(text).expect(text);
            assert_eq!((address.to_string().as_str(), address.tls), (shown, tls));
        }
    }

    #[test]
    fn bad_broker_urls_are_explained_without_credentials() {
        let cases = [
            ("broker:1883", "mqtt.url has the scheme \"broker\"; the form is mqtt://host:1883 or mqtts://host:8883"),
            ("http://broker", "scheme \"http\""),
            ("mqtt://", "names no host"),
            ("mqtt://h:0", "port 0"),
            ("mqtt://h/topic", "something after the port"),
            ("mqtt://u:s3cret@h", "use mqtt.username and mqtt.password_file"),
            ("mqtt://u:s3cret@h:99999", "is not a URL"),
            ("", "is not a URL"),
        ];
        for (text, expected) in cases {
            let message = format!("{:#}", Address::parse(text).expect_err(text));
            assert!(message.contains(expected), "{text}: {message}");
            assert!(!message.contains("s3cret"), "{message}");
        }
    }

    #[test]
    fn configs_that_cannot_work_are_refused() {
        let base = Config { url: "mqtt://h".into(), ..Config::default() };
        assert!(base.validate().is_ok());
        assert!(Config::default().validate().is_ok(), "no broker is fine");
        let cases = [
            (
                Config { keep_alive: std::time::Duration::from_secs(4), ..base.clone() },
                "mqtt.keep_alive is 4s; allowed are 5s to 18h",
            ),
            (Config { password_file: Some("p".into()), ..base.clone() }, "without mqtt.username"),
            (Config { client_key_file: Some("k".into()), ..base.clone() }, "belong together"),
            (Config { ca_file: Some("ca".into()), ..base.clone() }, "use mqtts://"),
            (Config { state_qos: 2, ..base.clone() }, "mqtt.state_qos is 2; allowed are 0 and 1"),
            (Config { snapshot_max_bytes: 100, ..base.clone() }, "mqtt.snapshot_max_bytes is 100"),
            (Config { homeassistant_prefix: "+".into(), ..base.clone() }, "mqtt.homeassistant_prefix is \"+\""),
            (Config { topic_prefix: "a/#".into(), ..base.clone() }, "mqtt.topic_prefix is \"a/#\""),
        ];
        for (config, expected) in cases {
            let message = format!("{:#}", config.validate().expect_err(expected));
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn the_config_reads_durations_and_refuses_unknown_keys() {
        let config: Config = toml::from_str("url = 'mqtt://h'\nkeep_alive = '45s'").expect("parse");
        assert_eq!(config.keep_alive.as_secs(), 45);
        assert!(toml::from_str::<Config>("password = 'x'").is_err());
        assert_eq!(config.protocol, Protocol::Auto);
        for (text, protocol) in [("auto", Protocol::Auto), ("5", Protocol::Five), ("3.1.1", Protocol::ThreeOneOne)] {
            let config: Config = toml::from_str(&format!("protocol = '{text}'")).expect(text);
            assert_eq!(config.protocol, protocol);
        }
        assert!(toml::from_str::<Config>("protocol = '4'").is_err());
    }
}
