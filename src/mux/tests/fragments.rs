//! Fragments in memory: written one after the other they are a file that players read.

use super::*;
use crate::frame::Orientation;

/// The fragments of these packets, one picture each, behind the header of the first; and its codec.
fn written(packets: &[Packet]) -> (Clip, String) {
    let mut fragmenter = Fragmenter::new(&packets[0]).expect("a key frame with parameters");
    let mut file = fragmenter.init().data.to_vec();
    for (i, packet) in packets.iter().enumerate() {
        assert!(fragmenter.takes(packet));
        let picture = fragmenter.picture(packet);
        let next = packets.get(i + 1).map_or(packet.at + Duration::from_millis(100), |next| next.at);
        file.extend_from_slice(&fragment(i as u32, &[picture], next, false).0);
    }
    let clip = Clip::new();
    std::fs::write(&clip.path, file).expect("write");
    (clip, fragmenter.init().codec.clone())
}

fn seconds(text: &str) -> Vec<f64> {
    text.lines().map(|line| line.trim_matches(',').parse().expect("seconds")).collect()
}

#[test]
fn fragments_play_and_have_the_times_of_the_boot_clock() {
    for (coding, file, codec) in [
        (X264, "a.mp4", "avc1.42C00A"),
        (X264, "a.h264", "avc1.42C00A"),
        (X264, "a.ts", "avc1.42C00A"),
        (PYRAMID, "a.mp4", "avc1.64000A"),
        (X265, "a.mp4", "hvc1.1.6.L30.90"),
        (X265, "a.ts", "hvc1.1.6.L30.90"),
        (PYRAMID_265, "a.mp4", "hvc1.1.6.L30.90"),
    ] {
        let packets = packets(&format!("size=162x98 -t 5 {coding}"), file);
        let (clip, stated) = written(&packets);
        assert_eq!(stated, codec, "{coding} {file}");
        assert_eq!(clip.play(), 50, "{coding} {file}");
        for (entry, time) in [("pts_time", Packet::pts as fn(&Packet) -> Mono), ("dts_time", |packet| packet.at)] {
            let times = seconds(&clip.probe(&format!("packet={entry}")));
            let expected: Vec<f64> = packets.iter().map(|packet| time(packet).as_secs_f64()).collect();
            assert_eq!(times.len(), expected.len());
            let differ = times.iter().zip(&expected).find(|(time, expected)| (*time - *expected).abs() > 0.0001);
            assert_eq!(differ, None, "{coding} {file} {entry}");
        }
        assert!(seconds(&clip.probe("packet=duration_time")).iter().all(|lasts| (lasts - 0.1).abs() < 0.0001));
        let keys = clip.probe("packet=flags").lines().filter(|flags| flags.starts_with('K')).count();
        assert_eq!(keys, packets.iter().filter(|packet| packet.key_frame).count(), "{coding} {file}");
    }
}

#[test]
fn several_pictures_fit_into_one_fragment_which_can_be_begun_with() {
    let mut fragmenter = Fragmenter::new(&h264()[0]).expect("a key frame with parameters");
    let pictures: Vec<LivePicture> = h264().iter().map(|packet| fragmenter.picture(packet)).collect();
    let single = fragment(1, &pictures[..1], h264()[1].at, false);
    assert_eq!(within(&pictures[0], &single.0, single.1).data, pictures[0].data);
    let data = fragment(1, &pictures, h264()[49].at + Duration::from_millis(100), true).0;
    let clip = Clip::new();
    std::fs::write(&clip.path, [&fragmenter.init().data[..], &data[..]].concat()).expect("write");
    assert_eq!(clip.play(), 50);
    assert_eq!(seconds(&clip.probe("packet=pts_time")).last(), Some(&(h264()[49].at.as_secs_f64())));
}

#[test]
fn the_header_says_how_pictures_are_turned_and_how_large_they_are_then() {
    let turned = StreamInfo { orientation: Orientation::Rotate90, ..(*h264()[0].stream).clone() };
    let turned = Arc::new(turned);
    let packets: Vec<Packet> =
        h264().iter().map(|packet| Packet { stream: turned.clone(), ..packet.clone() }).collect();
    let fragmenter = Fragmenter::new(&packets[0]).expect("a key frame with parameters");
    assert_eq!((fragmenter.init().width, fragmenter.init().height), (96, 160));
    let (clip, _) = written(&packets);
    assert_eq!(clip.probe("stream_side_data=rotation"), "-90");
}

#[test]
fn other_parameters_want_another_header() {
    let large = packets(&format!("size=320x180 -t 1 {X264}"), "a.ts");
    let small = packets(&format!("size=160x96 -t 1 {X264}"), "a.ts");
    let fragmenter = Fragmenter::new(&large[0]).expect("a key frame with parameters");
    assert!(fragmenter.takes(&large[1]) && !fragmenter.takes(&small[0]));
    // In band alone: what the source states of the stream stays.
    let stated = large[0].stream.clone();
    assert!(!fragmenter.takes(&Packet { stream: stated, ..small[0].clone() }));
    assert!(
        Fragmenter::new(&Packet { data: Bytes::from_static(b"\0\0\0\x01\x65nonsense"), ..h264()[0].clone() }).is_some()
    );
    let bare = StreamInfo { extradata: Bytes::new(), ..(*h264()[0].stream).clone() };
    assert!(Fragmenter::new(&Packet { stream: Arc::new(bare), ..h264()[1].clone() }).is_none(), "no parameters");
}

#[test]
fn times_that_stand_still_or_go_back_grow_all_the_same() {
    let mut packets = h264()[..6].to_vec();
    (packets[3].at, packets[4].at) = (packets[2].at, packets[1].at);
    let mut fragmenter = Fragmenter::new(&packets[0]).expect("a key frame with parameters");
    let pictures: Vec<LivePicture> = packets.iter().map(|packet| fragmenter.picture(packet)).collect();
    assert!(pictures.is_sorted_by(|a, b| a.shown_s() < b.shown_s()));
    let clip = Clip::new();
    let data = fragment(1, &pictures, packets[0].at, true).0;
    std::fs::write(&clip.path, [&fragmenter.init().data[..], &data[..]].concat()).expect("write");
    assert_eq!(clip.play(), 6);
}
