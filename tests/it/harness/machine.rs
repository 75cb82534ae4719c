//! A booted Debian to install the package on: a container with a systemd of its own.
//!
//! Its root is the one that `make setup` made, below a layer in memory, so every machine is a new one. It
//! shares the network with the tests, which can so reach its page and be its servers.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::daemon::PROGRAM;
use super::process::{Process, run};
use super::{Scratch, installed, repository, seconds, wait_for};

/// Where the machine sees the folder that it was given.
pub const SHARED: &str = "/mnt";

/// A running machine. It is switched off when this is dropped, or when the test process ends in any other way.
#[derive(Debug)]
pub struct Machine {
    /// Its first process, as this side counts them.
    first: u32,
    process: Process,
}

impl Machine {
    /// Boots one that can read the folder `shared`, and waits until all of its services are up.
    pub fn boot(scratch: &Scratch, shared: &Path) -> Self {
        assert!(rustix::process::geteuid().is_root(), "only root can boot a machine: run the tests as root");
        installed("rootfs.state");
        let root = format!("--directory={}", installed("rootfs").display());
        let share = format!("--bind-ro={}:{SHARED}", shared.display());
        // systemd-nspawn leaves its machine running when it is killed; a PID namespace around both does not.
        let mut arguments = vec!["--pid", "--fork", "--kill-child", "--mount-proc", "systemd-nspawn", "--quiet"];
        arguments.extend(["--volatile=overlay", "--register=no", "--keep-unit", "--machine=edge1", &root, &share]);
        arguments.extend(["--resolv-conf=off", "--timezone=off", "--link-journal=no", "--console=pipe", "--boot"]);
        let mut process = Process::start("machine", "unshare", &arguments, scratch.path("machine.log"));
        let outer = process.id();
        let mut first = None;
        process.wait_ready(seconds(30), |_| {
            first = only_child(outer).and_then(only_child).filter(|&pid| state(pid) == "running");
            first.is_some()
        });
        Self { first: first.expect("just seen"), process }
    }

    /// A command that runs on the machine, as root.
    pub fn command(&self, arguments: &[&str]) -> Command {
        inside(self.first, arguments)
    }

    /// Runs a command on the machine; fails the test unless it succeeds. Gives its output.
    pub fn run(&self, arguments: &[&str]) -> String {
        run(&mut self.command(arguments)).trim_end().to_owned()
    }

    /// Whether a command on the machine succeeds, and what it says.
    pub fn attempt(&self, arguments: &[&str]) -> (bool, String) {
        let output = self.command(arguments).output().expect("run a command on the machine");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    /// A file of the machine, as seen from here.
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.first))
    }

    /// Writes a file on the machine that only its root may read.
    pub fn write(&self, inside: &str, contents: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(inside);
        let folder = path.parent().expect("not the root");
        std::fs::create_dir_all(folder).expect("make a folder on the machine");
        std::fs::write(&path, contents).expect("write on the machine");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("close a file");
    }

    /// A property of a unit, as `systemctl show` spells it.
    pub fn property(&self, unit: &str, name: &str) -> String {
        self.run(&["systemctl", "show", "--property", name, "--value", unit])
    }

    /// Waits until a property of a unit satisfies `wanted`; gives its value.
    pub fn wait_for_property(&self, unit: &str, name: &str, wanted: impl Fn(&str) -> bool) -> String {
        wait_for(&format!("{name} of {unit}"), seconds(60), || {
            let value = self.property(unit, name);
            if wanted(&value) { Ok(value) } else { Err(value) }
        })
    }

    /// What the processes of a unit have put into the journal, with all fields.
    pub fn journal(&self, unit: &str) -> Vec<serde_json::Value> {
        let filter = format!("_SYSTEMD_UNIT={unit}.service");
        self.run(&["journalctl", "--sync"]);
        let lines = self.run(&["journalctl", "--output=json", "--no-pager", &filter]);
        lines.lines().map(|line| serde_json::from_str(line).expect("the journal speaks JSON")).collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.process.kill();
        let first = PathBuf::from(format!("/proc/{}/exe", self.first));
        // The reaper of orphans may take its time; what counts is that nothing runs any more.
        while first.read_link().is_ok() {
            std::thread::sleep(super::POLL);
        }
    }
}

/// Makes the package of the program under test, in `folder`; gives its file name.
pub fn package(folder: &Path, version: &str) -> String {
    let script = repository().join("packaging/deb/build.sh");
    let arguments = ["--version", version, "--fast"];
    let path = run(Command::new(script).arg(PROGRAM).arg(folder).args(arguments));
    let name = Path::new(path.trim()).file_name().expect("the path of a package");
    name.to_string_lossy().into_owned()
}

fn inside(first: u32, arguments: &[&str]) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--target={first}")).args(["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--"]);
    // Nothing of this side's environment is right on the other.
    command.args(arguments).env_clear().envs([
        ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
        ("LC_ALL", "C.UTF-8"),
        ("DEBIAN_FRONTEND", "noninteractive"),
        ("TERM", "dumb"),
        ("SYSTEMD_COLORS", "0"),
    ]);
    command
}

/// `running` when all units are up; the names of those that failed are worth knowing too.
fn state(first: u32) -> String {
    let output = inside(first, &["systemctl", "is-system-running"]).output().expect("run nsenter");
    let state = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if state == "degraded" {
        let failed = inside(first, &["systemctl", "--failed", "--plain", "--no-legend"]).output().expect("run nsenter");
        panic!("the machine is not well: {}", String::from_utf8_lossy(&failed.stdout));
    }
    state
}

fn only_child(pid: u32) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    let mut children = children.split_whitespace();
    let child = children.next()?.parse().ok()?;
    children.next().is_none().then_some(child)
}
