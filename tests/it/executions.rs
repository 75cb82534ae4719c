//! Pictures that people and programs send through pipelines.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::harness::broker::{Broker, Subscriber};
use crate::harness::config::{Config, DEVICE};
use crate::harness::daemon::Daemon;
use crate::harness::dice::Dice;
use crate::harness::executions::{ids, save, send};
use crate::harness::process::run;
use crate::harness::websocket::{Message, WebSocket};
use crate::harness::{Scratch, fixture, installed, repository, seconds, setting, wait_for, wait_until};

/// A pipeline without a model, which keeps what it makes.
const SMALLER: &str = r#"
name = "smaller"

[[steps]]
id = "resize"
type = "resize@1"
inputs.image = "$inputs.image"
parameters = { width = 32 }

[[steps]]
id = "keep"
type = "keep@1"
inputs.value = "$steps.resize.image"
parameters.name = "small"

[outputs]
picture = "$steps.resize.image"
"#;

/// A daemon that other tests do not keep from running executions.
fn start(scratch: &Scratch, config: Config<'_>) -> Daemon {
    let mut config = config;
    config.add("[load]\nenabled = false\n");
    Daemon::start(scratch, config)
}

/// The code of the documentation that begins with `beginning`.
fn documented(beginning: &str) -> String {
    let text = fs::read_to_string(repository().join("docs/pipelines.md")).expect("the documentation");
    // Blank lines belong to it, until text follows.
    let code =
        |line: &str| if line.is_empty() { Some(String::new()) } else { line.strip_prefix("    ").map(str::to_owned) };
    let begins = |line: &String| line.starts_with(beginning);
    let lines = text.lines().map(code).skip_while(|line| !line.as_ref().is_some_and(begins));
    lines.map_while(|line| line).collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

/// Works with: models | tritonclient 2.73, HTTP (JSON and bytes) and gRPC with its stream | the same boxes as the page gives; what is no picture is refused with the reason
#[test]
fn programs_of_triton_get_the_boxes_of_the_page() {
    let scratch = Scratch::new("inference");
    let mut daemon = start(&scratch, Config::new(&scratch).played_once("yard", &fixture("leaves.mp4"), 4.0));
    let address = daemon.page().trim_start_matches("http://").trim_end_matches('/').to_owned();
    let person = fixture("pictures/person.jpg");
    let mut program = Command::new(installed("inference/bin/python"));
    program.arg(repository().join("tests/servers/inference.py")).arg(&address).arg(&person);
    let seen: Value = serde_json::from_str(&run(program.args(["nanodet-g-320", "objects"]))).expect("what it saw");

    let mut curl = Command::new("curl");
    curl.args(["--silent", "--fail", "--header", "content-type: image/jpeg", "--data-binary"]);
    curl.arg(format!("@{}", person.display()));
    let page = run(curl.arg(format!("{}api/v1/models/nanodet-g-320/detections", daemon.page())));
    let page: Value = serde_json::from_str(&page).expect("what the page shows");
    let labels = |things: &Value, name: &str| -> Vec<(String, Vec<i64>)> {
        let thousandths = |side: &Value| (side.as_f64().expect("a number") * 1000.0).round() as i64;
        let of = |thing: &Value| {
            (thing["label"].to_string(), thing[name].as_array().expect("a box").iter().map(thousandths).collect())
        };
        things.as_array().expect("things").iter().map(of).collect()
    };
    let expected = labels(&page["detections"], "box");
    assert!(expected.len() > 2, "{page}");
    // One is rounded as it is written as text, the other is not.
    let is_alike = |seen: &[(String, Vec<i64>)]| {
        let near = |(a, b): (&i64, &i64)| (a - b).abs() <= 1;
        let pairs = seen.iter().zip(&expected);
        seen.len() == expected.len() && pairs.clone().all(|(a, b)| a.0 == b.0 && a.1.iter().zip(&b.1).all(near))
    };
    for way in ["http_binary", "http_json", "grpc"] {
        let boxes = labels(&seen[way], "box");
        assert!(is_alike(&boxes), "{way}: {boxes:?} {expected:?}");
    }
    assert_eq!(seen["http_ready"], json!([true, true, true, true]));
    assert_eq!(seen["grpc_ready"], json!([true, true, true, true]));
    assert_eq!(
        (&seen["id"], &seen["only_labels"], &seen["config"]),
        (&json!("42"), &json!(["labels"]), &json!("nanodet-g-320"))
    );
    assert_eq!(seen["grpc_inputs"], json!(["image"]));
    let image = json!(["image", 13, [1], true]);
    let tensor = json!(["tensor", 11, [1, 3, 320, 320], true]);
    let expected = json!(["nanodet-g-320", [image, tensor], [["boxes", 11], ["scores", 11]]]);
    assert_eq!(seen["grpc_config"], expected);
    let types = json!({ "number": "FP64", "objects": "BYTES", "picture": "BYTES" });
    assert_eq!(seen["pipeline_types"], json!([types, types]), "described and answered");
    let config = json!([["number", "TYPE_FP64"], ["objects", "TYPE_STRING"], ["picture", "TYPE_STRING"]]);
    assert_eq!(seen["pipeline_config"], config);
    assert_eq!(seen["pipeline_counts"], json!([["objects", 1, 1]]));
    assert_eq!(seen["grpc_pipeline_counts"], seen["pipeline_counts"]);
    // A pipeline is a model too; it leaves out what scores less.
    let surer = page["detections"]
        .as_array()
        .expect("things")
        .iter()
        .filter(|thing| thing["score"].as_f64() >= Some(0.4))
        .count();
    assert_eq!(seen["pipeline"], json!({ "number": surer as f64, "picture": "ffd8" }));
    assert_eq!(seen["objects"].as_array().map(Vec::len), Some(surer));
    assert!(seen["index"].as_array().is_some_and(|names| names.contains(&json!("objects"))), "{seen}");
    assert_eq!(seen["grpc_index"], seen["index"]);
    for way in ["http_unknown", "grpc_unknown"] {
        assert!(
            seen[way].as_str().is_some_and(|refusal| refusal.contains("no model or pipeline \"nothing\"")),
            "{seen}"
        );
    }
    assert!(seen["http_text"].as_str().is_some_and(|refusal| refusal.contains("neither a JPEG nor a PNG")), "{seen}");
    assert_eq!(seen["stream"], json!(["0", "1", "refused", "3", "4"]));
    assert!(daemon.terminate().success(), "{}", daemon.log());
}

#[test]
fn the_examples_of_the_documentation_work() {
    let scratch = Scratch::new("execution-examples");
    let daemon = start(&scratch, Config::new(&scratch).played_once("yard", &fixture("leaves.mp4"), 4.0));
    let address = daemon.page().trim_start_matches("http://").trim_end_matches('/').to_owned();
    let picture = fixture("pictures/person.jpg").display().to_string();
    let here = |code: String| code.replace("127.0.0.1:8080", &address).replace("yard.jpg", &picture);

    // A box without users asks for no key.
    let curl = here(documented("curl ")).replace("-H \"Authorization: Bearer $KEY\"", "");
    let answer = run(Command::new("bash").args(["-c", &format!("{curl} --silent --fail")]));
    let answer: Value = serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"));
    assert_eq!(answer["executions"][0]["state"], "finished", "{answer}");

    save(&daemon, &scratch, &documented("name = "));
    let answer = send(&daemon.page(), "pipeline=faces-of-visitors", &["prefer: wait=60"], &[PathBuf::from(&picture)]);
    let answer = answer.expect("an answer");
    let outputs = &answer["executions"][0]["outputs"];
    let people = outputs["people"].as_array().map_or(0, Vec::len);
    assert_eq!(outputs["pictures"].as_array().map(Vec::len), Some(people), "{answer}");

    let program = here(documented("import numpy")).replace(", headers={\"authorization\": \"Bearer \" + key}", "");
    let printed = run(Command::new(installed("inference/bin/python")).args(["-c", &program]));
    assert!(printed.contains("person"), "{printed}");
}

#[test]
fn pictures_of_every_kind_have_a_result_or_a_reason() {
    let scratch = Scratch::new("execution-pictures");
    let daemon = start(&scratch, Config::new(&scratch).played_once("yard", &fixture("leaves.mp4"), 4.0));
    save(&daemon, &scratch, SMALLER);
    let corpus = scratch.path("corpus");
    // Debian's own Python has Debian's Pillow.
    run(Command::new("/usr/bin/python3").arg(repository().join("tests/photos/corpus.py")).arg(&corpus));
    let wanted = |name: &str| {
        ["kind", "orientation", "torn", "huge", "wrong", "damaged", "bomb"].iter().any(|part| name.starts_with(part))
    };
    let mut files: Vec<PathBuf> = fs::read_dir(&corpus)
        .expect("the corpus")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_file() && path.file_name().and_then(|name| name.to_str()).is_some_and(wanted))
        .collect();
    files.sort();
    let bomb = scratch.path("bomb.png");
    fs::write(&bomb, png_header(50_000)).expect("write");
    let torn = scratch.path("torn-in-half.webp");
    let whole = fs::read(corpus.join("kind.webp")).expect("a picture");
    fs::write(&torn, &whole[..whole.len() / 2]).expect("write");
    files.extend([bomb, torn]);
    assert!(files.len() > 20, "{files:?}");

    for file in &files {
        let name = file.file_name().and_then(|name| name.to_str()).expect("a name");
        let Some(answer) = send(&daemon.page(), "pipeline=smaller", &["prefer: wait=120"], std::slice::from_ref(file))
        else {
            // It is refused before it is taken in: nothing in it says that it is a picture.
            assert!(!name.starts_with("kind") && !name.starts_with("orientation"), "{name} was refused");
            continue;
        };
        let execution = &answer["executions"][0];
        let failure = &execution["failure"];
        match execution["state"].as_str() {
            Some("finished") => {
                let (width, height) =
                    (&execution["outputs"]["picture"]["width"], &execution["outputs"]["picture"]["height"]);
                assert_eq!(*width, 32, "{name}: {execution}");
                if name.starts_with("orientation") {
                    // 320 by 240 upright, whatever way the file lies.
                    assert_eq!(*height, 24, "{name}: {execution}");
                }
            }
            Some("failed") => {
                assert_eq!(failure["reason"], "picture", "{name}: {failure}");
                let message = failure["message"].as_str().unwrap_or_default();
                assert!(message.starts_with("image: ") && message.len() > 20, "{name}: {failure}");
                assert!(!name.starts_with("kind") && !name.starts_with("orientation"), "{name}: {failure}");
            }
            _ => panic!("{name}: {execution}"),
        }
    }
    let bomb = failed(&daemon, "bomb.png");
    assert!(bomb.contains("50000x50000 pixels are more than"), "{bomb}");
    let torn = failed(&daemon, "torn-in-half.webp");
    assert!(torn.contains("damaged or cut off"), "{torn}");
}

/// Why the execution of the file `name` failed.
fn failed(daemon: &Daemon, name: &str) -> String {
    let all = daemon.json("/api/v1/executions?state=failed&limit=500");
    for summary in all["executions"].as_array().expect("executions") {
        let execution = daemon.json(&format!("/api/v1/executions/{}", summary["id"].as_str().expect("an id")));
        if execution["inputs"]["image"]["name"] == name {
            return execution["failure"]["message"].as_str().unwrap_or_default().to_owned();
        }
    }
    panic!("{name} did not fail: {all}")
}

/// The beginning of a PNG with so many pixels at each side.
fn png_header(side: u32) -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
    png.extend([side.to_be_bytes(), side.to_be_bytes()].concat());
    png.extend(b"\x08\x02\0\0\0");
    let crc = crc32(&png[12..]);
    png.extend(crc.to_be_bytes());
    png.extend(b"\0\0\0\x10IDAT");
    png.extend([0; 20]);
    png
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(crc & 1)))
    })
}

/// Writes that many pictures, all different.
fn pictures(scratch: &Scratch, number: usize) -> Vec<PathBuf> {
    let small = scratch.path("small.jpg");
    image::open(fixture("pictures/dog.jpg")).expect("a picture").thumbnail(64, 64).save(&small).expect("write");
    let small = fs::read(small).expect("read");
    let folder = scratch.path("given");
    fs::create_dir(&folder).expect("a folder");
    let write = |n: usize| {
        let path = folder.join(format!("{n:05}.jpg"));
        // Behind the end of the picture is room for anything.
        fs::write(&path, [&small[..], &n.to_be_bytes()].concat()).expect("write");
        path
    };
    (0..number).map(write).collect()
}

/// Every execution of the list.
fn listed(daemon: &Daemon) -> Vec<Value> {
    let (mut all, mut place) = (Vec::new(), String::new());
    loop {
        let page = daemon.json(&format!("/api/v1/executions?limit=500{place}"));
        all.extend(page["executions"].as_array().expect("executions").iter().cloned());
        let Some(next) = page["next"].as_str() else { return all };
        place = format!("&before={next}");
    }
}

fn kept(cloud: &Path) -> Vec<String> {
    let found = run(Command::new("find").arg(cloud).args(["-name", "keep-small.jpg"]));
    found.lines().filter_map(|path| Path::new(path).parent()?.file_name()?.to_str().map(str::to_owned)).collect()
}

#[test]
fn killed_while_pictures_are_sent_each_that_was_accepted_has_one_result() {
    let number = usize::try_from(setting("OUTPOST_EXECUTIONS", 200)).expect("small");
    let kills = usize::try_from(setting("OUTPOST_EXECUTION_KILLS", 4)).expect("small");
    let scratch = Scratch::new("execution-crash");
    let config =
        Config::new(&scratch).copies_to(&scratch.path("cloud")).played_once("yard", &fixture("leaves.mp4"), 4.0);
    let mut daemon = start(&scratch, config);
    save(&daemon, &scratch, SMALLER);
    let (files, page, mut dice) = (pictures(&scratch, number), daemon.page(), Dice::new());
    let mut moments: Vec<usize> = (0..kills).map(|_| dice.below(number)).collect();
    moments.sort_unstable();

    let (count, again) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let accepted = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut accepted = Vec::new();
            for (batch, files) in files.chunks(10).enumerate() {
                let key = format!("idempotency-key: batch-{batch}");
                accepted.extend(wait_for("the box to take pictures in", seconds(120), || {
                    send(&page, "pipeline=smaller", &[&key], files).map(|answer| ids(&answer)).ok_or_else(|| {
                        again.fetch_add(1, Ordering::SeqCst);
                        "no answer".to_owned()
                    })
                }));
                count.fetch_add(files.len(), Ordering::SeqCst);
            }
            accepted
        });
        for moment in moments {
            wait_for("more pictures", seconds(600), || {
                let now = count.load(Ordering::SeqCst);
                if now >= moment { Ok(()) } else { Err(now.to_string()) }
            });
            daemon.crash_and_restart();
        }
        sender.join().expect("the sender")
    });
    eprintln!("{number} pictures, {kills} kills, {} requests without an answer", again.load(Ordering::SeqCst));
    let different: BTreeSet<&String> = accepted.iter().collect();
    assert_eq!((accepted.len(), different.len()), (number, number), "each was accepted as one of its own");

    let all = wait_for("all results", seconds(600), || {
        let all = listed(&daemon);
        let open = all.iter().filter(|execution| execution["ended"].is_null()).count();
        if open == 0 { Ok(all) } else { Err(format!("{open} are open")) }
    });
    let states: BTreeMap<String, String> = all
        .iter()
        .map(|execution| (execution["id"].as_str().expect("an id").to_owned(), execution["state"].to_string()))
        .collect();
    assert_eq!(states.len(), number, "none is there twice, and none that was sent once more");
    assert!(accepted.iter().all(|id| states.get(id).is_some_and(|state| state == "\"finished\"")), "{states:?}");
    let cloud = scratch.path("cloud");
    let there = wait_for("all results in the cloud", seconds(600), || {
        let there = kept(&cloud);
        if there.len() >= number { Ok(there) } else { Err(there.len().to_string()) }
    });
    assert_eq!(there.into_iter().collect::<BTreeSet<_>>(), accepted.iter().cloned().collect::<BTreeSet<_>>());

    wait_for("nothing half to be left", seconds(120), || {
        let left = fs::read_dir(scratch.path("box/executions/incoming")).map_or(0, Iterator::count);
        if left == 0 { Ok(()) } else { Err(left.to_string()) }
    });
    let before = listed(&daemon);
    assert!(daemon.terminate().success());
    fs::remove_dir_all(scratch.path("box/index")).expect("lose the index");
    scratch.expect_log(&["the index was begun afresh"]);
    daemon.start_again();
    wait_for("the executions to be back", seconds(600), || {
        let now = listed(&daemon);
        if now == before { Ok(()) } else { Err(format!("{} of {}", now.len(), before.len())) }
    });
}

#[test]
fn what_happens_to_executions_is_followed_over_a_websocket_and_mqtt() {
    let scratch = Scratch::new("execution-events");
    let broker = Broker::start(&scratch);
    let subscriber = Subscriber::start(&scratch, &broker, "outpost/#");
    let config = Config::new(&scratch).alerts_to(&broker).mqtt("execution_progress = true");
    let daemon = start(&scratch, config.played_once("yard", &fixture("leaves.mp4"), 4.0));
    let of = |leaf: &str| {
        let topic = format!("outpost/{DEVICE}/{leaf}");
        subscriber.messages().into_iter().filter(move |message| message.topic == topic)
    };
    wait_until("the broker to be there", seconds(30), || of("availability").any(|said| said.payload == "online"));
    save(&daemon, &scratch, SMALLER);
    let mut all = WebSocket::open(daemon.port(), "/api/v1/executions/events", "").expect("a WebSocket");
    let foreign = WebSocket::open(daemon.port(), "/api/v1/executions/events", "Origin: http://elsewhere.test\r\n");
    assert!(foreign.is_err_and(|why| why.contains("403")), "a foreign page may not follow");
    let picture = fixture("pictures").join("dog.jpg");
    let sent = send(&daemon.page(), "pipeline=smaller", &[], &[picture]).expect("taken in");
    let id = sent["executions"][0]["id"].clone();
    let said = |socket: &mut WebSocket| {
        let mut names = Vec::new();
        while let Some(message) = socket.next() {
            let Message::Text(event) = message else { continue };
            assert_eq!(event["id"], id, "{event}");
            names.push(event["event"].as_str().expect("a name").to_owned());
            if event["event"] == "finished" {
                break;
            }
        }
        names
    };
    let names = ["queued", "started", "step_finished", "step_finished", "finished"];
    assert_eq!(said(&mut all), names);
    // The broker has the same.
    wait_for("the same at the broker", seconds(30), || {
        let read = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
        let messages: Vec<Value> = of("execution").map(|message| read(&message.payload)).collect();
        let published: Vec<&str> = messages.iter().filter_map(|event| event["event"].as_str()).collect();
        if published == names && messages.iter().all(|event| event["id"] == id) {
            Ok(())
        } else {
            Err(format!("{messages:?}"))
        }
    });
    // One that is over says what happened, and ends.
    let path = format!("/api/v1/executions/{}/events", id.as_str().expect("an id"));
    let mut one = WebSocket::open(daemon.port(), &path, "").expect("a WebSocket");
    assert_eq!(said(&mut one), names);
    assert!(matches!(one.next(), None | Some(Message::Close(..))), "nothing comes behind the last one");
}

#[test]
fn of_several_pictures_one_that_is_none_keeps_no_other_back_and_a_batch_is_ended_at_once() {
    let scratch = Scratch::new("execution-batch");
    let config = Config::new(&scratch).played_once("yard", &fixture("leaves.mp4"), 4.0);
    let daemon = start(&scratch, config);
    save(&daemon, &scratch, SMALLER);
    let text = scratch.path("text.txt");
    fs::write(&text, "no picture").expect("write");
    let pictures = |name: &str| fixture("pictures").join(name);
    let files = [pictures("dog.jpg"), text.clone(), pictures("eagle.jpg")];
    let key = "idempotency-key: these";
    // What has a key waits for the index, which is filled after a start.
    let answer = wait_for("two to be taken in", seconds(60), || {
        send(&daemon.page(), "pipeline=smaller", &[key], &files).ok_or_else(|| "refused".to_owned())
    });
    assert_eq!(ids(&answer).len(), 2, "{answer}");
    let refused = answer["refused"].as_array().expect("a list");
    assert_eq!((refused.len(), &refused[0]["place"], &refused[0]["file"]), (1, &1.into(), &"text.txt".into()));
    assert_eq!(refused[0]["code"], "bad_inputs", "{answer}");
    // The same again is the same; and so is the first alone.
    let again = send(&daemon.page(), "pipeline=smaller", &[key], &files).expect("known");
    assert_eq!(ids(&again), ids(&answer));
    let alone = send(&daemon.page(), "pipeline=smaller", &[key], &files[..1]).expect("known");
    assert_eq!(ids(&alone), ids(&answer)[..1]);
    assert!(send(&daemon.page(), "pipeline=smaller", &[], &[text]).is_none(), "nothing of it is taken in");

    let many: Vec<PathBuf> = (0..40).map(|_| pictures("person.jpg")).collect();
    let batch = send(&daemon.page(), "pipeline=objects", &[], &many).expect("taken in")["batch"].clone();
    let path = format!("/api/v1/executions/batches/{}", batch.as_str().expect("an id"));
    let ended = daemon.post(&format!("{path}/cancel"), &json!({})).expect("an answer");
    assert_eq!(ended.status, 200, "{}", String::from_utf8_lossy(&ended.body));
    let ended: Value = serde_json::from_slice(&ended.body).expect("JSON");
    let states = wait_for("all to be over", seconds(60), || {
        let states = daemon.json(&path)["states"].clone();
        if states["queued"].is_null() && states["running"].is_null() { Ok(states) } else { Err(states.to_string()) }
    });
    let cancelled = states["cancelled"].as_u64().expect("some");
    assert!(cancelled > 0 && cancelled <= ended["cancelled"].as_u64().expect("a number"), "{states} {ended}");
    let nothing = daemon.post("/api/v1/executions/batches/01JD8M3V7K2Q4T6W8Y0A1B2C3D/cancel", &json!({}));
    assert_eq!(nothing.expect("an answer").status, 404);
}
