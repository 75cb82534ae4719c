//! The last pictures of a camera, with their fragments once these are made.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::objects::ObjectsAt;
use crate::clock::Mono;
use crate::frame::{Codec, Packet, StreamInfo};
use crate::mux::{InitSegment, LivePicture};

/// Pictures at most: over two minutes at 25 a second, for cameras with hardly any key frames.
const MOST_PICTURES: usize = 4096;
/// Bytes of pictures at most: four seconds of the largest streams.
const MOST_BYTES: usize = 32 << 20;
/// What was seen in so many pictures is kept.
const MOST_LOOKS: usize = 32;
/// A viewer that is farther behind goes on with the last key frame.
const LATE: Duration = Duration::from_secs(4);

/// What became of a picture.
#[derive(Clone, Debug)]
pub(super) enum Made {
    /// Nothing yet.
    Pending,
    /// Nothing can be made of it: it follows a hole or a change, before the next key frame.
    Skipped,
    Fragment {
        init: Arc<InitSegment>,
        picture: LivePicture,
        data: Bytes,
    },
}

#[derive(Debug)]
struct Held {
    packet: Packet,
    made: Made,
}

/// What a viewer gets of the ring.
#[derive(Debug)]
pub(super) enum Found {
    /// The viewer was here: its next number, and what was made of that picture.
    Next(u64, Made),
    /// What it would get next is gone or too old; it would have been as many pictures.
    Late(u64),
    Nothing,
}

/// What is needed to begin.
#[derive(Debug)]
pub(super) struct Beginning {
    pub init: Arc<InitSegment>,
    /// Those shown from the key frame on.
    pub pictures: Vec<LivePicture>,
    /// The number of the picture behind them, and when that is decoded.
    pub next: u64,
    pub next_at: Mono,
}

#[derive(Debug, Default)]
pub(super) struct Ring {
    pub viewers: usize,
    /// Coding of the last packet.
    pub codec: Option<Codec>,
    held: VecDeque<Held>,
    /// Number of the oldest picture; they are counted on for ever.
    first: u64,
    /// Numbers of the key frames in the ring.
    keys: VecDeque<u64>,
    bytes: usize,
    /// Nothing is taken before the next key frame.
    awaits_key_frame: bool,
    looks: VecDeque<Arc<ObjectsAt>>,
    /// Number of the oldest of them.
    first_look: u64,
}

impl Ring {
    pub(super) fn push(&mut self, packet: &Packet) {
        let last = self.held.back().map(|held| held.packet.stream.clone());
        if self.codec.as_ref() != Some(&packet.stream.codec) {
            self.codec = Some(packet.stream.codec.clone());
        }
        let differs = |last: Arc<StreamInfo>| !Arc::ptr_eq(&last, &packet.stream) && last != packet.stream;
        self.awaits_key_frame = (self.awaits_key_frame || last.is_some_and(differs)) && !packet.key_frame;
        let has_begun = packet.key_frame || !self.held.is_empty();
        if self.awaits_key_frame || !has_begun || !packet.stream.codec.is_remuxable() {
            return;
        }
        if packet.key_frame {
            self.keys.push_back(self.end());
        }
        self.bytes += packet.data.len();
        self.held.push_back(Held { packet: packet.clone(), made: Made::Pending });
        self.trim();
    }

    fn trim(&mut self) {
        // Where pictures become whole bit by bit, a beginning is one key frame earlier.
        let gradual = self.last_key().is_some_and(|(_, packet)| packet.gradual);
        let kept = 1 + usize::from(self.viewers > 0) + usize::from(gradual);
        while self.keys.len() > kept {
            self.drop_first_gop();
        }
        while self.is_over() && self.keys.len() > 1 {
            self.drop_first_gop();
        }
        // One endless GOP: who follows it goes on, who comes waits for a key frame.
        while self.is_over() {
            self.drop_first();
        }
        if self.viewers == 0 && self.keys.is_empty() {
            self.forget();
        }
    }

    fn is_over(&self) -> bool {
        self.held.len() > MOST_PICTURES || self.bytes > MOST_BYTES
    }

    fn drop_first_gop(&mut self) {
        self.drop_first();
        while self.keys.front().is_some_and(|key| *key > self.first) && !self.held.is_empty() {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        if let Some(gone) = self.held.pop_front() {
            self.bytes -= gone.packet.data.len();
            self.first += 1;
        }
        while self.keys.front().is_some_and(|key| *key < self.first) {
            self.keys.pop_front();
        }
    }

    fn forget(&mut self) {
        self.first = self.end();
        self.held.clear();
        self.keys.clear();
        self.bytes = 0;
    }

    /// The last viewer has left: what was made for it is not kept.
    pub(super) fn rest(&mut self) {
        self.held.iter_mut().for_each(|held| held.made = Made::Pending);
        self.first_look += self.looks.len() as u64;
        self.looks.clear();
        self.trim();
    }

    #[cfg(test)]
    pub(super) fn numbers(&self) -> std::ops::Range<u64> {
        self.first..self.end()
    }

    #[cfg(test)]
    pub(super) fn is_unmade(&self) -> bool {
        self.held.iter().all(|held| matches!(held.made, Made::Pending))
    }

    /// The number that the next picture gets.
    fn end(&self) -> u64 {
        self.first + self.held.len() as u64
    }

    fn get(&self, number: u64) -> Option<&Held> {
        self.held.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    fn last_key(&self) -> Option<(u64, &Packet)> {
        let number = *self.keys.back()?;
        Some((number, &self.get(number)?.packet))
    }

    /// Where a viewer begins.
    fn start(&self) -> Option<u64> {
        let (number, key) = self.last_key()?;
        let earlier = self.keys.iter().rev().nth(1).filter(|_| key.gradual);
        Some(earlier.copied().unwrap_or(number))
    }

    /// The first picture from `next` on that no fragment was made of, and when the one behind it is decoded.
    pub(super) fn pending(&self, next: u64) -> Option<(u64, Packet, Mono)> {
        let number = if next < self.first || next == 0 { self.start()? } else { next };
        let behind = self.get(number + 1)?;
        Some((number, self.get(number)?.packet.clone(), behind.packet.at))
    }

    pub(super) fn keep(&mut self, number: u64, made: Made) {
        let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if let Some(held) = index.and_then(|index| self.held.get_mut(index)) {
            held.made = made;
        }
    }

    /// What a viewer gets that had everything before `next`.
    pub(super) fn after(&self, next: u64) -> Found {
        let Some(held) = self.get(next) else {
            return if next < self.first { Found::Late(self.first - next) } else { Found::Nothing };
        };
        let newest = self.held.back().map_or(held.packet.at, |newest| newest.packet.at);
        if let Some((key, _)) = self.last_key().filter(|(key, _)| *key > next)
            && newest.since(held.packet.at) > LATE
        {
            return Found::Late(key - next);
        }
        match &held.made {
            Made::Pending => Found::Nothing,
            made => Found::Next(next + 1, made.clone()),
        }
    }

    /// The packet that a viewer gets that had those before `next`, with its number and the time of the newest one. Without
    /// `next`, and where that is too far behind, it is the last key frame.
    pub(super) fn packet_after(&self, next: Option<u64>) -> Option<(u64, Packet, Mono)> {
        let newest = self.held.back()?.packet.at;
        let is_late = |number: u64| match self.get(number) {
            Some(held) => {
                let has_key = self.last_key().is_some_and(|(key, _)| key > number);
                has_key && newest.since(held.packet.at) > LATE
            }
            None => number < self.first,
        };
        let number = match next {
            Some(next) if !is_late(next) => next,
            _ => self.start()?,
        };
        Some((number, self.get(number)?.packet.clone(), newest))
    }

    /// What a viewer that comes gets first; `None` while there is nothing to begin with.
    pub(super) fn beginning(&self) -> Option<Beginning> {
        let start = self.start()?;
        let Made::Fragment { init: of, picture: key, .. } = &self.get(start)?.made else { return None };
        let (mut pictures, mut next) = (vec![key.clone()], start + 1);
        while let Some(Held { made: Made::Fragment { init, picture, .. }, .. }) = self.get(next) {
            if !Arc::ptr_eq(init, of) {
                break;
            }
            // What is shown before the key frame refers to pictures that the viewer does not have.
            if !picture.is_shown_before(key) {
                pictures.push(picture.clone());
            }
            next += 1;
        }
        let behind = &self.get(next)?.packet;
        // More of those may follow, as long as none came that is shown later.
        let is_settled = pictures.len() > 1 || behind.offset.is_zero() || behind.key_frame;
        is_settled.then(|| Beginning { init: of.clone(), pictures, next, next_at: behind.at })
    }

    /// Keeps what was seen; gives whether that is worth showing.
    pub(super) fn look(&mut self, look: ObjectsAt) -> bool {
        let is_alike = |last: &&Arc<ObjectsAt>| last.pipeline.is_some() == look.pipeline.is_some();
        let was_nothing = self.looks.iter().rev().find(is_alike).is_none_or(|last| last.is_nothing());
        if was_nothing && look.is_nothing() {
            return false;
        }
        self.looks.push_back(Arc::new(look));
        if self.looks.len() > MOST_LOOKS {
            self.looks.pop_front();
            self.first_look += 1;
        }
        true
    }

    /// The look that a viewer gets that had those before `next`, and the number behind it.
    pub(super) fn look_after(&self, next: u64) -> Option<(u64, Arc<ObjectsAt>)> {
        let index = usize::try_from(next.saturating_sub(self.first_look)).ok()?;
        let look = self.looks.get(index)?;
        Some((self.first_look + index as u64 + 1, look.clone()))
    }

    /// The number of the newest look.
    pub(super) fn newest_look(&self) -> u64 {
        self.first_look + (self.looks.len() as u64).saturating_sub(1)
    }
}
