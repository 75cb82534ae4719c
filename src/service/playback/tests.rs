//! Exports and pictures of real recordings.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::super::fixture::{Bench, id};
use super::fixture::{REORDERED, segment, three_segments};
use super::*;
use crate::archive::RecordingLevel;
use crate::clock::{Clock, Mono, TimeQuality};
use crate::load::LoadLevel;
use crate::mux;

fn new(from: Timestamp, seconds: i64) -> NewExport {
    let until = from + SignedDuration::from_secs(seconds);
    NewExport { camera: "yard".into(), from, until, by: "anna".into(), seen: SeenTime::default() }
}

/// Carries out what waits, until nothing does.
async fn carry_out(bench: &Bench) {
    let (exports, stop) = (bench.services.exports.clone(), CancellationToken::new());
    let pending = async {
        while exports.list().await.expect("a list").iter().any(Export::is_pending) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
    };
    tokio::join!(exports.run(stop.clone()), pending);
}

async fn exported(bench: &Bench, new: NewExport) -> Export {
    let export = bench.services.exports.add(new).await.expect("an answer").expect("not refused");
    carry_out(bench).await;
    bench.services.exports.get(export.id).await.expect("an answer").expect("known")
}

/// The times at which pictures are shown, as ffprobe says, and what ffmpeg complains of.
fn played(file: &Path) -> (Vec<f64>, String) {
    let said = |command: &mut Command| command.output().expect("run");
    let times = said(
        Command::new("ffprobe")
            .args(["-v", "error", "-select_streams", "v", "-of", "csv=p=0", "-show_entries", "packet=pts_time"])
            .arg(file),
    );
    let times = String::from_utf8(times.stdout).expect("text");
    let mut times: Vec<f64> = times.lines().map(|line| line.trim_matches(',').parse().expect("seconds")).collect();
    times.sort_by(f64::total_cmp);
    let decoded =
        said(Command::new("ffmpeg").args(["-v", "error", "-i"]).arg(file).args(["-f", "rawvideo", "-y", "/dev/null"]));
    (times, String::from_utf8(decoded.stderr).expect("text"))
}

#[tokio::test]
async fn an_export_plays_across_segments_and_closes_gaps() {
    let bench = Bench::new();
    let begin = three_segments(&bench, REORDERED);
    let export = exported(&bench, new(begin, 20)).await;
    assert_eq!((export.state, export.error.as_deref()), (ExportState::Done, None));
    let file = bench.services.exports.file(&export).expect("a file");
    let (times, errors) = played(&file);
    assert_eq!((times.len(), errors.as_str()), (90, ""));
    let steps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(steps.iter().all(|step| (step - 0.1).abs() < 0.011), "{steps:?}");
    let parts: Vec<(f64, f64)> =
        export.parts.iter().map(|part| (part.at_s, part.from.duration_since(begin).as_secs_f64())).collect();
    let expected = [(0.0, 0.0), (3.0, 3.0), (6.0, 11.0)];
    assert!(
        parts.iter().zip(expected).all(|(is, wanted)| (is.0 - wanted.0).abs() < 0.02 && (is.1 - wanted.1).abs() < 0.02),
        "{parts:?}"
    );
    assert!(export.duration_s.is_some_and(|seconds| (seconds - 9.0).abs() < 0.05), "{export:?}");
    assert_eq!(export.bytes, std::fs::metadata(&file).ok().map(|file| file.len()));
}

#[tokio::test]
async fn an_export_begins_with_the_key_frame_before_and_ends_where_it_was_asked_to() {
    let bench = Bench::new();
    let begin = three_segments(&bench, REORDERED);
    let from = begin + SignedDuration::from_millis(1700);
    let until = begin + SignedDuration::from_millis(4000);
    let export = exported(&bench, NewExport { from, until, ..new(begin, 1) }).await;
    assert_eq!((export.state, export.error.as_deref()), (ExportState::Done, None));
    let (times, errors) = played(&bench.services.exports.file(&export).expect("a file"));
    assert_eq!(errors, "");
    let length = times.last().expect("pictures") - times[0];
    // Key frames come every half second: from 1.5 s to about 4 s.
    assert!((2.3..=2.7).contains(&length), "{times:?}");
    let early = from.duration_since(export.parts[0].from).as_secs_f64();
    assert!((0.0..=0.31).contains(&early), "{early}");
}

#[tokio::test]
async fn another_size_goes_on_in_the_same_file_and_another_coding_says_where_to_cut() {
    let bench = Bench::new();
    let begin = three_segments(&bench, REORDERED);
    let at = |seconds: u64| {
        let offset = bench.clock.wall().duration_since(begin).unsigned_abs();
        Mono(bench.clock.mono().0) + Duration::from_secs(seconds) - offset
    };
    let larger = mux::tests::packets(&REORDERED.replace("160x96", "320x192"), "b.mp4");
    segment(&bench, 103, "yard", at(6), &larger);
    let export = exported(&bench, new(begin, 9)).await;
    assert_eq!((export.state, export.error.as_deref()), (ExportState::Done, None));
    let (times, errors) = played(&bench.services.exports.file(&export).expect("a file"));
    assert_eq!((times.len(), errors.as_str()), (90, ""));
    let h265 = "size=160x96 -t 1 -c:v libx265 -preset ultrafast -x265-params log-level=error:keyint=20:bframes=0 -pix_fmt yuv420p";
    segment(&bench, 104, "yard", at(9), &mux::tests::packets(h265, "c.mp4"));
    let refused = exported(&bench, new(begin, 11)).await;
    let why = refused.error.expect("an error");
    let when = (begin + SignedDuration::from_secs(9)).to_string();
    assert!(why.contains("changed its coding") && why.contains(&when[..18]), "{why}");
    let folder = bench.archive.layout().storage().join("exports");
    let left: Vec<_> =
        std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().ends_with(".partial")), "{left:?}");
}

#[tokio::test]
async fn exports_are_refused_with_what_to_do() {
    let bench = Bench::new();
    let begin = three_segments(&bench, REORDERED);
    let refused =
        async |new| bench.services.exports.add(new).await.expect("an answer").expect_err("refused").to_string();
    assert!(refused(new(begin, 0)).await.contains("later than from"));
    assert!(refused(new(begin, 90_000)).await.contains("24 hours at most"));
    assert!(refused(new(begin + SignedDuration::from_hours(1), 60)).await.contains("has not come yet"));
    assert!(refused(new(begin - SignedDuration::from_hours(1), 60)).await.contains("no video of camera \"yard\""));
    let seen = SeenTime { since: Some(begin + SignedDuration::from_secs(60)), until: None };
    assert!(
        refused(NewExport { seen, ..new(begin, 9) }).await.contains("no video"),
        "what may not be seen is not there"
    );
    bench.health.set_spooling(true);
    assert!(refused(new(begin, 9)).await.contains("the volume of the archive is away"));
    bench.health.set_spooling(false);
    for _ in 0..20 {
        bench.services.exports.add(new(begin, 9)).await.expect("an answer").expect("not refused");
    }
    assert!(refused(new(begin, 9)).await.contains("20 exports already"));
}

#[tokio::test]
async fn an_export_ends_where_recording_needs_the_room_and_is_made_once_there_is_some() {
    let bench = Bench::new();
    let begin = three_segments(&bench, REORDERED);
    let export = bench.services.exports.add(new(begin, 9)).await.expect("an answer").expect("there is room");
    bench.archive.room.set_level(RecordingLevel::NoContinuous);
    carry_out(&bench).await;
    let failed = bench.services.exports.get(export.id).await.expect("an answer").expect("known");
    assert_eq!(failed.state, ExportState::Failed);
    assert!(
        failed.error.as_deref().is_some_and(|text| text.contains("the disk is full: free some space")),
        "{failed:?}"
    );
    let left = std::fs::read_dir(bench.archive.layout().storage().join("exports")).expect("a folder").flatten();
    let left: Vec<_> =
        left.map(|file| file.file_name()).filter(|name| !name.to_string_lossy().ends_with(".json")).collect();
    assert!(left.is_empty(), "what was begun takes room: {left:?}");
    let refused = bench.services.exports.add(new(begin, 9)).await.expect("an answer").expect_err("no room");
    assert!(refused.to_string().contains("which recording needs"), "{refused}");
    bench.archive.room.set_level(RecordingLevel::Full);
    assert_eq!(exported(&bench, new(begin, 9)).await.state, ExportState::Done);
}

#[tokio::test]
async fn exports_survive_a_restart_and_expire_after_a_day() {
    let bench = Bench::new();
    let begin = three_segments(&bench, REORDERED);
    let done = exported(&bench, new(begin, 9)).await;
    let waiting = bench.services.exports.add(new(begin, 9)).await.expect("an answer").expect("not refused");
    let folder = bench.archive.layout().storage().join("exports");
    std::fs::write(folder.join(format!("{}.partial", waiting.id)), "torn").expect("write");
    std::fs::write(folder.join(format!("{}.mp4", id(7))), "of nothing").expect("write");
    let again = bench.restarted();
    let known = again.list().await.expect("a list");
    assert_eq!(known.iter().map(|export| export.id).collect::<Vec<_>>(), [waiting.id, done.id]);
    assert_eq!((known[0].state, &known[1]), (ExportState::Waiting, &done));
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
        .collect();
    names.sort();
    let mut expected = [format!("{}.json", done.id), format!("{}.mp4", done.id), format!("{}.json", waiting.id)];
    expected.sort();
    assert_eq!(names, expected);
    carry_out(&bench).await;
    bench.clock.advance(Duration::from_secs(23 * 3600));
    let kept = exported(&bench, new(begin, 3)).await;
    bench.clock.advance(Duration::from_secs(2 * 3600));
    carry_out(&bench).await;
    let left: Vec<_> = bench.services.exports.list().await.expect("a list").iter().map(|export| export.id).collect();
    assert_eq!(left, [kept.id]);
    assert!(bench.services.exports.remove(kept.id).await.expect("removed"));
    assert!(std::fs::read_dir(&folder).expect("a folder").next().is_none(), "nothing is left behind");
}

#[tokio::test]
async fn a_picture_of_the_past_is_decoded_once_and_not_under_load() {
    let bench = Bench::new();
    let begin = three_segments(&bench, REORDERED);
    let picture = async |ms: i64, near: i64| {
        let at = begin + SignedDuration::from_millis(ms);
        let near = SignedDuration::from_secs(near);
        bench.services.previews.picture("yard", at, near, |_, _| true).await.expect("an answer")
    };
    let Preview::Picture(jpeg, taken) = picture(4_300, 1).await else { panic!("no picture") };
    assert_eq!(&jpeg[..2], [0xff, 0xd8]);
    assert_eq!(taken, begin + SignedDuration::from_secs(4));
    let Preview::Picture(other, _) = picture(2_100, 1).await else { panic!("no picture") };
    assert_ne!(jpeg, other, "another time, another picture");
    assert_eq!(picture(8_500, 1).await, Preview::Nothing, "in the gap");
    let Preview::Picture(_, taken) = picture(8_500, 10).await else { panic!("no picture") };
    assert!(taken.duration_since(begin).as_secs() <= 11);
    bench.archive.pressure.set_level(LoadLevel::LightModel);
    assert!(matches!(picture(4_300, 1).await, Preview::Picture(same, _) if same == jpeg), "it is known already");
    assert!(matches!(picture(200, 1).await, Preview::Busy(_)));
    let hidden = bench.services.previews.picture("yard", begin, SignedDuration::from_secs(1), |_, _| false);
    assert_eq!(hidden.await.expect("an answer"), Preview::Nothing);
}

#[tokio::test]
async fn times_of_a_clock_that_is_not_synchronised_are_said_to_be_uncertain() {
    let bench = Bench::new();
    bench.clock.step_wall(bench.clock.wall(), TimeQuality::Unsynchronised);
    let begin = three_segments(&bench, REORDERED);
    let export = bench.services.exports.add(new(begin, 3)).await.expect("an answer").expect("not refused");
    assert!(export.file.ends_with("_time-uncertain.mp4"), "{}", export.file);
    assert_eq!(export.time_quality, Some(TimeQuality::Unsynchronised));
}
