//! Where the configuration stands: in the file that people write, and for cameras that the page changed where that file
//! cannot be written, in one of the service's own.
//!
//! A section `[camera.<name>]` of the own file stands in place of that of the same name in the main one; `removed` lists
//! cameras of the main one that are not used any more. All else is read from the main file alone.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use toml_edit::{Array, DocumentMut, Item, Table, Value};

use super::edit::{each_table, remove_section};
use super::{Config, ConfigError, Diagnostic};

/// The own file, in the folder that the service manager gave the daemon.
const OWN: &str = "cameras.toml";
/// That folder, for programs which the service manager did not start.
pub(super) const SERVICE_STATE: &str = "/var/lib/outpost";
/// Section of the cameras, in both files.
pub(super) const CAMERA: &str = "camera";
/// Key of the own file.
const REMOVED: &str = "removed";

/// The files of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// What people write.
    pub main: PathBuf,
    /// What the daemon writes where it cannot write that; none where no folder is the daemon's own.
    pub own: Option<PathBuf>,
}

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What people write.
    Main,
    /// The service's own.
    Own,
}

/// What stands in the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    /// The main file.
    pub main: String,
    /// The own one; none where there is none.
    pub own: Option<String>,
}

impl Files {
    /// With `main`, and beside the state of the service.
    pub fn of_service(main: &Path) -> Self {
        let state = std::env::var_os("STATE_DIRECTORY").map(PathBuf::from);
        let is_service = main == Config::default_path();
        let state = state.or_else(|| is_service.then(|| PathBuf::from(SERVICE_STATE)));
        Self { main: main.to_owned(), own: state.map(|state| state.join(OWN)) }
    }

    /// The path of a part; none where it has no place.
    pub fn path(&self, part: Part) -> Option<&Path> {
        match part {
            Part::Main => Some(&self.main),
            Part::Own => self.own.as_deref(),
        }
    }

    /// Their texts.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn texts(&self) -> Result<Texts, ConfigError> {
        let main = Config::read_text(&self.main)?;
        let Some(own) = &self.own else { return Ok(Texts { main, own: None }) };
        match std::fs::read_to_string(own) {
            Ok(text) => Ok(Texts { main, own: Some(text) }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Texts { main, own: None }),
            // A person who may read the main file alone checks that one.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(Texts { main, own: None }),
            Err(error) => Err(ConfigError::new("", format!("{}: {error}", own.display()))),
        }
    }

    /// The configuration that these texts say, and the text of both in one.
    ///
    /// # Errors
    /// Everything that is wrong, with its file.
    pub fn parse(&self, texts: &Texts) -> Result<(Config, String), ConfigError> {
        let Some(own) = &texts.own else {
            let config = Config::parse(&texts.main);
            return Ok((config.map_err(|error| error.found_in(&texts.main, Some(&self.main)))?, texts.main.clone()));
        };
        let own_document = self.document(Part::Own, own)?;
        let Ok(mut document) = texts.main.parse::<DocumentMut>() else {
            let config = Config::parse(&texts.main);
            return Ok((config.map_err(|error| error.found_in(&texts.main, Some(&self.main)))?, texts.main.clone()));
        };
        lay_over(&mut document, &own_document);
        let merged = document.to_string();
        let config = Config::parse(&merged).map_err(|error| self.place(error, texts, own, &own_document))?;
        Ok((config, merged))
    }

    /// What these texts say without what is wrong, as far as they are TOML, and everything that is, with its file.
    pub fn parse_most(&self, texts: &Texts) -> (Option<Config>, Vec<Diagnostic>) {
        match self.parse(texts) {
            Ok((config, _)) => (Some(config), Vec::new()),
            Err(error) => (Config::parse_most(&self.merged(texts)).0, error.into_diagnostics()),
        }
    }

    /// The text of both in one; the main one alone where they are no TOML.
    fn merged(&self, texts: &Texts) -> String {
        let own = texts.own.as_ref().and_then(|own| own.parse::<DocumentMut>().ok());
        let (Some(own), Ok(mut main)) = (own, texts.main.parse::<DocumentMut>()) else { return texts.main.clone() };
        lay_over(&mut main, &own);
        main.to_string()
    }

    /// Says in which of the files, and where, these keys stand.
    pub fn find(&self, diagnostics: Vec<Diagnostic>, texts: &Texts) -> Vec<Diagnostic> {
        let Err(error) = ConfigError::unless_empty(diagnostics) else { return Vec::new() };
        let own = texts.own.as_ref().and_then(|own| Some((own, own.parse::<DocumentMut>().ok()?)));
        let placed = match own {
            Some((text, document)) => self.place(error, texts, text, &document),
            None => error.found_in(&texts.main, Some(&self.main)),
        };
        placed.into_diagnostics()
    }

    /// One of the texts, as a document that can be changed.
    ///
    /// # Errors
    /// When it is no TOML.
    pub(super) fn document(&self, part: Part, text: &str) -> Result<DocumentMut, ConfigError> {
        let path = self.path(part).unwrap_or(&self.main);
        text.parse::<DocumentMut>().map_err(|error| {
            let error = error.to_string();
            ConfigError::new("", format!("{}: {}", path.display(), error.trim().replace('\n', " ")))
        })
    }

    /// What is wrong with the text of both, with the places in the two files.
    fn place(&self, error: ConfigError, texts: &Texts, own: &str, document: &DocumentMut) -> ConfigError {
        let cameras = names(document);
        let placed = error.into_diagnostics().into_iter().map(|diagnostic| {
            let is_own = cameras.iter().any(|name| {
                let section = format!("{CAMERA}.{name}");
                diagnostic.key == section || diagnostic.key.starts_with(&format!("{section}."))
            });
            let (text, path) = if is_own { (own, self.own.as_deref()) } else { (&*texts.main, Some(&*self.main)) };
            ConfigError::new(diagnostic.key, diagnostic.message).found_in(text, path).into_diagnostics()
        });
        let placed: Vec<Diagnostic> = placed.flatten().collect();
        ConfigError::unless_empty(placed).err().unwrap_or_else(|| ConfigError::new("", "it cannot be used"))
    }
}

impl Texts {
    /// Stands for this state of the files.
    pub fn revision(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(&self.main);
        hash.update([0]);
        hash.update(self.own.as_deref().unwrap_or_default());
        hex::encode(hash.finalize()).chars().take(16).collect()
    }

    /// One of them; empty where there is none.
    pub fn get(&self, part: Part) -> &str {
        match part {
            Part::Main => &self.main,
            Part::Own => self.own.as_deref().unwrap_or_default(),
        }
    }

    /// The same with another text of one part.
    #[must_use]
    pub fn with(&self, part: Part, text: String) -> Self {
        match part {
            Part::Main => Self { main: text, own: self.own.clone() },
            Part::Own => Self { main: self.main.clone(), own: Some(text) },
        }
    }
}

/// The cameras that stand in a document.
pub(super) fn names(document: &DocumentMut) -> Vec<String> {
    let cameras = document.get(CAMERA).and_then(Item::as_table_like);
    cameras.into_iter().flat_map(|cameras| cameras.iter()).map(|(name, _)| name.to_owned()).collect()
}

/// The cameras of the main file that the own one takes out.
pub(super) fn removed(own: &DocumentMut) -> Vec<String> {
    let names = own.get(REMOVED).and_then(Item::as_array);
    names.into_iter().flat_map(Array::iter).filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Lists `names` as taken out.
pub(super) fn set_removed(own: &mut DocumentMut, names: &[String]) {
    if names.is_empty() {
        own.remove(REMOVED);
    } else {
        own.insert(REMOVED, Item::Value(names.iter().map(String::as_str).collect::<Array>().into()));
    }
}

/// Puts the section of a camera into `document`, behind those of the others.
pub(super) fn put(document: &mut DocumentMut, name: &str, mut section: Item) {
    each_table(&mut section, &mut |table| table.set_position(None));
    let cameras = document.entry(CAMERA).or_insert_with(|| {
        let mut cameras = Table::new();
        cameras.set_implicit(true);
        Item::Table(cameras)
    });
    if let Some(cameras) = cameras.as_table_like_mut() {
        cameras.insert(name, section);
    }
}

fn lay_over(main: &mut DocumentMut, own: &DocumentMut) {
    for name in removed(own) {
        remove_section(main, CAMERA, &name);
    }
    for name in names(own) {
        if let Some(section) = own.get(CAMERA).and_then(|cameras| cameras.get(&name)) {
            remove_section(main, CAMERA, &name);
            put(main, &name, section.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIN: &str = "[camera.yard.source]\nurl = \"rtsp://h/1\"\n[camera.gate.source]\nurl = \"rtsp://h/2\"\n\
                        [[camera.gate.rules]]\nname = \"a\"\n[web]\nlisten = \"127.0.0.1:9000\"\n";

    fn files() -> Files {
        Files { main: "/etc/main.toml".into(), own: Some("/var/own.toml".into()) }
    }

    fn texts(own: &str) -> Texts {
        Texts { main: MAIN.to_owned(), own: Some(own.to_owned()) }
    }

    #[test]
    fn cameras_of_the_own_file_stand_in_place_of_those_of_the_main_one() {
        let own = "removed = [\"yard\", \"unknown\"]\n[camera.gate]\nenabled = true\n[camera.gate.source]\n\
                   url = \"rtsp://h/3\"\n[camera.pier.source]\nurl = \"rtsp://h/4\"\n";
        let (config, merged) = files().parse(&texts(own)).expect("good");
        let urls: Vec<(&str, &str)> =
            config.camera.iter().map(|(name, camera)| (name.as_str(), camera.source.url.as_str())).collect();
        assert_eq!(urls, [("gate", "rtsp://h/3"), ("pier", "rtsp://h/4")]);
        assert!(config.camera["gate"].rules.is_empty(), "the whole section");
        assert_eq!(config.web.listen.port(), 9000);
        assert_eq!(Config::parse(&merged).expect("the text of both"), config);
        let alone = Texts { own: None, ..texts("") };
        assert_eq!(files().parse(&alone).expect("good").1, MAIN);
        assert_ne!(alone.revision(), texts(own).revision());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_own_file_and_line() {
        let own = "[camera.pier.source]\nurl = \"gopher://x\"\n[camera.gate.motion]\nsensitivty = 1\n";
        let said = files().parse(&texts(own)).expect_err("wrong").to_string();
        assert!(said.contains("/var/own.toml:2:1: camera.pier.source.url"), "{said}");
        assert!(said.contains("/var/own.toml:4:1: unknown key `sensitivty`"), "{said}");
        let main = Texts { main: format!("{MAIN}listn = 3\n"), ..texts("removed = [\"yard\"]\n") };
        let said = files().parse(&main).expect_err("wrong").to_string();
        assert!(said.starts_with("/etc/main.toml:9:1: unknown key `listn`"), "{said}");
        let said = files().parse(&texts("[camera\n")).expect_err("wrong").to_string();
        assert!(said.starts_with("/var/own.toml: "), "{said}");
        let main = Texts { main: "[camera\n".to_owned(), ..texts("") };
        let said = files().parse(&main).expect_err("wrong").to_string();
        assert!(said.starts_with("/etc/main.toml:1:"), "{said}");
    }
}
