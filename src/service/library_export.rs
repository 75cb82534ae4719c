//! Photos as an archive of folders by day, each with what is said of it beside it, as other programs read it.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tracing::debug;

use super::library::{LibraryService, ListError, MOST_EXPORTS, PhotoPage, PhotoQuery, read_cursor};
use crate::photo::Photo;
use crate::picture::xmp_of;

/// Bytes of a piece, and pieces that wait for a slow client.
const PIECE: usize = 64 << 10;
const AHEAD: usize = 8;
/// The file that names what could not be given.
const MISSING: &str = "NOT-HERE.txt";

/// Why photos are not exported.
#[derive(Debug, thiserror::Error)]
pub enum PhotoExportError {
    /// As many are being written as may be.
    #[error("{MOST_EXPORTS} exports of photos are being written already: wait until one is done")]
    Busy,
    /// They cannot be listed.
    #[error(transparent)]
    List(#[from] ListError),
}

impl LibraryService {
    /// The photos that `query` asks for as a tar archive, in pieces: originals under `<year>/<day>/`, each with its XMP.
    ///
    /// # Errors
    /// [`PhotoExportError`]; what comes later ends the archive.
    pub async fn export(&self, query: PhotoQuery) -> Result<mpsc::Receiver<io::Result<Bytes>>, PhotoExportError> {
        let place = self.exports.clone().try_acquire_owned().map_err(|_| PhotoExportError::Busy)?;
        // What is wrong with the question is said before anything is sent.
        let first = self.list(query.clone()).await?;
        let (sender, pieces) = mpsc::channel(AHEAD);
        let (this, runtime) = (self.clone(), Handle::current());
        tokio::task::spawn_blocking(move || this.write_export(query, first, sender, &runtime, place));
        Ok(pieces)
    }

    fn write_export(
        &self,
        mut query: PhotoQuery,
        mut page: PhotoPage,
        sender: mpsc::Sender<io::Result<Bytes>>,
        runtime: &Handle,
        _place: OwnedSemaphorePermit,
    ) {
        let mut archive = Archive::new(Pieces { sender: sender.clone(), piece: Vec::with_capacity(PIECE) });
        let written = loop {
            let next = page.next.as_deref().and_then(read_cursor);
            let added =
                page.photos.iter().try_for_each(|record| archive.add(&record.photo, self.original(&record.photo)));
            if added.is_err() {
                break added;
            }
            let Some(next) = next else { break archive.end() };
            query.before = Some(next);
            match runtime.block_on(self.list(query.clone())) {
                Ok(other) => page = other,
                Err(error) => break Err(io::Error::other(error.to_string())),
            }
        };
        if let Err(error) = written {
            debug!(%error, "an export of photos ended early");
            // The client sees a connection that breaks, and not a whole archive.
            let _ = sender.blocking_send(Err(error));
        }
    }
}

/// A tar archive that is being written.
struct Archive {
    tar: tar::Builder<Pieces>,
    /// Names that were given, and how often each was wanted.
    used: HashSet<String>,
    names: HashMap<String, u32>,
    missing: Vec<String>,
}

impl Archive {
    fn new(pieces: Pieces) -> Self {
        Self { tar: tar::Builder::new(pieces), used: HashSet::new(), names: HashMap::new(), missing: Vec::new() }
    }

    fn add(&mut self, photo: &Photo, original: PathBuf) -> io::Result<()> {
        let name = self.name(photo);
        match File::open(&original).and_then(|file| Ok((file.metadata()?, file))) {
            Ok((metadata, file)) => {
                let mut header = header(metadata.len(), photo);
                self.tar.append_data(&mut header, &name, file.take(metadata.len()))?;
            }
            Err(error) => self.missing.push(format!("{name}: {}\n", reason(&original, &error))),
        }
        self.add_text(&format!("{name}.xmp"), &xmp_of(photo), photo)
    }

    fn add_text(&mut self, name: &str, text: &str, photo: &Photo) -> io::Result<()> {
        let mut header = header(text.len() as u64, photo);
        self.tar.append_data(&mut header, name, text.as_bytes())
    }

    /// `2024/2024-03-31/IMG_1.jpg`; of several with one name all but the first have a number.
    fn name(&mut self, photo: &Photo) -> String {
        let day = photo.taken.local.date();
        let first = format!("{:04}/{day}/{}", day.year(), photo.name);
        let (stem, end) =
            first.rsplit_once('.').map_or((first.as_str(), String::new()), |(stem, end)| (stem, format!(".{end}")));
        let mut name = first.clone();
        // Where one file system has one file, capitals or not, there is one name here.
        while !self.used.insert(name.to_lowercase()) {
            let count = self.names.entry(first.to_lowercase()).or_insert(1);
            *count += 1;
            name = format!("{stem} ({count}){end}");
        }
        name
    }

    fn end(&mut self) -> io::Result<()> {
        if !self.missing.is_empty() {
            let text = self.missing.concat();
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            self.tar.append_data(&mut header, MISSING, text.as_bytes())?;
        }
        self.tar.finish()?;
        self.tar.get_mut().flush()
    }
}

fn reason(original: &std::path::Path, error: &io::Error) -> String {
    match crate::away::find(original) {
        Some(away) => format!("the original lies at {} alone", away.destination),
        None => format!("the original cannot be read: {error}"),
    }
}

fn header(bytes: u64, photo: &Photo) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes);
    header.set_mode(0o644);
    // On the wall of the box where the zone is unknown.
    let at = photo.taken.timestamp().unwrap_or(photo.added.wall).as_second();
    header.set_mtime(u64::try_from(at).unwrap_or(0));
    header
}

/// Gives what is written in pieces to the client, and waits while that is slow.
struct Pieces {
    sender: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        if self.piece.len() == PIECE {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        let sent = self.sender.blocking_send(Ok(piece.into()));
        sent.map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the client went away"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Mono, SimulatedClock};
    use crate::photo::{PhotoId, fixture};

    #[test]
    fn no_name_is_given_twice() {
        let (sender, _pieces) = mpsc::channel(1);
        let mut archive = Archive::new(Pieces { sender, piece: Vec::new() });
        let now = SimulatedClock::new(Mono(0), jiff::Timestamp::UNIX_EPOCH).now();
        let id = PhotoId::from_bytes([0; 16]);
        let mut name = |name: &str| {
            let photo = fixture::photo(id, "anna", "2024-03-31T02:30:00", now.clone());
            archive.name(&Photo { name: name.to_owned(), ..photo })
        };
        let given = ["a.jpg", "a (2).jpg", "A.JPG", "a.jpg", "noext", "noext"].map(&mut name);
        let expected = ["a.jpg", "a (2).jpg", "A (3).JPG", "a (4).jpg", "noext", "noext (2)"];
        assert_eq!(given, expected.map(|name| format!("2024/2024-03-31/{name}")));
    }
}
