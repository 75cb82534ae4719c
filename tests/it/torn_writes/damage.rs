//! What a bad disk, or a power cut in the middle of a write, does to files.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// All files below `folder`, relative to it.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).expect("list") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path.strip_prefix(folder).expect("inside").to_owned());
            }
        }
    }
    files.sort();
    files
}

/// Injures up to four files. Gives what was done.
pub fn damage(folder: &Path, seed: u64) -> Vec<String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let all = files(folder);
    let of = |wanted: &dyn Fn(&Path) -> bool| all.iter().filter(|file| wanted(file)).cloned().collect::<Vec<_>>();
    let named = |name: &'static str| of(&move |file| file.file_name() == Some(OsStr::new(name)));
    let kinds = [
        of(&|file| file.ends_with("index/db")),
        of(&|file| file.starts_with("index") && !file.ends_with("db")),
        named("event.json"),
        named("clip.mp4"),
        of(&|file| file.extension() == Some(OsStr::new("jpg"))),
        of(&|file| file.components().count() == 1),
    ];
    let mut done = Vec::new();
    for _ in 0..=random.usize(..4) {
        let kind = &kinds[[0, 0, 0, 1, 2, 2, 3, 4, 5][random.usize(..9)]];
        let Some(file) = kind.get(random.usize(..kind.len().max(1))) else { continue };
        let path = folder.join(file);
        let how = match random.u8(..8) {
            0..=3 => flip_bits(&path, &mut random),
            4 | 5 => cut(&path, &mut random),
            6 => scratch_out(&path, &mut random),
            _ => leave_beside(folder, &path, &mut random),
        };
        done.push(format!("{}: {how}", file.display()));
    }
    done
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |about| about.len())
}

fn flip_bits(path: &Path, random: &mut fastrand::Rng) -> String {
    let file = File::options().read(true).write(true).open(path).expect("open");
    let flips = random.usize(1..9);
    for _ in 0..flips {
        let (offset, mut byte) = (random.u64(..length(path).max(1)), [0]);
        if file.read_exact_at(&mut byte, offset).is_ok() {
            file.write_all_at(&[byte[0] ^ (1 << random.u8(..8))], offset).expect("write");
        }
    }
    format!("{flips} bits flipped")
}

fn cut(path: &Path, random: &mut fastrand::Rng) -> String {
    let whole = length(path);
    let left = [0, random.u64(..whole.max(1)), whole.saturating_sub(random.u64(..4096))][random.usize(..3)];
    File::options().write(true).open(path).expect("open").set_len(left).expect("cut");
    format!("cut to {left} of {whole} bytes")
}

/// A block that reads as zeros or as something else.
fn scratch_out(path: &Path, random: &mut fastrand::Rng) -> String {
    let blocks = length(path).div_ceil(4096).max(1);
    let (at, value) = (4096 * random.u64(..blocks), [0, 0xff, random.u8(..)][random.usize(..3)]);
    let bytes = usize::try_from(length(path).saturating_sub(at).min(4096)).expect("small");
    let file = File::options().write(true).open(path).expect("open");
    file.write_all_at(&vec![value; bytes], at).expect("write");
    format!("{bytes} bytes at {at} are {value}")
}

/// What interrupted writes and starts leave.
fn leave_beside(folder: &Path, path: &Path, random: &mut fastrand::Rng) -> String {
    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
    let leftover = match random.u8(..4) {
        0 => path.with_file_name(format!(".{name}.tmp")),
        1 => path.with_file_name(format!("{name}.tmp")),
        2 => folder.join("index.opening"),
        _ => folder.join("index.bad"),
    };
    let content: Vec<u8> = (0..random.usize(..100)).map(|_| random.u8(..)).collect();
    fs::write(&leftover, content).expect("write");
    format!("left {}", leftover.display())
}
