//! What the camera sends while a session plays.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::net::UdpSocket;
use tokio::net::tcp::OwnedWriteHalf;

use super::{Manners, Shared, Ssrc, Viewer};

/// 32 pictures of 96x64 in constrained baseline profile, of which the first is a key frame.
const CLIP: &[u8] = include_bytes!("../../../fixtures/gop.h264");
/// The largest payload of an RTP packet.
const LARGEST: usize = 1200;

/// The parameter sets and the pictures, each one NAL unit.
pub(super) fn clip() -> (Vec<&'static [u8]>, Vec<&'static [u8]>) {
    let mut starts: Vec<usize> = (0..CLIP.len() - 3).filter(|&at| CLIP[at..at + 3] == [0, 0, 1]).collect();
    starts.push(CLIP.len());
    let units = starts.windows(2).map(|pair| {
        // A start code may have a further zero in front.
        let unit = &CLIP[pair[0] + 3..pair[1]];
        unit.strip_suffix(&[0]).unwrap_or(unit)
    });
    units.partition(|unit| matches!(unit[0] & 0x1f, 7 | 8))
}

/// The pictures of the clip with the parameter sets in front of the key frame.
fn one_group() -> Vec<Vec<&'static [u8]>> {
    let (sets, pictures) = clip();
    let mut group: Vec<_> = pictures.into_iter().map(|picture| vec![picture]).collect();
    group[0].splice(..0, sets);
    group
}

/// Sends pictures until the session ends.
pub(super) struct Player {
    manners: Manners,
    shared: Arc<Shared>,
    output: Arc<tokio::sync::Mutex<OwnedWriteHalf>>,
    datagrams: Option<UdpSocket>,
    peer: SocketAddr,
    heard: Arc<Mutex<Instant>>,
    sequence: u16,
    ssrc: u32,
}

impl Player {
    pub(super) fn new(viewer: &mut Viewer, manners: Manners) -> Self {
        Self {
            shared: viewer.shared.clone(),
            output: viewer.output.clone(),
            datagrams: viewer.datagrams.take(),
            peer: viewer.peer,
            heard: viewer.heard.clone(),
            sequence: manners.first_sequence.unwrap_or_else(|| fastrand::u16(..)),
            manners,
            ssrc: fastrand::u32(..),
        }
    }

    pub(super) async fn play(mut self) {
        let film = self.manners.film.clone();
        let pictures = match &film {
            Some(film) => film.iter().map(|units| units.iter().map(Vec::as_slice).collect()).collect(),
            None => one_group(),
        };
        let gop = if film.is_some() { pictures.len() } else { self.manners.gop.clamp(1, pictures.len()) };
        let mut time = fastrand::u32(..);
        tokio::time::sleep(self.manners.first_picture).await;
        if self.manners.stray_report && !self.framed(1, &report(self.ssrc.wrapping_add(1))).await {
            return;
        }
        for number in 0..self.manners.pictures.unwrap_or(usize::MAX) {
            while self.hangs_at(number) {
                tokio::time::sleep(self.manners.interval).await;
            }
            if self.manners.endless_after == Some(number) {
                self.endless_unit(time).await;
                break;
            }
            let place = (number + self.manners.begins_with) % gop;
            if place == 0 && self.shared.manners.lock().holds_key_frames {
                tokio::time::sleep(self.manners.interval).await;
                continue;
            }
            if place == 0 && self.manners.ssrc == Ssrc::PerGop && number > 0 {
                (self.ssrc, self.sequence) = (fastrand::u32(..), fastrand::u16(..));
            }
            for (n, unit) in pictures[place].iter().enumerate() {
                if !self.unit(unit, time, n + 1 == pictures[place].len()).await {
                    return;
                }
            }
            if self.expired() {
                break;
            }
            time = time.wrapping_add((self.manners.interval.as_micros() * 90 / 1000) as u32);
            tokio::time::sleep(self.manners.interval).await;
        }
        let _ = self.output.lock().await.shutdown().await;
    }

    fn hangs_at(&self, number: usize) -> bool {
        self.shared.manners.lock().hangs_after.is_some_and(|pictures| number >= pictures)
    }

    fn expired(&self) -> bool {
        let quiet = self.heard.lock().elapsed();
        self.manners.session_timeout.is_some_and(|limit| quiet > limit)
    }

    /// One NAL unit, in several packets if it is large. Gives whether the viewer is still there.
    async fn unit(&mut self, unit: &[u8], time: u32, ends_picture: bool) -> bool {
        if self.manners.start_codes {
            let with_code = [&[0, 0, 0, 1], unit].concat();
            return self.packet(&with_code, time, ends_picture).await;
        }
        if unit.len() <= LARGEST {
            return self.packet(unit, time, ends_picture).await;
        }
        let (head, body) = (unit[0], &unit[1..]);
        let pieces: Vec<_> = body.chunks(LARGEST).collect();
        for (i, piece) in pieces.iter().enumerate() {
            let (first, last) = (i == 0, i + 1 == pieces.len());
            let flags = (u8::from(first) << 7) | (u8::from(last) << 6) | (head & 0x1f);
            let payload = [&[(head & 0xe0) | 28, flags], *piece].concat();
            if !self.packet(&payload, time, ends_picture && last).await {
                return false;
            }
        }
        true
    }

    /// One NAL unit of 240 MB, in packets as large as they may be, of which none is the last. Notes each 100 taken.
    async fn endless_unit(&mut self, time: u32) {
        for number in 0..4000 {
            let payload = [&[0x7c, if number == 0 { 0x81 } else { 1 }], [0xff; 60_000].as_slice()].concat();
            if !self.packet(&payload, time, false).await {
                return;
            }
            if number % 100 == 99 {
                self.shared.requests.lock().push("100 PACKETS".to_owned());
            }
        }
    }

    async fn packet(&mut self, payload: &[u8], time: u32, mark: bool) -> bool {
        let mut packet = vec![0x80, (u8::from(mark) << 7) | 96];
        packet.extend(self.sequence.to_be_bytes());
        packet.extend(time.to_be_bytes());
        packet.extend(self.ssrc.to_be_bytes());
        packet.extend(payload);
        self.sequence = self.sequence.wrapping_add(1);
        if let Some(socket) = &self.datagrams {
            // A viewer that has gone away shows as an error of the next datagram.
            let _ = socket.send(&packet).await;
            return self.peer.port() != 0;
        }
        self.framed(0, &packet).await
    }

    /// Within the RTSP connection.
    async fn framed(&self, channel: u8, packet: &[u8]) -> bool {
        let length = u16::try_from(packet.len()).expect("small");
        let framed = [&[b'$', channel], length.to_be_bytes().as_slice(), packet].concat();
        self.output.lock().await.write_all(&framed).await.is_ok()
    }
}

/// A sender's report that says nothing.
fn report(ssrc: u32) -> Vec<u8> {
    let mut report = vec![0x80, 200, 0, 6];
    report.extend(ssrc.to_be_bytes());
    report.extend([0; 20]);
    report
}
