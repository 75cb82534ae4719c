//! A machine with Debian's kernel, for what this one's kernel cannot give: camera drivers, and a power cord.
//!
//! QEMU emulates it, so that it runs wherever the tests do, some ten times slower than the host. Its files are the
//! host's, read-only and under the same paths: the program under test, FFmpeg and the rest run inside as they are.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::process::Process;
use super::{Scratch, installed, patient, seconds, wait_for};

/// How long it may take to start; a few seconds on an idle machine.
const BOOT: Duration = seconds(180);
/// How long a script may run.
const SCRIPT: Duration = seconds(180);

/// A running machine. It is gone when this is dropped.
#[derive(Debug)]
pub struct Vm {
    process: Process,
    agent: BufReader<TcpStream>,
    share: PathBuf,
    scripts: u32,
}

impl Vm {
    /// Boots it. `port` on its loopback interface is the same port on the host's; `drives` are raw images and
    /// become /dev/vda and so on.
    pub fn boot(scratch: &Scratch, port: u16, drives: &[&Path]) -> Self {
        Self::boot_with(scratch, port, drives, &[])
    }

    /// [`Vm::boot`] with a battery-backed clock that shows `time` (UTC, `2001-01-01T12:00:00`).
    pub fn boot_at(time: &str, scratch: &Scratch, port: u16) -> Self {
        Self::boot_with(scratch, port, &[], &["-rtc", &format!("base={time},clock=host")])
    }

    fn boot_with(scratch: &Scratch, port: u16, drives: &[&Path], options: &[&str]) -> Self {
        let share = Self::share(scratch);
        std::fs::create_dir_all(&share).expect("make the shared folder");
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        listener.set_nonblocking(true).expect("set up a socket");
        let agent = listener.local_addr().expect("an address");
        let at = |path: &Path| path.display().to_string();
        // No acceleration: nested virtualisation is the exception. The model is one without AVX, which is
        // emulated so slowly that programs are better off without.
        let mut arguments: Vec<String> =
            "-accel tcg,thread=multi -cpu Nehalem -smp 2 -m 768 -display none -no-reboot -serial stdio"
                .split(' ')
                .map(str::to_owned)
                .collect();
        arguments.extend(options.iter().map(|&option| option.to_owned()));
        let mut add = |option: &str, value: String| arguments.extend([option.to_owned(), value]);
        add("-serial", format!("tcp:{agent}"));
        add("-kernel", at(&installed("vm/kernel/vmlinuz")));
        add("-initrd", at(&installed("vm/initramfs")));
        // On a busy host the emulated processors stand still for seconds: the kernel's self-tests of its ciphers then lock
        // up, its watchdogs take that for a fault, and its check of the timer for one that does not work.
        let kernel = "console=ttyS0 quiet mitigations=off panic=-1 cryptomgr.notests nowatchdog no_timer_check \
                      rcupdate.rcu_cpu_stall_suppress=1";
        add("-append", format!("{kernel} network={port} share={}", at(&share)));
        add("-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap".to_owned());
        add("-virtfs", format!("local,path={},mount_tag=share,security_model=none", at(&share)));
        add("-netdev", format!("user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-10.0.2.15:{port}"));
        add("-device", "virtio-net-pci,netdev=net".to_owned());
        for drive in drives {
            // What the machine has written is in the file at once, what it has not is lost with it.
            add("-drive", format!("file={},format=raw,if=virtio,cache=none", at(drive)));
        }
        let mut process = Process::start("machine", "qemu-system-x86_64", &arguments, scratch.path("console.log"));
        let agent = wait_for("the machine's second serial line", seconds(30), || {
            assert!(process.is_running(), "the machine does not start");
            listener.accept().map(|(stream, _)| stream).map_err(|e| e.to_string())
        });
        agent.set_nonblocking(false).expect("set up a socket");
        let mut machine = Self { process, agent: BufReader::new(agent), share, scripts: 0 };
        let greeting = machine.line(BOOT);
        assert_eq!(greeting, "ready", "the machine does not boot");
        machine
    }

    /// The folder that both sides may write to, under the same path on both.
    pub fn share(scratch: &Scratch) -> PathBuf {
        scratch.path("share")
    }

    /// Runs a shell script inside; gives its status, and what it wrote.
    pub fn run(&mut self, script: &str) -> (i32, String) {
        assert!(self.process.is_running(), "the machine is gone");
        self.scripts += 1;
        let name = format!("script-{}", self.scripts);
        std::fs::write(self.share.join(&name), script).expect("write a script");
        writeln!(self.agent.get_mut(), "{name}").expect("report the machine");
        let answer = self.line(SCRIPT);
        let output = std::fs::read(self.share.join(format!("{name}.out"))).expect("what a script wrote");
        let status = answer.strip_prefix(&name).and_then(|status| status.trim().parse().ok());
        (status.unwrap_or_else(|| panic!("{answer:?} after {script}")), String::from_utf8_lossy(&output).into_owned())
    }

    /// Runs a shell script that must succeed; gives what it wrote.
    pub fn sh(&mut self, script: &str) -> String {
        let (status, output) = self.run(script);
        assert_eq!(status, 0, "in the machine: {script}\n{output}");
        output
    }

    /// Pulls the plug.
    pub fn cut(mut self) {
        self.process.kill();
    }

    fn line(&mut self, patience: Duration) -> String {
        let patience = patient(patience);
        self.agent.get_ref().set_read_timeout(Some(patience)).expect("set up a socket");
        let mut line = String::new();
        let read = self.agent.read_line(&mut line);
        let read = read.unwrap_or_else(|e| panic!("the machine says nothing for {patience:?}: {e}"));
        assert!(read > 0, "the machine is gone");
        line.trim_end().to_owned()
    }
}

#[test]
fn scripts_run_inside_and_answer() {
    let scratch = Scratch::new("vm");
    let mut vm = Vm::boot(&scratch, super::port::free(), &[]);
    assert_eq!(vm.run("echo here; exit 3"), (3, "here\n".to_owned()));
    // It is another kernel than the host's, with the host's files, which it cannot change.
    assert_eq!(vm.sh("test -d /run/guest && uname -s"), "Linux\n");
    let manifest = super::repository().join("Cargo.toml");
    let (status, said) = vm.run(&format!("touch {0} 2>&1; cat {0}", manifest.display()));
    assert!(status == 0 && said.contains("Read-only file system"), "{said}");
    assert!(said.contains("name = \"outpost\""), "{said}");
}
