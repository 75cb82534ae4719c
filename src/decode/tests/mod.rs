//! Decoding against what the `ffmpeg` command line makes and says.

mod damage;
mod joined;
mod reordered;
mod upright;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::frame::{Luma, Orientation, Rgb};

const MS: u64 = 1_000_000;

/// Runs the `ffmpeg` command line in a fresh folder and gives the path of `out`.
fn make(args: &str, out: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join(out);
    ffmpeg_cli(dir.path(), args, out);
    (dir, path)
}

fn ffmpeg_cli(dir: &Path, args: &str, out: &str) {
    let made = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-y"])
        .args(args.split_whitespace())
        .arg(out)
        .current_dir(dir)
        .output()
        .expect("run ffmpeg");
    assert!(made.status.success(), "ffmpeg {args}: {}", String::from_utf8_lossy(&made.stderr));
}

/// Reads a file's video packets; `at` is the time stamp in the file plus 1 s, in decoding order.
#[allow(unsafe_code)]
fn packets(path: &Path) -> Vec<Packet> {
    libav::start();
    let mut input = ffmpeg::format::input(path).expect("open fixture");
    let stream = input.streams().best(ffmpeg::media::Type::Video).expect("video stream");
    let (index, base) = (stream.index(), stream.time_base());
    let parameters = stream.parameters();
    // SAFETY: the parameters live as long as `input`.
    let info = unsafe {
        let raw = &*parameters.as_ptr();
        let extradata = match raw.extradata_size {
            0 => Bytes::new(),
            n => Bytes::copy_from_slice(std::slice::from_raw_parts(raw.extradata, n as usize)),
        };
        let codec = match parameters.id() {
            ffmpeg::codec::Id::H264 => Codec::H264,
            ffmpeg::codec::Id::HEVC => Codec::H265,
            ffmpeg::codec::Id::MJPEG => Codec::Mjpeg,
            other => Codec::Other(other.name().into()),
        };
        let (width, height) = (raw.width as u32, raw.height as u32);
        Arc::new(StreamInfo { codec, width, height, extradata, fps: None, orientation: Orientation::default() })
    };
    let mut packets: Vec<Packet> = Vec::new();
    for (stream, packet) in input.packets() {
        if stream.index() != index {
            continue;
        }
        let time = |ticks: i64| {
            1_000 * MS as i64 + ticks * 1_000_000_000 * i64::from(base.numerator()) / i64::from(base.denominator())
        };
        let dts = packet.dts().or(packet.pts()).map_or_else(|| time(0), time);
        let offset = packet.pts().map_or(0, |ticks| time(ticks) - dts);
        let data = Bytes::copy_from_slice(packet.data().expect("packet data"));
        packets.push(Packet {
            offset: Duration::from_nanos(offset as u64),
            ..Packet::new(info.clone(), Mono(dts as u64), packet.is_key(), data)
        });
    }
    packets
}

fn decode_all(decoder: &mut Decoder, packets: &[Packet]) -> Vec<Frame> {
    let mut frames = Vec::new();
    for packet in packets {
        frames.extend(decoder.decode(packet).expect("decode"));
    }
    frames.extend(decoder.flush());
    frames
}

fn decoded(packets: &[Packet]) -> Vec<Frame> {
    decode_all(&mut Decoder::new(Config::default()), packets)
}

fn times(frames: &[Frame]) -> Vec<Mono> {
    frames.iter().map(|f| f.at).collect()
}

const H264: &str =
    "-f lavfi -i testsrc2=size=320x240:rate=10 -t 3 -c:v libx264 -preset ultrafast -g 10 -bf 0 -pix_fmt yuv420p";

/// Three GOPs of ten pictures, made once for the tests that only need some stream.
fn three_gops() -> &'static [Packet] {
    static PACKETS: OnceLock<Vec<Packet>> = OnceLock::new();
    PACKETS.get_or_init(|| {
        let (_dir, path) = make(H264, "a.mp4");
        packets(&path)
    })
}

#[test]
fn every_codec_gives_every_picture_with_the_time_of_its_packet() {
    let source = "-f lavfi -i testsrc2=size=322x242:rate=10 -t 2";
    let x265 = "-c:v libx265 -preset ultrafast -x265-params log-level=error:keyint=10:bframes=0 -pix_fmt yuv420p";
    let x264 = "-c:v libx264 -preset ultrafast -g 10 -bf 0 -pix_fmt yuv420p";
    for (coding, file) in [
        (x264, "avcc.mp4"),
        (x264, "annexb.h264"),
        (x264, "annexb.ts"),
        (x265, "hvcc.mp4"),
        (x265, "annexb.ts"),
        ("-c:v mjpeg -pix_fmt yuvj420p", "m.mkv"),
        ("-c:v mpeg4 -g 10 -bf 0", "m.mkv"),
        ("-c:v png", "p.mkv"),
    ] {
        let (_dir, path) = make(&format!("{source} {coding}"), file);
        let packets = packets(&path);
        let mut decoder = Decoder::new(Config::default());
        let frames = decode_all(&mut decoder, &packets);
        assert_eq!(packets.len(), 20, "{coding} {file}");
        assert_eq!(times(&frames), packets.iter().map(|p| p.at).collect::<Vec<_>>(), "{coding} {file}");
        assert!(frames.iter().all(|f| (f.picture.width(), f.picture.height()) == (322, 242)), "{coding} {file}");
    }
}

#[test]
fn without_b_frames_no_picture_is_delayed() {
    let mut decoder = Decoder::new(Config { threads: 4, ..Config::default() });
    for packet in three_gops() {
        let frames = decoder.decode(packet).expect("decode");
        assert_eq!(times(&frames), [packet.at]);
    }
    assert_eq!(decoder.decoder_name(), Some("h264"));
}

#[test]
fn reordered_pictures_keep_their_own_times() {
    let (_dir, path) = make(&H264.replace("-bf 0", "-bf 2"), "b.mp4");
    let packets = packets(&path);
    let frames = decoded(&packets);
    assert_eq!(frames.len(), packets.len());
    let mut shown: Vec<_> = packets.iter().map(Packet::pts).collect();
    assert!(!shown.is_sorted(), "the fixture has no B-frames");
    shown.sort();
    assert_eq!(times(&frames), shown);
}

#[test]
fn pictures_before_the_first_key_frame_of_an_open_gop_are_not_shown() {
    let open = "-f lavfi -i testsrc2=size=320x240:rate=10 -t 3 -c:v libx264 -preset veryfast -pix_fmt yuv420p \
                -x264-params keyint=8:min-keyint=4:scenecut=0:bframes=2:b-adapt=0:open-gop=1";
    let (_dir, path) = make(open, "b.ts");
    let packets = packets(&path);
    let key = packets.iter().skip(1).position(|packet| packet.key_frame).expect("another key frame") + 1;
    let mut shown: Vec<_> = packets[key..].iter().map(Packet::pts).filter(|at| *at >= packets[key].pts()).collect();
    assert!(shown.len() < packets.len() - key, "the fixture has closed GOPs");
    shown.sort();
    assert_eq!(times(&decoded(&packets[key - 2..])), shown);
}

/// Peak signal-to-noise ratio in dB.
fn psnr(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    let sum: f64 = a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    let mean = sum / a.len() as f64;
    if mean == 0.0 { f64::INFINITY } else { 10.0 * (255.0_f64.powi(2) / mean).log10() }
}

#[test]
fn rgb_agrees_with_the_ffmpeg_command_line() {
    let (dir, path) = make(H264, "a.mp4");
    let frames = decoded(&packets(&path));
    for (width, height) in [(320, 240), (160, 120), (97, 61), (640, 480)] {
        let scale =
            format!("-i a.mp4 -frames:v 1 -vf scale={width}:{height}:flags=bilinear -f rawvideo -pix_fmt rgb24");
        ffmpeg_cli(dir.path(), &scale, "out.rgb");
        let theirs = std::fs::read(dir.path().join("out.rgb")).expect("read");
        let ours = frames[0].picture.rgb(width, height).expect("convert");
        let db = psnr(&ours.data, &theirs);
        assert!(db > 38.0, "{width}x{height}: {db:.1} dB");
    }
}

/// One flat picture of `rgb`, coded with `coding`, decoded again.
fn flat(rgb: &str, size: &str, coding: &str, file: &str) -> Frame {
    let args = format!("-f lavfi -i color=c={rgb}:size={size}:rate=5,format=rgb24 -frames:v 2 {coding}");
    let (_dir, path) = make(&args, file);
    decoded(&packets(&path)).remove(0)
}

fn centre(picture: &Rgb) -> [u8; 3] {
    let at = 3 * (picture.width as usize * (picture.height as usize / 2) + picture.width as usize / 2);
    [picture.data[at], picture.data[at + 1], picture.data[at + 2]]
}

#[test]
fn greys_come_back_as_they_were_whatever_the_range_and_the_size() {
    let limited = "-vf scale=out_range=tv -c:v libx264 -pix_fmt yuv420p -color_range tv";
    let full = "-vf scale=out_range=pc -c:v libx264 -pix_fmt yuv420p -color_range pc";
    for (coding, file) in [
        (limited, "l.mp4"),
        (full, "f.mp4"),
        ("-c:v mjpeg -pix_fmt yuvj422p", "j.mkv"),
        ("-c:v libx264 -pix_fmt yuvj420p", "jj.mp4"),
        ("-c:v png -pix_fmt rgb24", "p.mkv"),
        ("-c:v libx265 -x265-params log-level=error -pix_fmt yuv420p10le", "ten.mp4"),
        // Full range by its tag alone, not by the name of the pixel format.
        ("-vf scale=out_range=pc -c:v libx265 -x265-params log-level=error:range=full -pix_fmt yuv420p10le", "t.mp4"),
    ] {
        for (colour, value) in [("black", 0u8), ("0x404040", 64), ("white", 255)] {
            let frame = flat(colour, "64x48", coding, file);
            for (width, height) in [(64, 48), (19, 13), (1, 1)] {
                let luma = frame.picture.luma(width, height).expect("luma");
                let off = luma.data.iter().map(|v| v.abs_diff(value)).max();
                assert!(off <= Some(1), "{coding} {colour} {width}x{height}: luma off by {off:?}");
                let rgb = frame.picture.rgb(width, height).expect("rgb");
                let off = rgb.data.iter().map(|v| v.abs_diff(value)).max();
                assert!(off <= Some(2), "{coding} {colour} {width}x{height}: rgb off by {off:?}");
            }
        }
    }
}

#[test]
fn colours_come_back_with_the_matrix_of_the_tag_or_of_the_size() {
    let coding = |matrix: &str, tag: &str| {
        format!("-vf scale=out_color_matrix={matrix}:out_range=tv -c:v libx264 -qp 1 -pix_fmt yuv444p {tag}")
    };
    for (size, matrix, tag) in [
        ("64x48", "bt601", ""),
        ("64x720", "bt709", ""),
        ("64x48", "bt709", "-colorspace bt709"),
        ("64x720", "bt601", "-colorspace smpte170m"),
    ] {
        let frame = flat("0xC02040", size, &coding(matrix, tag), "c.mp4");
        let rgb = centre(&frame.picture.rgb(32, 32).expect("rgb"));
        let off = rgb.iter().zip([0xC0u8, 0x20, 0x40]).map(|(a, b)| a.abs_diff(b)).max();
        assert!(off <= Some(4), "{size} {matrix} {tag:?}: {rgb:x?}");
    }
}

fn yuyv(width: u32, height: u32, data: Vec<u8>) -> Packet {
    let stream = StreamInfo {
        codec: Codec::Yuyv,
        width,
        height,
        extradata: Bytes::new(),
        fps: None,
        orientation: Orientation::default(),
    };
    Packet::new(Arc::new(stream), Mono(5), true, data.into())
}

#[test]
fn yuyv_needs_no_decoder() {
    let grey = |y: u8| [y, 128].repeat(50 * 30);
    for (y, expected) in [(16, 0), (235, 255)] {
        let mut decoder = Decoder::new(Config::default());
        let frames = decoder.decode(&yuyv(50, 30, grey(y))).expect("decode");
        assert_eq!(times(&frames), [Mono(5)]);
        let Luma { data, .. } = frames[0].picture.luma(50, 30).expect("luma");
        assert_eq!(data, vec![expected; 50 * 30]);
        assert!(frames[0].picture.rgb(7, 3).expect("rgb").data.iter().all(|v| v.abs_diff(expected) <= 1));
    }
}

#[test]
fn a_short_yuyv_packet_is_an_error_and_the_next_one_is_fine() {
    let mut decoder = Decoder::new(Config::default());
    let short = decoder.decode(&yuyv(50, 30, vec![0; 2999])).expect_err("too short");
    assert!(short.is_transient() && short.to_string().contains("2999"), "{short}");
    assert!(decoder.decode(&yuyv(0, 30, vec![0; 3000])).is_err());
    assert_eq!(decoder.decode(&yuyv(50, 30, vec![0; 3000])).expect("decode").len(), 1);
}

#[test]
fn a_start_without_a_key_frame_is_waited_out() {
    // H.264 decoders wait by themselves; MPEG-4's shows what it has.
    let (_dir, path) = make("-f lavfi -i testsrc2=size=320x240:rate=10 -t 3 -c:v mpeg4 -g 10 -bf 0", "m.mkv");
    for packets in [three_gops().to_vec(), packets(&path)] {
        let frames = decode_all(&mut Decoder::new(Config::default()), &packets[3..]);
        let expected: Vec<_> = packets[10..].iter().map(|p| p.at).collect();
        assert_eq!(times(&frames), expected);
    }
}

#[test]
fn after_a_loss_pictures_begin_again_at_the_next_key_frame() {
    let mut packets = three_gops().to_vec();
    packets.remove(4);
    packets[4].loss = 1;
    let frames = decoded(&packets);
    let expected: Vec<_> = (0..4).chain(10..30).map(|i| three_gops()[i].at).collect();
    assert_eq!(times(&frames), expected);
}

#[test]
fn a_stream_that_changes_its_size_goes_on() {
    let (_dir, path) = make(&H264.replace("320x240", "160x96"), "small.mp4");
    let mut packets = [three_gops().to_vec(), packets(&path), three_gops().to_vec()].concat();
    for (i, packet) in packets.iter_mut().enumerate() {
        packet.at = Mono(i as u64 * 100 * MS);
    }
    let frames = decoded(&packets);
    let widths: Vec<_> = frames.iter().map(|f| f.picture.width()).collect();
    assert_eq!(widths, [vec![320; 30], vec![160; 30], vec![320; 30]].concat());
}

#[test]
fn a_size_that_changes_in_band_goes_on_too() {
    let (_dir, big) = make(H264, "a.h264");
    let (_dir2, small) = make(&H264.replace("320x240", "160x96"), "b.h264");
    let (big, small) = (packets(&big), packets(&small));
    let mut all = [big.clone(), small].concat();
    for (i, packet) in all.iter_mut().enumerate() {
        packet.stream = big[0].stream.clone();
        packet.at = Mono(i as u64 * 100 * MS);
    }
    let widths: Vec<_> = decoded(&all).iter().map(|f| f.picture.width()).collect();
    assert_eq!(widths, [vec![320; 30], vec![160; 30]].concat());
}

#[test]
fn a_cut_jpeg_is_not_shown() {
    let (_dir, path) = make("-f lavfi -i testsrc2=size=320x240:rate=10 -t 1 -c:v mjpeg -pix_fmt yuvj420p", "m.mkv");
    let mut packets = packets(&path);
    let half = packets[3].data.len() / 2;
    packets[3].data.truncate(half);
    let mut decoder = Decoder::new(Config::default());
    let outcome: Vec<_> = packets.iter().map(|p| decoder.decode(p).map(|f| f.len()).ok()).collect();
    let mut expected = vec![Some(1); 10];
    expected[3] = None;
    assert_eq!(outcome, expected);
}

#[test]
fn a_picture_with_a_missing_half_is_not_shown_nor_what_builds_on_it() {
    let mut packets = three_gops().to_vec();
    let half = packets[0].data.len() / 2;
    packets[0].data.truncate(half);
    let mut decoder = Decoder::new(Config::default());
    let frames: Vec<_> = packets.iter().flat_map(|p| decoder.decode(p).unwrap_or_default()).collect();
    assert_eq!(frames.first().map(|f| f.at), Some(packets[10].at));
}

#[test]
fn a_concealed_picture_is_not_shown_nor_what_builds_on_it() {
    let mut packets = three_gops().to_vec();
    let mut data = packets[0].data.to_vec();
    let middle = data.len() / 2;
    data[middle..middle + 40].iter_mut().for_each(|byte| *byte ^= 0x5a);
    packets[0].data = data.into();
    let mut decoder = Decoder::new(Config::default());
    let first = decoder.decode(&packets[0]).expect_err("libav conceals the rest of the picture");
    assert!(first.is_transient(), "{first}");
    let frames = decode_all(&mut decoder, &packets[1..]);
    assert_eq!(frames.first().map(|f| f.at), Some(packets[10].at));
}

#[test]
fn an_empty_packet_is_damage_not_the_end_of_the_stream() {
    let mut decoder = Decoder::new(Config::default());
    let empty = Packet { data: Bytes::new(), ..three_gops()[0].clone() };
    assert!(decoder.decode(&empty).is_err());
    assert_eq!(decode_all(&mut decoder, three_gops()).len(), 30);
}

#[test]
fn unusable_parameters_are_an_error_and_garbage_is_not_fatal() {
    let broken = StreamInfo { extradata: Bytes::from_static(&[1, 2, 3]), ..(*three_gops()[0].stream).clone() };
    let packet = Packet { stream: Arc::new(broken), ..three_gops()[0].clone() };
    assert!(Decoder::new(Config::default()).decode(&packet).is_err());
    let unknown = StreamInfo { codec: Codec::Other("no-such\0codec".into()), ..(*packet.stream).clone() };
    let packet = Packet { stream: Arc::new(unknown), ..packet };
    let error = Decoder::new(Config::default()).decode(&packet).expect_err("unknown codec");
    assert!(matches!(error, DecodeError::NoDecoder { .. }), "{error}");
}

#[test]
fn a_decoder_that_is_not_there_is_refused_with_those_that_are() {
    let config = |name: &str| Config { decoder: name.to_owned(), ..Config::default() };
    assert_eq!(config("auto").validate(None), Ok(()));
    assert_eq!(config("mjpeg").validate(None), Ok(()));
    assert_eq!(config("h264").validate(Some(&Codec::H264)), Ok(()));
    let refused = config("mjpeg").validate(Some(&Codec::H264)).expect_err("wrong codec");
    assert!(refused.contains("\"mjpeg\"") && refused.contains("H.264") && refused.contains("h264"), "{refused}");
    assert!(config("h264\0").validate(None).is_err());
    assert!(Config { threads: 65, ..Config::default() }.validate(None).is_err());
    assert_eq!(decoders_for(&Codec::H265).first().map(String::as_str), Some("hevc"));
    assert_eq!(decoders_for(&Codec::Yuyv), Vec::<String>::new());
}

#[test]
fn a_named_decoder_is_the_one_that_runs() {
    let mut decoder = Decoder::new(Config { decoder: "mjpeg".to_owned(), ..Config::default() });
    let error = decoder.decode(&three_gops()[0]).expect_err("mjpeg for H.264");
    assert!(error.to_string().contains("named \"mjpeg\""), "{error}");
}

#[test]
fn a_size_beyond_reason_is_a_picture_error() {
    let frame = decoded(&three_gops()[..1]).remove(0);
    for (width, height) in [(0, 10), (10, 0), (100_000, 1), (u32::MAX, u32::MAX)] {
        assert!(frame.picture.luma(width, height).is_err());
        assert!(frame.picture.rgb(width, height).is_err());
    }
}

#[test]
fn a_picture_outlives_its_decoder_and_goes_to_other_threads() {
    let frame = decoded(&three_gops()[..1]).remove(0);
    let here = frame.picture.luma(40, 30).expect("luma");
    let there = std::thread::scope(|s| {
        let handles: Vec<_> = (0..3).map(|_| s.spawn(|| frame.picture.luma(40, 30).expect("luma"))).collect();
        handles.into_iter().map(|h| h.join().expect("thread")).collect::<Vec<_>>()
    });
    assert!(there.iter().all(|luma| *luma == here));
}

#[test]
fn stills_load_and_say_what_is_wrong() {
    let (dir, path) = make("-f lavfi -i color=red:size=32x16 -frames:v 1", "red.png");
    ffmpeg_cli(dir.path(), "-i red.png", "red.jpg");
    ffmpeg_cli(dir.path(), "-i red.png", "red.gif");
    for name in ["red.png", "red.jpg"] {
        let rgb = load_still(&dir.path().join(name)).expect(name);
        assert_eq!((rgb.width, rgb.height, rgb.data.len()), (32, 16, 32 * 16 * 3));
        let [r, g, b] = centre(&rgb);
        assert!(r > 240 && g < 12 && b < 12, "{name}");
    }
    // A PNG header that promises 20000x20000 pixels.
    let mut bomb = std::fs::read(&path).expect("read");
    bomb[16..24].copy_from_slice(&[0, 0, 0x4e, 0x20, 0, 0, 0x4e, 0x20]);
    let crc = png_crc(&bomb[12..29]);
    bomb[29..33].copy_from_slice(&crc.to_be_bytes());
    std::fs::write(dir.path().join("bomb.png"), bomb).expect("write");
    std::fs::write(dir.path().join("text.jpg"), "not a picture").expect("write");
    std::fs::write(dir.path().join("cut.png"), &std::fs::read(&path).expect("read")[..60]).expect("write");
    for (name, reason) in [
        ("none.jpg", "No such file"),
        ("", "not a file"),
        ("text.jpg", "JPEG and PNG are understood"),
        ("red.gif", "convert it to JPEG or PNG"),
        ("bomb.png", "more than 100 megapixels"),
        ("cut.png", ""),
    ] {
        let error = load_still(&dir.path().join(name)).expect_err(name).to_string();
        assert!(error.contains(reason) && error.contains(name), "{name}: {error}");
    }
}

fn png_crc(data: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { 0xEDB8_8320 ^ (c >> 1) } else { c >> 1 })
    };
    !data.iter().fold(u32::MAX, step)
}
