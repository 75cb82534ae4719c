//! `outpost probe`: everything one wants to know before a camera goes into the configuration.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::clock::SystemClock;
use crate::decode::Decoder;
use crate::frame::{Frame, Packet};
use crate::source::{self, Client, Next, Patience, Role, SourceError, Transport, Watched};

/// Packets are collected for this long, so that the frame rate is a measured one.
const LISTEN: Duration = Duration::from_secs(5);
/// A key frame, without which there is no snapshot, is waited for so long.
const KEY_FRAME_WITHIN: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The camera: rtsp://host/path, ffmpeg:http://host/path (also rtmp, srt, udp and what else libavformat reads),
    /// v4l2:/dev/video0 (or just /dev/video0), or a clip.
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
    let Collected { packets, client, first_after, longest_pause } = super::runtime()?.block_on(collect(&config))?;
    let (first, last) = match (packets.first(), packets.last()) {
        (Some(first), Some(last)) => (first, last),
        _ => bail!("{} gave no picture", config.display_url()),
    };
    let span = last.at.since(first.at).as_secs_f64();
    let bytes: usize = packets.iter().map(|p| p.data.len()).sum();
    let keys = packets.iter().filter(|p| p.key_frame).count();
    let lost: u32 = packets.iter().map(|p| u32::from(p.loss)).sum();
    println!("camera      {}", config.display_url());
    if let Some(Client { name, version, reason, transport }) = client {
        let version = version.map(|version| format!(" {version}")).unwrap_or_default();
        println!("read        by {name}{version}");
        if let Some(reason) = reason {
            println!("            because retina refuses it: {reason}");
        }
        if let Some(transport) = transport {
            println!("transport   {transport}");
        }
    }
    println!("coding      {}", first.stream.codec);
    if span > 0.0 {
        println!("frame rate  {:.1} fps", (packets.len() - 1) as f64 / span);
        println!("bit rate    {:.0} kbit/s", bytes as f64 * 8.0 / span / 1000.0);
        println!("key frames  {keys} in {span:.1} s");
    }
    println!(
        "first       after {:.1} s, longest pause {:.1} s",
        first_after.as_secs_f64(),
        longest_pause.as_secs_f64()
    );
    println!("lost        {lost} packets");
    decode_all(&packets, decode, &args.snapshot)
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

/// What a camera gave.
struct Collected {
    packets: Vec<Packet>,
    /// What read them.
    client: Option<Client>,
    /// From the connection to the first packet.
    first_after: Duration,
    /// Between two packets.
    longest_pause: Duration,
}

async fn collect(config: &source::Config) -> Result<Collected> {
    let clock = Arc::new(SystemClock::new());
    let mut patience = Patience::without_another_try(config);
    let source = patience.connect(config, Role::Main, clock.clone()).await?;
    let connected = Instant::now();
    let mut source = Watched::new(source, &mut patience, config.display_url(), clock);
    let (mut packets, mut first_after) = (Vec::<Packet>::new(), Duration::ZERO);
    let (mut until, mut has_key) = (None::<Instant>, false);
    loop {
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
                    until = Some(connected + first_after + if packet.key_frame { LISTEN } else { KEY_FRAME_WITHIN });
                    has_key = packet.key_frame;
                }
                packets.push(packet);
            }
            Ok(Next::Waiting(words)) => eprintln!("{words}"),
            Err(SourceError::Ended) => break,
            Err(failure) => return Err(failure.into()),
        }
    }
    let client = source.client();
    Ok(Collected { packets, client, first_after, longest_pause: source.longest_pause() })
}

fn decode_all(packets: &[Packet], config: crate::decode::Config, snapshot: &PathBuf) -> Result<()> {
    let mut decoder = Decoder::new(config);
    let (mut decoded, mut failed, mut newest, mut why) = (0u32, 0u32, None::<Frame>, None);
    let started = Instant::now();
    for packet in packets {
        match decoder.decode(packet) {
            Ok(frames) => {
                decoded += frames.len() as u32;
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
    decoded += held_back.len() as u32;
    newest = held_back.into_iter().last().or(newest);
    let took = started.elapsed().as_secs_f64();
    let Some(frame) = newest else {
        let why = why.unwrap_or_else(|| "no key frame came".to_owned());
        bail!("none of {} packets decoded: {why}", packets.len())
    };
    let (width, height) = (frame.picture.width(), frame.picture.height());
    println!("size        {width}x{height}");
    println!("decoder     {name}, {:.0} fps on this machine", f64::from(decoded) / took);
    if failed > 0 {
        println!("damaged     {failed} of {} packets did not decode", packets.len());
    }
    let jpeg = frame.picture.rgb(width, height)?.to_jpeg(90)?;
    std::fs::write(snapshot, jpeg).with_context(|| format!("write {}", snapshot.display()))?;
    println!("snapshot    {}", snapshot.display());
    Ok(())
}
