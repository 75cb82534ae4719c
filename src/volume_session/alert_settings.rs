//! What alerts need of the configuration beside their own section.

use std::sync::Arc;
use std::time::Duration;

use crate::alert;
use crate::config::{self, Config};
use crate::record::RecordMode;

/// The cameras as alerts know them.
pub(super) fn alert_cameras(config: &Config) -> Vec<alert::Camera> {
    config.cameras().map(|(name, camera)| alert_camera(name, camera)).collect()
}

/// A camera as alerts know it. Where all labels count, those that zones and rules name are known beforehand.
fn alert_camera(name: &str, config: &config::Camera) -> alert::Camera {
    let of_zones = config.zones.values().flat_map(|zone| &zone.labels);
    let of_rules = config.rules.iter().flat_map(|rule| &rule.labels);
    let mut labels: Vec<Arc<str>> = config.detect.labels.iter().map(|label| label.as_str().into()).collect();
    if labels.is_empty() {
        labels = of_zones.chain(of_rules).map(|label| label.as_str().into()).collect();
        labels.sort();
        labels.dedup();
    }
    alert::Camera {
        name: name.into(),
        labels,
        zones: config.zones.keys().map(|zone| zone.as_str().into()).collect(),
        detects: config.detect.enabled && !config.detect.model.is_empty(),
        records: config.record.mode != RecordMode::Off,
    }
}

/// Rules whose alerts have an age of their own.
pub(super) fn rule_ages(config: &Config) -> alert::RuleAges {
    let of_camera = |(camera, config): (&String, &config::Camera)| {
        let camera: Arc<str> = camera.as_str().into();
        let own = config.rules.iter().filter_map(|rule| Some((rule.name.as_str().into(), rule.alert_max_age?)));
        own.map(|(rule, age): (Arc<str>, Duration)| ((camera.clone(), rule), age)).collect::<Vec<_>>()
    };
    config.camera.iter().flat_map(of_camera).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_with_an_age_of_their_own_are_found() {
        let text = "[camera.yard.source]\nurl = \"rtsp://h/m\"\n[[camera.yard.rules]]\nname = \"a\"\nalert_max_age = \"5m\"\n\
                    [[camera.yard.rules]]\nname = \"b\"\nlabels = [\"car\"]\n";
        let config = config::Config::parse(text).expect("parse");
        let expected = [(("yard".into(), "a".into()), Duration::from_secs(300))];
        assert_eq!(rule_ages(&config), expected.into());
        assert_eq!(alert_camera("yard", &config.camera["yard"]).labels, ["car".into()]);
    }
}
