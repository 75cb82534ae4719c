//! Streams that are stored turned, and codings that only files bring.

use super::*;
use crate::frame::{Orientation, Rgb, upright};

impl Clip {
    /// The first picture as `ffmpeg` shows it.
    fn shown(&self, options: &str, (width, height): (u32, u32)) -> Rgb {
        let args =
            format!("-nostdin -v error {options} -i clip.mp4 -frames:v 1 -f rawvideo -pix_fmt rgb24 -y shown.raw");
        cli("ffmpeg", self.dir.path(), &args);
        let data = std::fs::read(self.dir.path().join("shown.raw")).expect("read");
        assert_eq!(data.len(), (width * height * 3) as usize);
        Rgb { width, height, data }
    }
}

/// Works with: clips | video that is stored turned or mirrored (all eight display matrices) | records clips that play upright
#[test]
fn a_clip_of_a_turned_stream_plays_upright() {
    let mjpeg = packets("size=160x96 -t 1 -c:v mjpeg -pix_fmt yuvj420p", "a.mkv");
    for (name, packets) in [("H.264", &h264()[..10]), ("MJPEG", &mjpeg[..])] {
        for orientation in Orientation::ALL {
            let stream = Arc::new(StreamInfo { orientation, ..(*packets[0].stream).clone() });
            let turned = |packet: &Packet| Packet { stream: stream.clone(), ..packet.clone() };
            let clip = Clip::new();
            let facts = clip.write(&packets.iter().map(turned).collect::<Vec<_>>());
            let size = stream.upright_size();
            assert_eq!((facts.width, facts.height), size, "{name} {orientation:?}");
            let coded = clip.shown("-noautorotate", (160, 96));
            let expected = upright(coded, orientation).rgb(size.0, size.1).expect("turn");
            let apart = clip.shown("", size).data.iter().zip(&expected.data).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(apart <= Some(2), "{name} {orientation:?}: {apart:?}");
            // A torn clip is described in the same way.
            assert_eq!(repair(&clip.path).expect("repair").expect("a clip"), facts, "{name} {orientation:?}");
        }
    }
}

#[test]
fn a_stream_that_turns_begins_another_clip() {
    let clip = Clip::new();
    let mut writer = clip.writer();
    writer.write(&h264()[0]).expect("write");
    let turned = StreamInfo { orientation: Orientation::Rotate180, ..(*h264()[0].stream).clone() };
    let next = Packet { stream: Arc::new(turned), ..h264()[20].clone() };
    assert!(matches!(writer.write(&next), Err(MuxError::StreamChanged)));
}

/// Works with: clips | AV1, VP8, VP9, MPEG-4 part 2, MPEG-2 and Theora video | encodes it once to H.264 when a clip is written
#[test]
fn what_mp4_does_not_take_as_it_is_is_encoded_once() {
    for (coding, file) in [
        ("-c:v libaom-av1 -cpu-used 8 -usage realtime -lag-in-frames 0 -g 10 -pix_fmt yuv420p", "a.mkv"),
        ("-c:v libvpx -deadline realtime -cpu-used 8 -g 10 -pix_fmt yuv420p", "a.webm"),
        ("-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 10 -pix_fmt yuv420p", "a.webm"),
        ("-c:v mpeg4 -g 10", "a.avi"),
        ("-c:v mpeg2video -r 25 -g 10", "a.mpg"),
        ("-c:v libtheora -g 10", "a.ogv"),
    ] {
        let packets = packets(&format!("size=160x96 -t 2 {coding}"), file);
        let clip = Clip::new();
        let facts = clip.write(&packets);
        assert_eq!((facts.codec.as_str(), facts.width, facts.height), ("h264", 160, 96), "{coding}");
        assert!(facts.frames + 2 >= packets.len() as u64, "{coding}: {} of {}", facts.frames, packets.len());
        assert_eq!(clip.play(), facts.frames, "{coding}");
    }
}

#[test]
fn a_coding_that_nothing_decodes_is_named() {
    let stream = Arc::new(StreamInfo { codec: Codec::Other("smoke-signals".into()), ..(*h264()[0].stream).clone() });
    let clip = Clip::new();
    let failure = clip.writer().write(&Packet { stream, ..h264()[0].clone() }).expect_err("nothing decodes it");
    assert!(failure.to_string().contains("no decoder for smoke-signals"), "{failure}");
}
