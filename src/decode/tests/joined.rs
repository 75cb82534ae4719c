//! Streams that are joined after their only IDR picture.

use super::*;

const SOURCE: &str = "-f lavfi -i testsrc2=size=320x240:rate=10 -t 8 -pix_fmt yuv420p -c:v libx264 -preset veryfast";

/// Packets from the first on that decoding can begin with, and how many there are before it.
fn joined(coding: &str) -> (Vec<Packet>, usize) {
    let (_dir, path) = make(&format!("{SOURCE} {coding}"), "a.ts");
    let mut packets = packets(&path);
    let begin = packets.iter().skip(1).position(|packet| packet.key_frame).expect("another access point") + 1;
    let late = packets.split_off(2);
    (late, begin - 2)
}

#[test]
fn an_open_gop_is_decoded_from_its_first_whole_picture() {
    let (packets, before) = joined("-x264-params keyint=20:min-keyint=10:open-gop=1:scenecut=0:bframes=2:b-adapt=0");
    let key = &packets[before];
    let mut shown: Vec<_> = packets[before..].iter().map(Packet::pts).filter(|at| *at >= key.pts()).collect();
    shown.sort();
    assert_eq!(times(&decoded(&packets)), shown);
}

#[test]
fn a_gradual_refresh_is_decoded_from_the_moment_at_which_it_is_complete() {
    let (packets, before) = joined("-x264-params intra-refresh=1:keyint=20:bframes=0");
    let frames = decoded(&packets);
    // One refresh goes by unseen; what is shown is whole, and nothing is left out after it.
    let first = packets.iter().position(|packet| packet.pts() == frames[0].at).expect("a packet's time");
    assert!((before..before + 25).contains(&first), "{first}, the refresh begins at {before}");
    assert_eq!(times(&frames), packets[first..].iter().map(Packet::pts).collect::<Vec<_>>());
    let (_dir, path) = make(&format!("{SOURCE} -x264-params intra-refresh=1:keyint=20:bframes=0"), "a.ts");
    let whole = decoded(&self::packets(&path));
    for frame in &frames {
        let same = whole.iter().find(|whole| whole.at == frame.at).expect("decoded from the beginning too");
        let rgb = |frame: &Frame| frame.picture.rgb(320, 240).expect("convert").data;
        let difference = psnr(&rgb(frame), &rgb(same));
        assert!(difference > 30.0, "{difference} dB at {:?}", frame.at);
    }
}
