//! A file that plays the camera: for tests, demonstrations, and going over old footage.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ffmpeg_next as ffmpeg;
use tracing::debug;

use super::access_point::{Access, AccessPoints};
use super::audio::Beside;
use super::error::plain;
use super::libav::stream;
use super::thread::{OPEN_LIMIT, Outlet, StopFlag, ThreadSource};
use super::timeline::{FileTimeline, composition_offset};
use super::{Config, Pace, Source, SourceError};
use crate::clock::{Clock, Mono};
use crate::frame::{Audio, AudioInfo, AudioOffer, Packet, StreamInfo};

/// Between frames of a file that does not say how many it has a second.
const USUAL_STEP: Duration = Duration::from_millis(40);

/// So many unreadable spots in a row are the end of a damaged file.
const MAX_DAMAGE: u32 = 100;

/// Waiting for a packet's time is done in slices, so that a clock that is moved by hand is noticed.
const WAIT_SLICE: Duration = Duration::from_millis(50);

/// Opens the file on its thread.
pub(super) async fn connect(
    config: &Config,
    path: PathBuf,
    clock: Arc<dyn Clock>,
) -> Result<Box<dyn Source>, SourceError> {
    let what = path.display().to_string();
    let (pace, repeat, takes_audio) = (config.pace, config.repeat, config.takes_audio);
    ThreadSource::start("replay", what, OPEN_LIMIT, move |outlet| {
        let end = Player { path: &path, pace, clock: &*clock, repeat, takes_audio }.run(outlet);
        end.err().unwrap_or(SourceError::Ended)
    })
    .await
}

struct Player<'a> {
    path: &'a Path,
    pace: Pace,
    repeat: bool,
    takes_audio: bool,
    clock: &'a dyn Clock,
}

impl Player<'_> {
    /// Plays all turns. `Ok` when the last one is over or the receiver is dropped.
    fn run(&self, outlet: &mut Outlet) -> Result<(), SourceError> {
        let mut opened = self.open(outlet)?;
        outlet.offers(opened.offer.clone());
        outlet.opened();
        let mut timeline = FileTimeline::new(self.clock.mono(), opened.step());
        loop {
            let stream = opened.stream.clone();
            let played = self.turn(&mut opened, &mut timeline, outlet)?;
            if outlet.stopped() || !self.repeat {
                return Ok(());
            }
            if played == 0 {
                // Repeating nothing would spin.
                return Err(unsupported(self.path, "it holds no pictures"));
            }
            debug!(path = %self.path.display(), played, "replay begins again");
            // Opened afresh: not every container can seek back.
            opened = self.open(outlet)?;
            if *opened.stream == *stream {
                opened.stream = stream;
            }
            timeline.turn();
        }
    }

    fn open(&self, outlet: &Outlet) -> Result<Recording, SourceError> {
        Recording::open(self.path, self.takes_audio, self.clock.mono(), outlet.stop_flag())
    }

    /// Plays once and returns the number of packets.
    fn turn(&self, file: &mut Recording, timeline: &mut FileTimeline, outlet: &mut Outlet) -> Result<u64, SourceError> {
        let mut played = 0;
        while let Some(coded) = file.read()? {
            let at = timeline.place(coded.time_ns);
            if self.pace == Pace::Real && !self.wait_for(at, outlet) {
                break;
            }
            let packet = Packet {
                offset: coded.offset,
                gradual: coded.gradual,
                loss: coded.loss,
                audio: file.audio_beside(coded.time_ns, at),
                ..Packet::new(file.stream.clone(), at, coded.key_frame, coded.data)
            };
            if !outlet.send(packet) {
                break;
            }
            played += 1;
        }
        Ok(played)
    }

    /// False when the source was dropped meanwhile.
    fn wait_for(&self, at: Mono, outlet: &Outlet) -> bool {
        loop {
            if outlet.stopped() {
                return false;
            }
            let left = at.since(self.clock.mono());
            if left.is_zero() {
                return true;
            }
            // Dropping the source unparks.
            std::thread::park_timeout(left.min(WAIT_SLICE));
        }
    }
}

struct Coded {
    /// When the file decodes it, else when it is shown, in the file's own time.
    time_ns: Option<i64>,
    offset: Duration,
    key_frame: bool,
    gradual: bool,
    loss: u16,
    data: Bytes,
}

/// An open file and its video stream.
struct Recording {
    path: PathBuf,
    input: ffmpeg::format::context::Input,
    index: usize,
    time_base: ffmpeg::Rational,
    stream: Arc<StreamInfo>,
    access_points: AccessPoints,
    audio: Option<Track>,
    offer: AudioOffer,
}

/// The audio of a file.
struct Track {
    index: usize,
    info: AudioInfo,
    time_base: ffmpeg::Rational,
    beside: Beside,
}

impl Recording {
    fn open(path: &Path, takes_audio: bool, now: Mono, stop: StopFlag) -> Result<Self, SourceError> {
        stream::prepare();
        check_file(path)?;
        // With the protocol named, a colon in the file's name starts no other one.
        let name = format!("file:{}", path.display());
        let input = ffmpeg::format::input_with_interrupt(&name, move || stop.is_set())
            .map_err(|e| unsupported(path, format!("it is no video, or its beginning or index is damaged ({e})")))?;
        let video = input.streams().best(ffmpeg::media::Type::Video);
        let video = video.ok_or_else(|| unsupported(path, "it holds no video"))?;
        let stream = Arc::new(stream::describe(&video));
        let (index, time_base, access_points) = (video.index(), video.time_base(), AccessPoints::default());
        let (audio, offer) = stream::find_audio(&input, takes_audio);
        let audio = audio.and_then(|(index, info)| {
            let (time_base, beside) = (input.stream(index)?.time_base(), Beside::new(info.clone(), now));
            Some(Track { index, info, time_base, beside })
        });
        Ok(Self { path: path.to_owned(), index, time_base, stream, input, access_points, audio, offer })
    }

    /// What travels with the picture that the file puts at `picture_ns` and the box at `at`.
    fn audio_beside(&mut self, picture_ns: Option<i64>, at: Mono) -> Option<Arc<Audio>> {
        self.audio.as_mut().and_then(|audio| audio.beside.take(picture_ns, at, at))
    }

    fn hear(&mut self, packet: &ffmpeg::Packet) {
        let Some(audio) = self.audio.as_mut().filter(|audio| packet.stream() == audio.index) else { return };
        if let Some((at_ns, lasts, data)) = stream::audio_packet(packet, &audio.info, audio.time_base) {
            audio.beside.hear(at_ns, lasts, data);
        }
    }

    fn step(&self) -> Duration {
        self.stream.fps.map_or(USUAL_STEP, |fps| Duration::from_secs_f32(1.0 / fps))
    }

    /// The next packet of the video stream, `None` at the end or where the file is cut off.
    fn read(&mut self) -> Result<Option<Coded>, SourceError> {
        let (mut damage, mut loss) = (0, 0u16);
        while damage < MAX_DAMAGE {
            let mut packet = ffmpeg::Packet::empty();
            match packet.read(&mut self.input) {
                Ok(()) if packet.stream() != self.index => self.hear(&packet),
                // A packet that the file's end cuts through is marked corrupt.
                Ok(()) if packet.is_corrupt() => loss = loss.saturating_add(1),
                Ok(()) => {
                    let Some(data) = packet.data().filter(|data| !data.is_empty()) else { continue };
                    let [dts, pts] =
                        [packet.dts(), packet.pts()].map(|ticks| Some(stream::nanoseconds(ticks?, self.time_base)));
                    // Packets come in the order of decoding, where the decoding time grows steadily and the time of
                    // showing jumps back and forth.
                    let time_ns = dts.or(pts);
                    let at = Mono(time_ns.and_then(|ns| u64::try_from(ns).ok()).unwrap_or(0));
                    let StreamInfo { codec, extradata, .. } = &*self.stream;
                    // A file's index may leave out the recovery points.
                    let Access { key_frame, gradual } = self.access_points.access(codec, extradata, data, at);
                    let key_frame = key_frame || packet.is_key();
                    let (offset, data) = (composition_offset(dts, pts), Bytes::copy_from_slice(data));
                    return Ok(Some(Coded { time_ns, offset, key_frame, gradual, loss, data }));
                }
                Err(ffmpeg::Error::Eof | ffmpeg::Error::Exit) => return Ok(None),
                Err(ffmpeg::Error::InvalidData) => {
                    damage += 1;
                    loss = loss.saturating_add(1);
                }
                Err(failure) => {
                    let reason = format!("reading failed ({failure}), check the disk");
                    return Err(SourceError::Lost { what: self.path.display().to_string(), reason });
                }
            }
        }
        Ok(None)
    }
}

/// Says in plain words what libav would call invalid data.
fn check_file(path: &Path) -> Result<(), SourceError> {
    let what = || path.display().to_string();
    let meta = std::fs::metadata(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            SourceError::NotFound { what: what(), reason: "no such file, check the path in url".to_owned() }
        }
        std::io::ErrorKind::PermissionDenied => SourceError::Unauthorised {
            what: what(),
            reason: "permission denied, make it readable for this service".to_owned(),
        },
        _ => SourceError::Lost { what: what(), reason: format!("it cannot be examined ({})", plain(&e)) },
    })?;
    if !meta.is_file() {
        return Err(unsupported(path, "it is not a regular file"));
    }
    if meta.len() == 0 {
        return Err(unsupported(path, "it is empty"));
    }
    std::fs::File::open(path).map(drop).map_err(|e| SourceError::Unauthorised {
        what: what(),
        reason: format!("it cannot be opened ({}), make it readable for this service", plain(&e)),
    })
}

fn unsupported(path: &Path, reason: impl Into<String>) -> SourceError {
    SourceError::Unsupported { what: path.display().to_string(), reason: reason.into() }
}

#[cfg(test)]
mod tests;
