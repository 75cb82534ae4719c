//! What is known of the broker beyond one connection: which MQTT it takes, and what it grants. Kept for as long as the
//! alerter lives, never on the disk.

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAck, ConnectReturnCode};

use super::refusals::Refusals;
use super::suspects::Suspects;
use super::wire::{Protocol, Version};
use crate::supervise::Backoff;

/// Failures in a row after which a broker that took a version before may have been replaced.
const FORGET_AFTER: u32 = 3;

/// Which MQTT is spoken next.
#[derive(Debug)]
pub(super) struct Versions {
    setting: Protocol,
    next: Version,
    /// The broker answered in `next` before.
    is_known: bool,
    misses: u32,
}

impl Versions {
    pub(super) fn new(setting: Protocol) -> Self {
        let next = if setting == Protocol::ThreeOneOne { Version::ThreeOneOne } else { Version::Five };
        Self { setting, next, is_known: false, misses: 0 }
    }

    /// What the next connection speaks.
    pub(super) fn next(&self) -> Version {
        self.next
    }

    /// Whether 3.1.1 is spoken because the broker does not take 5.
    pub(super) fn is_fallback(&self) -> bool {
        self.setting == Protocol::Auto && self.next == Version::ThreeOneOne
    }

    /// The broker answered in the present version.
    pub(super) fn answered(&mut self) {
        (self.is_known, self.misses) = (true, 0);
    }

    /// The broker did not answer as one that speaks the present version does. Returns whether the other is to be tried
    /// at once: only from 5 to 3.1.1, so that there is a pause when both failed.
    pub(super) fn missed(&mut self) -> bool {
        self.misses = self.misses.saturating_add(1);
        if self.setting != Protocol::Auto || (self.is_known && self.misses < FORGET_AFTER) {
            return false;
        }
        (self.is_known, self.misses) = (false, 0);
        let was_five = self.next == Version::Five;
        self.next = if was_five { Version::ThreeOneOne } else { Version::Five };
        was_five
    }
}

/// What the broker grants on a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grants {
    /// Largest packet, bytes.
    pub(super) max_packet: usize,
    /// Highest quality of service.
    pub(super) qos: QoS,
    /// Whether it keeps retained messages.
    pub(super) retain: bool,
}

impl Default for Grants {
    fn default() -> Self {
        Self { max_packet: usize::MAX, qos: QoS::AtLeastOnce, retain: true }
    }
}

/// All that is known.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) versions: Versions,
    /// What the present connection grants, or the next one is to ask for.
    pub(super) grants: Grants,
    /// It refused a last will that is retained, or has QoS 1.
    refuses_retain: bool,
    refuses_qos: bool,
    pub(super) suspects: Suspects,
    pub(super) refusals: Refusals,
    /// Why commands are not heard, where the broker refuses the subscription.
    pub(super) refused_subscription: Option<String>,
}

impl Terms {
    pub(super) fn new(setting: Protocol) -> Self {
        Self {
            versions: Versions::new(setting),
            grants: Grants::default(),
            refuses_retain: false,
            refuses_qos: false,
            suspects: Suspects::default(),
            refusals: Refusals::new(Backoff::for_connections()),
            refused_subscription: None,
        }
    }

    /// After CONNACK.
    pub(super) fn welcomed(&mut self, welcome: &ConnAck) {
        self.versions.answered();
        self.suspects.opened();
        self.refused_subscription = None;
        let granted = welcome.properties.as_ref();
        let limit = granted.and_then(|granted| granted.max_packet_size).and_then(|bytes| usize::try_from(bytes).ok());
        let keeps = granted.and_then(|granted| granted.retain_available) != Some(0);
        let confirms = granted.and_then(|granted| granted.max_qos) != Some(0);
        self.grants = Grants {
            max_packet: limit.unwrap_or(usize::MAX),
            qos: if confirms && !self.refuses_qos { QoS::AtLeastOnce } else { QoS::AtMostOnce },
            retain: keeps && !self.refuses_retain && !self.suspects.gave_up_retain(),
        };
    }

    /// The broker refuses the greeting because of what the last will asks for. Returns whether less can be asked for.
    pub(super) fn ask_for_less(&mut self, code: ConnectReturnCode) -> bool {
        match code {
            ConnectReturnCode::RetainNotSupported => {
                self.grants.retain = false;
                !std::mem::replace(&mut self.refuses_retain, true)
            }
            ConnectReturnCode::QoSNotSupported => {
                self.grants.qos = QoS::AtMostOnce;
                !std::mem::replace(&mut self.refuses_qos, true)
            }
            _ => false,
        }
    }

    /// What works less well than it could, in words for the operator.
    pub(super) fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if self.versions.is_known && self.versions.is_fallback() {
            remarks.push(
                "the broker does not take MQTT 5, so MQTT 3.1.1 is spoken: it gives no reasons when it refuses something"
                    .to_owned(),
            );
        }
        if self.grants.qos == QoS::AtMostOnce {
            remarks.push(
                "the broker takes QoS 0 only: an alert leaves the queue a second after it was written to a connection that \
                 stands; whether it arrived is not confirmed"
                    .to_owned(),
            );
        }
        if !self.grants.retain {
            let why = if self.suspects.gave_up_retain() {
                "the broker closes the connection at every retained message (has this user the right to retain?)"
            } else {
                "the broker keeps no retained messages"
            };
            remarks.push(format!("{why}: later subscribers learn a state only when it changes"));
        }
        remarks.extend(self.refused_subscription.clone());
        remarks.extend(self.suspects.left_out());
        remarks.extend(self.refusals.remarks());
        remarks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_version_is_tried_at_once_and_what_the_broker_took_is_remembered() {
        let mut versions = Versions::new(Protocol::Auto);
        assert_eq!(versions.next(), Version::Five);
        assert!(versions.missed(), "3.1.1 at once");
        assert_eq!(versions.next(), Version::ThreeOneOne);
        assert!(!versions.missed(), "a pause when both failed");
        assert!(versions.missed());
        versions.answered();
        assert!(versions.is_fallback());
        for _ in 1..FORGET_AFTER {
            assert!(!versions.missed());
            assert_eq!(versions.next(), Version::ThreeOneOne, "one failure does not count");
        }
        versions.missed();
        assert_eq!(versions.next(), Version::Five, "the broker may have been replaced");
    }

    #[test]
    fn a_version_that_is_set_is_the_only_one() {
        for (setting, version) in [(Protocol::Five, Version::Five), (Protocol::ThreeOneOne, Version::ThreeOneOne)] {
            let mut versions = Versions::new(setting);
            for _ in 0..5 {
                assert!(!versions.missed());
                assert_eq!(versions.next(), version);
            }
            assert!(!versions.is_fallback());
        }
    }
}
