//! Events of a camera that overlap: which of them writes what they show.

use super::Work;
use crate::archive::Archive;
use crate::archive::holders::{Holders, Piece};
use crate::clock::Mono;
use crate::event::EventId;
use crate::frame::Packet;
use crate::record::recording::Recording;

impl Work {
    /// What of `ring`, the video of the event `own` that begins, its own clip is to hold: what no other event's does. `None`
    /// where one holds all of it and goes on.
    pub(super) fn own_video(&self, own: EventId, ring: Vec<Packet>, newest: Mono) -> Option<Vec<Packet>> {
        let Some(first) = ring.first().map(Packet::pts) else { return Some(ring) };
        let pieces = self.pieces();
        if self.holders.is_full(own, (first, newest), &pieces) {
            return Some(ring);
        }
        let held = self.holders.reach(first, &pieces);
        let goes_on = |other: &Recording| other.holds(newest) && other.first_at().is_some_and(|at| at <= held);
        if self.open.iter().any(goes_on) {
            return None;
        }
        // From the last key frame on that is held.
        let is_begin = |packet: &Packet| packet.key_frame && !packet.gradual && packet.pts() <= held;
        let begin = ring.iter().rposition(is_begin).unwrap_or(0);
        Some(ring.into_iter().skip(begin).collect())
    }

    /// What the open recordings hold by now.
    pub(super) fn pieces(&self) -> Vec<Piece> {
        self.open.iter().flat_map(Recording::pieces).collect()
    }

    /// Where the clip that events share does not hold what was taken at `at` any more, one of them goes on in its own, and the
    /// others share that.
    pub(super) fn take_over(&mut self, packet: &Packet) {
        let at = packet.at;
        if packet.key_frame {
            self.settle_shares(at);
            self.leave_full(at);
        }
        if self.open.iter().any(|recording| recording.holds(at)) {
            return;
        }
        if let Some(place) = self.open.iter().position(|recording| recording.lacks(at)) {
            self.begin_own(place, at);
        }
    }

    /// Notes the parts of events of which they are known, before the clips that hold them are forgotten.
    fn settle_shares(&mut self, at: Mono) {
        if !self.open.iter().any(|recording| recording.is_shared_whole(at)) {
            return;
        }
        let pieces = self.pieces();
        for recording in self.open.iter_mut().filter(|recording| recording.is_shared_whole(at)) {
            share(recording, &self.holders, &pieces);
            recording.keep_shares(&self.archive);
        }
    }

    /// Events that can name no further part go on in clips of their own.
    fn leave_full(&mut self, at: Mono) {
        if !self.open.iter().any(|recording| recording.lacks(at)) {
            return;
        }
        let pieces = self.pieces();
        let is_full = |recording: &Recording| {
            let span = (recording.video_from(), at);
            recording.lacks(at) && self.holders.is_full(recording.id(), span, &pieces)
        };
        let full: Vec<usize> =
            (0..self.open.len()).filter(|place| self.open.get(*place).is_some_and(is_full)).collect();
        full.into_iter().for_each(|place| self.begin_own(place, at));
    }

    /// The recording at `place` begins its own clip with what follows on all clips, `at` at the latest.
    fn begin_own(&mut self, place: usize, at: Mono) {
        let held = self.pieces().iter().map(|piece| piece.until).max().unwrap_or(at).min(at);
        let ring: Option<Vec<Packet>> = self.part.with(|part| part.ring.since(held).cloned().collect());
        if let Some(recording) = self.open.get_mut(place) {
            recording.begin_clip(&self.archive, &ring.unwrap_or_default());
        }
    }
}

/// Notes which parts of its video the clips of other events hold, complete ones or among `open`.
pub(super) fn share(recording: &mut Recording, holders: &Holders, open: &[Piece]) {
    recording.share(|own, time| holders.parts(own, time, open));
}

/// Ends what goes on, marked. Gives whether all of it is on the disk.
pub(super) fn interrupt_all(open: Vec<Recording>, archive: &Archive, holders: &Holders, last: Mono) -> bool {
    let pieces: Vec<Piece> = open.iter().flat_map(Recording::pieces).collect();
    let mut complete = true;
    for mut recording in open {
        share(&mut recording, holders, &pieces);
        complete &= recording.interrupt(archive, last).is_ok();
    }
    complete
}
