//! Everything one wants to know before a camera goes into the configuration: which there are, and what one gives. The page
//! and the command line connect as the daemon does.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::clock::{Clock, SystemClock};
use crate::decode::{self, Decoder};
use crate::discovery::{self, Discovery, NetworkCamera};
use crate::frame::{AudioOffer, Frame, Packet};
use crate::source::{self, Client, Device, Next, Patience, Role, SourceError, Watched};
use crate::webrtc;

/// Cameras that are looked at at once.
const AT_ONCE: usize = 2;
/// How long one is looked at in all, by the page.
const WITHIN: Duration = Duration::from_secs(25);
/// What the page collects of a camera.
const SHORT: Look =
    Look { listen: Duration::from_secs(2), key_frame_within: Duration::from_secs(20), most_bytes: 64 << 20 };
/// The picture is no wider, pixels.
const WIDEST: u32 = 1280;
const QUALITY: u8 = 80;
/// What a camera said is cut here, characters.
const LONGEST_REASON: usize = 500;

/// How long and how much of a camera is collected.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Behind the first key frame, so that the frame rate is a measured one.
    pub listen: Duration,
    /// A key frame, without which there is no picture, is waited for so long.
    pub key_frame_within: Duration,
    /// No more than this, bytes.
    pub most_bytes: usize,
}

/// What a camera gave.
pub struct Collected {
    /// Its packets.
    pub packets: Vec<Packet>,
    /// What read them.
    pub client: Option<Client>,
    /// What it offers to be heard.
    pub audio: Option<AudioOffer>,
    /// From the connection to the first packet.
    pub first_after: Duration,
    /// Between two packets.
    pub longest_pause: Duration,
}

/// Connects to a camera and collects what it gives. `waiting` gets words for the person who waits.
///
/// # Errors
/// What is wrong with the camera and what to do.
pub async fn collect(
    config: &source::Config,
    look: Look,
    mut waiting: impl FnMut(String),
) -> Result<Collected, SourceError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    // A camera is read as it would be with the sound that it offers.
    let config = &source::Config { takes_audio: true, ..config.clone() };
    let mut patience = Patience::without_another_try(config);
    let source = patience.connect(webrtc::connect, config, Role::Main, clock.clone()).await?;
    let connected = Instant::now();
    let mut source = Watched::new(source, &mut patience, config.display_url(), clock);
    let (mut packets, mut first_after, mut bytes) = (Vec::<Packet>::new(), Duration::ZERO, 0);
    let (mut until, mut has_key) = (None::<Instant>, false);
    while bytes < look.most_bytes {
        let next = tokio::select! {
            next = source.next() => next,
            () = tokio::time::sleep_until(until.unwrap_or(connected).into()), if until.is_some() => break,
        };
        match next {
            Ok(Next::Packet(packet)) => {
                if packets.is_empty() {
                    first_after = connected.elapsed();
                }
                // Without a key frame it is listened on for one.
                if !has_key {
                    let more = if packet.key_frame { look.listen } else { look.key_frame_within };
                    until = Some(connected + first_after + more);
                    has_key = packet.key_frame;
                }
                bytes += packet.data.len();
                packets.push(packet);
            }
            Ok(Next::Waiting(words)) => waiting(words),
            Err(SourceError::Ended) => break,
            Err(failure) => return Err(failure),
        }
    }
    let (client, audio) = (source.client(), source.audio());
    Ok(Collected { packets, client, audio, first_after, longest_pause: source.longest_pause() })
}

impl Collected {
    /// Between the first and the last packet, seconds.
    pub fn span_s(&self) -> f64 {
        let ends = self.packets.first().zip(self.packets.last());
        ends.map_or(0.0, |(first, last)| last.at.since(first.at).as_secs_f64())
    }

    /// Measured frames per second; `None` of less than two packets.
    pub fn fps(&self) -> Option<f64> {
        let span = self.span_s();
        #[allow(clippy::cast_precision_loss)]
        (span > 0.0).then(|| (self.packets.len() - 1) as f64 / span)
    }

    /// Measured kbit/s.
    pub fn kbit_per_s(&self) -> Option<f64> {
        let (span, bytes) = (self.span_s(), self.packets.iter().map(|packet| packet.data.len()).sum::<usize>());
        #[allow(clippy::cast_precision_loss)]
        (span > 0.0).then(|| bytes as f64 * 8.0 / span / 1000.0)
    }
}

/// What became of packets in a decoder.
pub struct Decoded {
    /// Pictures.
    pub pictures: u32,
    /// Packets that did not decode.
    pub failed: u32,
    /// Why the first of them did not.
    pub why: Option<String>,
    /// The last picture.
    pub newest: Option<Frame>,
    /// Name of the decoder.
    pub decoder: String,
    /// What it took.
    pub took: Duration,
}

/// Decodes `packets` with a decoder of their own. Blocks on the work.
pub fn decode_all(packets: &[Packet], config: decode::Config) -> Decoded {
    let mut decoder = Decoder::new(config);
    let (mut pictures, mut failed, mut newest, mut why) = (0u32, 0u32, None::<Frame>, None);
    let started = Instant::now();
    for packet in packets {
        match decoder.decode(packet) {
            Ok(frames) => {
                pictures += u32::try_from(frames.len()).unwrap_or_default();
                newest = frames.into_iter().last().or(newest);
            }
            Err(failure) => {
                failed += 1;
                why.get_or_insert(failure.to_string());
            }
        }
    }
    let name = decoder.decoder_name().unwrap_or("none").to_owned();
    // Decoders hold pictures back until they know that no other is to be shown before them.
    let held_back = decoder.flush();
    pictures += u32::try_from(held_back.len()).unwrap_or_default();
    newest = held_back.into_iter().last().or(newest);
    Decoded { pictures, failed, why, newest, decoder: name, took: started.elapsed() }
}

/// A source that is tried and not saved.
#[derive(Debug)]
pub struct ProbeSource {
    /// It.
    pub config: source::Config,
    /// The file that its password lies in for as long as it is tried.
    pub password: Option<PathBuf>,
}

impl Drop for ProbeSource {
    fn drop(&mut self) {
        if let Some(file) = &self.password {
            // What is left by a power cut goes with the next change of the configuration.
            let _ = std::fs::remove_file(file);
        }
    }
}

/// What a camera gives.
#[derive(Clone, Debug, Serialize)]
pub struct Probed {
    /// Its address, without secrets.
    pub source: String,
    /// `H.264`
    pub coding: String,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Measured frames per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fps: Option<f64>,
    /// Measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kbit_per_s: Option<f64>,
    /// Whether it offers sound; absent where that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub has_audio: Option<bool>,
    /// Why its sound is not recorded, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_note: Option<String>,
    /// How the pictures come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
    /// From the question to the first picture, seconds.
    pub first_picture_s: f64,
    /// The newest picture: a JPEG, in base64.
    pub picture: String,
}

/// The cameras that are found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Found {
    /// Those that are attached to the box.
    pub devices: Vec<Device>,
    /// Those that answer in its networks.
    pub network: Vec<NetworkCamera>,
}

/// Why a camera was not looked at, or gives nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeFailure {
    /// Others are being looked at.
    #[error("other cameras are being tried: wait a moment")]
    Busy,
    /// What is wrong, in words for the operator.
    #[error("{0}")]
    Failed(String),
}

/// Looks for cameras, and at one. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ProbeService {
    turns: Arc<Semaphore>,
    discovery: Discovery,
}

impl ProbeService {
    /// One that asks for cameras as `discovery` says.
    pub fn new(discovery: Discovery) -> Self {
        Self { turns: Arc::new(Semaphore::new(AT_ONCE)), discovery }
    }

    /// The cameras of this box and its networks. Takes a few seconds.
    ///
    /// # Errors
    /// While others ask already.
    pub async fn found(&self) -> Result<Found, ProbeFailure> {
        let _turn = self.turns.try_acquire().map_err(|_| ProbeFailure::Busy)?;
        let devices = tokio::task::spawn_blocking(source::devices);
        let (devices, network) = tokio::join!(devices, discovery::find(self.discovery));
        Ok(Found { devices: devices.unwrap_or_default(), network })
    }

    /// Connects to a camera as the daemon would, for a bounded time.
    ///
    /// # Errors
    /// What is wrong and what to do; never what the other side sent.
    pub async fn probe(&self, source: ProbeSource) -> Result<Probed, ProbeFailure> {
        let _turn = self.turns.try_acquire().map_err(|_| ProbeFailure::Busy)?;
        let started = Instant::now();
        let shown = source.config.display_url();
        let silent = || {
            ProbeFailure::Failed(format!(
                "{shown} gave no picture within {} s: check that its address, its path and its power are right",
                WITHIN.as_secs()
            ))
        };
        let collected = timeout(WITHIN, collect(&source.config, SHORT, |_| {})).await.map_err(|_| silent())?;
        let collected = collected.map_err(|failure| failed(&failure.to_string()))?;
        let Some(first) = collected.packets.first() else { return Err(silent()) };
        // What is collected takes its time behind the first packet.
        let listened = Duration::from_secs_f64(collected.span_s().clamp(0.0, WITHIN.as_secs_f64()));
        let first_picture_s = started.elapsed().saturating_sub(listened).as_secs_f64();
        let coding = first.stream.codec.to_string();
        let (fps, kbit_per_s) = (collected.fps(), collected.kbit_per_s());
        let transport = collected.client.as_ref().and_then(|client| client.transport.clone());
        let has_audio = collected.audio.as_ref().map(|offer| *offer != AudioOffer::Silent);
        let audio_note = collected.audio.as_ref().and_then(AudioOffer::note);
        let picture = tokio::task::spawn_blocking(move || picture(&collected.packets)).await;
        let (width, height, jpeg) =
            picture.unwrap_or_else(|error| Err(error.to_string())).map_err(|why| failed(&why))?;
        Ok(Probed {
            source: shown.clone(),
            coding,
            width,
            height,
            fps,
            kbit_per_s,
            has_audio,
            audio_note,
            transport,
            first_picture_s,
            picture: STANDARD.encode(jpeg),
        })
    }
}

/// The last picture of these packets with its own size.
fn picture(packets: &[Packet]) -> Result<(u32, u32, Vec<u8>), String> {
    let decoded = decode_all(packets, decode::Config::default());
    let Some(frame) = decoded.newest else {
        let why =
            decoded.why.unwrap_or_else(|| "no key frame came; shorten the key frame interval of the camera".into());
        return Err(format!("none of {} packets decoded: {why}", packets.len()));
    };
    let (width, height) = (frame.picture.width(), frame.picture.height());
    let shown = width.min(WIDEST);
    let rgb = frame.picture.rgb(shown, (height * shown / width.max(1)).max(1)).map_err(|error| error.to_string())?;
    Ok((width, height, rgb.to_jpeg(QUALITY).map_err(|error| error.to_string())?))
}

/// One line of words.
fn failed(why: &str) -> ProbeFailure {
    ProbeFailure::Failed(why.chars().filter(|c| !c.is_control()).take(LONGEST_REASON).collect())
}
