//! Volumes that are pulled, fail and come back: a real file system in a file, and one that fails on demand.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::{Process, run};
use super::{Scratch, cache, repository, seconds, wait_until};

/// Mounts can be made and looked at.
fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").expect("what is mounted")
}

fn is_mounted(at: &Path) -> bool {
    let at = format!(" {} ", at.display());
    mounts().lines().any(|line| line.contains(&at))
}

/// Takes a mount away at once, also from those who use it.
fn unmount(at: &Path) {
    run(Command::new("umount").arg("--lazy").arg(at));
}

/// An ext4 file system in a file, on a loop device, as a disk that can be pulled.
#[derive(Debug)]
pub struct Disk {
    image: PathBuf,
    at: PathBuf,
}

impl Disk {
    /// A fresh file system of `mib` MiB, mounted at `at`.
    pub fn mount(scratch: &Scratch, name: &str, mib: u64, at: &Path) -> Self {
        let image = scratch.path(name);
        let file = fs::File::create(&image).expect("make an image");
        file.set_len(mib << 20).expect("size an image");
        run(Command::new("mkfs.ext4").arg("-q").arg(&image));
        fs::create_dir_all(at).expect("make a mount point");
        let disk = Self { image, at: at.to_owned() };
        disk.plug_in();
        disk
    }

    /// Mounts it again.
    pub fn plug_in(&self) {
        // Who still holds files of the pulled disk holds its device too; a second one on the same file would tear it.
        wait_until("the disk to be free", seconds(30), || self.device().is_none());
        run(Command::new("mount").args(["-o", "loop,errors=remount-ro"]).arg(&self.image).arg(&self.at));
    }

    /// Pulls it: the path leads to the empty folder below from now on.
    pub fn pull(&self) {
        unmount(&self.at);
    }

    /// Makes the kernel meet an error in it, after which it is read-only.
    pub fn break_down(&self) {
        let device = self.device().expect("mounted");
        let trigger = Path::new("/sys/fs/ext4").join(device).join("trigger_fs_error");
        fs::write(trigger, "1").expect("report an error to the kernel");
        wait_until("the volume to be read-only", seconds(10), || fs::write(self.at.join("written"), "").is_err());
    }

    /// Checks and mends it; it has to be pulled.
    pub fn mend(&self) {
        wait_until("the disk to be free", seconds(30), || self.device().is_none());
        let status = Command::new("e2fsck").args(["-fy"]).arg(&self.image).output().expect("run e2fsck").status;
        assert!(matches!(status.code(), Some(0 | 1)), "e2fsck: {status}");
    }

    /// The loop device that holds the image, if one does.
    fn device(&self) -> Option<String> {
        let mut losetup = Command::new("losetup");
        losetup.args(["--noheadings", "--output", "NAME", "--associated"]).arg(&self.image);
        let found = losetup.output().expect("run losetup");
        let name = String::from_utf8(found.stdout).expect("a name");
        Some(name.trim().strip_prefix("/dev/")?.to_owned())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        while is_mounted(&self.at) {
            if !Command::new("umount").arg("--lazy").arg(&self.at).status().is_ok_and(|status| status.success()) {
                return;
            }
        }
    }
}

/// A folder that is reached through a file system that fails when it is reported to.
#[derive(Debug)]
pub struct FaultyDisk {
    at: PathBuf,
    mood: PathBuf,
    process: Process,
}

impl FaultyDisk {
    /// A healthy one, mounted at `at`.
    pub fn mount(scratch: &Scratch, at: &Path) -> Self {
        let mood = scratch.path("mood");
        let process = Self::serve(scratch, at, &mood);
        Self { at: at.to_owned(), mood, process }
    }

    /// Pulls it while it is in use, and plugs it in again at once: the system knows it as another device then, and what
    /// was open is dead.
    pub fn replug(&mut self, scratch: &Scratch) {
        self.fail();
        unmount(&self.at);
        self.mood = self.mood.with_added_extension("again");
        let process = Self::serve(scratch, &self.at, &self.mood);
        std::mem::replace(&mut self.process, process).kill();
    }

    fn serve(scratch: &Scratch, at: &Path, mood: &Path) -> Process {
        let folder = scratch.path("behind");
        fs::create_dir_all(&folder).expect("make a folder");
        fs::create_dir_all(at).expect("make a mount point");
        let script = repository().join("tests/servers/faulty_fs.py");
        let arguments = [script.as_path(), &folder, at, mood];
        let python = cache().join("venv/bin/python");
        let mut process = Process::start("faulty_fs", python, &arguments, scratch.path("faulty_fs.log"));
        process.wait_ready(seconds(20), |_| is_mounted(at));
        process
    }

    /// It is well, and has manners of its own; `tests/servers/faulty_fs.py` knows them by these words.
    pub fn behave(&self, manners: &str) {
        fs::write(&self.mood, manners).expect("change the mood");
    }

    /// Every access fails.
    pub fn fail(&self) {
        fs::write(&self.mood, "eio").expect("change the mood");
    }

    /// Every access waits.
    pub fn hang(&self) {
        fs::write(&self.mood, "hang").expect("change the mood");
    }

    /// Access to paths with `name` in them waits, all else goes on.
    pub fn hold(&self, name: &str) {
        fs::write(&self.mood, format!("hold:{name}")).expect("change the mood");
    }

    /// It works again.
    pub fn recover(&self) {
        fs::write(&self.mood, "").expect("change the mood");
    }
}

impl Drop for FaultyDisk {
    fn drop(&mut self) {
        let _ = fs::write(&self.mood, "eio");
        let _ = Command::new("umount").arg("--lazy").arg(&self.at).status();
        self.process.kill();
    }
}
