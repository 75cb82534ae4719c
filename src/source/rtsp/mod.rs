//! Network cameras, through retina.

pub(super) mod audio;
mod carrier;
mod faults;
mod keepalive;
mod open;
pub(super) mod password;
mod redirect;
mod sessions;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use retina::client::{Demuxed, SessionGroup, Tool};
use retina::codec::{CodecItem, ParametersRef, VideoFrame, VideoParameters};
use tokio::runtime::Handle;
use tracing::{info, warn};
use url::Url;

use self::audio::AudioStream;
use self::carrier::Carrier;
use self::faults::{first_sentence, is_about_the_line, refused};
use self::open::{Obstacle, Opened, Opener};
use self::password::credentials;
use super::access_point::AccessPoints;
use super::timeline::{Join, ReorderedTimeline};
use super::{Arrivals, Client, Config, Source, SourceError, Transport};
use crate::clock::Clock;
use crate::frame::{AudioOffer, Codec, Packet, StreamInfo};
use crate::supervise::panic_text;

pub(super) use sessions::settle;

/// What to do when a session over UDP stays empty.
const UDP_ADVICE: &str = "a firewall may stop UDP, try transport = \"tcp\"";

/// How retina says that a packet's synchronisation source is not the expected one; a test watches it.
const OTHER_SSRC: &str = "wrong ssrc after";

/// Describes, sets up and plays the first video stream that we can use. A panic on the way is an error of the camera's
/// answers: retina's reader of descriptions panics where a line of a media section is no line of SDP.
pub(super) async fn connect(
    config: &Config,
    url: Url,
    what: String,
    clock: Arc<dyn Clock>,
) -> Result<Box<dyn Source>, SourceError> {
    let opened = AssertUnwindSafe(open_session(config, url, what.clone(), clock)).catch_unwind().await;
    opened.unwrap_or_else(|panic| {
        let reason = format!("its description cannot be read (panic: {})", first_sentence(&panic_text(&*panic)));
        Err(refused(SourceError::Protocol { what, reason }))
    })
}

async fn open_session(
    config: &Config,
    url: Url,
    what: String,
    clock: Arc<dyn Clock>,
) -> Result<Box<dyn Source>, SourceError> {
    let group = sessions::group_of(&url);
    sessions::wait_out_stale_sessions(&group, &url, &what).await;
    let credentials = credentials(config, &what).await?;
    let opener = Opener { config, url: &url, what: &what, group: &group, credentials };
    let mut refused_by: Option<(Carrier, SourceError)> = None;
    for &carrier in Carrier::order(config.transport, &url) {
        let opened = match opener.open(carrier).await {
            Ok(opened) => opened,
            Err(Obstacle::Carrier(failure)) => {
                info!(camera = what, transport = %carrier, "the camera refuses this transport");
                refused_by = Some((carrier, failure));
                continue;
            }
            Err(Obstacle::Other(failure)) => return Err(failure),
        };
        if config.transport == Transport::Auto {
            carrier.remember(&url);
        }
        let Opened { session, video, codec, audio, offer } = opened;
        let audio = audio.and_then(|index| AudioStream::new(session.streams().get(index)?, index, clock.mono()));
        let has_stale_bug = session.tool().is_some_and(Tool::has_live555_tcp_bug);
        if has_stale_bug {
            sessions::sends_into_others(&url);
        }
        info!(camera = what, %codec, sound = audio.is_some(), transport = %carrier, "RTSP camera plays");
        let advice = (carrier == Carrier::Udp).then_some(UDP_ADVICE);
        return Ok(Box::new(RtspSource {
            session: Some(session),
            _group: group,
            runtime: Handle::current(),
            video,
            codec,
            audio,
            offer,
            stream: None,
            timeline: ReorderedTimeline::default(),
            join: Join::default(),
            access_points: AccessPoints::default(),
            clock,
            lost: 0,
            ended: None,
            arrivals: Arrivals { advice, ..Arrivals::default() },
            carrier,
            is_second_choice: config.transport == Transport::Auto && carrier == Carrier::Udp,
            has_stale_bug,
            url,
            what,
        }));
    }
    let (carrier, failure) = refused_by.ok_or_else(|| SourceError::Lost { what, reason: "no transport".to_owned() })?;
    Err(match config.transport {
        Transport::Auto => failure.with_more("; it refuses TCP and UDP alike"),
        _ => failure.with_more(&format!(" ({carrier}): remove transport, then the other one is tried by itself")),
    })
}

struct RtspSource {
    /// `None` once it is over.
    session: Option<Demuxed>,
    /// Keeps count of this address's sessions for the next connect.
    _group: Arc<SessionGroup>,
    /// Dropping a session spawns its teardown, which must happen inside the runtime.
    runtime: Handle,
    video: usize,
    codec: Codec,
    audio: Option<AudioStream>,
    offer: AudioOffer,
    stream: Option<Arc<StreamInfo>>,
    timeline: ReorderedTimeline,
    join: Join,
    access_points: AccessPoints,
    clock: Arc<dyn Clock>,
    /// RTP packets lost before the next packet, with those of pictures that were skipped.
    lost: u16,
    ended: Option<SourceError>,
    arrivals: Arrivals,
    carrier: Carrier,
    /// Whether that is not the first choice because the camera refuses that.
    is_second_choice: bool,
    /// Whether the camera's software sends a dead session's packets into a new one.
    has_stale_bug: bool,
    url: Url,
    what: String,
}

impl RtspSource {
    /// All state is in `self` and changes only between two awaits, so this may be dropped at any time.
    async fn receive(&mut self) -> Result<Packet, SourceError> {
        loop {
            let Some(session) = self.session.as_mut() else {
                return Err(self.ended.clone().unwrap_or(self.lost_because("it was closed".to_owned())));
            };
            let (item, refuses_keepalive) = keepalive::next(session).await;
            let failure = match item {
                _ if refuses_keepalive => self.stale_nonce(),
                Some(Ok(CodecItem::VideoFrame(frame))) if frame.stream_id() == self.video => match self.packet(frame) {
                    Some(packet) => return Ok(packet),
                    None => continue,
                },
                Some(Ok(item)) => {
                    self.take_audio(&item);
                    self.arrivals.reports = self.arrivals.reports.saturating_add(1);
                    continue;
                }
                Some(Err(error)) if self.is_about_audio(&error) => match self.audio_breaks(&error) {
                    Some(failure) => failure,
                    None => continue,
                },
                Some(Err(error)) => self.broken(first_sentence(&error.to_string())),
                None if self.audio.as_ref().is_some_and(AudioStream::is_damaged) => self.without_audio(),
                None => self.lost_because("the camera closed the connection".to_owned()),
            };
            self.end(failure.clone());
            return Err(failure);
        }
    }

    fn take_audio(&mut self, item: &CodecItem) {
        let now = self.clock.mono();
        if let (CodecItem::AudioFrame(frame), Some(audio)) = (item, &mut self.audio)
            && frame.stream_id() == audio.index
        {
            audio.push(frame, now);
        }
    }

    /// Whether retina means the audio stream.
    fn is_about_audio(&self, error: &retina::Error) -> bool {
        let session = self.session.as_ref();
        let stream = self.audio.as_ref().and_then(|audio| session?.streams().get(audio.index));
        stream
            .and_then(|stream| stream.ctx())
            .is_some_and(|ctx| error.to_string().contains(&format!("stream: {ctx}\n")))
    }

    /// A packet of audio cannot be read. Gives the end of the session where that goes on.
    fn audio_breaks(&mut self, error: &retina::Error) -> Option<SourceError> {
        tracing::debug!(camera = self.what, error = first_sentence(&error.to_string()), "audio packet left out");
        self.audio.as_mut().is_some_and(AudioStream::is_hopeless).then(|| self.without_audio())
    }

    /// The next session has no audio.
    fn without_audio(&self) -> SourceError {
        audio::leave_out(&self.url);
        warn!(camera = self.what, "the camera's sound cannot be read, pictures are recorded without it");
        self.lost_because("its sound cannot be read; it is connected again without it".to_owned())
    }

    /// The frame as a packet, or nothing while the camera has not said how to decode it.
    fn packet(&mut self, frame: VideoFrame) -> Option<Packet> {
        self.lost = self.lost.saturating_add(frame.loss());
        if self.stream.is_none() || frame.has_new_parameters() {
            self.learn_parameters();
        }
        let Some(stream) = self.stream.clone() else {
            self.arrivals.unusable = self.arrivals.unusable.saturating_add(1);
            self.arrivals.why.get_or_insert_with(|| {
                format!(
                    "its {} comes without parameter sets so far, which some cameras send with key frames only",
                    self.codec
                )
            });
            self.lost = self.lost.saturating_add(1);
            return None;
        };
        let timestamp = frame.timestamp();
        let ticks = i128::from(timestamp.elapsed()) * 1_000_000_000 / i128::from(timestamp.clock_rate().get());
        let stream_ns = i64::try_from(ticks).unwrap_or_default();
        let now = self.clock.mono();
        let (at, offset) = self.timeline.place(stream_ns, now);
        // Retina counts IDR pictures only.
        let access = self.access_points.access(&self.codec, &stream.extradata, frame.data(), now);
        let key_frame = access.key_frame || frame.is_random_access_point();
        if self.join.refers_before(stream_ns, key_frame) {
            return None;
        }
        Some(Packet {
            stream,
            at,
            offset,
            key_frame,
            gradual: access.gradual,
            loss: std::mem::take(&mut self.lost),
            data: Bytes::from(frame.into_data()),
            audio: self.audio.as_mut().and_then(|audio| audio.gathered.take(now)),
        })
    }

    /// Takes over new parameters. The old `Arc` stays where they are the same.
    fn learn_parameters(&mut self) {
        let Some(stream) = self.session.as_ref().and_then(|s| s.streams().get(self.video)) else { return };
        let Some(ParametersRef::Video(parameters)) = stream.parameters() else { return };
        let info = describe(&self.codec, parameters, stream.framerate());
        if self.stream.as_ref().is_none_or(|known| **known != info) {
            self.timeline.expect(info.fps);
            if self.stream.is_some() {
                info!(camera = self.what, stream = ?info, "the camera changed its parameters");
            }
            self.stream = Some(Arc::new(info));
        }
    }

    /// The session would end soon. Another client answers such a refusal with the fresh nonce.
    fn stale_nonce(&self) -> SourceError {
        let reason = "its digest nonce went stale, and retina does not take the fresh one to keep the session alive";
        refused(SourceError::Protocol { what: self.what.clone(), reason: reason.to_owned() })
    }

    fn broken(&self, said: String) -> SourceError {
        if said.contains(OTHER_SSRC) {
            if self.has_stale_bug {
                return self.lost_because("packets of an old session come in this one".to_owned());
            }
            let reason = "its packets change their synchronisation source (SSRC), or have another one than it said";
            return refused(SourceError::Protocol { what: self.what.clone(), reason: reason.to_owned() });
        }
        let is_line = is_about_the_line(&said);
        let fault = self.lost_because(said);
        if is_line { fault } else { refused(fault) }
    }

    fn lost_because(&self, reason: String) -> SourceError {
        SourceError::Lost { what: self.what.clone(), reason }
    }

    fn end(&mut self, why: SourceError) {
        self.ended = Some(why);
        let _inside = self.runtime.enter();
        self.session = None;
    }
}

impl Source for RtspSource {
    fn next(&mut self) -> BoxFuture<'_, Result<Packet, SourceError>> {
        Box::pin(self.receive())
    }

    fn client(&self) -> Option<Client> {
        let why = if self.is_second_choice { ", as the camera refuses TCP" } else { "" };
        let transport = Some(format!("{}{why}", self.carrier));
        Some(Client { name: "retina", version: None, reason: None, transport })
    }

    fn audio(&self) -> Option<AudioOffer> {
        Some(self.offer.clone())
    }

    fn arrivals(&self) -> Arrivals {
        self.arrivals.clone()
    }
}

impl Drop for RtspSource {
    fn drop(&mut self) {
        // Datagrams that never arrive are no reason to keep away from the other transport.
        if self.carrier == Carrier::Udp && self.stream.is_none() && self.arrivals.is_empty() {
            Carrier::forget(&self.url);
        }
        let _inside = self.runtime.enter();
        self.session = None;
    }
}

fn describe(codec: &Codec, parameters: &VideoParameters, announced: Option<f32>) -> StreamInfo {
    let (width, height) = parameters.pixel_dimensions();
    // Retina gives the duration of a frame, as a fraction of a second.
    let coded = parameters.frame_rate().filter(|(duration, _)| *duration > 0);
    #[allow(clippy::cast_possible_truncation)]
    let coded = coded.map(|(duration, second)| (f64::from(second) / f64::from(duration)) as f32);
    let fps = announced.or(coded).filter(|fps| (0.01..1000.0).contains(fps));
    let extradata = match codec {
        Codec::Mjpeg => Bytes::new(),
        _ => Bytes::copy_from_slice(parameters.extra_data()),
    };
    StreamInfo {
        codec: codec.clone(),
        width,
        height,
        extradata,
        fps,
        orientation: crate::frame::Orientation::default(),
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
