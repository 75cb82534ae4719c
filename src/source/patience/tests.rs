use super::*;

/// What a camera sends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sent {
    Picture,
    Unusable,
    Report,
}

use Sent::{Picture, Report, Unusable};

fn at(seconds: f64) -> Mono {
    Mono(0) + Duration::from_secs_f64(seconds)
}

fn every(seconds: f64, until: f64, sent: Sent) -> Vec<(f64, Sent)> {
    (1..).map(|i| (seconds * f64::from(i), sent)).take_while(|(at, _)| *at <= until).collect()
}

/// How many pictures a connection gave, why it ended and after how many seconds, and the words in between.
struct Connection {
    pictures: usize,
    lasted: f64,
    reason: String,
    words: Vec<String>,
}

/// The camera sends what the script says, each at its second since the connection.
fn connect(patience: &mut Patience, script: &[(f64, Sent)]) -> Connection {
    let mut arrivals = Arrivals {
        why: Some("it has not sent its parameter sets yet".to_owned()),
        advice: Some("a firewall may stop UDP"),
        ..Arrivals::default()
    };
    let mut wait = Wait::new(patience, "rtsp://cam/x".to_owned(), at(0.0), arrivals.clone());
    let (mut pictures, mut words, mut now) = (0, Vec::new(), 0.0);
    let mut look = wait.until_look(at(now), &arrivals).as_secs_f64();
    let mut script = script.iter().peekable();
    loop {
        if let Some((second, sent)) = script.next_if(|(second, _)| *second <= look) {
            now = *second;
            match sent {
                Unusable => arrivals.unusable += 1,
                Report => arrivals.reports += 1,
                Picture => {
                    pictures += 1;
                    wait.picture(at(now), arrivals.clone());
                    look = now + wait.until_look(at(now), &arrivals).as_secs_f64();
                }
            }
            continue;
        }
        now = look;
        match wait.look(at(now), arrivals.clone()) {
            Ok(said) => words.extend(said),
            Err(failure) => {
                let lasted = now.round();
                return Connection { pictures, lasted, reason: failure.to_string(), words };
            }
        }
        look = now + wait.until_look(at(now), &arrivals).as_secs_f64();
    }
}

fn unknown() -> Patience {
    Patience::new(&Config { url: "rtsp://cam/x".to_owned(), ..Config::default() })
}

#[test]
fn a_camera_that_sends_nothing_is_given_up_after_10_s_and_waited_for_longer_each_time() {
    let mut patience = unknown();
    let mut limits = Vec::new();
    for _ in 0..6 {
        limits.push(connect(&mut patience, &[]).lasted);
    }
    assert_eq!(limits, [10.0, 20.0, 40.0, 80.0, 120.0, 120.0]);
    let last = connect(&mut patience, &[]);
    assert_eq!(last.reason, "rtsp://cam/x was lost: no picture for 120 s; a firewall may stop UDP");
    assert_eq!(last.words[0], "connected, no packets come: the first picture has been awaited for more than 5 s");
    assert_eq!(last.words.len(), 5, "{:?}", last.words);
    let reason = connect(&mut unknown(), &every(3.0, 9.0, Report)).reason;
    assert!(
        reason.ends_with("no picture for 10 s, though the camera's reports come; the next wait may take 20 s"),
        "{reason}"
    );
}

/// Works with: cameras | a camera whose first picture comes after more than a minute | is waited for twice as long with each try; what it needed once is remembered
#[test]
fn a_camera_whose_first_picture_comes_late_is_reached_and_remembered() {
    let mut patience = unknown();
    let mut script = vec![(78.0, Picture)];
    script.extend(every(1.0, 200.0, Picture).into_iter().filter(|(at, _)| *at > 78.0));
    let mut tries = Vec::new();
    while tries.last().is_none_or(|pictures| *pictures == 0) {
        assert!(tries.len() < 10, "it is given up for ever");
        tries.push(connect(&mut patience, &script).pictures);
    }
    assert_eq!(tries, [0, 0, 0, 123]);
    let again = connect(&mut patience, &script);
    assert_eq!(again.pictures, 123, "its way is known now");
    assert_eq!(again.lasted, 210.0, "but between pictures it is as fast as others");
}

/// Works with: cameras | a camera that sends its parameters with a key frame every 32 s | is waited for within one connection, and said to send packets
#[test]
fn packets_that_make_no_picture_yet_are_no_silence() {
    let mut patience = unknown();
    let mut script = every(0.1, 31.9, Unusable);
    script.extend(every(0.1, 60.0, Picture).into_iter().filter(|(at, _)| *at > 31.95));
    let connection = connect(&mut patience, &script);
    assert_eq!(connection.pictures, 281);
    assert_eq!(
        connection.words[0],
        "packets come, the first picture has been awaited for more than 5 s: it has not sent its parameter sets yet"
    );
    let never = connect(&mut unknown(), &every(0.1, 300.0, Unusable));
    assert_eq!(never.lasted, 120.0);
    assert_eq!(
        never.reason,
        "rtsp://cam/x misbehaves: packets come, but no picture within 120 s: it has not sent its parameter sets yet"
    );
}

/// Works with: cameras | a camera that sends one picture in 16 s | its pace is learned; it stays connected
#[test]
fn the_longest_pause_between_pictures_is_learned() {
    let mut patience = unknown();
    let script = || {
        let mut script = vec![(0.1, Picture)];
        script.extend(every(16.0, 1600.0, Picture));
        script
    };
    let first = connect(&mut patience, &script());
    assert_eq!((first.pictures, first.lasted), (1, 10.0), "nothing is known yet");
    let second = connect(&mut patience, &script());
    assert_eq!(second.pictures, 101);
    assert_eq!(second.lasted, 1648.0, "three of its pauses after the last picture");
    assert_eq!(patience.longest_pause().as_secs(), 16);
}

#[test]
fn a_pause_that_does_not_come_again_is_forgotten() {
    let mut patience = unknown();
    let mut script = every(1.0, 10.0, Picture);
    script.extend(every(1.0, 9000.0, Picture).into_iter().filter(|(at, _)| *at > 18.0));
    let connection = connect(&mut patience, &script);
    assert_eq!(connection.lasted, 9010.0);
    assert_eq!(patience.longest_pause().as_secs(), 1);
}

#[test]
fn a_camera_that_hangs_now_and_then_is_given_up_as_soon_as_ever() {
    let mut patience = unknown();
    for _ in 0..5 {
        assert_eq!(connect(&mut patience, &every(1.0, 900.0, Picture)).lasted, 910.0);
    }
    assert_eq!(connect(&mut patience, &[]).lasted, 10.0);
}

/// Works with: cameras | a camera that gives pictures and then hangs, again and again | is connected again after 10 s each time, and not later with each try
#[test]
fn a_camera_that_hangs_again_and_again_is_not_waited_for_longer() {
    let mut patience = unknown();
    let mut lasted = Vec::new();
    for _ in 0..5 {
        let connection = connect(&mut patience, &every(0.1, 3.0, Picture));
        assert!(connection.reason.ends_with("was lost: no picture for 10 s"), "{}", connection.reason);
        assert!(patience.hung());
        lasted.push(connection.lasted);
    }
    assert_eq!(lasted, [13.0; 5]);
    // It hangs too soon to show its pace: more time is tried, until it has shown it.
    assert_eq!(connect(&mut patience, &every(0.1, 0.3, Picture)).lasted, 10.0);
    assert!(!patience.hung());
    assert_eq!(connect(&mut patience, &every(0.1, 3.0, Picture)).lasted, 23.0);
    assert_eq!(connect(&mut patience, &every(0.1, 3.0, Picture)).lasted, 13.0);
}

#[test]
fn a_camera_that_hangs_keeps_the_wait_that_its_pauses_explain() {
    let mut patience = unknown();
    for _ in 0..3 {
        let connection = connect(&mut patience, &every(6.0, 60.0, Picture));
        assert_eq!((connection.pictures, connection.lasted), (10, 78.0));
    }
}

/// Works with: cameras | a server that begins with many pictures at once and then gives one in 16 s | its pace is learned; it stays connected
#[test]
fn pictures_that_a_server_had_kept_do_not_show_a_pace() {
    let mut patience = unknown();
    let mut script = every(0.005, 0.2, Picture);
    script.extend(every(16.0, 160.0, Picture));
    assert_eq!(connect(&mut patience, &script).pictures, 40);
    assert_eq!(connect(&mut patience, &script).pictures, 50);
}

#[test]
fn a_silence_that_the_pace_does_not_explain_has_words_with_its_end() {
    let words = connect(&mut unknown(), &every(0.1, 3.0, Picture)).words;
    assert_eq!(words, ["no pictures for more than 5 s; the connection is kept until 10 s"]);
    let mut reports = every(0.1, 3.0, Picture);
    reports.extend([(5.0, Report)]);
    let words = connect(&mut unknown(), &reports).words;
    assert!(words[0].starts_with("the camera's reports come, but no pictures for more than 5 s; "), "{words:?}");
    let mut unusable = every(0.1, 3.0, Picture);
    unusable.extend([(5.0, Unusable)]);
    let words = connect(&mut unknown(), &unusable).words;
    let said = "packets come, but no pictures for more than 5 s: it has not sent its parameter sets yet; the connection is \
                kept until 120 s";
    assert_eq!((words[0].as_str(), words.len()), (said, 5), "{words:?}");
    // One picture in 16 s: not a word once that is known.
    let mut patience = unknown();
    let mut script = vec![(0.1, Picture)];
    script.extend(every(16.0, 320.0, Picture));
    connect(&mut patience, &script);
    assert_eq!(connect(&mut patience, &script).words.len(), 3, "at first it is not known");
    let known = connect(&mut patience, &script);
    assert_eq!(known.pictures, 21);
    assert_eq!(known.words, ["no pictures for more than 24 s; the connection is kept until 48 s"], "after the last");
}

#[test]
fn the_configuration_decides_where_it_says_something() {
    let config =
        Config { url: "rtsp://cam/x".to_owned(), max_silence: Some(Duration::from_secs(200)), ..Config::default() };
    let mut patience = Patience::new(&config);
    for script in [Vec::new(), every(1.0, 300.0, Unusable), vec![(0.0, Picture)]] {
        assert_eq!(connect(&mut patience, &script).lasted, 200.0);
    }
}

#[test]
fn a_pause_in_a_file_is_a_pause() {
    let mut patience = Patience::new(&Config { url: "replay:/a.mp4".to_owned(), ..Config::default() });
    assert_eq!(connect(&mut patience, &[(0.0, Picture), (60.0, Picture)]).pictures, 2);
}

fn by_rtsp(
    config: Config,
    role: Role,
    clock: Arc<dyn Clock>,
) -> futures::future::BoxFuture<'static, Result<Box<dyn Source>, SourceError>> {
    Box::pin(async move { crate::source::connect(&config, role, clock).await })
}

#[tokio::test]
async fn a_camera_that_hung_and_does_not_answer_any_more_is_not_one_that_hangs() {
    let mut patience = Patience::new(&Config::default());
    let given_up = connect(&mut patience, &every(0.5, 30.0, Picture));
    assert!(patience.hung(), "{}", given_up.reason);
    let config = Config { url: "rtsp://127.0.0.1:1/x".to_owned(), ..Config::default() };
    let clock = Arc::new(crate::clock::SystemClock::new());
    patience.connect(by_rtsp, &config, Role::Main, clock).await.map(drop).expect_err("nothing listens there");
    assert!(!patience.hung());
}
