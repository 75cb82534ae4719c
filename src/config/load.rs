//! Reading and checking the file: every diagnostic names the place, the reason and what to do.

use std::collections::BTreeMap;
use std::path::Path;

use toml::de::DeTable;

use super::collect::{collect, diagnostic_of};
use super::diagnostic::{ConfigError, Diagnostic};
use super::{Config, Files};
use crate::rules::mistakes;

impl Config {
    /// Reads, parses and checks a file, with the cameras that the page changed.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let files = Files::of_service(path);
        Ok(files.parse(&files.texts()?)?.0)
    }

    /// The text of a file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read_text(path: &Path) -> Result<String, ConfigError> {
        std::fs::read_to_string(path)
            .map_err(|e| ConfigError::new("", format!("{}: {e}; name the file with --config", path.display())))
    }

    /// Parses and checks a text.
    ///
    /// # Errors
    /// Everything that is wrong with it, with line and column where they are known.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let (config, diagnostics) = Self::parse_most(text);
        ConfigError::unless_empty(diagnostics)?;
        Ok(config.unwrap_or_default())
    }

    /// What a text says without what is wrong, and everything that is; none where it is no TOML.
    pub(super) fn parse_most(text: &str) -> (Option<Self>, Vec<Diagnostic>) {
        let (table, broken) = DeTable::parse_recoverable(text);
        let diagnostics: Vec<_> = broken.iter().map(|error| diagnostic_of(text, error, String::new())).collect();
        if !diagnostics.is_empty() {
            return (None, diagnostics);
        }
        let (config, diagnostics) = collect(text, table, &Self::complete);
        (Some(config), diagnostics)
    }

    /// With what follows from the box where the file is silent.
    fn complete(mut self) -> Self {
        if self.device.id.is_empty() {
            self.device.id = host_name();
        }
        self.infer.find_models();
        self
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut diagnostics = Vec::new();
        let mut check = |place: String, result: Result<(), String>| {
            if let Err(diagnostic) = result {
                diagnostics.push(Diagnostic::new(place, diagnostic));
            }
        };
        check("device.id".into(), name_is_safe(&self.device.id));
        check("storage".into(), self.storage.validate());
        check("spool".into(), self.spool.validate());
        check("archive".into(), self.archive.validate());
        check("library".into(), self.library.validate(&self.storage.path));
        check("executions".into(), self.executions.validate());
        check("retention".into(), self.retention.validate());
        check("infer".into(), self.infer.check());
        check("load".into(), self.load.validate());
        check("reload".into(), self.reload.validate());
        check("web".into(), self.web.validate().map_err(|e| format!("{e:#}")));
        check("webrtc".into(), self.webrtc.validate());
        if let Some(mqtt) = &self.mqtt {
            let named =
                if mqtt.is_enabled() { Ok(()) } else { Err("url is empty: name the broker, or leave [mqtt] out") };
            check("mqtt".into(), named.map_err(str::to_owned));
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
        for (name, camera) in &self.camera {
            let place = |key: &str| format!("camera.{name}{key}");
            check(place(""), name_is_safe(name));
            check(place(".source"), camera.source.validate());
            check(place(".decode"), camera.decode.validate(None));
            check(place(".motion"), camera.motion.validate());
            check(place(".detect"), camera.detect.check());
            check(place(".track"), camera.track.validate());
            check(place(".pipeline"), camera.check_pipeline());
            for mistake in mistakes(&camera.zones, &camera.lines, &camera.rules) {
                check(place(&format!(".{}", mistake.key)), Err(mistake.reason));
            }
            check(place(".record"), camera.record.validate());
        }
        diagnostics.extend(alike("camera", self.camera.keys()));
        diagnostics.extend(alike("upload", self.upload.keys()));
        diagnostics.extend(alike("webhook", self.webhook.keys()));
        ConfigError::unless_empty(diagnostics)
    }
}

/// Names that are one and the same in folders of exFAT, FAT and network shares, where capitals and a dot at the end
/// count for nothing.
fn alike<'a>(section: &str, known: impl Iterator<Item = &'a String>) -> Vec<Diagnostic> {
    let mut folded: BTreeMap<String, &str> = BTreeMap::new();
    let mut diagnostics = Vec::new();
    for name in known {
        let same = folded.insert(name.to_lowercase().trim_end_matches('.').to_owned(), name);
        if let Some(other) = same {
            let why = "differ only in ways that many file systems do not distinguish";
            let message = format!("the names {other:?} and {name:?} {why}: choose another name for one of them");
            diagnostics.push(Diagnostic::new(format!("{section}.{name}"), message));
        }
    }
    diagnostics
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

#[cfg(test)]
mod tests {
    use super::*;

    const CAMERA: &str = "[camera.yard.source]\nurl = \"rtsp://10.0.0.5/main\"\n";

    fn diagnostic(text: &str) -> String {
        Config::parse(text).expect_err("must be refused").to_string()
    }

    #[test]
    fn a_camera_url_is_enough() {
        let config = Config::parse(CAMERA).expect("parse");
        assert!(!config.device.id.is_empty(), "the host's name stands in");
        assert!(config.outboxes().is_empty());
    }

    #[test]
    fn a_misspelt_key_is_named_with_its_place_and_the_nearest_name() {
        let text = format!("{CAMERA}\n[camera.yard.record]\n  post_rol = \"9s\"\n");
        let said = diagnostic(&text);
        assert!(said.starts_with("5:3: unknown key `post_rol`"), "{said}");
        assert!(said.ends_with("did you mean `post_roll`?"), "{said}");
    }

    #[test]
    fn every_diagnostic_is_listed_with_its_place() {
        let said = diagnostic("[device]\nid = \"a/b\"\n[camera.yard.source]\nurl = \"gopher://x\"\n");
        assert_eq!(said.lines().count(), 2, "{said}");
        assert!(said.contains("device.id") && said.contains("camera.yard.source"), "{said}");
    }

    #[test]
    fn every_value_that_does_not_fit_is_reported_at_once_in_plain_words() {
        let said = diagnostic(
            "[storage]\ncache_bytes = \"lots\"\n[camera.yard.source]\nurl = \"rtsp://10.0.0.5/main\"\n\
             [camera.yard.detect]\nfps = \"fast\"\nlabels = [1]\nenabled = \"yes\"\n[camera.yard.record]\n\
             pre_roll = 5\nmax_clip = \"1 fortnight\"\nmode = \"often\"\n[web]\nlisten = 8080\n[camra]\n\
             [camera.yard.zones.gate]\npoints = [[0.1, 0.2], [0.3]]\n[[camera.yard.rules]]\nwhen = \"objct\"\n",
        );
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines.len(), 11, "{said}");
        for (place, words) in [
            ("2:15: storage.cache_bytes: ", "\"10 GiB\""),
            ("6:7: camera.yard.detect.fps: ", "this should be a number, and is the text \"fast\""),
            ("7:11: camera.yard.detect.labels: ", "this should be text in quotes, and is the number 1"),
            ("8:11: camera.yard.detect.enabled: ", "true or false"),
            ("10:12: camera.yard.record.pre_roll: ", "a length of time in quotes"),
            ("11:12: camera.yard.record.max_clip: ", "a length of time in quotes"),
            ("12:8: camera.yard.record.mode: ", "unknown value `often`"),
            ("14:10: web.listen: ", "an address and a port"),
            ("15:2: ", "unknown key `camra`"),
            ("17:23: camera.yard.zones.gate.points: ", "a list of 2"),
            ("19:8: camera.yard.rules.0.when: ", "did you mean `object`?"),
        ] {
            let found = lines.iter().find(|line| line.starts_with(place));
            assert!(found.is_some_and(|line| line.contains(words)), "{place}{words}: {said}");
        }
        let types = ["f32", "u64", "usize", "struct", "enum", "variant", "field", "Duration", "std::"];
        assert!(!types.iter().any(|word| said.contains(word)), "{said}");
    }

    #[test]
    fn what_only_a_check_finds_has_its_line_too() {
        let said = diagnostic(&format!(
            "{CAMERA}[camera.yard.record]\npre_roll = \"2m\"\n[storage]\npath = \"here\"\n[lake]\nmax_bytes = \"1 kB\"\n"
        ));
        let places = ["4:1: camera.yard.record.pre_roll: ", "6:1: storage.path: ", "8:1: lake.max_bytes: "];
        assert!(places.iter().all(|place| said.lines().any(|line| line.starts_with(place))), "{said}");
    }

    #[test]
    fn all_mistakes_of_a_section_are_reported_at_once() {
        let said = diagnostic(
            "[camera.yard.source]\nurl = \"gopher://x\"\n[camera.yard.record]\nmax_clip = \"0s\"\npre_roll = \"2m\"\n\
             [camera.yard2.source]\nurl = \"rtsp://10.0.0.5/main\"\n[camera.yard2.record]\npre_roll = \"3m\"\n\
             [[camera.yard2.rules]]\nname = \"a\"\nzone = \"x\"\n[[camera.yard2.rules]]\nname = \"b\"\nmin_score = 2\ninertia = 0\n\
             [mqtt]\nurl = \"http://broker\"\nkeep_alive = \"0s\"\ntopic_prefix = \"a/#\"\n\
             [webhook.door]\nurl = \"ftp://x\"\ntries = 0\n[upload.far]\nurl = \"ftp://x\"\nparallel = 99\n",
        );
        let lines: Vec<&str> = said.lines().collect();
        let places = [
            "2:1: ", "4:1: ", "5:1: ", "9:1: ", "10:1: ", "15:1: ", "16:1: ", "18:1: ", "19:1: ", "20:1: ", "22:1: ",
            "23:1: ", "25:1: ", "26:1: ",
        ];
        let found = places.iter().filter(|place| lines.iter().any(|line| line.starts_with(**place)));
        assert_eq!((found.count(), lines.len()), (places.len(), places.len()), "{said}");
    }

    #[test]
    fn a_text_that_is_no_toml_is_reported_with_its_lines() {
        let said = diagnostic("[camera.yard\n");
        assert_eq!(said, "1:13: unclosed table, expected `]`");
    }

    /// Works with: disks | file systems where `Yard` and `yard` are one folder | refuses the two names
    #[test]
    fn names_that_a_file_system_may_not_distinguish_are_refused() {
        let camera = |name: &str| format!("[camera.{name}.source]\nurl = \"rtsp://10.0.0.5/main\"\n");
        let said = diagnostic(&(camera("Yard") + &camera("yard")));
        assert!(said.starts_with("3:9: camera.yard: the names \"Yard\" and \"yard\""), "{said}");
        let said = diagnostic(&(camera("yard") + &camera("\"yard.\"")));
        assert!(said.contains("\"yard.\""), "{said}");
        let store = |name: &str| format!("[upload.{name}]\nurl = \"file:///srv/copy\"\n");
        assert!(diagnostic(&(camera("yard") + &store("B") + &store("b"))).contains("upload.b: "));
        Config::parse(&(camera("yard") + &camera("gate"))).expect("two names");
    }

    #[test]
    fn a_box_may_begin_without_cameras() {
        assert_eq!(Config::parse("").expect("good").cameras().count(), 0);
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let said = Config::load(Path::new("/no/such.toml")).expect_err("missing").to_string();
        assert!(said.contains("/no/such.toml") && said.contains("--config"), "{said}");
    }
}
