//! Clips against what the `ffmpeg` and `ffprobe` command lines say about them.

mod audio;
mod coding;
mod fragments;
mod fuzz;
mod joined;
mod torn;

use std::process::Command;
use std::sync::OnceLock;

use ffmpeg_next::codec::Id;

use super::*;

const MS: u64 = 1_000_000;

/// When the first packet of every fixture was taken.
const T0: u64 = 77_000 * MS;

fn cli(program: &str, dir: &Path, args: &str) -> String {
    let done = Command::new(program).args(args.split_whitespace()).current_dir(dir).output().expect("run");
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && errors.is_empty(), "{program} {args}: {errors}");
    String::from_utf8(done.stdout).expect("text")
}

/// Makes a fixture with the `ffmpeg` command line and reads its packets, 100 ms apart.
#[allow(unsafe_code)]
pub(crate) fn packets(coding: &str, file: &str) -> Vec<Packet> {
    start_libav();
    let dir = tempfile::tempdir().expect("temp dir");
    cli("ffmpeg", dir.path(), &format!("-nostdin -v error -f lavfi -i testsrc2=rate=10:{coding} {file}"));
    let mut input = ffmpeg::format::input(&dir.path().join(file)).expect("open fixture");
    let parameters = input.streams().best(ffmpeg::media::Type::Video).expect("video").parameters();
    // SAFETY: the parameters live as long as `input`.
    let info = unsafe {
        let raw = &*parameters.as_ptr();
        let extradata = match raw.extradata_size {
            0 => Bytes::new(),
            n => Bytes::copy_from_slice(std::slice::from_raw_parts(raw.extradata, n as usize)),
        };
        let codec = match parameters.id() {
            Id::H264 => Codec::H264,
            Id::HEVC => Codec::H265,
            Id::MJPEG => Codec::Mjpeg,
            Id::RAWVIDEO => Codec::Yuyv,
            other => Codec::Other(other.name().into()),
        };
        StreamInfo {
            codec,
            width: raw.width as u32,
            height: raw.height as u32,
            extradata,
            fps: Some(10.0),
            orientation: crate::frame::Orientation::default(),
        }
    };
    let info = Arc::new(info);
    let packet = |(i, (stream, packet)): (usize, (ffmpeg::Stream<'_>, ffmpeg::Packet))| {
        let ticks = packet.pts().zip(packet.dts()).map_or(0, |(pts, dts)| pts - dts);
        let (at, base) = (Mono(T0 + i as u64 * 100 * MS), f64::from(stream.time_base()));
        let data = Bytes::copy_from_slice(packet.data().expect("data"));
        // Whole milliseconds, as all times here.
        let offset = Duration::from_millis((ticks as f64 * base * 1000.0).round() as u64);
        Packet { offset, ..Packet::new(info.clone(), at, packet.is_key(), data) }
    };
    input.packets().enumerate().map(packet).collect()
}

const X264: &str = "-c:v libx264 -preset ultrafast -g 20 -bf 0 -pix_fmt yuv420p";
const X265: &str = "-c:v libx265 -preset ultrafast -x265-params log-level=error:keyint=20:bframes=0 -pix_fmt yuv420p";

/// Five seconds, key frames every two.
fn h264() -> &'static [Packet] {
    static PACKETS: OnceLock<Vec<Packet>> = OnceLock::new();
    PACKETS.get_or_init(|| packets(&format!("size=160x96 -t 5 {X264}"), "a.mp4"))
}

/// B-frames that are themselves referred to, so that two pictures are reordered.
const PYRAMID: &str =
    "-c:v libx264 -preset veryfast -g 20 -bf 3 -b-pyramid normal -x264-params b-adapt=0 -pix_fmt yuv420p";
const PYRAMID_265: &str = "-c:v libx265 -preset ultrafast -x265-params log-level=error:keyint=20:bframes=3:b-adapt=0:b-pyramid=1 -pix_fmt yuv420p";

struct Clip {
    dir: tempfile::TempDir,
    path: PathBuf,
}

impl Clip {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("clip.mp4");
        Self { dir, path }
    }

    fn writer(&self) -> ClipWriter {
        ClipWriter::create(&self.path, &Config::default()).expect("create")
    }

    fn write(&self, packets: &[Packet]) -> ClipFacts {
        let mut writer = self.writer();
        for packet in packets {
            writer.write(packet).expect("write");
        }
        writer.finish().expect("finish")
    }

    /// Decodes everything; any error fails the test. Gives the number of pictures.
    fn play(&self) -> u64 {
        let args = "-nostdin -v error -xerror -i clip.mp4 -vsync passthrough -enc_time_base 1:90000 -f framecrc -";
        let out = cli("ffmpeg", self.dir.path(), args);
        out.lines().filter(|line| !line.starts_with('#')).count() as u64
    }

    fn probe(&self, entries: &str) -> String {
        let args = format!("-v error -select_streams v -show_entries {entries} -of csv=p=0 clip.mp4");
        cli("ffprobe", self.dir.path(), &args).trim().to_owned()
    }

    /// Seconds according to mvhd and mdhd.
    fn header_durations(&self) -> (f64, f64) {
        let file = reopen(&self.path).expect("open");
        let layout = boxes::layout(&file).expect("read").expect("moov");
        let moov = boxes::read_moov(&file, layout.moov).expect("moov");
        let seconds = |name: &[u8]| {
            // Version 0: name, version and flags, two times, time scale, duration.
            let at = moov.windows(4).position(|w| w == name).expect("box") + 4;
            let number = |at: usize| u32::from_be_bytes(moov[at..at + 4].try_into().expect("four bytes"));
            f64::from(number(at + 16)) / f64::from(number(at + 12))
        };
        (seconds(b"mvhd"), seconds(b"mdhd"))
    }

    fn bytes(&self) -> u64 {
        std::fs::metadata(&self.path).expect("clip").len()
    }
}

#[test]
fn h264_and_h265_go_in_unchanged_and_play() {
    for (coding, file, codec, tag) in [
        (X264, "a.mp4", "h264", "avc1"),
        (X264, "a.h264", "h264", "avc1"),
        (X264, "a.ts", "h264", "avc1"),
        (X265, "a.mp4", "hevc", "hvc1"),
        (X265, "a.ts", "hevc", "hvc1"),
    ] {
        let packets = packets(&format!("size=162x98 -t 5 {coding}"), file);
        let clip = Clip::new();
        let facts = clip.write(&packets);
        let expected = ClipFacts {
            start: Mono(T0),
            duration: Duration::from_secs(5),
            codec: codec.to_owned(),
            width: 162,
            height: 98,
            frames: 50,
            bytes: clip.bytes(),
        };
        assert_eq!(facts, expected, "{coding} {file}");
        assert_eq!(clip.play(), 50, "{coding} {file}");
        let probed = clip.probe("stream=codec_name,codec_tag_string,width,height,start_time");
        assert_eq!(probed, format!("{codec},{tag},162,98,0.000000"), "{coding} {file}");
        assert_eq!(clip.probe("format=duration"), "5.000000", "{coding} {file}");
        assert!(clip.probe("packet=flags").starts_with('K'));
    }
}

#[test]
fn the_file_is_fragmented_at_every_key_frame_and_every_second() {
    let clip = Clip::new();
    clip.write(h264());
    let file = reopen(&clip.path).expect("open");
    let layout = boxes::layout(&file).expect("read").expect("moov");
    // 2 s, 2 s and 1 s between key frames, each cut after a second.
    assert_eq!(layout.fragments.len(), 5);
    assert!(layout.finished);
    let kinds: Vec<_> = boxes::complete_boxes(&file).expect("read").iter().take(4).map(|b| b.kind).collect();
    assert_eq!(kinds, [*b"ftyp", *b"moov", *b"moof", *b"mdat"]);
}

#[test]
fn header_durations_are_entered_for_players_that_do_not_read_to_the_end() {
    let clip = Clip::new();
    clip.write(h264());
    assert_eq!(clip.header_durations(), (5.0, 5.0));
    let torn = killed(h264());
    assert_eq!(torn.header_durations(), (0.0, 0.0));
    repair(&torn.path).expect("repair");
    assert_eq!(torn.header_durations(), (4.0, 4.0));
}

#[test]
fn times_in_the_file_are_those_of_the_packets() {
    let mut packets = h264()[..20].to_vec();
    for (i, packet) in packets.iter_mut().enumerate() {
        // A camera that stutters: 100 ms and 20 ms in turns, and a pause.
        let pause = if i >= 15 { 3_000 } else { 0 };
        packet.at = Mono(T0 + (i as u64 / 2 * 120 + i as u64 % 2 * 100 + pause) * MS);
    }
    let clip = Clip::new();
    let facts = clip.write(&packets);
    let times = clip.probe("packet=pts_time");
    for (time, packet) in times.lines().zip(&packets) {
        let seconds: f64 = time.trim_end_matches(',').parse().expect("number");
        let expected = packet.at.since(Mono(T0)).as_secs_f64();
        assert!((seconds - expected).abs() < 0.0001, "{seconds} instead of {expected}");
    }
    assert_eq!(facts.duration, Duration::from_millis(9 * 120 + 100 + 3_000 + 100));
}

#[test]
fn packets_with_equal_times_are_distinguished() {
    let mut packets = h264()[..10].to_vec();
    packets.iter_mut().for_each(|p| p.at = Mono(T0));
    let clip = Clip::new();
    assert_eq!(clip.write(&packets).frames, 10);
    assert_eq!(clip.play(), 10);
    let times = clip.probe("packet=dts");
    let times: Vec<u32> = times.lines().map(|line| line.trim_end_matches(',').parse().expect("number")).collect();
    assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
}

#[test]
fn a_clip_starts_at_its_first_key_frame() {
    let clip = Clip::new();
    let mut writer = clip.writer();
    for packet in &h264()[7..20] {
        writer.write(packet).expect("write");
    }
    assert_eq!((clip.bytes(), writer.bytes(), writer.first_at()), (0, 0, None));
    for packet in &h264()[20..] {
        writer.write(packet).expect("write");
    }
    assert_eq!(writer.first_at(), Some(h264()[20].at));
    let facts = writer.finish().expect("finish");
    assert_eq!((facts.frames, facts.duration), (30, Duration::from_secs(3)));
    assert_eq!(clip.play(), 30);
}

#[test]
fn a_clip_without_a_key_frame_is_empty() {
    let clip = Clip::new();
    let mut writer = clip.writer();
    writer.write(&h264()[3]).expect("write");
    assert!(matches!(writer.finish(), Err(MuxError::Empty(_))));
    assert!(repair(&clip.path).expect("repair").is_none());
}

#[test]
fn the_size_comes_from_the_parameter_sets_when_the_source_does_not_know_it() {
    for (coding, file) in [(X264, "a.h264"), (X264, "a.mp4"), (X265, "a.ts"), (X265, "a.mp4")] {
        let mut packets = packets(&format!("size=162x98 -t 1 {coding}"), file);
        let unknown = StreamInfo { width: 0, height: 0, ..(*packets[0].stream).clone() };
        let in_band = StreamInfo { extradata: Bytes::new(), ..unknown.clone() };
        let stream = Arc::new(if file == "a.mp4" { unknown } else { in_band });
        packets.iter_mut().for_each(|p| p.stream = stream.clone());
        let clip = Clip::new();
        let facts = clip.write(&packets);
        assert_eq!((facts.width, facts.height), (162, 98), "{coding} {file}");
        assert_eq!(clip.play(), 10, "{coding} {file}");
    }
}

#[test]
fn changed_parameters_end_the_clip_and_leave_it_intact() {
    let other = packets(&format!("size=128x128 -t 1 {X264}"), "a.mp4");
    let clip = Clip::new();
    let mut writer = clip.writer();
    for packet in &h264()[..20] {
        writer.write(packet).expect("write");
    }
    let same = StreamInfo { fps: None, ..(*h264()[0].stream).clone() };
    writer.write(&Packet { stream: Arc::new(same), ..h264()[20].clone() }).expect("frame rate alone");
    assert!(matches!(writer.write(&other[0]), Err(MuxError::StreamChanged)));
    assert_eq!(writer.finish().expect("finish").frames, 21);
    assert_eq!(clip.play(), 21);
}

#[test]
fn parameters_that_change_in_band_end_the_clip_too() {
    let big = packets(&format!("size=160x96 -t 1 {X264}"), "a.h264");
    let mut small = packets(&format!("size=128x128 -t 3 {X264}"), "a.h264");
    small.iter_mut().for_each(|p| p.stream = big[0].stream.clone());
    let clip = Clip::new();
    let mut writer = clip.writer();
    for packet in &big {
        writer.write(packet).expect("write");
    }
    assert!(matches!(writer.write(&small[0]), Err(MuxError::StreamChanged)));
    // The next file is of what came with its key frame, whatever was said when the stream began.
    let mut stream = (*big[0].stream).clone();
    stream.extradata = super::params::in_band_parameters(&stream.codec, &big[0].data);
    let stream = Arc::new(stream);
    assert!(!stream.extradata.is_empty() && small.iter().filter(|packet| packet.key_frame).count() > 1);
    small.iter_mut().for_each(|p| p.stream = stream.clone());
    let clip = Clip::new();
    let facts = clip.write(&small);
    assert_eq!((facts.width, facts.height, facts.frames), (128, 128, small.len() as u64));
    assert_eq!(clip.play(), facts.frames);
}

#[test]
fn a_writer_may_move_between_threads() {
    fn sendable<T: Send>() {}
    sendable::<ClipWriter>();
}

#[test]
fn an_existing_file_is_never_overwritten() {
    let clip = Clip::new();
    std::fs::write(&clip.path, "evidence").expect("write");
    let error = ClipWriter::create(&clip.path, &Config::default()).map(|_| ()).expect_err("exists");
    assert!(error.to_string().contains("clip.mp4"), "{error}");
    assert_eq!(std::fs::read(&clip.path).expect("read"), b"evidence");
}

#[test]
fn a_full_disk_is_named_as_such() {
    let file = OpenOptions::new().write(true).open("/dev/full").expect("open");
    let mut writer = Clip::new().writer();
    writer.sink = Arc::new(Sink::new(file));
    let error = h264().iter().find_map(|p| writer.write(p).err()).expect("full");
    let MuxError::Io { source, .. } = &error else { panic!("{error:?}") };
    assert_eq!(source.kind(), io::ErrorKind::StorageFull);
}

#[test]
fn other_codings_are_encoded_once_to_h264() {
    for (coding, file, size) in [
        ("size=320x240 -t 5 -c:v mjpeg -pix_fmt yuvj422p", "m.mkv", "320,240"),
        ("size=321x241 -t 5 -c:v mjpeg -pix_fmt yuvj420p", "odd.mkv", "320,240"),
        ("size=320x240 -t 5 -c:v rawvideo -pix_fmt yuyv422", "y.nut", "320,240"),
        ("size=320x240 -t 5 -c:v mpeg4 -g 10", "m.mkv", "320,240"),
    ] {
        let mut packets = packets(coding, file);
        assert_eq!(packets.len(), 50, "{coding}");
        // Cameras often do not say how fast they are; key frames go by the clock then as well.
        let stream = Arc::new(StreamInfo { fps: None, ..(*packets[0].stream).clone() });
        packets.iter_mut().for_each(|p| p.stream = stream.clone());
        let clip = Clip::new();
        let facts = clip.write(&packets);
        assert_eq!((facts.codec.as_str(), facts.frames), ("h264", 50), "{coding}");
        assert_eq!((facts.start, facts.duration), (Mono(T0), Duration::from_secs(5)), "{coding}");
        assert_eq!(clip.play(), 50, "{coding}");
        assert_eq!(clip.probe("stream=codec_name,width,height"), format!("h264,{size}"), "{coding}");
        let flags = clip.probe("packet=flags");
        let keys: Vec<_> = flags.lines().enumerate().filter(|(_, f)| f.starts_with('K')).map(|(i, _)| i).collect();
        assert_eq!(keys, [0, 20, 40], "{coding}");
    }
}

#[test]
fn an_encoded_clip_looks_like_its_source() {
    let clip = Clip::new();
    clip.write(&packets("size=320x240 -t 1 -c:v mjpeg -q:v 2 -pix_fmt yuvj420p", "m.mkv"));
    let args = "-nostdin -v info -i clip.mp4 -f lavfi -i testsrc2=rate=10:size=320x240 -t 1 -lavfi psnr -f null -";
    let done = Command::new("ffmpeg").args(args.split_whitespace()).current_dir(clip.dir.path()).output().expect("run");
    let text = String::from_utf8_lossy(&done.stderr);
    let db = text.split("average:").nth(1).and_then(|s| s.split_whitespace().next()).expect("psnr");
    assert!(db.parse::<f64>().expect("number") > 30.0, "{db} dB");
}

#[test]
fn damaged_pictures_are_left_out_of_an_encoded_clip() {
    let mut packets = packets("size=160x96 -t 1 -c:v mjpeg", "m.mkv");
    packets[0].data = Bytes::new();
    packets[3].data = Bytes::from_static(b"no picture at all");
    let half = packets[6].data.len() / 2;
    packets[6].data.truncate(half);
    let clip = Clip::new();
    let facts = clip.write(&packets);
    assert_eq!((facts.frames, facts.start), (7, packets[1].at));
    assert_eq!(clip.play(), 7);
}

#[test]
fn mpeg4_is_the_encoder_of_last_resort() {
    let clip = Clip::new();
    let config = Config { encoder: "mpeg4".to_owned(), ..Config::default() };
    let mut writer = ClipWriter::create(&clip.path, &config).expect("create");
    for packet in packets("size=160x96 -t 3 -c:v mjpeg", "m.mkv") {
        writer.write(&packet).expect("write");
    }
    assert_eq!(writer.finish().expect("finish").codec, "mpeg4");
    assert_eq!(clip.play(), 30);
}

#[test]
fn an_encoder_that_is_not_there_is_refused_with_those_that_are() {
    assert_eq!(Config::default().validate(), Ok(()));
    let with = |change: fn(&mut Config)| {
        let mut config = Config::default();
        change(&mut config);
        config.validate()
    };
    assert_eq!(with(|c| c.encoder = "libx264".to_owned()), Ok(()));
    let refused = with(|c| c.encoder = "h264_none".to_owned()).expect_err("no such encoder");
    assert!(refused.contains("\"h264_none\"") && refused.contains("libx264"), "{refused}");
    assert!(with(|c| c.encoder = "png".to_owned()).is_err());
    assert!(with(|c| c.preset = "warp".to_owned()).is_err());
    assert!(with(|c| c.crf = 52).is_err());
    let config = Config { encoder: "h264_v4l2m2m".to_owned(), ..Config::default() };
    let mut writer = ClipWriter::create(&Clip::new().path, &config);
    if let Ok(writer) = &mut writer {
        // No such device here: an error that names the encoder, not a crash.
        let error = writer.write(&packets("size=160x96 -t 1 -c:v mjpeg", "m.mkv")[0]).expect_err("no device");
        assert!(error.to_string().contains("h264_v4l2m2m"), "{error}");
    }
}

/// Writes and then vanishes, as after kill -9.
fn killed(packets: &[Packet]) -> Clip {
    let clip = Clip::new();
    let mut writer = clip.writer();
    for packet in packets {
        writer.write(packet).expect("write");
    }
    std::mem::forget(writer);
    clip
}

/// Works with: clips | H.264 and H.265 with B-frames | recorded as they are; every picture is shown at its time
#[test]
fn a_stream_with_b_frames_is_shown_in_order_and_at_its_times() {
    for coding in [PYRAMID, PYRAMID_265] {
        let packets = packets(&format!("size=160x96 -t 5 {coding}"), "a.mp4");
        assert!(packets.iter().any(|packet| !packet.offset.is_zero()), "{coding}: no B-frames");
        let clip = Clip::new();
        let facts = clip.write(&packets);
        assert_eq!((facts.frames, clip.play()), (50, 50), "{coding}");
        let start = packets[0].pts();
        assert_eq!((facts.start, facts.duration), (start, Duration::from_secs(5)), "{coding}");
        let shown: Vec<f64> = clip.probe("packet=pts_time").lines().map(|line| line.parse().expect("pts")).collect();
        let expected: Vec<f64> = packets.iter().map(|packet| packet.pts().since(start).as_secs_f64()).collect();
        for (n, (shown, expected)) in shown.iter().zip(&expected).enumerate() {
            assert!((shown - expected).abs() < 0.0001, "{coding}: picture {n} at {shown} instead of {expected}");
        }
        let decoded: Vec<f64> = clip.probe("packet=dts_time").lines().map(|line| line.parse().expect("dts")).collect();
        assert!(decoded.windows(2).all(|w| w[0] < w[1]), "{coding}: {decoded:?}");
        let frames = clip.probe("frame=pts_time");
        // Side data of a picture comes as further columns and lines.
        let frames = frames.lines().map(|line| line.trim_matches(',')).filter(|line| !line.is_empty());
        let frames: Vec<f64> = frames.map(|time| time.parse().expect("pts")).collect();
        assert!(frames.windows(2).all(|w| (w[1] - w[0] - 0.1).abs() < 0.001), "{coding}: {frames:?}");
        assert_eq!(frames.len(), 50, "{coding}");
        let repaired = repair(&clip.path).expect("repair").expect("playable");
        assert_eq!((repaired.duration, repaired.frames), (facts.duration, facts.frames), "{coding}");
    }
}

/// How long the last picture before a sync lasts is a guess, and the next one may come sooner: by so much it may be shown
/// later, and no other is.
#[test]
fn pictures_that_come_unevenly_keep_their_times_over_a_sync() {
    let uneven = Duration::from_millis(3);
    let mut packets = packets(&format!("size=160x96 -t 5 {PYRAMID}"), "a.mp4");
    for packet in packets.iter_mut().skip(1).step_by(2) {
        (packet.at, packet.offset) = (packet.at - uneven, packet.offset + uneven);
    }
    let clip = Clip::new();
    let mut writer = clip.writer();
    for (n, packet) in packets.iter().enumerate() {
        writer.write(packet).expect("write");
        if n % 3 == 2 {
            writer.sync().expect("sync");
        }
    }
    writer.finish().expect("finish");
    let start = packets[0].pts();
    let shown: Vec<f64> = clip.probe("packet=pts_time").lines().map(|line| line.parse().expect("pts")).collect();
    let expected: Vec<f64> = packets.iter().map(|packet| packet.pts().since(start).as_secs_f64()).collect();
    assert_eq!(shown.len(), expected.len());
    for (n, (shown, expected)) in shown.iter().zip(&expected).enumerate() {
        let late = if n % 3 == 0 { uneven.as_secs_f64() } else { 0.0 };
        assert!(
            (0.0..late + 0.0001).contains(&(shown - expected + 0.00005)),
            "picture {n} at {shown} instead of {expected}"
        );
    }
}

#[test]
fn pictures_before_the_first_key_frame_of_an_open_gop_are_left_out() {
    let open = "-c:v libx265 -preset ultrafast -x265-params log-level=error:keyint=10:min-keyint=5:bframes=3:b-adapt=0:open-gop=1 -pix_fmt yuv420p";
    let packets = packets(&format!("size=160x96 -t 5 {open}"), "a.mp4");
    let key = packets.iter().skip(1).position(|packet| packet.key_frame).expect("another key frame") + 1;
    let rest = &packets[key..];
    let leading = rest.iter().filter(|packet| packet.pts() < rest[0].pts()).count();
    assert!(leading > 0, "the fixture has closed GOPs");
    let clip = Clip::new();
    let facts = clip.write(rest);
    assert_eq!(facts.frames, (rest.len() - leading) as u64);
    assert_eq!((facts.start, clip.play()), (rest[0].pts(), facts.frames));
}
