//! The parts that run on a volume, and which of them another configuration is about.

use std::collections::BTreeSet;

use super::alert_settings::{alert_cameras, rule_ages};
use crate::config::Config;
use crate::destination::Destination;

/// A part that runs on a volume, by its own supervisor, so that it can be replaced alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum OutletPart {
    Upload(String),
    Alerts,
    Webhook(String),
    Retention,
    Timekeeper,
    Lake,
}

impl OutletPart {
    /// The parts that `config` asks for, in the order in which they are started.
    pub(super) fn of(config: &Config) -> Vec<Self> {
        let uploads = config.upload.keys().cloned().map(Self::Upload);
        let alerts = config.mqtt.iter().map(|_| Self::Alerts);
        let webhooks = config.webhook.keys().cloned().map(Self::Webhook);
        let lake = config.has_lake().then_some(Self::Lake);
        uploads.chain(alerts).chain(webhooks).chain([Self::Retention, Self::Timekeeper]).chain(lake).collect()
    }

    /// The parts that have to be replaced for `new` to hold instead of `old`.
    pub(super) fn changed(old: &Config, new: &Config) -> BTreeSet<Self> {
        let all: BTreeSet<Self> = Self::of(old).into_iter().chain(Self::of(new)).collect();
        all.into_iter().filter(|part| !part.is_same(old, new)).collect()
    }

    /// The queue that it drains.
    pub(super) fn destination(&self) -> Option<Destination> {
        match self {
            Self::Upload(name) => Some(Destination::upload(name)),
            Self::Webhook(name) => Some(Destination::webhook(name)),
            Self::Alerts => Some(Destination::Mqtt),
            Self::Lake => Some(Destination::Lake),
            Self::Retention | Self::Timekeeper => None,
        }
    }

    /// Whether everything that it is started with is the same in both.
    fn is_same(&self, old: &Config, new: &Config) -> bool {
        let same_uploads = || old.upload.keys().eq(new.upload.keys());
        // Alerts name the keys of the first destination.
        let same_alerts = || {
            let keys = |config: &Config| config.upload.values().next().cloned();
            keys(old) == keys(new) && rule_ages(old) == rule_ages(new)
        };
        match self {
            Self::Upload(name) => old.upload.get(name) == new.upload.get(name),
            Self::Webhook(name) => old.webhook.get(name) == new.webhook.get(name) && same_alerts(),
            Self::Alerts => {
                let same_cameras = || alert_cameras(old) == alert_cameras(new);
                old.mqtt == new.mqtt && same_alerts() && same_uploads() && same_cameras()
            }
            Self::Retention => {
                old.retention == new.retention && old.spool.max_bytes == new.spool.max_bytes && same_uploads()
            }
            Self::Timekeeper => old.camera.keys().eq(new.camera.keys()),
            Self::Lake => {
                old.has_lake() == new.has_lake()
                    && old.lake == new.lake
                    && old.load.thermal_dir == new.load.thermal_dir
                    && same_uploads()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "[camera.yard.source]\nurl = \"rtsp://h/1\"\n[mqtt]\nurl = \"mqtt://h\"\n\
        [upload.a]\nurl = \"file:///srv/a\"\n[upload.b]\nurl = \"file:///srv/b\"\n\
        [webhook.ops]\nurl = \"https://h/x\"\n[lake]\nenabled = true\n";

    fn config(text: &str) -> Config {
        Config::parse(text).expect("a good configuration")
    }

    fn changed(from: &str, to: &str) -> Vec<String> {
        let parts = OutletPart::changed(&config(from), &config(to));
        parts.iter().map(|part| format!("{part:?}").replace(['"', '(', ')'], " ").trim().to_lowercase()).collect()
    }

    #[test]
    fn only_parts_that_a_change_is_about_are_replaced() {
        let none: [&str; 0] = [];
        assert_eq!(changed(BASE, BASE), none);
        assert_eq!(changed(BASE, &(BASE.to_owned() + "[camera.yard.record]\npost_roll = \"9s\"\n")), none);
        let with = |key: &str| BASE.to_owned() + key;
        assert_eq!(changed(BASE, &with("[retention]\nmax_bytes = \"9 GiB\"\n")), ["retention"]);
        assert_eq!(changed(BASE, &BASE.replace("srv/b", "srv/c")), ["upload  b"], "not the first one");
        let first = changed(BASE, &BASE.replace("srv/a", "srv/c"));
        assert_eq!(first, ["upload  a", "alerts", "webhook  ops"], "alerts name its keys");
        assert_eq!(changed(BASE, &BASE.replace("mqtt://h", "mqtt://i")), ["alerts"]);
        assert_eq!(changed(BASE, &BASE.replace("https://h", "https://i")), ["webhook  ops"]);
        assert_eq!(changed(BASE, &with("[camera.gate.source]\nurl = \"rtsp://h/2\"\n")), ["alerts", "timekeeper"]);
        assert_eq!(changed(BASE, &with("[[camera.yard.rules]]\nname = \"r\"\nlabels = [\"car\"]\n")), ["alerts"]);
        assert_eq!(
            changed(BASE, &with("[upload.c]\nurl = \"file:///srv/c\"\n")),
            ["upload  c", "alerts", "retention", "lake"]
        );
        assert_eq!(changed(BASE, &BASE.replace("true", "false")), ["lake"]);
    }

    #[test]
    fn parts_are_those_of_the_configuration() {
        let names = |text: &str| OutletPart::of(&config(text)).len();
        assert_eq!((names(BASE), names("[camera.yard.source]\nurl = \"rtsp://h/1\"\n")), (7, 2));
    }
}
