//! What the scenarios stand on: servers, the daemon, and patience.

pub mod azure;
pub mod broker;
pub mod browser;
pub mod bucket;
pub mod clips;
pub mod config;
pub mod daemon;
pub mod dice;
pub mod executions;
pub mod gcs;
#[cfg(target_arch = "x86_64")]
pub mod guest;
pub mod http;
mod log_gate;
pub mod machine;
pub mod mjpeg;
pub mod photos;
pub mod port;
pub mod process;
pub mod proxy;
pub mod rtsp;
#[allow(dead_code, reason = "the unit tests of the RTSP source use other settings than the scenarios")]
pub mod scripted_rtsp;
pub mod tls;
pub mod wall_clock;
pub mod websocket;
// The machine is an amd64 one, with this machine's programs.
#[cfg(target_arch = "x86_64")]
pub mod vm;
pub mod volume;
#[cfg(target_arch = "x86_64")]
pub mod write_log;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(50);

/// A test says what it waited for when it took this long: where its time goes, seen with `--no-capture`.
const WORTH_SAYING: Duration = seconds(1);

/// Every limit of a test is stated for an idle machine and multiplied by this. Limits only end what hangs: a test that
/// passes never waits for them, and a machine with busy processors must not fail one.
const SLACK: u32 = 5;

/// A limit for an idle machine, as it is applied.
pub fn patient(limit: Duration) -> Duration {
    limit * SLACK
}

/// The repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A clip or picture of the test data.
pub fn fixture(name: &str) -> PathBuf {
    repository().join("tests/fixtures").join(name)
}

/// Where `make setup` puts what is not in the repository.
pub fn cache() -> PathBuf {
    let from_environment = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    from_environment("OUTPOST_CACHE")
        .or_else(|| from_environment("XDG_CACHE_HOME").map(|dir| dir.join("outpost")))
        .or_else(|| from_environment("HOME").map(|dir| dir.join(".cache/outpost")))
        .expect("HOME is set")
}

/// A path inside [`cache`] that must be there.
pub fn installed(path: &str) -> PathBuf {
    let full = cache().join(path);
    assert!(full.exists(), "{} is missing: run `make setup`", full.display());
    full
}

/// A number from the environment, for runs that are longer than usual.
pub fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")),
        Err(_) => default,
    }
}

/// A folder that goes away with the test, unless the test fails: then it is kept, and its path printed.
///
/// In the end the logs of the daemon in it are read: [`log_gate`].
#[derive(Debug)]
pub struct Scratch {
    folder: Option<tempfile::TempDir>,
    /// Parts of log lines that the test announced.
    expected: Mutex<Vec<String>>,
    /// Parts of log lines that fail the test whatever it announced.
    forbidden: Mutex<Vec<String>>,
}

impl Scratch {
    /// A new folder whose name begins with `name`.
    pub fn new(name: &str) -> Self {
        let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let folder = tempfile::Builder::new().prefix(&format!("{name}-")).tempdir_in(parent);
        Self {
            folder: Some(folder.expect("make a scratch folder")),
            expected: Mutex::default(),
            forbidden: Mutex::default(),
        }
    }

    /// Announces errors and warnings that the daemon may log in this test: all that contain one of `texts`.
    pub fn expect_log(&self, texts: &[&str]) {
        self.expected.lock().extend(texts.iter().map(|&text| text.to_owned()));
    }

    /// A path inside.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.as_ref().expect("present until drop").path().join(name)
    }

    /// Writes a file inside that only the owner may read, as secrets are.
    pub fn secret(&self, name: &str, contents: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name);
        std::fs::write(&path, contents).expect("write a secret");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("close a secret");
        path
    }
}

impl Scratch {
    /// Allows every error and warning in this test, but no panic; `_reason` says why they cannot be announced.
    pub fn expect_any_log(&self, _reason: &str) {
        self.expect_log(&log_gate::LEVELS);
    }

    /// Fails the test when an error or warning contains one of `texts`, also where [`Scratch::expect_any_log`] allows all.
    pub fn forbid_log(&self, texts: &[&str]) {
        self.forbidden.lock().extend(texts.iter().map(|&text| text.to_owned()));
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let Some(folder) = self.folder.take() else { return };
        let expected = std::mem::take(self.expected.get_mut());
        let forbidden = std::mem::take(self.forbidden.get_mut());
        let outcome = if std::thread::panicking() {
            Ok(())
        } else {
            std::panic::catch_unwind(|| log_gate::check(folder.path(), &expected, &forbidden))
        };
        if std::thread::panicking() || outcome.is_err() {
            eprintln!("kept for a look: {}", folder.keep().display());
        }
        if let Err(unannounced) = outcome {
            std::panic::resume_unwind(unannounced);
        }
    }
}

/// Waits until `condition` gives something, looking every 50 ms; fails the test with `what` after [`patient`]
/// `patience`.
///
/// `condition` says in its error what it saw last, so that a failure explains itself.
pub fn wait_for<T>(what: &str, patience: Duration, mut condition: impl FnMut() -> Result<T, String>) -> T {
    let (begun, patience) = (Instant::now(), patient(patience));
    loop {
        match condition() {
            Ok(value) => {
                if begun.elapsed() >= WORTH_SAYING {
                    eprintln!("waited {:.1} s for {what}", begun.elapsed().as_secs_f64());
                }
                return value;
            }
            Err(seen) if begun.elapsed() >= patience => panic!("waited {patience:?} for {what}; last seen: {seen}"),
            Err(_) => std::thread::sleep(POLL),
        }
    }
}

/// [`wait_for`] with a plain condition.
pub fn wait_until(what: &str, patience: Duration, mut condition: impl FnMut() -> bool) {
    wait_for(what, patience, || if condition() { Ok(()) } else { Err("not so".to_owned()) });
}

/// Seconds, for short.
pub const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn waiting_ends_with_the_condition() {
    let mut looks = 0;
    let value = wait_for("the third look", seconds(10), || {
        looks += 1;
        if looks == 3 { Ok(looks) } else { Err(format!("look {looks}")) }
    });
    assert_eq!(value, 3);
}

#[test]
#[should_panic(expected = "for what never comes; last seen: not so")]
fn waiting_in_vain_says_for_what() {
    wait_until("what never comes", Duration::ZERO, || false);
}
