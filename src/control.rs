//! What people switched while the box runs: by API, by command line, by MQTT. Survives restarts.
//!
//! The configuration says what the box does; this says what was switched otherwise for now.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::{error, warn};

use crate::destination::Destination;
use crate::durable;

/// All switches. Whatever is missing is as the configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Switches {
    /// Uploads that send nothing until they are resumed.
    pub paused: BTreeSet<Destination>,
    /// What was switched at single cameras, by their names in the config.
    pub cameras: BTreeMap<String, CameraSwitches>,
}

/// What was switched at one camera.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CameraSwitches {
    /// Detection is off, so that there are no events.
    pub detect_off: bool,
    /// No video is kept; events have their stills.
    pub record_off: bool,
    /// Stands above `detect_off` and the schedules of the rules for a while.
    pub force: Option<Force>,
}

/// Detection that is forced until a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Force {
    /// On, whatever the schedules of the rules say; or off.
    pub detect: bool,
    /// Until when. A wall clock that lags behind makes it last longer.
    pub until: Timestamp,
}

impl Switches {
    /// Whether detection runs at `camera`, as far as switches decide.
    pub fn detects(&self, camera: &str, now: Timestamp) -> bool {
        let switches = self.cameras.get(camera);
        self.forced(camera, now).unwrap_or(!switches.is_some_and(|switches| switches.detect_off))
    }

    /// Pauses or resumes an upload. Returns whether that changes anything.
    pub fn set_paused(&mut self, upload: &Destination, paused: bool) -> bool {
        if paused { self.paused.insert(upload.clone()) } else { self.paused.remove(upload) }
    }

    /// What detection at `camera` is forced to be: on, whatever the schedules say, or off.
    pub fn forced(&self, camera: &str, now: Timestamp) -> Option<bool> {
        let force = self.cameras.get(camera)?.force?;
        (now < force.until).then_some(force.detect)
    }

    /// Whether video of `camera` is kept, as far as switches decide.
    pub fn records(&self, camera: &str) -> bool {
        !self.cameras.get(camera).is_some_and(|switches| switches.record_off)
    }

    /// Changes the switches of `camera`. What is as the configuration says leaves no entry.
    pub fn camera(&mut self, camera: &str, change: impl FnOnce(&mut CameraSwitches)) {
        let mut switches = self.cameras.remove(camera).unwrap_or_default();
        change(&mut switches);
        if switches != CameraSwitches::default() {
            self.cameras.insert(camera.to_owned(), switches);
        }
    }
}

/// The switches of one box. Clones are one set.
#[derive(Clone, Debug)]
pub struct Control(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Where they are kept; none: in memory only.
    file: Option<PathBuf>,
    now: watch::Sender<Arc<Switches>>,
    /// One change at a time.
    changing: Mutex<()>,
}

impl Default for Control {
    fn default() -> Self {
        Self::new(None, Switches::default())
    }
}

impl Control {
    fn new(file: Option<PathBuf>, switches: Switches) -> Self {
        Self(Arc::new(Inner { file, now: watch::Sender::new(Arc::new(switches)), changing: Mutex::new(()) }))
    }

    /// Reads the switches from `file`, where changes are kept from now on. A file that cannot be read is set aside:
    /// the box then does what its configuration says.
    pub fn open(file: &Path) -> Self {
        let read = fs::read(file).and_then(|json| Ok(serde_json::from_slice(&json)?));
        let switches = read.unwrap_or_else(|error| {
            if error.kind() != ErrorKind::NotFound {
                error!(file = %file.display(), %error, "what was switched cannot be read, all is as configured");
                if let Err(error) = fs::rename(file, file.with_added_extension("bad")) {
                    warn!(file = %file.display(), %error, "set the file aside");
                }
            }
            Switches::default()
        });
        Self::new(Some(file.to_owned()), switches)
    }

    /// The switches as they are now.
    pub fn switches(&self) -> Arc<Switches> {
        self.0.now.borrow().clone()
    }

    /// Sees every change.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Switches>> {
        self.0.now.subscribe()
    }

    /// Changes the switches: on the disk first, then for all subscribers. Blocks on the disk.
    ///
    /// # Errors
    /// When the disk refuses; nothing is changed then.
    pub fn change(&self, change: impl FnOnce(&mut Switches)) -> io::Result<()> {
        let _one_at_a_time = self.0.changing.lock();
        let mut switches = (*self.switches()).clone();
        change(&mut switches);
        if switches == *self.switches() {
            return Ok(());
        }
        if let Some(file) = &self.0.file {
            durable::replace(file, &serde_json::to_vec_pretty(&switches)?)?;
        }
        self.0.now.send_replace(Arc::new(switches));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause(control: &Control) -> io::Result<()> {
        control.change(|switches| {
            switches.paused.insert(Destination::upload("cloud"));
        })
    }

    #[test]
    fn what_was_switched_is_there_after_a_restart() {
        let dir = tempfile::tempdir().expect("tempdir");
        let file = dir.path().join("controls.json");
        let control = Control::open(&file);
        let mut updates = control.subscribe();
        pause(&control).expect("change");
        assert!(updates.has_changed().expect("open") && updates.borrow_and_update().paused.contains("upload/cloud"));
        pause(&control).expect("change");
        assert!(!updates.has_changed().expect("open"), "nothing new");
        assert_eq!(Control::open(&file).switches(), control.switches());
    }

    #[test]
    fn what_is_forced_stands_above_the_switch_until_its_time_is_over() {
        let mut switches = Switches::default();
        let at = |second| Timestamp::from_second(second).expect("in range");
        assert!(switches.detects("yard", at(0)) && switches.records("yard"));
        switches.camera("yard", |yard| yard.detect_off = true);
        assert!(!switches.detects("yard", at(0)) && switches.detects("gate", at(0)));
        switches.camera("yard", |yard| yard.force = Some(Force { detect: true, until: at(10) }));
        assert_eq!((switches.forced("yard", at(9)), switches.detects("yard", at(9))), (Some(true), true));
        assert_eq!((switches.forced("yard", at(10)), switches.detects("yard", at(10))), (None, false));
        switches.camera("yard", |yard| *yard = CameraSwitches::default());
        assert_eq!(switches, Switches::default(), "as configured leaves nothing behind");
    }

    #[test]
    fn a_damaged_file_switches_nothing_and_is_kept() {
        let dir = tempfile::tempdir().expect("tempdir");
        let file = dir.path().join("controls.json");
        fs::write(&file, b"{\"paused\": [").expect("write");
        assert_eq!(*Control::open(&file).switches(), Switches::default());
        assert!(dir.path().join("controls.json.bad").exists() && !file.exists());
    }

    #[test]
    fn what_the_disk_refuses_does_not_take_effect() {
        let dir = tempfile::tempdir().expect("tempdir");
        let control = Control::open(&dir.path().join("gone/controls.json"));
        assert!(pause(&control).is_err());
        assert!(control.switches().paused.is_empty());
    }
}
