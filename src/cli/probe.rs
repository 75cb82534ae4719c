//! `outpost probe`: everything one wants to know before a camera goes into the configuration.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::output::{self, print_line};
use crate::frame::AudioOffer;
use crate::service::{Collected, Decoded, Look, collect, decode_all};
use crate::source::{self, Client, Transport};

/// Who types this waits for slow cameras, too.
const LOOK: Look =
    Look { listen: Duration::from_secs(5), key_frame_within: Duration::from_secs(60), most_bytes: usize::MAX };

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The camera: rtsp://host/path, ffmpeg:http://host/path (also rtmp, srt, udp and what else libavformat reads),
    /// whep+https://host/path, v4l2:/dev/video0 (or just /dev/video0), or a clip.
    camera: String,
    /// User name, for cameras that ask for one.
    #[arg(long)]
    username: Option<String>,
    /// File with the password.
    #[arg(long)]
    password_file: Option<PathBuf>,
    /// RTP over UDP instead of the RTSP connection.
    #[arg(long)]
    udp: bool,
    /// How long the camera may give no picture, such as 30s or 5m. Without, it is waited for 2 minutes.
    #[arg(long, value_parser = duration)]
    max_silence: Option<Duration>,
    /// Decoder by its libavcodec name.
    #[arg(long, default_value = "auto")]
    decoder: String,
    /// Where the snapshot goes.
    #[arg(long, default_value = "snapshot.jpg")]
    snapshot: PathBuf,
}

pub(super) fn main(args: &Args) -> Result<()> {
    let config = source::Config {
        url: as_url(&args.camera),
        username: args.username.clone(),
        password_file: args.password_file.clone(),
        transport: if args.udp { Transport::Udp } else { Transport::Auto },
        max_silence: args.max_silence,
        ..source::Config::default()
    };
    config.validate().map_err(anyhow::Error::msg)?;
    let decode = crate::decode::Config { decoder: args.decoder.clone(), ..crate::decode::Config::default() };
    decode.validate(None).map_err(anyhow::Error::msg)?;
    let collected = super::runtime()?.block_on(collect(&config, LOOK, |words| output::note(&words)))?;
    let Collected { packets, client, audio, first_after, longest_pause } = &collected;
    let Some(first) = packets.first() else { bail!("{} gave no picture", config.display_url()) };
    let keys = packets.iter().filter(|p| p.key_frame).count();
    let lost: u32 = packets.iter().map(|p| u32::from(p.loss)).sum();
    print_line(&format!("camera      {}", config.display_url()))?;
    if let Some(Client { name, version, reason, transport }) = client {
        let version = version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
        print_line(&format!("read        by {name}{version}"))?;
        if let Some(reason) = reason {
            print_line(&format!("            because retina refuses it: {reason}"))?;
        }
        if let Some(transport) = transport {
            print_line(&format!("transport   {transport}"))?;
        }
    }
    print_line(&format!("coding      {}", first.stream.codec))?;
    match audio {
        Some(AudioOffer::Recorded(codec)) => print_line(&format!("sound       {codec}"))?,
        Some(AudioOffer::Silent) => print_line("sound       none")?,
        Some(offer) => print_line(&format!("sound       {}", offer.note().unwrap_or_default()))?,
        None => {}
    }
    if let (Some(fps), Some(kbit)) = (collected.fps(), collected.kbit_per_s()) {
        print_line(&format!("frame rate  {fps:.1} fps"))?;
        print_line(&format!("bit rate    {kbit:.0} kbit/s"))?;
        print_line(&format!("key frames  {keys} in {:.1} s", collected.span_s()))?;
    }
    let (first_after, longest_pause) = (first_after.as_secs_f64(), longest_pause.as_secs_f64());
    print_line(&format!("first       after {first_after:.1} s, longest pause {longest_pause:.1} s"))?;
    print_line(&format!("lost        {lost} packets"))?;
    show(&decode_all(packets, decode), packets.len(), &args.snapshot)
}

fn as_url(camera: &str) -> String {
    if camera.starts_with("/dev/") {
        format!("v4l2:{camera}")
    } else if camera.contains("://") || ["v4l2:", "replay:", "ffmpeg:"].iter().any(|s| camera.starts_with(s)) {
        camera.to_owned()
    } else {
        format!("replay:{camera}")
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration: jiff::SignedDuration = text.parse().map_err(|_| "write it like 30s or 5m".to_owned())?;
    duration.try_into().map_err(|_| "it cannot be negative".to_owned())
}

fn show(decoded: &Decoded, of: usize, snapshot: &PathBuf) -> Result<()> {
    let Some(frame) = &decoded.newest else {
        let why = decoded.why.clone().unwrap_or_else(|| "no key frame came".to_owned());
        bail!("none of {of} packets decoded: {why}")
    };
    let (width, height) = (frame.picture.width(), frame.picture.height());
    print_line(&format!("size        {width}x{height}"))?;
    let fps = f64::from(decoded.pictures) / decoded.took.as_secs_f64();
    print_line(&format!("decoder     {}, {fps:.0} fps on this machine", decoded.decoder))?;
    if decoded.failed > 0 {
        print_line(&format!("damaged     {} of {of} packets did not decode", decoded.failed))?;
    }
    let jpeg = frame.picture.rgb(width, height)?.to_jpeg(90)?;
    std::fs::write(snapshot, jpeg).with_context(|| format!("write {}", snapshot.display()))?;
    print_line(&format!("snapshot    {}", snapshot.display()))?;
    Ok(())
}
