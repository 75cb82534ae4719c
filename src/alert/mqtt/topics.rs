//! Topic names. Names from the config become single topic levels, whatever characters they have.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use anyhow::{Result, ensure};

use super::device::Camera;

/// No broker is known that takes topics near the protocol's 65,535 bytes; this leaves room for long names.
const MAX_LEVEL_BYTES: usize = 256;

/// All topics of one box.
#[derive(Clone, Debug)]
pub(super) struct Topics {
    device: String,
    cameras: BTreeMap<Arc<str>, String>,
}

impl Topics {
    /// # Errors
    /// When the prefix is no topic, or a name is empty or too long, or two cameras have the same name.
    pub(super) fn new(prefix: &str, device: &str, cameras: &[Camera]) -> Result<Self> {
        check_prefix("mqtt.topic_prefix", prefix)?;
        let device = format!("{prefix}/{}", level("device", device)?);
        let mut by_name = BTreeMap::new();
        for Camera { name: camera, .. } in cameras {
            let topic = format!("{device}/camera/{}", level("camera", camera)?);
            ensure!(by_name.insert(camera.clone(), topic).is_none(), "there are two cameras with the name {camera:?}");
        }
        Ok(Self { device, cameras: by_name })
    }

    /// Whether the box is there.
    pub(super) fn availability(&self) -> String {
        format!("{}/availability", self.device)
    }

    /// Whether the list of events is complete, and has room for more.
    pub(super) fn store(&self) -> String {
        format!("{}/store", self.device)
    }

    /// Something of the whole box.
    pub(super) fn of_box(&self, leaf: &str) -> String {
        format!("{}/{leaf}", self.device)
    }

    /// Something of an upload destination.
    pub(super) fn upload(&self, name: &str, leaf: &str) -> String {
        format!("{}/upload/{}/{leaf}", self.device, encode(name))
    }

    /// Something of a camera. Works for cameras that left the config too: their last alerts may still wait.
    pub(super) fn of_camera(&self, camera: &str, leaf: &str) -> String {
        format!("{}/{leaf}", self.camera(camera))
    }

    /// Objects of a label in a zone of the camera, or anywhere in its picture.
    pub(super) fn count(&self, camera: &str, zone: Option<&str>, label: &str) -> String {
        let zone = zone.map_or(String::new(), |zone| format!("zone/{}/", encode(zone)));
        format!("{}/{zone}count/{}", self.camera(camera), encode(label))
    }

    /// What commands come through.
    pub(super) fn command_filters(&self) -> [String; 2] {
        [format!("{}/camera/+/+/set", self.device), format!("{}/upload/+/paused/set", self.device)]
    }

    /// Whether `topic` is one of this box's own.
    pub(super) fn is_ours(&self, topic: &str) -> bool {
        topic.strip_prefix(&self.device).is_some_and(|rest| rest.starts_with('/'))
    }

    fn camera(&self, camera: &str) -> String {
        let known = self.cameras.get(camera).cloned();
        known.unwrap_or_else(|| format!("{}/camera/{}", self.device, encode(camera)))
    }
}

/// Checks a configured prefix, the value of `key`.
///
/// # Errors
/// Says what a prefix may be.
pub(super) fn check_prefix(key: &str, prefix: &str) -> Result<()> {
    let levels_are_fine = prefix.split('/').all(|level| !level.is_empty() && level.len() <= MAX_LEVEL_BYTES);
    let characters_are_fine = !prefix.contains(|c: char| matches!(c, '+' | '#') || c.is_control());
    ensure!(
        levels_are_fine && characters_are_fine && !prefix.starts_with('$') && prefix.len() <= 4 * MAX_LEVEL_BYTES,
        "{key} is {prefix:?}; allowed are levels separated by single '/', without '+', '#' and \
         control characters, not starting with '$'"
    );
    Ok(())
}

fn level(what: &str, name: &str) -> Result<String> {
    ensure!(!name.is_empty(), "the {what} name is empty and cannot be part of a topic");
    ensure!(name.len() <= MAX_LEVEL_BYTES, "the {what} name {name:?} is longer than {MAX_LEVEL_BYTES} bytes");
    Ok(encode(name))
}

/// Percent-encodes what a topic level cannot hold (`/ + #`, control characters) and `%` itself, so that two
/// names never become one topic.
fn encode(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        if matches!(c, '/' | '+' | '#' | '%') || c.is_control() {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                // Writing to a String cannot fail.
                let _ = write!(out, "%{byte:02X}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn named(camera: &str) -> Camera {
        Camera { name: camera.into(), ..Camera::default() }
    }

    fn topics(camera: &str) -> Topics {
        Topics::new("outpost", "box-7", &[named(camera)]).expect("valid names")
    }

    #[test]
    fn topics_follow_the_documented_scheme() {
        let t = topics("yard");
        assert_eq!(t.availability(), "outpost/box-7/availability");
        assert_eq!(t.store(), "outpost/box-7/store");
        assert_eq!(t.of_camera("yard", "availability"), "outpost/box-7/camera/yard/availability");
        assert_eq!(t.of_camera("yard", "event"), "outpost/box-7/camera/yard/event");
        assert_eq!(t.count("yard", None, "person"), "outpost/box-7/camera/yard/count/person");
        assert_eq!(t.count("yard", Some("a/b"), "person"), "outpost/box-7/camera/yard/zone/a%2Fb/count/person");
        assert_eq!(t.upload("cloud", "paused"), "outpost/box-7/upload/cloud/paused");
        assert!(t.is_ours("outpost/box-7/x") && !t.is_ours("outpost/box-77/x") && !t.is_ours("outpost/box-7"));
        assert_eq!(t.of_camera("gone", "event"), "outpost/box-7/camera/gone/event");
    }

    #[test]
    fn a_name_cannot_leave_its_level() {
        let cases = [
            ("a/b", "a%2Fb"),
            ("#", "%23"),
            ("+", "%2B"),
            ("a%2Fb", "a%252Fb"),
            ("x\0y", "x%00y"),
            ("hof süd", "hof süd"),
        ];
        for (name, expected) in cases {
            assert_eq!(topics(name).of_camera(name, "event"), format!("outpost/box-7/camera/{expected}/event"));
        }
    }

    #[test]
    fn impossible_names_and_prefixes_are_refused() {
        for prefix in ["", "/", "a//b", "a/", "a/#", "+", "$SYS", "a\nb", &"x".repeat(300)] {
            assert!(Topics::new(prefix, "box", &[]).is_err(), "{prefix:?}");
        }
        assert!(Topics::new("a/b", "", &[]).is_err());
        assert!(Topics::new("a/b", "box", &[named("")]).is_err());
        assert!(Topics::new("a/b", "box", &[named("c"), named("c")]).is_err());
        assert!(Topics::new("a/b", "box", &[named("c")]).is_ok());
    }

    proptest! {
        #[test]
        fn two_names_never_share_a_topic(a in ".{1,20}", b in ".{1,20}") {
            prop_assert_eq!(a == b, encode(&a) == encode(&b));
            prop_assert!(!encode(&a).contains(|c: char| "/+#".contains(c) || c.is_control()));
        }
    }
}
