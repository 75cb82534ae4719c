//! Whatever happens to packets on their way, nothing panics and decoding recovers.

use std::sync::OnceLock;

use proptest::prelude::*;

use super::*;

/// What the air does to a stream.
#[derive(Clone, Debug)]
enum Harm {
    Drop(usize),
    Cut(usize, prop::sample::Index),
    Flip(usize, prop::sample::Index, u8),
    Replace(usize, Vec<u8>),
    Swap(usize),
}

fn harm() -> impl Strategy<Value = Harm> {
    // Only the first two GOPs: the third shows that the decoder has recovered.
    prop_oneof![
        (0..20usize).prop_map(Harm::Drop),
        (0..20usize, any::<prop::sample::Index>()).prop_map(|(p, i)| Harm::Cut(p, i)),
        (0..20usize, any::<prop::sample::Index>(), 1..=255u8).prop_map(|(p, i, v)| Harm::Flip(p, i, v)),
        (0..20usize, prop::collection::vec(any::<u8>(), 0..200)).prop_map(|(p, data)| Harm::Replace(p, data)),
        (0..19usize).prop_map(Harm::Swap),
    ]
}

fn harmed(packets: &[Packet], harms: &[Harm]) -> Vec<Packet> {
    let mut packets = packets.to_vec();
    let mut dropped = Vec::new();
    for harm in harms {
        match harm {
            Harm::Drop(p) => dropped.push(*p),
            Harm::Cut(p, index) => {
                let len = index.index(packets[*p].data.len().max(1));
                packets[*p].data.truncate(len);
            }
            Harm::Flip(p, index, value) if !packets[*p].data.is_empty() => {
                let mut data = packets[*p].data.to_vec();
                let at = index.index(data.len());
                data[at] ^= value;
                packets[*p].data = data.into();
            }
            Harm::Flip(..) => {}
            Harm::Replace(p, data) => packets[*p].data = data.clone().into(),
            Harm::Swap(p) => packets.swap(*p, p + 1),
        }
    }
    let keep = |(i, p): (usize, Packet)| (!dropped.contains(&i)).then_some(p);
    packets.into_iter().enumerate().filter_map(keep).collect()
}

/// The same three GOPs in each coding.
fn codings() -> &'static [Vec<Packet>] {
    static CODINGS: OnceLock<Vec<Vec<Packet>>> = OnceLock::new();
    CODINGS.get_or_init(|| {
        let source = "-f lavfi -i testsrc2=size=160x96:rate=10 -t 3";
        let x265 = "-c:v libx265 -preset ultrafast -x265-params log-level=error:keyint=10:min-keyint=10:bframes=0";
        let x264 = "-c:v libx264 -preset ultrafast -g 10 -bf 0 -pix_fmt yuv420p";
        let files = [(x264, "a.mp4"), (x264, "a.h264"), (x265, "a.mp4"), ("-c:v mjpeg", "m.mkv")];
        files.map(|(coding, file)| packets(&make(&format!("{source} {coding}"), file).1)).to_vec()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_damage_is_fatal_and_the_next_intact_gop_is_whole(
        coding in 0..4usize,
        harms in prop::collection::vec(harm(), 1..6),
    ) {
        let packets = harmed(&codings()[coding], &harms);
        let mut decoder = Decoder::new(Config::default());
        let mut frames = Vec::new();
        for packet in &packets {
            frames.extend(decoder.decode(packet).unwrap_or_default());
        }
        frames.extend(decoder.flush());
        for frame in &frames {
            prop_assert!(frame.picture.luma(32, 24).is_ok());
        }
        let whole: Vec<_> = codings()[coding][20..].iter().map(|p| p.at).collect();
        let tail = times(&frames);
        prop_assert!(tail.ends_with(&whole), "{tail:?}");
    }
}
