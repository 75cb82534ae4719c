//! Topic names. Names from the config become single topic levels, whatever characters they have.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use anyhow::{Result, ensure};

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
    pub(super) fn new(prefix: &str, device: &str, cameras: &[Arc<str>]) -> Result<Self> {
        check_prefix(prefix)?;
        let device = format!("{prefix}/{}", level("device", device)?);
        let mut by_name = BTreeMap::new();
        for camera in cameras {
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

    /// Whether the camera gives pictures.
    pub(super) fn camera_availability(&self, camera: &str) -> String {
        format!("{}/availability", self.camera(camera))
    }

    /// Alerts of the camera. Works for cameras that left the config too: their last alerts may still wait.
    pub(super) fn event(&self, camera: &str) -> String {
        format!("{}/event", self.camera(camera))
    }

    fn camera(&self, camera: &str) -> String {
        let known = self.cameras.get(camera).cloned();
        known.unwrap_or_else(|| format!("{}/camera/{}", self.device, encode(camera)))
    }
}

/// Checks the configured prefix.
///
/// # Errors
/// Says what a prefix may be.
pub(super) fn check_prefix(prefix: &str) -> Result<()> {
    let levels_are_fine = prefix.split('/').all(|level| !level.is_empty() && level.len() <= MAX_LEVEL_BYTES);
    let characters_are_fine = !prefix.contains(|c: char| matches!(c, '+' | '#') || c.is_control());
    ensure!(
        levels_are_fine && characters_are_fine && !prefix.starts_with('$') && prefix.len() <= 4 * MAX_LEVEL_BYTES,
        "mqtt.topic_prefix is {prefix:?}; allowed are levels separated by single '/', without '+', '#' and \
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

    fn topics(camera: &str) -> Topics {
        Topics::new("outpost", "box-7", &[camera.into()]).expect("valid names")
    }

    #[test]
    fn topics_follow_the_documented_scheme() {
        let t = topics("yard");
        assert_eq!(t.availability(), "outpost/box-7/availability");
        assert_eq!(t.store(), "outpost/box-7/store");
        assert_eq!(t.camera_availability("yard"), "outpost/box-7/camera/yard/availability");
        assert_eq!(t.event("yard"), "outpost/box-7/camera/yard/event");
        assert_eq!(t.event("gone"), "outpost/box-7/camera/gone/event");
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
            assert_eq!(topics(name).event(name), format!("outpost/box-7/camera/{expected}/event"));
        }
    }

    #[test]
    fn impossible_names_and_prefixes_are_refused() {
        for prefix in ["", "/", "a//b", "a/", "a/#", "+", "$SYS", "a\nb", &"x".repeat(300)] {
            assert!(Topics::new(prefix, "box", &[]).is_err(), "{prefix:?}");
        }
        assert!(Topics::new("a/b", "", &[]).is_err());
        assert!(Topics::new("a/b", "box", &["".into()]).is_err());
        assert!(Topics::new("a/b", "box", &["c".into(), "c".into()]).is_err());
        assert!(Topics::new("a/b", "box", &["c".into()]).is_ok());
    }

    proptest! {
        #[test]
        fn two_names_never_share_a_topic(a in ".{1,20}", b in ".{1,20}") {
            prop_assert_eq!(a == b, encode(&a) == encode(&b));
            prop_assert!(!encode(&a).contains(|c: char| "/+#".contains(c) || c.is_control()));
        }
    }
}
