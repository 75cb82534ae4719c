//! The plug is pulled: a machine with a drive of its own ends between two instructions, and starts again from what
//! the drive holds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::Value;

use crate::harness::clips::{assert_sound, has_video};
use crate::harness::config::{lamp_sections, with_rules};
use crate::harness::dice::Dice;
use crate::harness::guest::{Guest, config, lamp_clip};
use crate::harness::photos::{listed, pages, pictures, send};
use crate::harness::process::run;
use crate::harness::vm::Vm;
use crate::harness::write_log::WriteLog;
use crate::harness::{Scratch, port, seconds, setting, wait_for};

/// Where the drive is seen inside the machine.
const DRIVE: &str = "/run/data";
/// As a box's own init checks and mounts it.
const MOUNT: &str = "e2fsck -p /dev/vda || [ $? = 1 ] || exit 1
    mkdir -p /run/data && mount -t ext4 /dev/vda /run/data && mkdir -p /run/data/box /run/data/cloud";

/// A file that serves as a drive of so many MiB.
fn drive(scratch: &Scratch, name: &str, mib: u64) -> PathBuf {
    let image = scratch.path(name);
    let file = std::fs::File::create(&image).expect("make an image");
    file.set_len(mib << 20).expect("size an image");
    image
}

fn format(image: &Path) {
    run(Command::new("mkfs.ext4").args(["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"]).arg(image));
}

/// Cameras that see the lamp every four seconds; storage and destination on the drive.
fn box_on_drive(scratch: &Scratch, port: u16, cameras: &[&str]) -> String {
    std::fs::create_dir_all(Vm::share(scratch)).expect("make the shared folder");
    let clip = lamp_clip(scratch, "h264");
    let mut config = config(port, &format!("{DRIVE}/box"), &format!("{DRIVE}/cloud"));
    for name in cameras {
        config += &lamp_sections(name, &format!("url = \"replay:{}\"\nrepeat = true", clip.display()));
    }
    with_rules(&config)
}

fn machine(scratch: &Scratch, port: u16, drives: &[&Path]) -> Vm {
    let mut vm = Vm::boot(scratch, port, drives);
    vm.sh("modprobe -d /run/guest -a virtio_blk ext4 dm-log-writes; until [ -b /dev/vda ]; do :; done");
    vm
}

/// What the daemon reported an event: how far it was, and whether it had been delivered.
type Reported = BTreeMap<String, (String, bool)>;

fn id(record: &Value) -> String {
    record["event"]["id"].as_str().expect("an id").to_owned()
}

fn is_delivered(record: &Value) -> bool {
    record["delivery"][0]["state"] == "delivered"
}

fn note(reported: &mut Reported, records: &[Value]) {
    for record in records {
        let state = record["event"]["state"].as_str().expect("a state").to_owned();
        reported.insert(id(record), (state, is_delivered(record)));
    }
}

/// After the power came back: waits until everything that was reported is delivered, ends the daemon, and looks at
/// every file in the destination.
fn assert_kept(vm: &mut Vm, guest: Guest, scratch: &Scratch, reported: &Reported) {
    let known = |records: &[Value], id: &String| records.iter().any(|record| self::id(record) == *id);
    let records = wait_for("everything to be delivered", seconds(180), || {
        let records = guest.records()?;
        let missing: Vec<&String> = reported.keys().filter(|id| !known(&records, id)).collect();
        assert!(missing.is_empty(), "reported, and then lost: {missing:?}; {}", guest.log());
        let waiting = records.iter().filter(|record| reported.contains_key(&id(record)) && !is_delivered(record));
        let waiting: Vec<String> = waiting.map(id).collect();
        if waiting.is_empty() { Ok(records) } else { Err(format!("waiting: {waiting:?}")) }
    });
    guest.terminate(vm);
    let cloud = Vm::share(scratch).join("cloud");
    vm.sh(&format!("rm -rf {0}; cp -r {DRIVE}/cloud {0}", cloud.display()));

    let files = run(Command::new("find").arg(&cloud).args(["-type", "f"]));
    let mut objects: BTreeMap<&str, Vec<&Path>> = BTreeMap::new();
    for sidecar in files.lines().map(Path::new).filter(|path| path.ends_with("event.json")) {
        let folder = sidecar.parent().expect("a folder");
        let id = folder.file_name().and_then(|name| name.to_str()).expect("an id");
        objects.entry(id).or_default().push(folder);
    }
    for (id, (state, was_delivered)) in reported {
        let record = records.iter().find(|record| self::id(record) == *id).expect("looked for above");
        let event = &record["event"];
        let went_on = state == "open" || event["state"] == state.as_str();
        assert!(event["state"] != "open" && went_on, "it was {state}: {event}");
        let [folder] = objects.get(id.as_str()).map_or(&[] as &[&Path], Vec::as_slice) else {
            panic!("{id} (delivered before: {was_delivered}) is in the destination as {:?}", objects.get(id.as_str()));
        };
        let sidecar = std::fs::read(folder.join("event.json")).expect("a sidecar");
        let sidecar: Value = serde_json::from_slice(&sidecar)
            .unwrap_or_else(|e| panic!("{id} (delivered before: {was_delivered}) is not whole: {e}"));
        assert_eq!(sidecar["state"], event["state"], "{id}: an old sidecar was delivered");
        assert!(state != "ended" || has_video(event), "no video: {event}");
        if event["clip"].is_object() {
            let clip = folder.join("clip.mp4");
            assert_sound(&clip);
            assert_eq!(event["clip"]["bytes"], std::fs::metadata(&clip).expect("a clip").len(), "{id}");
        }
    }
    let named = ["event.json", "clip.mp4", "snapshot.jpg", "snapshot-boxes.jpg", "thumb.jpg"];
    let is_table = |file: &str| file.contains("/lake/") && file.ends_with(".parquet");
    let is_known = |file: &str| is_table(file) || named.iter().any(|name| Path::new(file).ends_with(name));
    let strange: BTreeSet<&str> = files.lines().filter(|file| !is_known(file)).collect();
    assert!(strange.is_empty(), "half-written files stay in the destination: {strange:?}");
}

#[test]
fn what_was_reported_before_the_power_went_is_there_after_it_came_back() {
    let scratch = Scratch::new("power");
    scratch.expect_any_log("what a power cut tears is chance");
    let mut dice = Dice::new();
    let port = port::free();
    let config = box_on_drive(&scratch, port, &["yard", "gate"]);
    let image = drive(&scratch, "drive.ext4", 512);
    format(&image);
    let start = || {
        let mut vm = machine(&scratch, port, &[&image]);
        vm.sh(MOUNT);
        let guest = Guest::start(&mut vm, &scratch, &config, port);
        (vm, guest)
    };

    let mut reported = Reported::new();
    let mut cut_short = 0;
    for _ in 0..setting("OUTPOST_POWER_CUTS", 3) {
        let (vm, guest) = start();
        let before = reported.len();
        wait_for("new events, one of them over", seconds(120), || {
            let records = guest.records()?;
            note(&mut reported, &records);
            let over = records.iter().any(|record| record["event"]["state"] == "ended");
            if over && reported.len() >= before + 3 { Ok(()) } else { Err(format!("{} events", records.len())) }
        });
        let (begun, further) = (Instant::now(), dice.up_to(seconds(5)));
        while begun.elapsed() < further {
            note(&mut reported, &guest.records().expect("an answer while it runs"));
        }
        vm.cut();
        cut_short += reported.values().filter(|(state, _)| state == "open").count();
    }
    assert!(cut_short > 0, "no event was going on when the power went");
    let (mut vm, guest) = start();
    assert_kept(&mut vm, guest, &scratch, &reported);
}

#[test]
fn a_drive_that_keeps_any_part_of_what_was_not_flushed_loses_nothing_that_was_reported() {
    let scratch = Scratch::new("drive");
    scratch.expect_any_log("what a power cut tears is chance");
    let mut dice = Dice::new();
    let port = port::free();
    let config = box_on_drive(&scratch, port, &["yard", "gate"]);
    let (image, log) = (drive(&scratch, "drive.ext4", 256), drive(&scratch, "log", 2048));
    format(&image);
    let empty = scratch.path("empty.ext4");
    run(Command::new("cp").args(["--sparse=always"]).args([&image, &empty]));

    // One life, of which every write is noted, and between them what the daemon had reported by then.
    let mut vm = machine(&scratch, port, &[&image, &log]);
    vm.sh(&format!(
        "dmsetup create logged --noudevsync --table \"0 $(blockdev --getsz /dev/vda) log-writes /dev/vda /dev/vdb\"\n\
         dmsetup mknodes; mkdir {DRIVE} && mount -t ext4 /dev/mapper/logged {DRIVE} && mkdir {DRIVE}/box {DRIVE}/cloud"
    ));
    let guest = Guest::start(&mut vm, &scratch, &config, port);
    let mut reported = Reported::new();
    let cuts = setting("OUTPOST_DRIVE_CUTS", 5);
    wait_for("enough events", seconds(240), || {
        let mut now = Reported::new();
        note(&mut now, &guest.records()?);
        let updates = now.iter().filter(|(id, fate)| reported.get(*id) != Some(fate));
        let marks =
            updates.map(|(id, (state, delivered))| format!("dmsetup message logged 0 mark {id}:{state}:{delivered}\n"));
        let marks: String = marks.collect();
        if !marks.is_empty() {
            vm.sh(&marks);
        }
        reported.append(&mut now);
        let delivered = reported.values().filter(|(_, delivered)| *delivered).count();
        if delivered >= 8 { Ok(()) } else { Err(format!("{delivered} events delivered")) }
    });
    vm.sh("dmsetup message logged 0 mark end");
    vm.cut();
    let history = WriteLog::read(&log);

    // One machine for all the lives after it: the drive is changed under it while nothing is mounted.
    let mut vm = machine(&scratch, port, &[&image]);
    for _ in 0..cuts {
        run(Command::new("cp").args(["--sparse=always"]).args([&empty, &image]));
        let moment = 1 + dice.below(history.len());
        let marks = history.replay(&image, moment, &mut dice);
        let mut reported = Reported::new();
        for mark in &marks {
            if let [id, state, delivered] = mark.split(':').collect::<Vec<_>>()[..] {
                let fate = (state.to_owned(), delivered == "true");
                // Several marks of one event, of which the latest state is the greatest but for "open".
                reported.entry(id.to_owned()).and_modify(|known| *known = later(known, &fate)).or_insert(fate);
            }
        }
        eprintln!("after {moment} of {} entries: {} events reported", history.len(), reported.len());
        vm.sh(&format!("blockdev --flushbufs /dev/vda; {MOUNT}"));
        let guest = Guest::start(&mut vm, &scratch, &config, port);
        assert_kept(&mut vm, guest, &scratch, &reported);
        vm.sh(&format!("umount {DRIVE}"));
    }
}

/// Photos that are sent with one request, and those of one life of the machine before its power goes.
const TOGETHER: usize = 3;
const A_LIFE: usize = 12;

/// Gives photos until there are enough, each until it is acknowledged; gives their names and ids.
fn give(
    mut files: impl Iterator<Item = PathBuf>,
    port: u16,
    count: &AtomicUsize,
    enough: &AtomicBool,
) -> BTreeMap<String, String> {
    let (page, mut acknowledged) = (format!("http://127.0.0.1:{port}/"), BTreeMap::new());
    while !enough.load(Ordering::SeqCst) {
        let batch: Vec<PathBuf> = files.by_ref().take(TOGETHER).collect();
        let kept = wait_for("the box to take photos in", seconds(240), || {
            send(&page, &batch).ok_or_else(|| "no answer".to_owned())
        });
        acknowledged.extend(kept);
        count.fetch_add(batch.len(), Ordering::SeqCst);
    }
    acknowledged
}

/// Cuts the power `cuts` times while `send` gives to the box until it is enough; gives what it returns, and the box as it is
/// then.
fn through_cuts<T: Send>(
    scratch: &Scratch,
    port: u16,
    config: &str,
    cuts: u64,
    send: impl FnOnce(&AtomicUsize, &AtomicBool) -> T + Send,
) -> (T, Vm, Guest) {
    let image = drive(scratch, "drive.ext4", 512);
    format(&image);
    let start = || {
        let mut vm = machine(scratch, port, &[&image]);
        vm.sh(MOUNT);
        let guest = Guest::start(&mut vm, scratch, config, port);
        (vm, guest)
    };
    let (mut dice, count, enough) = (Dice::new(), AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (mut vm, mut guest) = start();
        let sender = scope.spawn(|| send(&count, &enough));
        let more = || {
            let before = count.load(Ordering::SeqCst);
            wait_for("more to be taken in", seconds(240), || {
                let now = count.load(Ordering::SeqCst);
                if now >= before + A_LIFE { Ok(()) } else { Err(now.to_string()) }
            });
        };
        for _ in 0..cuts {
            more();
            // Not a wait for anything: the moment of the cut is chance.
            std::thread::sleep(dice.up_to(seconds(3)));
            vm.cut();
            (vm, guest) = start();
        }
        more();
        enough.store(true, Ordering::SeqCst);
        (sender.join().expect("the sender"), vm, guest)
    })
}

/// SHA-256 of every original below a folder.
fn originals(folder: &Path) -> Vec<String> {
    let sums = run(Command::new("find").arg(folder).args(["-name", "original.*", "-exec", "sha256sum", "{}", "+"]));
    let mut sums: Vec<String> = sums.lines().filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect();
    sums.sort_unstable();
    sums
}

#[test]
fn photos_that_were_acknowledged_before_the_power_went_are_there_once_after_it_came_back() {
    let scratch = Scratch::new("photo-power");
    scratch.expect_any_log("what a power cut tears is chance");
    let port = port::free();
    let config = box_on_drive(&scratch, port, &["yard"]) + "[library]\ndetect = \"off\"\n";
    let (cuts, files) = (setting("OUTPOST_PHOTO_POWER_CUTS", 1), pictures(&scratch));
    let (acknowledged, mut vm, guest) =
        through_cuts(&scratch, port, &config, cuts, |count, enough| give(files, port, count, enough));
    let number = acknowledged.len();
    eprintln!("{number} photos, {cuts} cuts");

    let photos = listed(&pages(port));
    let text = |photo: &Value, field: &str| photo[field].as_str().expect("text").to_owned();
    let known: BTreeMap<String, &Value> = photos.iter().map(|photo| (text(photo, "name"), photo)).collect();
    let mut sums = Vec::new();
    for (name, id) in &acknowledged {
        let photo = known.get(name).unwrap_or_else(|| panic!("{name} was acknowledged, and then lost"));
        assert_eq!(text(photo, "id"), *id, "{name} was acknowledged as another photo");
        let sum = run(Command::new("sha256sum").arg(scratch.path("given").join(name)));
        assert_eq!(sum.split(' ').next(), photo["sha256"].as_str(), "{name}");
        sums.push(text(photo, "sha256"));
    }
    assert_eq!(photos.len(), number, "none is there twice");
    sums.sort_unstable();

    let find = format!("find {DRIVE}/cloud -name 'original.*' | wc -l");
    wait_for("all originals in the destination", seconds(180), || {
        let there = vm.sh(&find);
        if there.trim() == number.to_string() { Ok(()) } else { Err(there) }
    });
    guest.terminate(&mut vm);
    let share = Vm::share(&scratch);
    vm.sh(&format!("cp -r {DRIVE}/cloud {0}/cloud; cp -r {DRIVE}/box/library {0}/library", share.display()));
    assert_eq!(originals(&share.join("cloud")), sums, "in the destination");
    assert_eq!(originals(&share.join("library")), sums, "on the box");
    let half = run(Command::new("find").arg(share.join("library/incoming")).args(["-type", "f"]));
    assert_eq!(half, "", "half-written files stay");
}

/// The later of two fates of one event.
fn later(one: &(String, bool), other: &(String, bool)) -> (String, bool) {
    let age = |fate: &(String, bool)| (fate.0 != "open", fate.1);
    if age(other) > age(one) { other.clone() } else { one.clone() }
}

/// A pipeline without a model, which keeps what it makes.
const SMALLER: &str = r#"{"name": "smaller", "steps": [
    {"id": "resize", "type": "resize@1", "inputs": {"image": "$inputs.image"}, "parameters": {"width": 32}},
    {"id": "keep", "type": "keep@1", "inputs": {"value": "$steps.resize.image"}, "parameters": {"name": "small"}}],
    "outputs": {"picture": "$steps.resize.image"}}"#;

/// Sends pictures through it until it is `enough`, each file until it is accepted; gives the ids in that order.
fn execute(files: impl Iterator<Item = PathBuf>, port: u16, count: &AtomicUsize, enough: &AtomicBool) -> Vec<String> {
    let mut accepted = Vec::new();
    for (number, file) in files.enumerate() {
        if enough.load(Ordering::SeqCst) {
            break;
        }
        let id = wait_for("the box to take a picture in", seconds(240), || {
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--fail", "--max-time", "60", "--header", &format!("idempotency-key: {number}")]);
            curl.arg("--form")
                .arg(format!("definition={SMALLER}"))
                .arg("--form")
                .arg(format!("file=@{}", file.display()));
            let output = curl.arg(format!("http://127.0.0.1:{port}/api/v1/executions")).output().expect("curl");
            let answer: Value = serde_json::from_slice(&output.stdout).map_err(|_| "no answer".to_owned())?;
            answer["executions"][0]["id"].as_str().map(str::to_owned).ok_or_else(|| answer.to_string())
        });
        accepted.push(id);
        count.fetch_add(1, Ordering::SeqCst);
    }
    accepted
}

#[test]
fn executions_that_were_accepted_before_the_power_went_have_one_result_after_it_came_back() {
    let scratch = Scratch::new("execution-power");
    scratch.expect_any_log("what a power cut tears is chance");
    let port = port::free();
    let config = box_on_drive(&scratch, port, &["yard"]);
    let (cuts, files) = (setting("OUTPOST_EXECUTION_POWER_CUTS", 1), pictures(&scratch));
    let (accepted, mut vm, guest) =
        through_cuts(&scratch, port, &config, cuts, |count, enough| execute(files, port, count, enough));
    let number = accepted.len();
    eprintln!("{number} executions, {cuts} cuts");

    let all = wait_for("all results", seconds(240), || {
        let all = guest.json("/api/v1/executions?limit=500")?["executions"].clone();
        let all = all.as_array().expect("executions").clone();
        let open = all.iter().filter(|execution| execution["ended"].is_null()).count();
        if open == 0 { Ok(all) } else { Err(format!("{open} are open")) }
    });
    let states: BTreeMap<&str, &Value> =
        all.iter().map(|execution| (execution["id"].as_str().expect("an id"), &execution["state"])).collect();
    assert_eq!(states.len(), number, "none is there twice");
    for id in &accepted {
        assert_eq!(states.get(id.as_str()), Some(&&Value::from("finished")), "{id} was accepted");
    }
    let find = format!("find {DRIVE}/cloud -name keep-small.jpg | wc -l");
    wait_for("all results in the destination", seconds(180), || {
        let there = vm.sh(&find);
        if there.trim() == number.to_string() { Ok(()) } else { Err(there) }
    });
    guest.terminate(&mut vm);
    let share = Vm::share(&scratch);
    vm.sh(&format!("cp -r {DRIVE}/box/executions {0}/executions", share.display()));
    let half = run(Command::new("find").arg(share.join("executions/incoming")).args(["-type", "f"]));
    assert_eq!(half, "", "half-written files stay");
    for id in &accepted {
        let folder = share.join("executions").join(id);
        let text = std::fs::read(folder.join("execution.json")).expect("a sidecar");
        let execution: Value = serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{id} is torn: {error}"));
        for file in execution["files"].as_array().expect("files").iter().chain([&execution["inputs"]["image"]]) {
            let path = folder.join(file["file"].as_str().expect("a name"));
            let sum = run(Command::new("sha256sum").arg(&path));
            assert_eq!(sum.split(' ').next(), file["sha256"].as_str(), "{}", path.display());
        }
    }
}
