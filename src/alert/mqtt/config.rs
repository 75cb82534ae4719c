//! `[mqtt]`: what can be set.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::link::{self, Address};
use super::topics;
use super::wire::Protocol;
use crate::allowance::Metered;

/// `[mqtt]`: where alerts go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The broker: `mqtt://host:1883` or `mqtts://host:8883` (TLS); the port may be left out. Credentials
    /// do not belong here. Default: empty, which means no alerts.
    pub url: String,
    /// Which MQTT is spoken: `auto` (5, and 3.1.1 where the broker does not take 5), `5` or `3.1.1`. Default: `auto`.
    pub protocol: Protocol,
    /// User name at the broker. Default: none.
    pub username: Option<String>,
    /// File that holds the password, read at each connection; a line end at its end is ignored. Default: none.
    pub password_file: Option<PathBuf>,
    /// PEM file with the CA certificates that the broker's certificate is checked against. Default: those of the system.
    pub ca_file: Option<PathBuf>,
    /// PEM file with this box's certificate, for brokers that ask for one. Default: none.
    pub client_cert_file: Option<PathBuf>,
    /// PEM file with the key of `client_cert_file`. Default: none.
    pub client_key_file: Option<PathBuf>,
    /// First part of every topic; may have several levels. Default: `outpost`.
    pub topic_prefix: String,
    /// Identity at the broker, one per box. Default: `outpost-<device>`.
    pub client_id: Option<String>,
    /// How long the line may be silent before it is tested; a dead one is noticed within twice this time.
    /// 5 s to 18 h. Default: `30s`.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub keep_alive: Duration,
    /// Alerts that are older when there is a line again are published in one digest per camera, not one by one.
    /// `0s`: never. Default: `1h`.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub max_age: Duration,
    /// Whether the broker keeps the last alert of each camera. Default: false.
    pub retain_events: bool,
    /// How surely states are delivered: 1, or 0 for brokers that charge by the message. Default: 1.
    pub state_qos: u8,
    /// How often health, queues and coverage are published, 1 s to 1 h. Default: `1m`.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub report_every: Duration,
    /// Whether the newest picture of each camera is published. Default: true.
    pub snapshots: bool,
    /// Greatest width of these pictures, pixels, 64 to 3840. Default: 640.
    pub snapshot_width: u32,
    /// Greatest size of these pictures, bytes, 4 KiB to 4 MiB; quality and then size give way. Default: 131072.
    #[serde(with = "crate::byte_size")]
    pub snapshot_max_bytes: usize,
    /// As `state_qos`, of these pictures. Default: 1.
    pub snapshot_qos: u8,
    /// Least time between two pictures of a camera, those of commands aside; the newest one waits. `0s`: none. Default: `30s`.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub snapshot_every: Duration,
    /// Whether sending costs by the byte: `auto` (as NetworkManager says, where there is one), `yes`, `no`. Default: `auto`.
    pub metered: Metered,
    /// Whether pictures are published over a metered link, those of commands aside. Default: false.
    pub snapshots_on_metered: bool,
    /// Bytes of pictures in a day, those of commands aside. Default: no limit.
    #[serde(with = "crate::byte_size::optional", skip_serializing_if = "Option::is_none")]
    pub snapshot_daily_bytes: Option<u64>,
    /// The same in a month. Default: no limit.
    #[serde(with = "crate::byte_size::optional", skip_serializing_if = "Option::is_none")]
    pub snapshot_monthly_bytes: Option<u64>,
    /// Whether the broker keeps these pictures. Default: true.
    pub retain_snapshots: bool,
    /// Whether what happens to executions is published: a message when one is queued, begun, over, and for each of its steps.
    /// Default: false.
    pub execution_progress: bool,
    /// Whether the box executes commands. Any client that may publish to its topics can then switch detection and recording off.
    /// Default: false.
    pub commands: bool,
    /// Whether the box makes itself known to Home Assistant. Default: false.
    pub homeassistant_discovery: bool,
    /// Home Assistant's discovery prefix. Default: `homeassistant`.
    pub homeassistant_prefix: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: String::new(),
            protocol: Protocol::Auto,
            username: None,
            password_file: None,
            ca_file: None,
            client_cert_file: None,
            client_key_file: None,
            topic_prefix: "outpost".to_owned(),
            client_id: None,
            keep_alive: Duration::from_secs(30),
            max_age: Duration::from_secs(3600),
            retain_events: false,
            state_qos: 1,
            report_every: Duration::from_secs(60),
            snapshots: true,
            snapshot_width: 640,
            snapshot_max_bytes: 128 << 10,
            snapshot_qos: 1,
            snapshot_every: Duration::from_secs(30),
            metered: Metered::Auto,
            snapshots_on_metered: false,
            snapshot_daily_bytes: None,
            snapshot_monthly_bytes: None,
            retain_snapshots: true,
            execution_progress: false,
            commands: false,
            homeassistant_discovery: false,
            homeassistant_prefix: "homeassistant".to_owned(),
        }
    }
}

impl Config {
    /// Whether a broker is configured at all.
    pub fn is_enabled(&self) -> bool {
        !self.url.is_empty()
    }

    /// Checks everything that can be checked without the broker and without reading secrets.
    ///
    /// # Errors
    /// Names the key, its value where it is no secret, and what is allowed.
    pub fn validate(&self) -> Result<()> {
        topics::check_prefix("mqtt.topic_prefix", &self.topic_prefix)?;
        topics::check_prefix("mqtt.homeassistant_prefix", &self.homeassistant_prefix)?;
        self.validate_kinds()?;
        let keep_alive = self.keep_alive;
        ensure!(
            (5..=65_535).contains(&keep_alive.as_secs()),
            "mqtt.keep_alive is {keep_alive:?}; allowed are 5s to 18h"
        );
        ensure!(
            self.password_file.is_none() || self.username.is_some(),
            "mqtt.password_file is set without mqtt.username: set both or none"
        );
        ensure!(
            self.client_cert_file.is_some() == self.client_key_file.is_some(),
            "mqtt.client_cert_file and mqtt.client_key_file belong together: set both or none"
        );
        if !self.is_enabled() {
            return Ok(());
        }
        let address = Address::parse(&self.url)?;
        let tls_files = [&self.ca_file, &self.client_cert_file];
        ensure!(
            address.tls || tls_files.iter().all(|file| file.is_none()),
            "mqtt.url {:?} is not encrypted, so mqtt.ca_file and mqtt.client_cert_file would do nothing: use mqtts://",
            self.url
        );
        Ok(())
    }

    /// Reads the password and the certificates, as each connection does.
    ///
    /// # Errors
    /// Names the file that cannot be used; never what it holds.
    pub fn check_files(&self) -> Result<()> {
        link::check_files(self, &Address::parse(&self.url)?)
    }

    fn validate_kinds(&self) -> Result<()> {
        for (key, qos) in [("state_qos", self.state_qos), ("snapshot_qos", self.snapshot_qos)] {
            ensure!(qos <= 1, "mqtt.{key} is {qos}; allowed are 0 and 1");
        }
        let every = self.report_every;
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
        ensure!((second..=hour).contains(&every), "mqtt.report_every is {every:?}; allowed are 1s to 1h");
        let (width, bytes) = (self.snapshot_width, self.snapshot_max_bytes);
        ensure!((64..=3840).contains(&width), "mqtt.snapshot_width is {width}; allowed are 64 to 3840");
        ensure!(
            (4 << 10..=4 << 20).contains(&bytes),
            "mqtt.snapshot_max_bytes is {bytes}; allowed are 4096 to 4194304"
        );
        Ok(())
    }
}
