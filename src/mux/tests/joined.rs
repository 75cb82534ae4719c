//! Clips that begin in the middle of a stream that sends no IDR pictures.

use super::*;

/// Where a stream states that decoding can begin, without an IDR picture.
fn recovery_points(packets: &[Packet]) -> Vec<usize> {
    let states = |packet: &Packet| packet.data.windows(3).any(|bytes| bytes == [6, 6, 1]);
    (1..packets.len()).filter(|n| states(&packets[*n])).collect()
}

impl Clip {
    /// Decodes everything; any error fails the test. Gives a checksum of each picture in the order of showing.
    fn pictures(&self) -> Vec<String> {
        let args = "-nostdin -v error -xerror -i clip.mp4 -vsync passthrough -enc_time_base 1:90000 -f framecrc -";
        let text = cli("ffmpeg", self.dir.path(), args);
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.rsplit(',').next().unwrap_or_default().trim().to_owned()).collect()
    }
}

/// Works with: clips | H.264 of an open GOP that a clip begins in the middle of | what its slice headers say of pictures before the clip is taken out, so that Chromium plays it
#[test]
fn a_clip_that_begins_with_a_recovery_point_decodes_without_an_error() {
    for more in [
        "keyint=16:min-keyint=8:bframes=2",
        "keyint=17:min-keyint=8:bframes=2:cabac=0",
        "keyint=18:min-keyint=8:bframes=3",
        "keyint=15:min-keyint=8:bframes=3:b-pyramid=strict",
        "keyint=16:min-keyint=8:bframes=2:slices=3:weightp=2",
    ] {
        let options = format!("open-gop=1:scenecut=0:b-adapt=0:{more}");
        let coding = format!("-c:v libx264 -preset veryfast -pix_fmt yuv420p -x264-params {options}");
        for file in ["a.mp4", "a.ts"] {
            let packets = packets(&format!("size=160x96 -t 6 {coding}"), file);
            let whole = Clip::new();
            assert_eq!(whole.write(&packets).frames, 60);
            let expected = whole.pictures();
            let points = recovery_points(&packets);
            assert!(points.len() >= 2, "{more} {file}");
            for at in points.into_iter().take(2) {
                let mut rest = packets[at..].to_vec();
                rest[0].key_frame = true;
                let clip = Clip::new();
                let facts = clip.write(&rest);
                // The same pictures as those of the whole stream; a player that jumps begins with the first.
                let pictures = clip.pictures();
                assert_eq!(pictures, expected[expected.len() - pictures.len()..], "{more} {file} from {at}");
                assert_eq!(pictures.len() as u64, facts.frames);
                let args = "-v error -read_intervals 3%+#1 -show_entries packet=pts_time -of csv=p=0 clip.mp4";
                assert_eq!(cli("ffprobe", clip.dir.path(), args).trim(), "0.000000", "{more} {file} from {at}");
            }
        }
    }
}
