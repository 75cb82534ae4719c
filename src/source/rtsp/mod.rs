//! Network cameras, through retina.

mod faults;
mod password;
mod sessions;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use retina::client::{
    Demuxed, PlayOptions, Session, SessionGroup, SessionOptions, SetupOptions, TcpTransportOptions, UdpTransportOptions,
};
use retina::codec::{CodecItem, FrameFormat, ParametersRef, VideoFrame, VideoParameters};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};
use tracing::info;
use url::Url;

use self::faults::{Faults, first_sentence};
use self::password::credentials;
use super::access_point::AccessPoints;
use super::timeline::{Join, ReorderedTimeline};
use super::{Config, Source, SourceError, Transport};
use crate::clock::Clock;
use crate::frame::{Codec, Packet, StreamInfo};

pub(super) use sessions::settle;

/// Video must begin within this after the camera agreed to play.
const FIRST_PICTURE_LIMIT: Duration = Duration::from_secs(10);

/// Silence for longer ends the connection. Retina's keep-alive notices a dead peer too, but later, and
/// not a camera that answers and sends nothing.
const SILENCE_LIMIT: Duration = Duration::from_secs(20);

/// Pictures without the parameters to decode them are of no use for longer than this.
const PARAMETERS_LIMIT: Duration = Duration::from_secs(20);

/// Encodings that retina unpacks, with what we call them.
fn codec_of(stream: &retina::client::Stream) -> Option<Codec> {
    match (stream.media(), stream.encoding_name()) {
        ("video", "h264") => Some(Codec::H264),
        ("video", "h265") => Some(Codec::H265),
        ("video" | "image", "jpeg") => Some(Codec::Mjpeg),
        _ => None,
    }
}

/// Describes, sets up and plays the first video stream that we can use.
pub(super) async fn connect(
    config: &Config,
    url: Url,
    what: String,
    clock: Arc<dyn Clock>,
) -> Result<Box<dyn Source>, SourceError> {
    let fault = Faults { what: &what, config };
    let group = sessions::group_of(&url);
    sessions::wait_out_stale_sessions(&group, &what).await;
    let options = SessionOptions::default()
        .creds(credentials(config, &what).await?)
        .session_group(group.clone())
        .user_agent(concat!("outpost/", env!("CARGO_PKG_VERSION")).to_owned());
    let mut session = fault.limited("DESCRIBE", Session::describe(url, options)).await?;
    let (video, codec) = choose(&session, &what)?;
    let transport = match config.transport {
        Transport::Tcp => retina::client::Transport::Tcp(TcpTransportOptions::default()),
        Transport::Udp => retina::client::Transport::Udp(UdpTransportOptions::default()),
    };
    let setup = SetupOptions::default().transport(transport).frame_format(FrameFormat::MP4);
    fault.limited("SETUP", session.setup(video, setup)).await?;
    let session = fault.limited("PLAY", session.play(PlayOptions::default())).await?;
    let session = session.demuxed().map_err(|e| fault.classify("DESCRIBE", &e))?;
    info!(camera = what, %codec, transport = ?config.transport, "RTSP camera plays");
    Ok(Box::new(RtspSource {
        deadline: Instant::now() + FIRST_PICTURE_LIMIT,
        session: Some(session),
        _group: group,
        runtime: Handle::current(),
        video,
        codec,
        stream: None,
        timeline: ReorderedTimeline::default(),
        join: Join::default(),
        access_points: AccessPoints::default(),
        clock,
        lost: 0,
        useless_since: None,
        ended: None,
        is_udp: config.transport == Transport::Udp,
        what,
    }))
}

fn choose(session: &Session<retina::client::Described>, what: &str) -> Result<(usize, Codec), SourceError> {
    let streams = session.streams();
    let found = streams.iter().enumerate().find_map(|(i, stream)| Some((i, codec_of(stream)?)));
    found.ok_or_else(|| {
        let offers: Vec<_> = streams.iter().map(|s| format!("{}/{}", s.media(), s.encoding_name())).collect();
        let offers = if offers.is_empty() { "nothing".to_owned() } else { offers.join(", ") };
        let reason = format!("it offers {offers}; set the camera to H.264, H.265 or MJPEG");
        SourceError::Unsupported { what: what.to_owned(), reason }
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
    stream: Option<Arc<StreamInfo>>,
    timeline: ReorderedTimeline,
    join: Join,
    access_points: AccessPoints,
    clock: Arc<dyn Clock>,
    /// RTP packets lost before the next packet, with those of pictures that were skipped.
    lost: u16,
    /// Since when pictures come that nobody can decode.
    useless_since: Option<Instant>,
    /// By when the next picture must be here.
    deadline: Instant,
    ended: Option<SourceError>,
    is_udp: bool,
    what: String,
}

impl RtspSource {
    /// All state is in `self` and changes only between two awaits, so this may be dropped at any time.
    async fn receive(&mut self) -> Result<Packet, SourceError> {
        loop {
            let Some(session) = self.session.as_mut() else {
                return Err(self.ended.clone().unwrap_or(self.lost_because("it was closed".to_owned())));
            };
            let failure = match timeout_at(self.deadline, session.next()).await {
                Ok(Some(Ok(CodecItem::VideoFrame(frame)))) if frame.stream_id() == self.video => {
                    self.deadline = Instant::now() + SILENCE_LIMIT;
                    match self.packet(frame) {
                        Ok(Some(packet)) => return Ok(packet),
                        Ok(None) => continue,
                        Err(failure) => failure,
                    }
                }
                Ok(Some(Ok(_))) => continue,
                Ok(Some(Err(error))) => self.lost_because(first_sentence(&error.to_string())),
                Ok(None) => self.lost_because("the camera closed the connection".to_owned()),
                Err(_) => self.lost_because(self.silence()),
            };
            self.end(failure.clone());
            return Err(failure);
        }
    }

    /// The frame as a packet, or nothing while the camera has not said how to decode it.
    fn packet(&mut self, frame: VideoFrame) -> Result<Option<Packet>, SourceError> {
        self.lost = self.lost.saturating_add(frame.loss());
        if self.stream.is_none() || frame.has_new_parameters() {
            self.learn_parameters();
        }
        let Some(stream) = self.stream.clone() else {
            let since = *self.useless_since.get_or_insert_with(Instant::now);
            if since.elapsed() > PARAMETERS_LIMIT {
                return Err(SourceError::Protocol {
                    what: self.what.clone(),
                    reason: format!("it sends {} but never its parameter sets; restart the camera", self.codec),
                });
            }
            self.lost = self.lost.saturating_add(1);
            return Ok(None);
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
            return Ok(None);
        }
        Ok(Some(Packet {
            stream,
            at,
            offset,
            key_frame,
            gradual: access.gradual,
            loss: std::mem::take(&mut self.lost),
            data: Bytes::from(frame.into_data()),
        }))
    }

    /// Takes over new parameters. The old `Arc` stays where they are the same.
    fn learn_parameters(&mut self) {
        let Some(stream) = self.session.as_ref().and_then(|s| s.streams().get(self.video)) else { return };
        let Some(ParametersRef::Video(parameters)) = stream.parameters() else { return };
        let info = describe(&self.codec, parameters, stream.framerate());
        if self.stream.as_ref().is_none_or(|known| **known != info) {
            if self.stream.is_some() {
                info!(camera = self.what, stream = ?info, "the camera changed its parameters");
            }
            self.stream = Some(Arc::new(info));
        }
    }

    fn silence(&self) -> String {
        match (&self.stream, self.is_udp) {
            (None, true) => format!(
                "no video within {} s after it began to play; a firewall may stop UDP, try transport = \"tcp\"",
                FIRST_PICTURE_LIMIT.as_secs()
            ),
            (None, false) => format!("no video within {} s after it began to play", FIRST_PICTURE_LIMIT.as_secs()),
            (Some(_), _) => format!("no video for {} s", SILENCE_LIMIT.as_secs()),
        }
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
}

impl Drop for RtspSource {
    fn drop(&mut self) {
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
mod tests;
