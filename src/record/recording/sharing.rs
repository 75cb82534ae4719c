//! What an event's own clip holds, and what those of other events hold of it.

use std::time::Duration;

use tracing::warn;

use super::Recording;
use crate::archive::Archive;
use crate::archive::holders::Piece;
use crate::clock::Mono;
use crate::durable;
use crate::event::{EventId, SharedClip};
use crate::frame::Packet;
use crate::record::event_stills::skip_media;

impl Recording {
    /// Begins its own clip with the packets `before` now, if there is room for it.
    pub(in crate::record) fn begin_clip(&mut self, archive: &Archive, before: &[Packet]) {
        self.follows = false;
        if !archive.level().has_clips() {
            return skip_media(archive, &mut self.event);
        }
        if let Err(failure) = self.clip.begin() {
            warn!(event = %self.event.id, error = %failure, "no clip");
        }
        self.has_clip = self.clip.is_writing();
        for packet in before {
            self.write(packet);
        }
        // Else a power cut may cost all of it, and not the last seconds.
        if let Err(failure) = durable::sync_folder(&self.folder) {
            warn!(event = %self.event.id, error = %failure, "sync the folder of a clip");
        }
    }

    /// Whether its clip holds what was taken at `at`, or is to.
    pub(in crate::record) fn holds(&self, at: Mono) -> bool {
        self.clip.is_writing() && at <= self.clip_until
    }

    /// Whether its clip has to begin with what was taken at `at`, as no other event's holds that any more.
    pub(in crate::record) fn lacks(&self, at: Mono) -> bool {
        self.follows && at <= self.clip_until
    }

    /// When the first picture of the file that is being written was taken, once there is one.
    pub(in crate::record) fn first_at(&self) -> Option<Mono> {
        self.clip.first_at()
    }

    /// What its files hold by now.
    pub(in crate::record) fn pieces(&self) -> Vec<Piece> {
        let event = self.event.id;
        let of_files = |(file, from, until)| Piece { event, file, from, until };
        let complete = self.event.clips().map(|clip| {
            let length = Duration::try_from_secs_f64(clip.duration_s).unwrap_or_default();
            (clip.media.file.clone(), clip.start.mono(), clip.start.mono() + length)
        });
        complete.chain(self.clip.times()).map(of_files).collect()
    }

    /// From when on it is to have video: the key frame before its pre-roll, as far as there were pictures.
    pub(in crate::record) fn video_from(&self) -> Mono {
        self.video_from
    }

    /// Its identity.
    pub(in crate::record) fn id(&self) -> EventId {
        self.event.id
    }

    /// Notes which parts of its video other events' clips hold, as `parts` gives them for a stretch of time: what is before
    /// its own clip.
    pub(in crate::record) fn share(&mut self, parts: impl FnOnce((EventId, Mono), (Mono, Mono)) -> Vec<SharedClip>) {
        if !self.is_filmed || self.has_shared {
            return;
        }
        let own = self.pieces().into_iter().map(|piece| piece.from).min();
        let until = own.unwrap_or(self.clip_until);
        self.event.shares = parts((self.event.id, self.event.start.mono()), (self.video_from, until));
    }

    /// Whether it is known at `newest` which parts of its video other events' clips hold, since its own goes on or all was
    /// taken. An event may last for much longer than the clips are known.
    pub(in crate::record) fn is_shared_whole(&self, newest: Mono) -> bool {
        let goes_on = || self.pieces().iter().any(|piece| piece.from < piece.until);
        !self.has_shared && self.is_filmed && (newest > self.clip_until || goes_on())
    }

    /// The parts are as they stay. Where the event is pinned, so are those that hold them.
    pub(in crate::record) fn keep_shares(&mut self, archive: &Archive) {
        self.has_shared = true;
        self.take_annotations(archive);
        self.keep_holders(archive);
    }
}
