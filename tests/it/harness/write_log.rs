//! What the kernel's dm-log-writes has noted of a drive: every write, every flush, in the order in which they were
//! done. Any moment in it can be made into the drive that a power cut would have left.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::dice::Dice;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;

#[derive(Debug)]
struct Entry {
    flags: u64,
    /// Bytes from the start of the drive.
    at: u64,
    data: Vec<u8>,
}

/// A drive's history.
#[derive(Debug)]
pub struct WriteLog(Vec<Entry>);

impl WriteLog {
    /// Reads the drive that dm-log-writes has written to.
    pub fn read(drive: &Path) -> Self {
        let file = File::open(drive).expect("open the log of writes");
        let numbers = |at: u64| {
            let mut bytes = [0; 32];
            file.read_exact_at(&mut bytes, at).expect("read the log of writes");
            [0, 8, 16, 24].map(|from| u64::from_le_bytes(bytes[from..from + 8].try_into().expect("eight bytes")))
        };
        let [magic, version, entries, sector] = numbers(0);
        let sector = sector & u64::from(u32::MAX);
        assert_eq!((magic, version), (MAGIC, 1), "not a log of writes");
        let mut log = Vec::new();
        let mut position = sector;
        for _ in 0..entries {
            let [to, sectors, flags, marked] = numbers(position);
            // A mark stands behind the head of its entry, in the same sector.
            let (from, length) = match flags {
                flags if flags & MARK != 0 => (position + 32, marked),
                flags if flags & DISCARD != 0 => (position, 0),
                _ => (position + sector, sectors * sector),
            };
            let mut data = vec![0; usize::try_from(length).expect("a size")];
            file.read_exact_at(&mut data, from).expect("read the log of writes");
            position += sector + if flags & (MARK | DISCARD) == 0 { length } else { 0 };
            log.push(Entry { flags, at: to * sector, data });
        }
        Self(log)
    }

    /// Entries in it.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Makes `image`, which is as it was before the first entry, into what the drive may hold when the power goes
    /// after `moment` entries: what was flushed, and of the rest whatever the dice say. Gives the marks until then.
    pub fn replay(&self, image: &Path, moment: usize, dice: &mut Dice) -> BTreeSet<String> {
        let file = File::options().write(true).open(image).expect("open an image");
        let past = &self.0[..moment];
        let flushed = past.iter().rposition(|entry| entry.flags & FLUSH != 0).unwrap_or(0);
        let pending = self.0[flushed..].iter().skip(1).position(|entry| entry.flags & FLUSH != 0);
        let end = pending.map_or(self.0.len(), |pending| flushed + 1 + pending);
        let mut marks = BTreeSet::new();
        for (index, entry) in self.0[..end].iter().enumerate() {
            let sure = index <= flushed || (index < moment && entry.flags & FUA != 0);
            if entry.flags & MARK != 0 {
                if index < moment {
                    marks.insert(String::from_utf8_lossy(&entry.data).trim_end_matches('\0').to_owned());
                }
            } else if sure || dice.coin() {
                file.write_all_at(&entry.data, entry.at).expect("write to an image");
            }
        }
        marks
    }
}
