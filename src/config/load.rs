//! Reading and checking the file: every complaint names the place, the reason and what to do.

use std::fmt;
use std::path::Path;

use super::Config;
use crate::rules::RuleEngine;

/// The configuration cannot be used. One line a complaint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(Vec<String>);

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl ConfigError {
    fn one(text: String) -> Self {
        Self(vec![text])
    }
}

impl Config {
    /// Reads, parses and checks a file.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| ConfigError::one(format!("{}: {e}; name the file with --config", path.display())))?;
        Self::parse(&text).map_err(|ConfigError(complaints)| {
            ConfigError(complaints.into_iter().map(|c| format!("{}:{c}", path.display())).collect())
        })
    }

    /// Parses and checks a text. Complaints begin with `line:column: ` where one is known.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let mut config: Config = toml::from_str(text).map_err(|e| ConfigError::one(explain(text, &e)))?;
        if config.device.id.is_empty() {
            config.device.id = host_name();
        }
        config.validate()?;
        Ok(config)
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut complaints = Vec::new();
        let mut check = |place: String, result: Result<(), String>| {
            if let Err(complaint) = result {
                complaints.push(format!(" {place}: {complaint}"));
            }
        };
        check("device.id".into(), name_is_safe(&self.device.id));
        check("storage".into(), self.storage.validate());
        check("spool".into(), self.spool.validate());
        check("archive".into(), self.archive.validate());
        check("retention".into(), self.retention.validate());
        check("infer".into(), self.infer.check());
        check("load".into(), self.load.validate());
        check("web".into(), self.web.validate().map_err(|e| format!("{e:#}")));
        if let Some(mqtt) = &self.mqtt {
            check("mqtt".into(), mqtt.validate().map_err(|e| format!("{e:#}")));
        }
        for (name, webhook) in &self.webhook {
            check(format!("webhook.{name}"), name_is_safe(name));
            check(format!("webhook.{name}"), webhook.validate().map_err(|e| format!("{e:#}")));
        }
        for (name, upload) in &self.upload {
            check(format!("upload.{name}"), name_is_safe(name));
            check(format!("upload.{name}"), upload.validate());
        }
        check("lake".into(), self.lake.validate());
        if self.cameras().next().is_none() {
            check("camera".into(), Err("no camera is configured; add [camera.<name>.source] with a url".into()));
        }
        for (name, camera) in &self.camera {
            let place = |key: &str| format!("camera.{name}{key}");
            check(place(""), name_is_safe(name));
            check(place(".source"), camera.source.validate());
            check(place(".decode"), camera.decode.validate(None));
            check(place(".motion"), camera.motion.validate());
            check(place(".detect"), camera.detect.check());
            check(place(".track"), camera.track.validate());
            check(place(""), RuleEngine::new(&camera.zones, &camera.lines, &camera.rules).map(|_| ()));
            check(place(".record"), camera.record.validate());
        }
        if complaints.is_empty() { Ok(()) } else { Err(ConfigError(complaints)) }
    }
}

/// Names end up in topics, object keys and folders.
fn name_is_safe(name: &str) -> Result<(), String> {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.chars().all(safe) {
        return Err(format!(
            "{name:?} is not a usable name: up to 64 letters, digits, '-', '_' and '.', not starting with '.'"
        ));
    }
    Ok(())
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
    let name: String = name.trim().chars().map(safe).collect();
    if name.is_empty() { "outpost".to_owned() } else { name }
}

/// `line:column: what is wrong`, with the nearest known name for an unknown one.
fn explain(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().trim_end();
    let place = error.span().map_or(String::new(), |span| {
        let before = text.get(..span.start).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
        format!("{line}:{column}:")
    });
    match nearest_name(message) {
        Some(nearest) => format!("{place} {message}; did you mean `{nearest}`?"),
        None => format!("{place} {message}"),
    }
}

/// From serde's "unknown field `x`, expected one of `a`, `b`" the known name that looks most like `x`.
fn nearest_name(message: &str) -> Option<&str> {
    if !message.starts_with("unknown field") && !message.starts_with("unknown variant") {
        return None;
    }
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = quoted.next()?;
    let score = |name: &str| strsim::jaro_winkler(unknown, name);
    quoted.filter(|name| score(name) > 0.7).max_by(|a, b| score(a).total_cmp(&score(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAMERA: &str = "[camera.yard.source]\nurl = \"rtsp://10.0.0.5/main\"\n";

    fn complaint(text: &str) -> String {
        Config::parse(text).expect_err("must be refused").to_string()
    }

    #[test]
    fn a_camera_url_is_enough() {
        let config = Config::parse(CAMERA).expect("parse");
        assert!(!config.device.id.is_empty(), "the host's name stands in");
        assert_eq!(config.outboxes(), Vec::<String>::new());
    }

    #[test]
    fn a_misspelt_key_is_named_with_its_place_and_the_nearest_name() {
        let text = format!("{CAMERA}\n[camera.yard.record]\n  post_rol = \"9s\"\n");
        let said = complaint(&text);
        assert!(said.starts_with("5:3: unknown field `post_rol`"), "{said}");
        assert!(said.ends_with("did you mean `post_roll`?"), "{said}");
    }

    #[test]
    fn every_complaint_is_listed_with_its_place() {
        let said = complaint("[device]\nid = \"a/b\"\n[camera.yard.source]\nurl = \"gopher://x\"\n");
        assert_eq!(said.lines().count(), 2, "{said}");
        assert!(said.contains("device.id") && said.contains("camera.yard.source"), "{said}");
    }

    #[test]
    fn a_configuration_without_cameras_says_what_to_add() {
        assert!(complaint("").contains("[camera.<name>.source]"));
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let said = Config::load(Path::new("/no/such.toml")).expect_err("missing").to_string();
        assert!(said.contains("/no/such.toml") && said.contains("--config"), "{said}");
    }
}
