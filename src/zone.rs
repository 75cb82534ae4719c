//! The zone of local time, by which schedules, windows and budgets go. The only place that asks the system for it, so
//! that all parts have the same one, an unknown one is logged, and another one is followed while the daemon runs.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use parking_lot::Mutex;
use tracing::{info, warn};

/// How often it is looked whether the system has another zone now.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Names of UTC, for which no database is needed.
const UTC: [&str; 8] = ["UTC", "Etc/UTC", "Etc/UCT", "Etc/GMT", "GMT", "UCT", "Universal", "Zulu"];

/// Local time at present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// The zone; UTC where it is not known.
    pub zone: TimeZone,
    /// Why it is not known.
    pub trouble: Option<String>,
}

/// The zone at present. Cheap: the system is asked every few seconds at most.
pub fn local() -> TimeZone {
    known().zone
}

/// The zone at present, and what is wrong with it. A change is logged here.
pub fn known() -> Local {
    static KNOWN: Mutex<Option<(Instant, Local)>> = Mutex::new(None);
    let mut known = KNOWN.lock();
    if let Some((looked, local)) = &*known
        && looked.elapsed() < LOOK_EVERY
    {
        return local.clone();
    }
    let now = Source::of_process().read();
    let before = known.replace((Instant::now(), now.clone())).map(|(_, local)| local);
    if before.is_some_and(|before| before != now) {
        report(&now, true);
    }
    now
}

/// Logs the zone, for the start of a daemon.
pub fn log_at_start() {
    report(&known(), false);
}

fn report(local: &Local, changed: bool) {
    let zone = local.zone.iana_name().unwrap_or("without a name");
    match &local.trouble {
        Some(trouble) => warn!("{trouble}"),
        None if changed => info!(zone, "the system's time zone changed, schedules go by the new one"),
        None => info!(zone, "schedules go by local time"),
    }
}

/// Where a process learns its zone.
#[derive(Debug)]
struct Source {
    /// The variable TZ.
    variable: Option<String>,
    /// The system's file, usually a link into the database.
    file: PathBuf,
}

impl Source {
    fn of_process() -> Self {
        let variable = std::env::var_os("TZ").map(|value| value.to_string_lossy().into_owned());
        Self { variable, file: PathBuf::from("/etc/localtime") }
    }

    fn read(&self) -> Local {
        let read = match &self.variable {
            Some(variable) => by_variable(variable),
            None => by_file(&self.file),
        };
        let trouble =
            |trouble: String| format!("{trouble}; schedules, windows and budgets go by UTC until it is mended");
        match read {
            Ok(zone) => Local { zone, trouble: None },
            Err(reason) => Local { zone: TimeZone::UTC, trouble: Some(trouble(reason)) },
        }
    }
}

/// As tzset(3): a name, a file, or a rule such as `CET-1CEST,M3.5.0,M10.5.0/3`. Empty is UTC.
fn by_variable(variable: &str) -> Result<TimeZone, String> {
    let name = variable.strip_prefix(':').unwrap_or(variable);
    if name.is_empty() || UTC.contains(&name) {
        return Ok(TimeZone::UTC);
    }
    if name.starts_with('/') {
        return by_bytes(Path::new(name), name).map_err(|error| format!("the time zone TZ={variable:?}: {error}"));
    }
    TimeZone::get(name).or_else(|_| TimeZone::posix(name)).map_err(|_| {
        let database = Path::new("/usr/share/zoneinfo").is_dir();
        let advice = if database { "write one such as Europe/Berlin" } else { "the package tzdata is not installed" };
        format!("the time zone TZ={variable:?} is not known: {advice}")
    })
}

fn by_file(file: &Path) -> Result<TimeZone, String> {
    let target = fs::read_link(file).ok();
    let target = target.as_deref().and_then(Path::to_str);
    let name = target.and_then(|target| target.split_once("zoneinfo/")).map(|(_, name)| name);
    if name.is_some_and(|name| UTC.contains(&name)) {
        return Ok(TimeZone::UTC);
    }
    by_bytes(file, name.unwrap_or("Local")).map_err(|error| match name {
        Some(name) if error.kind() == ErrorKind::NotFound => {
            format!("the system's time zone {name} is not known: install the package tzdata")
        }
        _ if error.kind() == ErrorKind::NotFound => {
            format!("the system has no time zone ({} is missing): set one with timedatectl, or TZ", file.display())
        }
        _ => format!("the system's time zone cannot be read from {}: {error}", file.display()),
    })
}

fn by_bytes(file: &Path, name: &str) -> std::io::Result<TimeZone> {
    let bytes = fs::read(file)?;
    TimeZone::tzif(name, &bytes).map_err(|error| std::io::Error::new(ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use jiff::Timestamp;

    use super::*;

    /// A file of the database for a zone that is `hours` ahead of UTC all the year.
    fn zone_file(abbreviation: &str, hours: i8) -> Vec<u8> {
        let mut block = b"TZif2".to_vec();
        block.extend([0; 15]);
        let characters = u32::try_from(abbreviation.len() + 1).expect("short");
        for count in [0, 0, 0, 0, 1, characters] {
            block.extend(count.to_be_bytes());
        }
        block.extend((i32::from(hours) * 3600).to_be_bytes());
        block.extend([0, 0]);
        block.extend(abbreviation.as_bytes());
        block.push(0);
        let footer = format!("\n{abbreviation}{}\n", -hours);
        [&block[..], &block[..], footer.as_bytes()].concat()
    }

    fn hours(local: &Local) -> i32 {
        local.zone.to_offset(Timestamp::UNIX_EPOCH).seconds() / 3600
    }

    #[test]
    fn the_systems_zone_is_read_and_followed() {
        let dir = tempfile::tempdir().expect("tempdir");
        let database = dir.path().join("zoneinfo/Asia");
        fs::create_dir_all(&database).expect("folders");
        fs::write(database.join("Tokyo"), zone_file("JST", 9)).expect("a zone");
        fs::write(database.join("Dhaka"), zone_file("BST", 6)).expect("a zone");
        let source = Source { variable: None, file: dir.path().join("localtime") };
        let set = |name: &str| {
            let _ = fs::remove_file(&source.file);
            symlink(database.join(name), &source.file).expect("a link");
            source.read()
        };
        let tokyo = set("Tokyo");
        assert_eq!((hours(&tokyo), tokyo.zone.iana_name(), &tokyo.trouble), (9, Some("Asia/Tokyo"), &None));
        let dhaka = set("Dhaka");
        assert_eq!((hours(&dhaka), dhaka == tokyo), (6, false));
        fs::remove_file(&source.file).expect("remove the link");
        fs::copy(database.join("Tokyo"), &source.file).expect("a file, as some systems have it");
        assert_eq!(hours(&source.read()), 9);
    }

    /// Works with: system | an unknown TZ, no tzdata, no /etc/localtime | says so at the start and in check; schedules go by UTC
    #[test]
    fn a_zone_that_is_not_known_is_utc_with_a_reason() {
        let dir = tempfile::tempdir().expect("tempdir");
        let file = dir.path().join("localtime");
        let trouble = |variable: Option<&str>| {
            let source = Source { variable: variable.map(str::to_owned), file: file.clone() };
            let Local { zone, trouble } = source.read();
            assert_eq!(zone, TimeZone::UTC);
            trouble.unwrap_or_default()
        };
        assert!(trouble(Some("Mars/Olympus")).contains("TZ=\"Mars/Olympus\" is not known"));
        assert!(trouble(Some("/no/such/zone")).contains("/no/such/zone"));
        assert!(trouble(None).contains("timedatectl"));
        symlink("/usr/share/zoneinfo/Mars/Olympus", &file).expect("a link");
        assert!(trouble(None).contains("Mars/Olympus is not known: install the package tzdata"));
        fs::remove_file(&file).expect("remove the link");
        fs::write(&file, "TZif, or something like it").expect("write");
        assert!(trouble(None).contains("cannot be read"));
        for fine in ["", "UTC", ":Etc/UTC"] {
            assert_eq!(trouble(Some(fine)), "", "{fine}");
        }
    }

    #[test]
    fn a_rule_is_a_zone_too() {
        let source = Source { variable: Some("XYZ-5".to_owned()), file: PathBuf::from("/no/such/file") };
        assert_eq!(hours(&source.read()), 5);
    }
}
