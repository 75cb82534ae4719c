//! Changes of cameras by page and API: checked, written with a note of what was, and undone in the files too.

use std::path::{Path, PathBuf};

use rustix::fs::Access;
use serde_json::{Map, Value};
use tracing::{error, warn};

use super::journal::{Journal, write};
use super::passwords::Passwords;
use super::{Read, problems};
use crate::config::camera_edit::{Shown, admit, apply, places, shown};
use crate::config::{Config, ConfigError, Files, Part, Texts};
use crate::infer;
use crate::service::{CameraEdit, CameraSettings, EditRefusal, ProbeSource};

/// The note of a change, beside the file of the service's own.
const JOURNAL: &str = "config-change.json";

/// Reads and changes the files of the configuration. All of it blocks on the disk.
#[derive(Clone, Debug)]
pub struct Editor {
    files: Files,
    journal: Journal,
    passwords: Passwords,
}

/// An edit that was checked and is not written yet.
#[derive(Clone, Debug)]
pub struct Draft {
    edit: CameraEdit,
    before: Texts,
    /// What the files will say.
    pub read: Read,
    /// Whether they say it already.
    pub is_same: bool,
}

/// An edit that is on the disk.
#[derive(Clone, Debug)]
pub struct Written {
    /// The file that was changed.
    pub file: PathBuf,
    /// Stands for the state of the files now.
    pub revision: String,
}

impl Editor {
    /// Of the configuration in `main`. Passwords are kept below `state`.
    pub fn new(files: Files, state: &Path) -> Self {
        let journal = Journal::at(journal_of(&files));
        Self { files, journal, passwords: Passwords::in_state(state) }
    }

    /// Reads and checks the files.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn read(&self) -> Result<Read, ConfigError> {
        super::read(&self.files)
    }

    /// Reads and checks the files for a box that runs with `running`.
    ///
    /// # Errors
    /// Everything that is wrong, and an empty file where there are cameras.
    pub fn read_again(&self, running: &Config) -> Result<Read, ConfigError> {
        super::unless_lost(self.read()?, running)
    }

    /// Stands for the state of the files.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn revision(&self) -> Result<String, EditRefusal> {
        Ok(self.files.texts().map_err(|error| refusal(&error))?.revision())
    }

    /// How camera `name` is set.
    ///
    /// # Errors
    /// When there is none, or the files cannot be used.
    pub fn settings(&self, name: &str) -> Result<CameraSettings, EditRefusal> {
        let texts = self.files.texts().map_err(|error| refusal(&error))?;
        let found = shown(&self.files, &texts, name).map_err(|error| refusal(&error))?;
        let Some(Shown { settings, effective, part }) = found else {
            return Err(EditRefusal::Unknown(name.to_owned()));
        };
        let read = self.read().map_err(|error| refusal(&error))?;
        let (folder, model) = (&read.config.infer.model_dir, effective["detect"]["model"].as_str().unwrap_or_default());
        let labels = infer::find(folder, model).and_then(|(version, manifest)| manifest.read_labels(&version.folder));
        let labels = labels.unwrap_or_default();
        Ok(CameraSettings {
            camera: name.to_owned(),
            revision: texts.revision(),
            file: self.files.path(part).unwrap_or(&self.files.main).display().to_string(),
            settings,
            effective,
            labels: labels.iter().map(|label| label.to_string()).collect(),
        })
    }

    /// A source to be tried: that of `camera` with other keys, or a new one. Its password lies in a file until it is dropped.
    ///
    /// # Errors
    /// When it is no source of a camera.
    pub fn source(&self, camera: Option<&str>, keys: &Map<String, Value>) -> Result<ProbeSource, EditRefusal> {
        let invalid = |reason: String| EditRefusal::Invalid { reason, problems: Vec::new() };
        let known = match camera {
            None => None,
            Some(name) => {
                let cameras = self.read().map_err(|error| refusal(&error))?.config.camera;
                Some(cameras.get(name).cloned().ok_or_else(|| EditRefusal::Unknown(name.to_owned()))?)
            }
        };
        let patch = Map::from_iter([("source".to_owned(), Value::Object(keys.clone()))]);
        let admitted = admit(&patch, known.as_ref()).map_err(invalid)?;
        let mut source = serde_json::to_value(known.map(|known| known.source).unwrap_or_default()).unwrap_or_default();
        if let (Some(source), Some(Value::Object(keys))) = (source.as_object_mut(), admitted.patch.get("source")) {
            source.extend(keys.clone());
            source.retain(|_, value| !value.is_null());
        }
        let refused = |error| EditRefusal::NotWritten(format!("the password cannot be kept: {error}"));
        let password = admitted.password.as_deref().map(|password| self.passwords.keep("tried", password));
        let password = password.transpose().map_err(refused)?;
        let mut probe = ProbeSource { config: Default::default(), password };
        if let (Some(source), Some(file)) = (source.as_object_mut(), &probe.password) {
            source.insert("password_file".to_owned(), file.display().to_string().into());
        }
        probe.config = serde_json::from_value(source).map_err(|error| invalid(format!("source: {error}")))?;
        if probe.config.is_file() {
            return Err(invalid("source: a file is no camera that could be tried".to_owned()));
        }
        probe.config.validate().map_err(invalid)?;
        Ok(probe)
    }

    /// Checks `edit`; `revision` is that of the files which the caller knows.
    ///
    /// # Errors
    /// Why it cannot be.
    pub fn draft(&self, edit: CameraEdit, revision: Option<&str>) -> Result<Draft, EditRefusal> {
        let invalid = |error: ConfigError| refusal(&error);
        let before = self.files.texts().map_err(invalid)?;
        let now = before.revision();
        if revision.is_some_and(|known| known != now) {
            return Err(EditRefusal::Changed(now));
        }
        let (config, _) = self.files.parse(&before).map_err(invalid)?;
        let known = config.camera.get(edit.camera());
        match (&edit, known) {
            (CameraEdit::Add { name, .. }, Some(_)) => return Err(EditRefusal::Exists(name.clone())),
            (CameraEdit::Change { name, .. } | CameraEdit::Remove { name }, None) => {
                return Err(EditRefusal::Unknown(name.clone()));
            }
            _ => {}
        }
        let edit = self.admitted(edit, known)?;
        // What is written does not depend on the file, so any of them shows whether it can be used.
        let part = places(&self.files, &before, edit.camera()).map_err(invalid)?.first().copied().unwrap_or(Part::Main);
        let after = apply(&self.files, &before, &edit, part).map_err(invalid)?;
        let (config, text) = self.files.parse(&after).map_err(invalid)?;
        Ok(Draft { edit, is_same: after == before, before, read: Read { config, text } })
    }

    /// The edit as it may be written: a password gets a file of its own.
    fn admitted(&self, edit: CameraEdit, known: Option<&crate::config::Camera>) -> Result<CameraEdit, EditRefusal> {
        let admit = |name: &str, patch| -> Result<_, EditRefusal> {
            let invalid = |reason: String| EditRefusal::Invalid { reason, problems: Vec::new() };
            let mut admitted = admit(patch, known).map_err(invalid)?;
            // A name that cannot be one of a file is refused with the rest.
            let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
            if let Some(password) = admitted.password.take().filter(|_| is_name) {
                let file = self.passwords.keep(name, &password);
                let refused = |error| EditRefusal::NotWritten(format!("the password cannot be kept: {error}"));
                admitted.set_password_file(&file.map_err(refused)?);
            }
            Ok(admitted.patch)
        };
        Ok(match edit {
            CameraEdit::Add { name, settings } => CameraEdit::Add { settings: admit(&name, &settings)?, name },
            CameraEdit::Change { name, patch } => CameraEdit::Change { patch: admit(&name, &patch)?, name },
            CameraEdit::Remove { name } => CameraEdit::Remove { name },
        })
    }

    /// Writes `draft` into the file of its camera, or into the service's own where that file is not to be written by the
    /// daemon. What it said is noted before.
    ///
    /// # Errors
    /// When neither can be written; both are then as they were.
    pub fn write(&self, draft: &Draft) -> Result<Written, EditRefusal> {
        let Draft { edit, before, .. } = draft;
        let about = format!("camera {}", edit.camera());
        let mut why = String::new();
        for part in places(&self.files, before, edit.camera()).map_err(|error| refusal(&error))? {
            let Some(path) = self.files.path(part) else { continue };
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            if let Err(error) = rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK) {
                why = format!("{}: {}", folder.display(), std::io::Error::from(error));
                continue;
            }
            let after = apply(&self.files, before, edit, part).map_err(|error| refusal(&error))?;
            let was = if part == Part::Own { before.own.as_deref() } else { Some(&*before.main) };
            let written = self.journal.begin(path, was, after.get(part), &about).and_then(|()| {
                write(path, after.get(part)).inspect_err(|_| {
                    let _ = self.journal.undo();
                })
            });
            match written {
                Ok(()) => return Ok(Written { file: path.to_owned(), revision: after.revision() }),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    return Err(EditRefusal::Busy);
                }
                Err(error) => why = format!("{}: {error}", path.display()),
            }
        }
        Err(EditRefusal::NotWritten(format!(
            "nothing was changed, since the configuration cannot be written by the daemon ({why}): let its user write in \
             that folder, or run it as a service, which has a folder of its own"
        )))
    }

    /// Puts back what the files said before what is not confirmed.
    pub fn undo(&self) {
        if let Err(error) = self.journal.undo() {
            error!(%error, "the file of the configuration is not as it was before the change: put it back by hand");
        }
    }

    /// What is written stays; `text` is the configuration in use.
    pub fn confirm(&self, text: Option<&str>) {
        if let Err(error) = self.journal.confirm() {
            warn!(%error, "a change of the configuration is not noted as confirmed: the next start undoes it");
        }
        if let Some(text) = text {
            self.passwords.clean(text);
        }
    }
}

/// Undoes what was not confirmed when the daemon ended. Gives what it was about, in words.
pub fn recover(files: &Files) -> Option<String> {
    match Journal::at(journal_of(files)).undo() {
        Ok(about) => {
            let about = about?;
            warn!(about, "a change of the configuration was not confirmed before the last stop, and is undone");
            Some(format!("the daemon stopped before the change was confirmed, which is undone: {about}"))
        }
        Err(error) => {
            error!(%error, "a change of the configuration that was not confirmed cannot be undone");
            None
        }
    }
}

fn journal_of(files: &Files) -> PathBuf {
    match &files.own {
        Some(own) => own.with_file_name(JOURNAL),
        None => files.main.with_added_extension("change"),
    }
}

/// The same for the caller of an edit.
pub fn refusal(error: &ConfigError) -> EditRefusal {
    EditRefusal::Invalid { reason: error.to_string(), problems: problems(error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const MAIN: &str = "[camera.yard.source]\nurl = \"rtsp://h/1\" # main\n";

    struct Disk {
        folder: tempfile::TempDir,
        editor: Editor,
    }

    impl Disk {
        /// With the main file at `main`.
        fn new(main: &Path) -> Self {
            let folder = tempfile::tempdir().expect("tempdir");
            let files = Files { main: main.to_owned(), own: Some(folder.path().join("cameras.toml")) };
            let editor = Editor::new(files, folder.path());
            Self { editor, folder }
        }

        fn writable() -> Self {
            let main = tempfile::tempdir().expect("tempdir").keep().join("outpost.toml");
            std::fs::write(&main, MAIN).expect("write");
            Self::new(&main)
        }

        fn main(&self) -> String {
            std::fs::read_to_string(&self.editor.files.main).expect("read")
        }
    }

    fn patch(value: Value) -> Map<String, Value> {
        value.as_object().expect("an object").clone()
    }

    fn change(value: Value) -> CameraEdit {
        CameraEdit::Change { name: "yard".to_owned(), patch: patch(value) }
    }

    #[test]
    fn an_edit_is_written_and_undone_byte_for_byte() {
        let disk = Disk::writable();
        let draft = disk.editor.draft(change(json!({"record": {"post_roll": "9s"}})), None).expect("good");
        assert_eq!(disk.main(), MAIN, "nothing is written by a draft");
        let written = disk.editor.write(&draft).expect("written");
        assert_eq!(disk.main(), format!("{MAIN}\n[camera.yard.record]\npost_roll = \"9s\"\n"));
        assert_eq!(written.revision, disk.editor.revision().expect("read"));
        disk.editor.undo();
        assert_eq!(disk.main(), MAIN);
        let same = disk.editor.draft(change(json!({"source": {"url": "rtsp://h/1"}})), None).expect("good");
        assert!(same.is_same);
    }

    #[test]
    fn an_edit_of_another_revision_or_that_cannot_be_used_writes_nothing() {
        let disk = Disk::writable();
        let revision = disk.editor.settings("yard").expect("settings").revision;
        std::fs::write(&disk.editor.files.main, format!("# Ben was here.\n{MAIN}")).expect("write");
        let edit = change(json!({"record": {"post_roll": "9s"}}));
        let Err(EditRefusal::Changed(now)) = disk.editor.draft(edit.clone(), Some(&revision)) else {
            panic!("it was changed meanwhile")
        };
        disk.editor.draft(edit, Some(&now)).expect("the one that is there");
        let Err(EditRefusal::Invalid { problems, .. }) =
            disk.editor.draft(change(json!({"motion": {"sensitivty": 1}})), None)
        else {
            panic!("no such key")
        };
        assert!(problems[0].message.contains("did you mean"), "{problems:?}");
        let add = CameraEdit::Add { name: "yard".to_owned(), settings: Map::new() };
        assert!(matches!(disk.editor.draft(add, None), Err(EditRefusal::Exists(_))));
        let remove = |name: &str| CameraEdit::Remove { name: name.to_owned() };
        assert!(matches!(disk.editor.draft(remove("pier"), None), Err(EditRefusal::Unknown(_))));
        assert!(disk.editor.draft(remove("yard"), None).expect("the last one").read.config.camera.is_empty());
    }

    #[test]
    fn a_password_gets_a_file_of_its_own_and_is_in_no_answer() {
        let disk = Disk::writable();
        let edit = change(json!({"source": {"url": "rtsp://admin:hunter2@h/2"}}));
        let draft = disk.editor.draft(edit, None).expect("good");
        disk.editor.write(&draft).expect("written");
        let file = draft.read.config.camera["yard"].source.password_file.clone().expect("a file");
        assert_eq!(std::fs::read_to_string(&file).expect("read"), "hunter2");
        assert!(!disk.main().contains("hunter2"));
        let settings = disk.editor.settings("yard").expect("settings");
        assert_eq!(settings.settings["source"]["username"], "admin");
        assert!(!serde_json::to_string(&settings).expect("JSON").contains("hunter2"));
        disk.editor.confirm(Some(&disk.main()));
        assert!(file.exists());
        disk.editor.confirm(Some(MAIN));
        assert!(!file.exists());
    }

    #[test]
    fn where_the_main_file_is_not_the_daemons_its_own_is_written() {
        // A folder in which not even root may write.
        let disk = Disk::new(Path::new("/proc/self/outpost.toml"));
        let texts = Texts { main: MAIN.to_owned(), own: None };
        let edit = change(json!({"record": {"post_roll": "9s"}}));
        let (config, text) = disk.editor.files.parse(&texts).expect("good");
        let draft = Draft { edit, before: texts, read: Read { config, text }, is_same: false };
        let own = disk.folder.path().join("cameras.toml");
        assert_eq!(disk.editor.write(&draft).expect("written").file, own);
        assert!(std::fs::read_to_string(&own).expect("read").contains("post_roll = \"9s\""));
        disk.editor.undo();
        assert!(!own.exists());
        let nowhere = Editor { files: Files { own: None, ..disk.editor.files.clone() }, ..disk.editor.clone() };
        let Err(EditRefusal::NotWritten(why)) = nowhere.write(&draft) else { panic!("nowhere to write") };
        assert!(why.contains("/proc/self"), "{why}");
    }
}
