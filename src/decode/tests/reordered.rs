//! Streams with B-frames: every picture comes out, at its time.

use super::*;

/// Works with: clips | B-frames, also where the stream does not say how many pictures it reorders | every picture is looked at, in the order in which it is shown
#[test]
fn no_picture_of_a_stream_with_b_frames_is_lost() {
    let source = "-f lavfi -i testsrc2=size=320x240:rate=10 -t 8 -pix_fmt yuv420p";
    let x264 = "-c:v libx264 -preset veryfast -g 20 -bf 3 -b-pyramid normal -x264-params b-adapt=0";
    let x265 = "-c:v libx265 -preset ultrafast \
                -x265-params log-level=error:keyint=20:bframes=3:b-adapt=0:b-pyramid=1:open-gop=0";
    let mpeg4 = "-c:v mpeg4 -g 20 -bf 2";
    for (coding, file) in [(x264, "a.mp4"), (x264, "a.ts"), (x265, "a.mp4"), (x265, "a.ts"), (mpeg4, "a.mkv")] {
        let (_dir, path) = make(&format!("{source} {coding}"), file);
        let packets = packets(&path);
        assert_shown(&packets, &format!("{file} {coding}"));
        if file == "a.ts" && coding == x264 {
            let silent: Vec<Packet> = packets.iter().map(without_reordering_depth).collect();
            assert_shown(&silent, "without a word about the depth");
        }
    }
}

fn assert_shown(packets: &[Packet], what: &str) {
    let mut shown: Vec<_> = packets.iter().map(Packet::pts).collect();
    shown.sort();
    assert_eq!(shown.len(), 80, "{what}");
    let came = times(&decoded(packets));
    let missing = shown.iter().filter(|at| !came.contains(at)).count();
    assert!(came == shown, "{what}: {} of 80 pictures, {missing} times are missing", came.len());
}

/// The packet with a sequence parameter set that ends before its usability information.
fn without_reordering_depth(packet: &Packet) -> Packet {
    let stream = StreamInfo { extradata: short_sequences(&packet.stream.extradata), ..(*packet.stream).clone() };
    Packet { stream: Arc::new(stream), data: short_sequences(&packet.data), ..packet.clone() }
}

fn short_sequences(stream: &[u8]) -> Bytes {
    let mut out = Vec::new();
    let starts: Vec<usize> =
        (0..stream.len().saturating_sub(3)).filter(|i| stream[*i..].starts_with(&[0, 0, 1])).collect();
    for (n, start) in starts.iter().enumerate() {
        let end = starts.get(n + 1).copied().unwrap_or(stream.len());
        let nal = &stream[start + 3..end];
        out.extend([0, 0, 0, 1]);
        match nal[0] & 0x1f {
            7 => out.extend(short_sequence(nal)),
            _ => out.extend(nal),
        }
    }
    out.into()
}

fn short_sequence(nal: &[u8]) -> Vec<u8> {
    let mut rbsp = Vec::new();
    for byte in nal {
        if !(*byte == 3 && rbsp.ends_with(&[0, 0])) {
            rbsp.push(*byte);
        }
    }
    let bit = |at: usize| u32::from(rbsp[at / 8] >> (7 - at % 8) & 1);
    // The NAL header, profile, constraints and level have a byte each.
    let mut at = 32;
    let exp_golomb = |at: &mut usize| {
        let zeros = (0..).take_while(|n| bit(*at + n) == 0).count();
        let value = (0..=zeros).fold(0, |value, n| value << 1 | bit(*at + zeros + n)) - 1;
        *at += 2 * zeros + 1;
        value
    };
    let skip = |numbers: u32, at: &mut usize| {
        for _ in 0..numbers {
            exp_golomb(at);
        }
    };
    skip(1, &mut at);
    if rbsp[1] >= 100 {
        skip(3, &mut at);
        at += 2;
    }
    skip(1, &mut at);
    assert_eq!(exp_golomb(&mut at), 0, "the order of pictures is coded by itself");
    skip(2, &mut at);
    at += 1;
    skip(2, &mut at);
    at += if bit(at) == 0 { 3 } else { 2 };
    at += 1;
    if bit(at - 1) == 1 {
        skip(4, &mut at);
    }
    let mut short = rbsp[..=at / 8].to_vec();
    let left = 8 - at % 8;
    short[at / 8] &= !(((1u16 << left) - 1) as u8);
    // A zero where the information would follow, and the bit that ends the set.
    at += 1;
    if at % 8 == 0 {
        short.push(0);
    }
    short[at / 8] |= 0x80 >> (at % 8);
    assert!(!short.windows(3).any(|w| w[..2] == [0, 0] && w[2] < 4), "needs escaping");
    short
}
