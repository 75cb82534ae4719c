//! Stage 1: get packets from a camera.
//!
//! A source knows how to run once: [`connect`] it, call [`Source::next`] until it fails. How long it may give no
//! picture is decided by [`Patience`] alone. Trying again and the distribution of packets live in the pipeline.
//!
//! RTSP is a network protocol and runs on the async runtime. V4L2, files and what libavformat reads from the network
//! block, so each runs on a named thread of its own behind a small bounded channel. What they share is the time: a
//! [`Packet`] says when its picture was taken on the boot clock, whatever clock the camera keeps.

mod access_point;
mod address;
mod annexb;
mod audio;
mod config;
mod encryption;
mod error;
mod fallback;
#[cfg(test)]
mod fuzz;
mod libav;
mod patience;
mod published;
mod replay;
mod rtsp;
#[cfg(test)]
#[allow(dead_code, reason = "the scenarios use other settings")]
#[path = "../../tests/it/harness/scripted_rtsp/mod.rs"]
mod scripted_rtsp;
mod thread;
mod timeline;
#[cfg_attr(not(feature = "v4l"), path = "v4l2_absent.rs")]
mod v4l2;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::clock::Clock;
use crate::frame::{AudioOffer, Packet};
use crate::health::Traffic;

pub use config::{Config, Pace, Transport, V4l2Format};
pub use error::SourceError;
pub use patience::{Arrivals, Next, Patience, Watched};
pub use published::{AWAY, PublishedCodec, PublishedPicture, Publisher, Publishers, Taken};
pub use rtsp::password::check_password;

use address::Address;

/// The password, or the token, in a file of the configuration.
///
/// # Errors
/// Says what is wrong with the file named.
pub async fn read_secret(path: &std::path::Path) -> Result<String, String> {
    rtsp::password::read_password(path).await.map_err(|reason| format!("password_file {} {reason}", path.display()))
}

/// Which of a camera's streams is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The stream that is recorded: [`Config::url`].
    Main,
    /// The smaller stream for detection: [`Config::substream`], or the main one where there is none.
    Sub,
}

/// A connected camera. Dropping it stops the stream and frees the device.
pub trait Source: Send {
    /// The next packet. Dropping the future before it is done loses no packet.
    ///
    /// # Errors
    /// The source is over: connect again after a pause. Further calls fail as well.
    fn next(&mut self) -> BoxFuture<'_, Result<Packet, SourceError>>;

    /// What has come since the connection was made that is no picture.
    fn arrivals(&self) -> Arrivals {
        Arrivals::default()
    }

    /// What reads the stream, where there is a choice. It no longer changes after the first packet.
    fn client(&self) -> Option<Client> {
        None
    }

    /// What came of its WebRTC session, where that is what it is.
    fn traffic(&self) -> Option<Traffic> {
        None
    }

    /// What the camera offers to be heard; `None` where that is not known.
    fn audio(&self) -> Option<AudioOffer> {
        None
    }
}

/// The library that reads a network camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// `retina` or `libavformat`.
    pub name: &'static str,
    /// Its version, where the library says: "59.27.100".
    pub version: Option<String>,
    /// Why it is not the usual one, in words for the operator.
    pub reason: Option<Arc<str>>,
    /// What carries the pictures, and why it is not the usual one: "UDP, as the camera refuses TCP".
    pub transport: Option<String>,
}

/// A camera that is attached to this box.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Device {
    /// `v4l2:/dev/video0`
    pub source: String,
    /// What it calls itself.
    pub name: String,
    /// Its driver in the kernel; empty where the device cannot be opened.
    pub driver: String,
    /// The codings that it gives, as four letters: `MJPG`, `YUYV`.
    pub formats: Vec<String>,
}

/// How cameras are connected: [`connect`], or what knows the protocols of other modules besides.
pub type Connect = fn(Config, Role, Arc<dyn Clock>) -> BoxFuture<'static, Result<Box<dyn Source>, SourceError>>;

/// Connects to a camera. Returns once packets are on their way.
///
/// Each step of the way has a time limit of 10 s. Before an RTSP connection is made, sessions that the
/// camera may still hold from before are waited out, which takes up to 70 s with old camera firmware;
/// dropping the future gives up at any time.
///
/// # Errors
/// [`SourceError`] says what is wrong with which camera and what to do about it.
pub async fn connect(config: &Config, role: Role, clock: Arc<dyn Clock>) -> Result<Box<dyn Source>, SourceError> {
    let url = config.url_of(role);
    let what = address::redact(url);
    let refuse = |reason: String| SourceError::Unsupported { what: what.clone(), reason };
    config.validate().map_err(refuse)?;
    match Address::parse(url).map_err(refuse)? {
        Address::Rtsp(url) => fallback::connect(config, url, what, clock).await,
        Address::Libav(url) => libav::connect(config, url, what, None, clock).await,
        Address::V4l2(path) => v4l2::connect(config, path, clock).await,
        Address::Replay(path) => replay::connect(config, path, clock).await,
        Address::Published => Err(refuse(published::AWAY.to_owned())),
        // `webrtc` connects to those.
        Address::Whep(_) => Err(refuse("a camera that offers WHEP is none for this".to_owned())),
    }
}

/// The cameras that are attached to this box, in the order of their names. Blocks on the devices.
pub fn devices() -> Vec<Device> {
    v4l2::devices()
}

/// Waits until every RTSP session that was dropped has been torn down, so that cameras with few
/// sessions to give are free at the next start. Call it at shutdown, after the sources were dropped.
/// Gives up after `limit`.
pub async fn settle(limit: Duration) {
    rtsp::settle(limit).await;
}
