//! From an address to a session that plays.

use std::sync::Arc;

use retina::client::{
    Credentials, Demuxed, Described, InitialSequenceNumberPolicy, InitialTimestampPolicy, PlayOptions, Session,
    SessionGroup, SessionIdPolicy, SessionOptions, SetupOptions, UnknownRtcpSsrcPolicy,
};
use retina::codec::FrameFormat;
use tracing::{info, warn};
use url::Url;

use super::audio::{self, Choice};
use super::carrier::{self, Carrier};
use super::faults::{self, Faults, refused};
use super::redirect;
use crate::frame::{AudioCodec, AudioOffer, Codec};
use crate::source::address::redact;
use crate::source::{Config, SourceError, encryption};

/// A session that plays.
pub(super) struct Opened {
    pub(super) session: Demuxed,
    pub(super) video: usize,
    pub(super) codec: Codec,
    pub(super) audio: Option<usize>,
    pub(super) offer: AudioOffer,
}

/// Why a session does not play.
pub(super) enum Obstacle {
    /// The camera does not send by this carrier.
    Carrier(SourceError),
    Other(SourceError),
}

impl From<SourceError> for Obstacle {
    fn from(failure: SourceError) -> Self {
        Self::Other(failure)
    }
}

/// Opens sessions of one camera.
pub(super) struct Opener<'a> {
    pub(super) config: &'a Config,
    pub(super) url: &'a Url,
    pub(super) what: &'a str,
    pub(super) group: &'a Arc<SessionGroup>,
    pub(super) credentials: Option<Credentials>,
}

impl Opener<'_> {
    /// Retina is as lenient as it can be: nothing is used of what it could be strict about.
    pub(super) async fn open(&self, carrier: Carrier) -> Result<Opened, Obstacle> {
        let (mut session, withheld_at) = self.describe().await?;
        let fault = Faults { what: self.what, config: self.config, withheld_at: withheld_at.as_deref() };
        let (video, codec) = choose(&session, self.what)?;
        let setup = SetupOptions::default().transport(carrier.for_retina()).frame_format(FrameFormat::MP4);
        fault.within("SETUP", session.setup(video, setup)).await?.map_err(|e| {
            let failure = fault.classify("SETUP", &e);
            if carrier::is_refused(&e) { Obstacle::Carrier(failure) } else { Obstacle::Other(failure) }
        })?;
        let (audio, offer) = self.set_up_audio(&mut session, &fault, carrier).await?;
        let play = PlayOptions::default()
            .initial_timestamp(InitialTimestampPolicy::Ignore)
            .initial_seq(InitialSequenceNumberPolicy::Ignore)
            .unknown_rtcp_ssrc(UnknownRtcpSsrcPolicy::ProcessPackets);
        let session = fault.limited("PLAY", session.play(play)).await?;
        let session = session.demuxed().map_err(|e| fault.classify("DESCRIBE", &e))?;
        Ok(Opened { session, video, codec, audio, offer })
    }

    /// Asks for the audio that clips hold. A camera that refuses it is asked for its pictures alone.
    async fn set_up_audio(
        &self,
        session: &mut Session<Described>,
        fault: &Faults<'_>,
        carrier: Carrier,
    ) -> Result<(Option<usize>, AudioOffer), Obstacle> {
        let is_left_out = audio::is_left_out(self.url);
        let index = match audio::choose(session, self.config.takes_audio) {
            Choice::Stream(_) | Choice::ByOther(_) if is_left_out => return Ok((None, AudioOffer::Broken)),
            Choice::Stream(index) => index,
            Choice::None(offer) => return Ok((None, offer)),
            Choice::ByOther(reason) => {
                let failure = SourceError::Unsupported { what: self.what.to_owned(), reason };
                return Err(Obstacle::Other(refused(failure)));
            }
        };
        let setup = SetupOptions::default().transport(carrier.for_retina()).frame_format(FrameFormat::MP4);
        let failure = match fault.within("SETUP", session.setup(index, setup)).await {
            Ok(Ok(())) => return Ok((Some(index), AudioOffer::Recorded(AudioCodec::Aac))),
            Ok(Err(error)) => fault.classify("SETUP", &error),
            Err(failure) => failure,
        };
        audio::leave_out(self.url);
        warn!(camera = self.what, error = %failure, "the camera refuses to send its sound, pictures are recorded without it");
        Ok((None, AudioOffer::Broken))
    }

    /// The description, from where the camera sends us, and the host that was not given the password.
    async fn describe(&self) -> Result<(Session<Described>, Option<String>), SourceError> {
        let (mut url, mut credentials, mut withheld_at) = (self.url.clone(), self.credentials.clone(), None);
        for _ in 0..=redirect::MOST {
            let fault = Faults { what: self.what, config: self.config, withheld_at: withheld_at.as_deref() };
            let options = SessionOptions::default()
                .creds(credentials.clone())
                .session_group(self.group.clone())
                .session_id(SessionIdPolicy::UseFirst)
                .user_agent(concat!("outpost/", env!("CARGO_PKG_VERSION")).to_owned());
            let moved = match fault.within("DESCRIBE", Session::describe(url.clone(), options)).await? {
                Ok(session) => return Ok((session, withheld_at)),
                Err(error) if !redirect::is_one(&error) => {
                    let failure = fault.classify("DESCRIBE", &error);
                    let is_tls = faults::may_be_tls(&error);
                    let mismatch = if is_tls { encryption::mismatch(&url, self.what).await } else { None };
                    return Err(mismatch.unwrap_or(failure));
                }
                Err(_) => redirect::location(&url, credentials.as_ref()).await,
            };
            url = moved.map_err(|reason| SourceError::Protocol {
                what: self.what.to_owned(),
                reason: format!("it sends us on, but {reason}"),
            })?;
            if url.host() != self.url.host() && credentials.take().is_some() {
                withheld_at = url.host_str().map(str::to_owned);
            }
            info!(camera = self.what, to = redact(url.as_str()), "the camera sends us to another address");
        }
        let reason = format!("it sends us on more than {} times", redirect::MOST);
        Err(SourceError::Protocol { what: self.what.to_owned(), reason })
    }
}

fn choose(session: &Session<Described>, what: &str) -> Result<(usize, Codec), SourceError> {
    let streams = session.streams();
    let found = streams.iter().enumerate().find_map(|(i, stream)| Some((i, codec_of(stream)?)));
    found.ok_or_else(|| {
        let offers: Vec<_> = streams.iter().map(|s| format!("{}/{}", s.media(), s.encoding_name())).collect();
        let offers = if offers.is_empty() { "nothing".to_owned() } else { offers.join(", ") };
        let reason = format!("it offers {offers}; set the camera to H.264, H.265 or MJPEG");
        let fault = SourceError::Unsupported { what: what.to_owned(), reason };
        // libavformat unpacks more, such as MPEG-4.
        if streams.iter().any(|stream| stream.media() == "video") { refused(fault) } else { fault }
    })
}

/// Encodings that retina unpacks, with what we call them.
fn codec_of(stream: &retina::client::Stream) -> Option<Codec> {
    match (stream.media(), stream.encoding_name()) {
        ("video", "h264") => Some(Codec::H264),
        ("video", "h265") => Some(Codec::H265),
        ("video" | "image", "jpeg") => Some(Codec::Mjpeg),
        _ => None,
    }
}
