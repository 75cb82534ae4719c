//! Wall clocks that are wrong, that are set while the daemon runs, and that are put right late.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::harness::clips::{assert_sound, probe};
use crate::harness::config::{lamp_sections, with_rules};
use crate::harness::daemon::Daemon;
use crate::harness::guest::{self, Guest, lamp_clip};
use crate::harness::process::run;
use crate::harness::vm::Vm;
use crate::harness::wall_clock::WallClock;
use crate::harness::{Scratch, port, seconds, wait_for, wait_until};

/// When the camera `night` may make events.
const SCHEDULE: &str = "10:00-11:00";
/// From setting the clock to what the daemon reports by it: it looks every second.
const SETTLES: SignedDuration = SignedDuration::from_secs(3);

fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn moment(event: &Value, pointer: &str) -> (Timestamp, f64) {
    let moment = event.pointer(pointer).unwrap_or_else(|| panic!("no {pointer} in {event}"));
    (time(moment["wall"].as_str().expect("a wall time")), moment["mono_ns"].as_u64().expect("a boot time") as f64 / 1e9)
}

/// Two cameras that see the lamp every four seconds: one all of whose video is kept, and one with a schedule.
/// Everything goes after two days.
fn config(scratch: &Scratch, port: u16, cloud: &Path) -> std::path::PathBuf {
    std::fs::create_dir_all(Vm::share(scratch)).expect("make the folder of the clip");
    std::fs::create_dir_all(scratch.path("box")).expect("make the storage folder");
    std::fs::create_dir_all(cloud).expect("make the destination");
    let clip = lamp_clip(scratch, "h264");
    let source = format!("url = \"replay:{}\"\nrepeat = true", clip.display());
    let text = guest::config(port, &scratch.path("box").display().to_string(), &cloud.display().to_string())
        + "[retention]\ncontinuous = \"2d\"\nclips = \"2d\"\nsnapshots = \"2d\"\nmetadata = \"2d\"\nexpire_undelivered = true\n"
        + &lamp_sections("gate", &source)
        + "mode = \"continuous\"\nsegment = \"5s\"\n"
        + &lamp_sections("night", &source)
        + &format!("[[camera.night.rules]]\nname = \"lamp\"\nwhen = \"object\"\nschedule = [\"{SCHEDULE}\"]\n");
    let file = scratch.path("outpost.toml");
    std::fs::write(&file, with_rules(&text)).expect("write the configuration");
    file
}

/// Waits for an event of `gate` that began after everything that is known now and is over.
fn wait_for_another(daemon: &Daemon) {
    let newest = |events: &[Value]| {
        events
            .iter()
            .filter(|event| event["camera"] == "gate")
            .map(|event| moment(event, "/start").1)
            .fold(0.0, f64::max)
    };
    let known = newest(&daemon.events());
    wait_until("another event", seconds(60), || newest(&daemon.events_in("ended")) > known);
}

/// From `since` to `until` the camera `gate` was there all the time, by the wall clock of that time.
fn assert_covered(daemon: &Daemon, since: Timestamp, until: Timestamp) {
    let timeline = daemon.json(&format!("/api/v1/cameras/gate/timeline?since={since}&until={until}"));
    let coverage = timeline["coverage"].as_array().expect("coverage");
    assert!(coverage.windows(2).all(|pair| pair[0]["until"] == pair[1]["from"]), "{coverage:?}");
    let missing = ["stopped", "offline", "shed"].map(|state| timeline["seconds"][state].as_f64().unwrap_or(0.0));
    assert_eq!(missing, [0.0; 3], "{since} to {until}: {coverage:?}");
    let video = ["recorded", "uploaded"].map(|state| timeline["seconds"][state].as_f64().unwrap_or(0.0));
    assert!(video[0] + video[1] > 0.0, "{coverage:?}");
}

/// Folders named like an event in the destination, by their names.
fn folders(cloud: &Path) -> BTreeMap<String, Vec<String>> {
    let mut folders: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in run(Command::new("find").arg(cloud).args(["-name", "event.json"])).lines() {
        let folder = path.strip_suffix("/event.json").expect("a sidecar");
        let id = folder.rsplit('/').next().unwrap_or_default();
        folders.entry(id.to_owned()).or_default().push(folder.to_owned());
    }
    folders
}

/// Identity, order, length and delivery of everything that was recorded by a clock that was set to these times.
fn assert_events(scratch: &Scratch, cloud: &Path, events: &[Value], set_to: &[Timestamp]) {
    let folders = folders(cloud);
    let text = |event: &Value, name: &str| event[name].as_str().expect("text").to_owned();
    for camera in ["gate", "night"] {
        let mut mine: Vec<&Value> = events.iter().filter(|event| event["camera"] == camera).collect();
        mine.sort_by_key(|event| event["start"]["mono_ns"].as_u64());
        let ids: Vec<String> = mine.iter().map(|event| text(event, "id")).collect();
        assert!(ids.is_sorted_by(|before, after| before < after), "{camera}: ids in the order of time: {ids:?}");
        for event in mine.iter().filter(|event| event["state"] == "ended") {
            let id = text(event, "id");
            assert_eq!(folders.get(&id).map(Vec::len), Some(1), "{id} is delivered once: {:?}", folders.get(&id));
            let ((start, from), (end, until)) = (moment(event, "/start"), moment(event, "/end"));
            let by_wall = end.duration_since(start).as_secs_f64();
            assert!((by_wall - (until - from)).abs() < 0.01, "{event}: as long by the wall as by the boot clock");
            let clip = assert_sound(&scratch.path("box/archive").join(camera).join(&id).join("clip.mp4"));
            let reported = event["clip"]["duration_s"].as_f64().expect("a length");
            assert!((reported - clip.duration_s).abs() < 0.25 && reported >= 2.0, "{event}: {clip:?}");
        }
        for event in &mine {
            let (start, _) = moment(event, "/start");
            // An event that was decided on before the clock was set may be reported in the new time.
            let is_torn = |to: &Timestamp| (-1..10).contains(&to.duration_since(start).as_secs());
            let is_due = start.to_string().contains("T10:") || set_to.iter().any(is_torn);
            assert!(camera == "gate" || is_due, "{SCHEDULE} by the wall: {event}");
        }
    }
}

#[test]
fn a_wall_clock_that_is_wrong_and_is_set_all_the_time_costs_nothing() {
    let scratch = Scratch::new("clock");
    let (port, cloud) = (port::free(), scratch.path("cloud"));
    let config = config(&scratch, port, &cloud);
    // A first life without a clock; then years ahead, with what the first one recorded on the disk.
    let mut clock = WallClock::new(&scratch, time("1970-01-01T10:15:00Z"));
    let mut daemon = Daemon::start_with_clock(&scratch, config.clone(), port, &clock);
    wait_for_another(&daemon);
    assert!(daemon.terminate().success());
    clock.set(time("2036-05-05T10:30:00Z"));
    let mut daemon = Daemon::start_with_clock(&scratch, config, port, &clock);
    wait_for_another(&daemon);

    let steps: [fn(Timestamp) -> Timestamp; 7] = [
        |now| now + SignedDuration::from_secs(7),
        |now| now - SignedDuration::from_secs(7),
        |now| now + SignedDuration::from_hours(2),
        |now| now - SignedDuration::from_hours(3),
        |_| time("1970-01-01T10:20:00Z"),
        |_| time("2036-05-05T23:00:00Z"),
        |_| time("2036-05-06T00:30:00Z"),
    ];
    let mut set_to = Vec::new();
    for step in steps {
        let to = step(clock.now());
        clock.set(to);
        set_to.push(to);
        let since = clock.now() + SETTLES;
        wait_for_another(&daemon);
        wait_until("seconds that can be reported", seconds(10), || clock.now() > since + SETTLES);
        assert_covered(&daemon, since, clock.now() - SignedDuration::from_secs(1));
    }

    // 2036-05-05 is over now, and the destination got it.
    let account = wait_for("the account of the day", seconds(60), || {
        let text = std::fs::read(cloud.join("box1/coverage/gate/2036-05-05.json")).map_err(|e| e.to_string())?;
        serde_json::from_slice::<Value>(&text).map_err(|e| e.to_string())
    });
    let intervals = account["intervals"].as_array().expect("intervals");
    assert!(intervals.windows(2).all(|pair| pair[0]["until"] == pair[1]["from"]), "{account}");
    let ends = [&intervals[0]["from"], &intervals[intervals.len() - 1]["until"]];
    assert_eq!(ends, ["2036-05-05T00:00:00Z", "2036-05-06T00:00:00Z"]);
    assert!(intervals.iter().any(|i| i["state"] == "recorded" || i["state"] == "uploaded"), "{account}");

    let everything = wait_for("everything to be delivered", seconds(60), || {
        let records = daemon.records();
        let waits =
            |record: &&Value| record["event"]["state"] == "ended" && record["delivery"][0]["state"] != "delivered";
        let waiting = records.iter().filter(waits).count();
        if waiting == 0 { Ok(records) } else { Err(format!("{waiting} are not")) }
    });
    let events: Vec<Value> = everything.into_iter().map(|mut record| record["event"].take()).collect();
    assert_events(&scratch, &cloud, &events, &set_to);
    let night: BTreeSet<&str> = events
        .iter()
        .filter(|e| e["camera"] == "night")
        .filter_map(|e| e["start"]["wall"].as_str()?.get(..4))
        .collect();
    assert_eq!(night, BTreeSet::from(["1970", "2036"]), "the schedule was in force in both years");
    for class in ["continuous", "clips", "snapshots", "metadata"] {
        let deleted = daemon.metric(&format!("outpost_evicted_files_total{{class=\"{class}\",reason=\"age\"}}"));
        assert_eq!(deleted, 0.0, "{class}");
    }
    assert_eq!(daemon.reconnects("gate"), 0.0);
    assert!(daemon.terminate().success());
    let log = daemon.log();
    assert!(!log.contains("panicked") && !log.contains("ERROR"), "{log}");
    for segment in std::fs::read_dir(scratch.path("box/recordings/gate")).expect("segments").flatten() {
        let sidecar = segment.path();
        if sidecar.extension().is_some_and(|extension| extension == "json") {
            let reported: Value = serde_json::from_slice(&std::fs::read(&sidecar).expect("a sidecar")).expect("JSON");
            let length = moment(&reported, "/end").0.duration_since(moment(&reported, "/start").0).as_secs_f64();
            let is = probe(&sidecar.with_extension("mp4")).duration_s;
            assert!((length - is).abs() < 0.25, "{reported}: the file has {is} s");
        }
    }
}

/// Works with: system | a clock that shows a time before 1970 | goes on recording where it runs, waits at the start until the clock is set, and keeps the index
#[test]
fn a_clock_before_1970_spoils_nothing() {
    let scratch = Scratch::new("before-1970");
    scratch.expect_log(&["the store cannot be opened"]);
    let (port, cloud) = (port::free(), scratch.path("cloud"));
    let config = config(&scratch, port, &cloud);
    let mut clock = WallClock::new(&scratch, time("2036-05-05T10:15:00Z"));
    let mut daemon = Daemon::start_with_clock(&scratch, config.clone(), port, &clock);
    wait_for_another(&daemon);
    clock.set(time("1969-07-20T20:17:00Z"));
    wait_for_another(&daemon);
    let ids = |daemon: &Daemon| -> BTreeSet<String> {
        daemon.events_in("ended").iter().filter_map(|event| event["id"].as_str().map(str::to_owned)).collect()
    };
    let known = ids(&daemon);
    assert!(daemon.terminate().success());
    assert!(!daemon.log().contains("before 1970"), "a daemon that runs needs no clock: {}", daemon.log());

    // It starts while the clock still shows that time, and the clock is set when it has said so.
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let said =
                || std::fs::read_to_string(scratch.path("outpost.log")).is_ok_and(|log| log.contains("before 1970"));
            wait_until("the daemon to miss the time", seconds(60), said);
            WallClock::new(&scratch, time("2036-05-05T12:00:00Z"));
        });
        daemon = Daemon::start_with_clock(&scratch, config, port, &clock);
    });
    wait_for_another(&daemon);
    assert!(known.is_subset(&ids(&daemon)), "the index is the one that it was");
    assert!(daemon.terminate().success());
    let log = daemon.log();
    assert!(!log.contains("panicked") && !log.contains("set aside"), "{log}");
    let names = std::fs::read_dir(scratch.path("box")).expect("the storage folder").flatten();
    let bad: Vec<_> =
        names.map(|entry| entry.file_name()).filter(|name| name.to_string_lossy().contains("bad")).collect();
    assert!(bad.is_empty(), "{bad:?}");
}

/// What a time daemon does when it has heard the time: sets the clock, and says that it is right.
const SYNCHRONISE: &str = r#"date -u -s "2027-03-04 05:06:07" && python3 -c '
import ctypes, struct
timex = bytearray(208)
# ADJ_MAXERROR, ADJ_ESTERROR, ADJ_STATUS: no error, no flag that says unsynchronised.
struct.pack_into("I", timex, 0, 0x4 | 0x8 | 0x10)
buffer = (ctypes.c_char * 208).from_buffer(timex)
assert ctypes.CDLL(None).adjtimex(buffer) == 0
'"#;

#[test]
fn a_box_without_a_clock_delivers_under_the_right_day_once_it_hears_the_time_and_not_before() {
    let scratch = Scratch::new("late-time");
    let port = port::free();
    let mut vm = Vm::boot_at("2001-01-01T12:00:00", &scratch, port);
    let cloud = Vm::share(&scratch).join("cloud");
    std::fs::create_dir_all(&cloud).expect("make the destination");
    let clip = lamp_clip(&scratch, "h264");
    let text = guest::config(port, "/run/box", &cloud.display().to_string()).replace("\"0s\"", "\"2h\"")
        + &lamp_sections("yard", &format!("url = \"replay:{}\"\nrepeat = true", clip.display()));
    assert!(text.contains("time_hold = \"2h\""), "{text}");
    vm.sh("mkdir /run/box");
    let guest = Guest::start(&mut vm, &scratch, &with_rules(&text), port);
    let ended = |records: Vec<Value>| records.into_iter().filter(|record| record["event"]["state"] == "ended");
    let early = wait_for("two events that are over", seconds(120), || {
        let early: Vec<Value> = ended(guest.records()?).collect();
        if early.len() >= 2 { Ok(early) } else { Err(format!("{} are", early.len())) }
    });
    for record in &early {
        let event = &record["event"];
        assert!(event["start"]["wall"].as_str().is_some_and(|wall| wall.starts_with("2001-01-01T")), "{event}");
        assert_eq!((&event["start"]["time_quality"], &event["filed"]), (&"implausible".into(), &Value::Null));
        assert_eq!(record["delivery"][0]["state"], "waiting", "{record}");
    }
    assert_eq!(std::fs::read_dir(&cloud).expect("the destination").count(), 0, "nothing is delivered yet");

    vm.sh(SYNCHRONISE);
    let records = wait_for("what was recorded before to be delivered", seconds(120), || {
        let records: Vec<Value> = ended(guest.records()?).collect();
        let is_delivered = |early: &Value| {
            let same = |record: &&Value| record["event"]["id"] == early["event"]["id"];
            records.iter().find(same).is_some_and(|record| record["delivery"][0]["state"] == "delivered")
        };
        if early.iter().all(is_delivered) { Ok(records) } else { Err("not yet".to_owned()) }
    });
    for early in &early {
        let id = early["event"]["id"].as_str().expect("an id");
        let event = &records.iter().find(|record| record["event"]["id"] == id).expect("waited for")["event"];
        let (start, since_boot) = moment(event, "/start");
        assert_eq!(event["start"]["time_quality"], "synchronised", "{event}");
        let ago = time("2027-03-04T05:06:07Z").duration_since(start);
        assert!((0..600).contains(&ago.as_secs()), "shortly before the time came: {event}");
        assert_eq!(since_boot, moment(&early["event"], "/start").1, "the boot clock says what it said");
        assert_eq!(event["filed"], "2027/03/04");
        // The sidecar in the destination says the same as the index.
        let sidecar = std::fs::read(guest::delivered(&cloud, event, "event.json")).expect("a sidecar under its day");
        let mut sidecar: Value = serde_json::from_slice(&sidecar).expect("JSON");
        // The object's path is in this file alone.
        sidecar.as_object_mut().expect("an object").remove("path");
        assert_eq!(&sidecar, event);
    }
    assert!(folders(&cloud).values().flatten().all(|folder| folder.contains("/2027/03/04/yard/")), "no other day");
    guest.terminate(&mut vm);
}
