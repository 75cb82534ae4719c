//! Network cameras through libavformat: what speaks no RTSP (HTTP MJPEG, FLV, RTMP, SRT, MPEG-TS, HLS), and RTSP
//! that retina does not take.
//!
//! libavformat blocks, so each stream has a thread. An interrupt callback ends every wait there: at its time limit,
//! and at once when the receiver is dropped. What a camera or a playlist says is foreign input: only network
//! protocols and the containers of live streams may be opened, and what is read has limits of size.

mod faults;
mod intake;
mod login;
mod open;
mod pace;
mod parameters;
pub(super) mod stream;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ffmpeg_next as ffmpeg;
use futures::future::BoxFuture;
use tracing::{info, warn};
use url::Url;

use self::faults::Faults;
use self::open::Watch;
use self::pace::Pacer;
use self::parameters::Parameters;
pub(super) use self::parameters::coded_size;
use super::access_point::AccessPoints;
use super::audio::{Beside, Gathered};
use super::thread::{Outlet, ThreadSource};
use super::timeline::{Join, LiveTimeline};
use super::{Arrivals, Client, Config, Source, SourceError, encryption};
use crate::clock::{Clock, Mono};
use crate::frame::{AudioInfo, AudioOffer, AudioPacket, Packet};

/// Connecting and recognising the stream, for which the first picture is needed, takes no longer. Where
/// [`Config::max_silence`] is longer, it counts.
const OPEN_LIMIT: Duration = Duration::from_secs(30);

/// The thread gives up by itself and knows why; only a name server that hangs keeps it for so much longer.
const THREAD_GRACE: Duration = Duration::from_secs(5);

/// No camera's picture is larger, in coded bytes. Each one is held several times, in queues and the pre-roll.
const LARGEST_PACKET: usize = 32 << 20;

/// Largest width and height, pixels.
const LARGEST_SIDE: u32 = 16_384;

/// So many unreadable spots in a row are no stream any more.
const MAX_DAMAGE: u32 = 100;

/// Between two tries where the demuxer has nothing yet.
const AGAIN: Duration = Duration::from_millis(10);

/// Opens the address on a thread of its own. `reason` says why it is not read by the usual client, where that is so.
pub(super) async fn connect(
    config: &Config,
    url: Url,
    what: String,
    reason: Option<Arc<str>>,
    clock: Arc<dyn Clock>,
) -> Result<Box<dyn Source>, SourceError> {
    let login = login::login(config, &what).await?;
    let address = login::with_login(&url, login.as_ref(), &what)?;
    let shown = what.clone();
    let name = format!("av-{}", url.host_str().unwrap_or_default());
    let limit = config.max_silence.map_or(OPEN_LIMIT, |silence| silence.max(OPEN_LIMIT));
    let request = open::Request { limit, address, scheme: url.scheme().to_owned(), config: config.clone() };
    let source = ThreadSource::start(&name, what.clone(), limit + THREAD_GRACE, move |outlet| {
        let watch = Watch::new(outlet.stop_flag());
        let faults =
            Faults { limit, what: &what, scheme: &request.scheme, has_login: request.has_login(), watch: &watch };
        match play(&request, &faults, &*clock, outlet) {
            Err(failure) => failure,
            // The receiver is gone.
            Ok(()) => SourceError::Ended,
        }
    });
    match source.await {
        Ok(source) => Ok(Box::new(LibavSource { source, reason })),
        Err(failure) if faults::may_be_tls(&failure) => {
            Err(encryption::mismatch(&url, &shown).await.unwrap_or(failure))
        }
        Err(failure) => Err(failure),
    }
}

/// The thread's stream, with the name of its reader.
struct LibavSource {
    source: Box<dyn Source>,
    reason: Option<Arc<str>>,
}

impl Source for LibavSource {
    fn next(&mut self) -> BoxFuture<'_, Result<Packet, SourceError>> {
        self.source.next()
    }

    fn arrivals(&self) -> Arrivals {
        self.source.arrivals()
    }

    fn client(&self) -> Option<Client> {
        Some(Client {
            name: "libavformat",
            version: Some(stream::version()),
            reason: self.reason.clone(),
            transport: None,
        })
    }

    fn audio(&self) -> Option<AudioOffer> {
        self.source.audio()
    }
}

/// Runs until the receiver is dropped, which is `Ok`.
fn play(
    request: &open::Request,
    faults: &Faults<'_>,
    clock: &dyn Clock,
    outlet: &mut Outlet,
) -> Result<(), SourceError> {
    let connecting = clock.mono();
    let mut reader =
        Reader::open(request, faults, clock).or_else(|failure| without_audio(failure, request, faults, clock))?;
    outlet.offers(reader.offer.clone());
    outlet.opened();
    let (container, stream) = (&reader.container, reader.parameters.stream());
    info!(camera = faults.what, container, ?stream, libavformat = stream::version(), "libavformat plays a camera");
    let mut pacer = Pacer::new(&reader.container, stream.fps, connecting, clock);
    if let Some(SoundTimes::Own(_, _, begun)) = reader.audio.as_mut().map(|audio| &mut audio.times) {
        *begun = Some(pacer.begun());
    }
    let (mut access_points, mut join) = (AccessPoints::default(), Join::default());
    while !outlet.stopped() {
        let Some(coded) = reader.read(outlet, clock)? else { break };
        let Some((at, offset)) = pacer.place(coded.dts_ns, coded.pts_ns, clock, || outlet.stopped()) else { break };
        let stream = reader.parameters.stream().clone();
        // Not every container says where decoding can begin.
        let access = access_points.access(&stream.codec, &stream.extradata, &coded.data, at);
        let key_frame = access.key_frame || coded.key_frame;
        if coded.pts_ns.is_some_and(|pts_ns| join.refers_before(pts_ns, key_frame)) {
            continue;
        }
        let (gradual, loss) = (access.gradual, coded.loss);
        let picture_ns = coded.dts_ns.or(coded.pts_ns);
        let audio = reader.audio.as_mut().and_then(|audio| audio.times.take(picture_ns, at, clock.mono()));
        let packet = Packet { offset, gradual, loss, audio, ..Packet::new(stream, at, key_frame, coded.data) };
        // Waiting for room holds the network back, and the reader never waits for long.
        if !outlet.send(packet) {
            break;
        }
    }
    Ok(())
}

/// Pictures come first: a camera that cannot be opened with its sound is tried without it.
fn without_audio<'a>(
    failure: SourceError,
    request: &open::Request,
    faults: &'a Faults<'a>,
    clock: &dyn Clock,
) -> Result<Reader<'a>, SourceError> {
    let is_of_stream = matches!(failure, SourceError::Protocol { .. } | SourceError::Unsupported { .. });
    if !request.config.takes_audio || !is_of_stream {
        return Err(failure);
    }
    let mut silent = request.clone();
    silent.config.takes_audio = false;
    let Ok(mut reader) = Reader::open(&silent, faults, clock) else { return Err(failure) };
    let reason = failure.reason();
    warn!(camera = faults.what, reason, "the camera does not play with its sound, pictures are recorded without it");
    reader.offer = AudioOffer::Broken;
    Ok(reader)
}

/// The audio that is recorded.
struct Sound {
    index: usize,
    info: AudioInfo,
    time_base: ffmpeg::Rational,
    times: SoundTimes,
}

/// Where its times come from.
enum SoundTimes {
    /// From the clock that the pictures have.
    Shared(Beside),
    /// From a clock of its own, as each stream of RTP has one. The first packet came when those of the pictures began to.
    Own(LiveTimeline, Gathered, Option<Mono>),
}

impl SoundTimes {
    fn hear(&mut self, (at_ns, lasts, data): (i64, Duration, &[u8]), now: Mono) {
        match self {
            SoundTimes::Shared(beside) => beside.hear(at_ns, lasts, data),
            SoundTimes::Own(timeline, gathered, begun) => {
                let at = timeline.place(at_ns, begun.take().unwrap_or(now));
                gathered.push(AudioPacket { at, lasts, data: Bytes::copy_from_slice(data) }, now);
            }
        }
    }

    fn take(&mut self, picture_ns: Option<i64>, at: Mono, now: Mono) -> Option<Arc<crate::frame::Audio>> {
        match self {
            SoundTimes::Shared(beside) => beside.take(picture_ns, at, now),
            SoundTimes::Own(_, gathered, _) => gathered.take(now),
        }
    }
}

struct Coded {
    /// When it is decoded on the stream's own clock, where that says.
    dts_ns: Option<i64>,
    /// When it is shown, likewise.
    pts_ns: Option<i64>,
    key_frame: bool,
    loss: u16,
    data: Bytes,
}

/// An open stream and its video.
struct Reader<'a> {
    /// Dropped before `input`.
    _visible: open::Visible,
    input: ffmpeg::format::context::Input,
    /// libavformat's name of the container.
    container: String,
    index: usize,
    time_base: ffmpeg::Rational,
    parameters: Parameters,
    audio: Option<Sound>,
    offer: AudioOffer,
    faults: &'a Faults<'a>,
}

impl<'a> Reader<'a> {
    fn open(request: &open::Request, faults: &'a Faults<'a>, clock: &dyn Clock) -> Result<Self, SourceError> {
        stream::prepare();
        faults.watch.allow(request.limit);
        // Dropped in the opposite order where the rest fails.
        let opened = open::open(request, faults.watch.clone()).map_err(|e| faults.opening(e))?;
        let (mut input, visible) = (opened.1, opened.0);
        if intake::is_over() {
            return Err(faults.too_large());
        }
        let container = input.format().name().to_owned();
        let video = stream::largest_video(&input).ok_or_else(|| faults.no_video())?;
        let (index, time_base) = (video.index(), video.time_base());
        let mut info = stream::describe(&video);
        if pace::has_no_times(&container) {
            // libavformat invents a rate for these.
            info.fps = None;
        }
        check_size(info.width, info.height, faults)?;
        let (audio, offer) = stream::find_audio(&input, request.config.takes_audio);
        let audio = audio.and_then(|(index, info)| {
            let time_base = input.stream(index)?.time_base();
            let now = clock.mono();
            let times = match pace::has_clocks_apart(&container) {
                true => SoundTimes::Own(LiveTimeline::default(), Gathered::new(info.clone(), now), None),
                false => SoundTimes::Shared(Beside::new(info.clone(), now)),
            };
            Some(Sound { index, info, time_base, times })
        });
        let wanted: Vec<_> = [Some(index), audio.as_ref().map(|audio| audio.index)].into_iter().flatten().collect();
        stream::keep_only(&mut input, &wanted);
        // From here on it is decided elsewhere how long a camera may be silent.
        faults.watch.allow_any_time();
        let parameters = Parameters::new(info);
        Ok(Self { _visible: visible, input, container, index, time_base, parameters, audio, offer, faults })
    }

    /// The next packet of the video, `None` when the receiver is dropped.
    fn read(&mut self, outlet: &Outlet, clock: &dyn Clock) -> Result<Option<Coded>, SourceError> {
        let (mut damage, mut loss) = (0, 0u16);
        while damage < MAX_DAMAGE {
            let mut packet = ffmpeg::Packet::empty();
            let result = packet.read(&mut self.input);
            // Whatever libavformat makes of the error, what it has is not the whole picture.
            if intake::is_over() {
                return Err(self.faults.too_large());
            }
            if result.is_ok() && packet.stream() == self.index {
                intake::picture_came();
            }
            match result {
                Ok(()) if packet.stream() != self.index => self.hear(&packet, clock),
                Ok(()) if packet.is_corrupt() => {
                    outlet.unusable(|| "the pictures have holes".to_owned());
                    loss = loss.saturating_add(1);
                }
                Ok(()) => {
                    let Some(data) = packet.data().filter(|data| !data.is_empty()) else { continue };
                    if data.len() > LARGEST_PACKET {
                        return Err(self.faults.too_large());
                    }
                    let key_frame = packet.is_key();
                    if self.parameters.learn(&packet, data, key_frame) {
                        let stream = self.parameters.stream();
                        check_size(stream.width, stream.height, self.faults)?;
                        info!(camera = self.faults.what, ?stream, "the camera changed its parameters");
                    }
                    let [dts_ns, pts_ns] = [packet.dts(), packet.pts()].map(|ticks| {
                        let ticks = ticks.filter(|_| !pace::has_no_times(&self.container))?;
                        Some(stream::nanoseconds(ticks, self.time_base))
                    });
                    return Ok(Some(Coded { dts_ns, pts_ns, key_frame, loss, data: Bytes::copy_from_slice(data) }));
                }
                Err(_) if outlet.stopped() => return Ok(None),
                Err(ffmpeg::Error::Other { errno: ffmpeg::error::EAGAIN }) => std::thread::park_timeout(AGAIN),
                Err(ffmpeg::Error::InvalidData) => {
                    outlet.unusable(|| "what comes is damaged".to_owned());
                    damage += 1;
                    loss = loss.saturating_add(1);
                }
                Err(failure) => return Err(self.faults.reading(failure)),
            }
            // libavformat asks the callback only while it waits.
            if outlet.stopped() {
                return Ok(None);
            }
        }
        Err(self.faults.protocol(format!("{MAX_DAMAGE} unreadable packets in a row")))
    }

    fn hear(&mut self, packet: &ffmpeg::Packet, clock: &dyn Clock) {
        let Some(audio) = self.audio.as_mut().filter(|audio| packet.stream() == audio.index) else { return };
        if let Some(heard) = stream::audio_packet(packet, &audio.info, audio.time_base) {
            audio.times.hear(heard, clock.mono());
        }
    }
}

fn check_size(width: u32, height: u32, faults: &Faults<'_>) -> Result<(), SourceError> {
    if width.max(height) <= LARGEST_SIDE {
        return Ok(());
    }
    let reason = format!("its picture of {width}x{height} is too large, at most {LARGEST_SIDE} pixels a side");
    Err(faults.unsupported(reason))
}
