//! Users, sessions and keys as the page uses them.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;

use super::*;
use crate::clock::{Mono, SimulatedClock, TimeQuality};

const PASSWORD: &str = "correct horse battery";
const OTHER: &str = "purple goat staircase";

struct Bench {
    dir: tempfile::TempDir,
    clock: Arc<SimulatedClock>,
    access: Access,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("tempdir");
        let clock = Arc::new(SimulatedClock::new(Mono(0), "2026-11-28T10:00:00Z".parse().expect("a time")));
        let access = Access::open(&dir.path().join("access"), clock.clone());
        Self { dir, clock, access }
    }

    /// With the admin `anna`.
    fn with_anna() -> Self {
        let bench = Self::new();
        bench.add("anna", Role::Admin).expect("the first user");
        bench
    }

    fn add(&self, name: &str, role: Role) -> Result<UserInfo, AccessError> {
        self.access.add_user(NewUser { name: name.to_owned(), password: PASSWORD.to_owned(), role, cameras: None })
    }

    /// As after a restart.
    fn restarted(&self) -> Access {
        Access::open(&self.dir.path().join("access"), self.clock.clone())
    }

    fn log_in(&self, name: &str, password: &str) -> Result<LoggedIn, LoginRefusal> {
        self.log_in_with(name, password, None)
    }

    fn log_in_with(&self, name: &str, password: &str, code: Option<&str>) -> Result<LoggedIn, LoginRefusal> {
        let address = "192.0.2.7".parse().expect("address");
        self.access.log_in(&Login { name, password, code, address, agent: "Firefox\u{7}" })
    }
}

#[test]
fn the_first_user_comes_by_the_link_and_is_an_admin() {
    let bench = Bench::new();
    assert!(!bench.access.has_users());
    let caller = bench.access.unprotected().expect("no user yet");
    let secret = bench.access.setup_secret().expect("randomness").expect("no user yet");
    assert_eq!(bench.access.setup_secret().expect("randomness").as_deref(), Some(secret.as_str()), "stays the same");
    let set_up = |secret: &str, password: &str| bench.access.set_up(secret, "anna".to_owned(), password.to_owned());
    assert!(matches!(set_up("guessed", PASSWORD), Err(SetupRefusal::Over)));
    assert!(matches!(set_up(&secret, "short"), Err(SetupRefusal::User(_))));
    assert_eq!(set_up(&secret, PASSWORD).expect("the first user").role, Role::Admin);
    assert!(matches!(set_up(&secret, PASSWORD), Err(SetupRefusal::Over)), "once");
    assert_eq!(bench.access.setup_secret().expect("randomness"), None);
    assert!(caller.until.is_cancelled() && bench.access.unprotected().is_none(), "what was open to all ends");
    assert!(bench.restarted().has_users());
}

#[test]
fn the_first_user_is_an_admin_and_the_last_admin_stays() {
    let bench = Bench::new();
    assert!(bench.add("vera", Role::Viewer).is_err());
    bench.add("anna", Role::Admin).expect("an admin");
    assert!(bench.add("Anna", Role::Viewer).is_err(), "names that differ in case only are one for people");
    for name in ["", "-x", "a b", "a/b", "a\u{0}", &"x".repeat(65)] {
        assert!(bench.add(name, Role::Viewer).is_err(), "{name:?}");
    }
    let less = |change: UserChange| bench.access.change_user("anna", change).is_err();
    assert!(less(UserChange { role: Some(Role::Viewer), ..UserChange::default() }));
    assert!(less(UserChange { disabled: Some(true), ..UserChange::default() }));
    assert!(less(UserChange { cameras: Some(Some(BTreeMap::new())), ..UserChange::default() }));
    assert!(bench.access.remove_user("anna").is_err());
    assert_eq!(bench.access.user("anna"), bench.restarted().user("anna"), "what was refused was not written");
    bench.add("ben", Role::Admin).expect("another admin");
    bench.access.remove_user("anna").expect("ben is left");
    assert!(bench.restarted().user("anna").is_none());
}

#[test]
fn a_session_outlives_a_restart_and_ends_by_age_and_by_hand() {
    let bench = Bench::with_anna();
    let LoggedIn { token, caller } = bench.log_in("anna", PASSWORD).expect("a login");
    assert_eq!((&*caller.name, caller.role, caller.kind), ("anna", Role::Admin, CallerKind::Session));
    let files = std::fs::read_dir(bench.dir.path().join("access")).expect("folder");
    for file in files.map(|file| file.expect("file").path()) {
        let text = std::fs::read_to_string(&file).expect("text");
        assert!(!text.contains(&token) && !text.contains(PASSWORD), "{} has a secret", file.display());
    }
    let again = bench.restarted();
    assert!(again.of_session(&token).is_some() && again.of_session("guessed").is_none());
    assert_eq!(again.sessions(Some("anna")).first().map(|s| s.agent.clone()).as_deref(), Some("Firefox"));

    let session = caller.session.clone().expect("a session");
    assert!(bench.access.end_session(&session, Some("ben")).is_err(), "another's session");
    assert!(bench.access.of_session(&token).is_some());
    bench.access.end_session(&session, Some("anna")).expect("her own");
    assert!(bench.access.of_session(&token).is_none() && caller.until.is_cancelled());
    assert!(bench.restarted().of_session(&token).is_none());

    let LoggedIn { token, .. } = bench.log_in("anna", PASSWORD).expect("a login");
    bench.clock.advance(Duration::from_secs(7 * 24 * 3600 + 60));
    assert!(bench.access.of_session(&token).is_none(), "idle for a week");
}

#[test]
fn a_token_is_replaced_each_day_and_no_session_lives_for_ever() {
    let bench = Bench::with_anna();
    let mut token = bench.log_in("anna", PASSWORD).expect("a login").token;
    let mut days = 0;
    while let Some((_, next)) = bench.access.of_session(&token) {
        days += 1;
        assert!(days <= 31, "the longest session");
        if let Some(next) = next {
            assert!(bench.access.of_session(&token).is_some(), "requests that are on their way");
            bench.clock.advance(Duration::from_secs(61));
            assert!(bench.access.of_session(&token).is_none(), "the token before is over");
            token = next;
        }
        bench.clock.advance(Duration::from_secs(24 * 3600));
    }
    assert!(days >= 29, "{days}");
    let token = bench.log_in("anna", PASSWORD).expect("a login").token;
    bench.clock.step_wall("2026-01-02T00:00:00Z".parse().expect("a time"), TimeQuality::Unsynchronised);
    assert!(bench.access.of_session(&token).is_some(), "a clock that went back ends nothing");
}

#[test]
fn a_user_who_is_disabled_is_out_at_once_whatever_is_open() {
    let bench = Bench::with_anna();
    bench.add("ben", Role::Operator).expect("ben");
    let LoggedIn { token, caller } = bench.log_in("ben", PASSWORD).expect("a login");
    let change = |change| bench.access.change_user("ben", change).expect("a change");
    change(UserChange { disabled: Some(true), ..UserChange::default() });
    assert!(caller.until.is_cancelled() && bench.access.of_session(&token).is_none());
    assert!(matches!(bench.log_in("ben", PASSWORD), Err(LoginRefusal::Wrong)));
    change(UserChange { disabled: Some(false), role: Some(Role::Viewer), ..UserChange::default() });
    assert_eq!(bench.log_in("ben", PASSWORD).expect("let in again").caller.role, Role::Viewer);
}

#[test]
fn the_present_password_is_guessed_as_slowly_as_at_the_login() {
    let bench = Bench::with_anna();
    let address = "192.0.2.7".parse().expect("address");
    let change = |present: &str| bench.access.change_own_password("anna", None, present, OTHER, address);
    let tries = (0..8).map(|_| change("wrong horse").expect_err("wrong")).collect::<Vec<_>>();
    assert!(matches!(tries.last(), Some(AccessError::Locked(_))), "{tries:?}");
    assert!(matches!(change(PASSWORD), Err(AccessError::Locked(_))), "nor is the right one heard meanwhile");
    bench.clock.advance(Duration::from_secs(3700));
    change(PASSWORD).expect("changed");
}

#[test]
fn what_ends_ends_by_the_running_time_while_the_clock_is_not_right() {
    let bench = Bench::with_anna();
    bench.clock.step_wall("1970-01-01T00:01:00Z".parse().expect("a time"), TimeQuality::Unsynchronised);
    let now = || bench.clock.wall();
    let key = |lasts: i64| {
        let expires = Some(now().checked_add(SignedDuration::from_secs(lasts)).expect("a time"));
        bench.access.add_key(NewKey { name: "k".into(), role: Role::Viewer, cameras: None, expires }, "anna")
    };
    let past = key(-1).expect_err("past").to_string();
    assert!(past.contains("which is past") && past.contains("not synchronised"), "{past}");
    let added = key(3600).expect("a key").key;
    bench.clock.advance(Duration::from_secs(3599));
    assert!(bench.access.of_key(&added).is_some());
    // The clock is set meanwhile: by it the key would have ended half a century ago.
    bench.clock.step_wall("2026-11-22T10:00:00Z".parse().expect("a time"), TimeQuality::Synchronised);
    assert!(bench.access.of_key(&added).is_some(), "its hour is not over");
    bench.clock.advance(Duration::from_secs(2));
    assert!(bench.access.of_key(&added).is_none());
    // And one that was made by a right clock, which is lost then.
    let added = key(3600).expect("a key").key;
    bench.clock.step_wall("1970-01-01T00:01:00Z".parse().expect("a time"), TimeQuality::Implausible);
    bench.clock.advance(Duration::from_secs(3599));
    assert!(bench.access.of_key(&added).is_some());
    bench.clock.advance(Duration::from_secs(1));
    assert!(bench.access.of_key(&added).is_none());
}

#[test]
fn another_password_ends_the_other_sessions() {
    let bench = Bench::with_anna();
    let (here, there) = (bench.log_in("anna", PASSWORD).expect("one"), bench.log_in("anna", PASSWORD).expect("two"));
    let session = here.caller.session.as_deref();
    let change = |present: &str, new: &str| {
        bench.access.change_own_password("anna", session, present, new, "192.0.2.7".parse().expect("address"))
    };
    assert!(matches!(change("wrong", OTHER), Err(AccessError::WrongPassword)));
    assert!(change(PASSWORD, "short").is_err());
    change(PASSWORD, OTHER).expect("changed");
    assert!(bench.access.of_session(&here.token).is_some() && bench.access.of_session(&there.token).is_none());
    assert!(there.caller.until.is_cancelled() && !here.caller.until.is_cancelled());
    assert!(bench.log_in("anna", PASSWORD).is_err() && bench.log_in("anna", OTHER).is_ok());
}

#[test]
fn a_second_factor_is_asked_for_once_its_app_works() {
    let bench = Bench::with_anna();
    let access = &bench.access;
    assert!(access.confirm_second_factor("anna", "123456").is_err(), "nothing was begun");
    let address = "192.0.2.7".parse().expect("address");
    let begin = |password: &str, code: Option<&str>| {
        access.begin_second_factor("anna", "farm", &FactorProof { password, code, address })
    };
    assert!(matches!(begin("wrong horse", None), Err(AccessError::WrongPassword)), "a session alone is not enough");
    let enrolment = begin(PASSWORD, None).expect("begun");
    assert!(bench.log_in("anna", PASSWORD).is_ok(), "not confirmed yet");
    let code = |at| {
        let secret = totp_rs::Secret::try_from_base32(&enrolment.secret).expect("a secret");
        let app = totp_rs::Builder::new().with_secret(secret).build().expect("an app");
        app.generate(at).to_string()
    };
    let now = || u64::try_from(bench.clock.wall().as_second()).expect("after 1970");
    let recovery = access.confirm_second_factor("anna", &code(now())).expect("confirmed");
    assert!(matches!(bench.log_in("anna", PASSWORD), Err(LoginRefusal::CodeNeeded)));
    assert!(
        matches!(bench.log_in("anna", "wrong horse"), Err(LoginRefusal::Wrong)),
        "the code is not asked of strangers"
    );
    let with = |code: &str| bench.log_in_with("anna", PASSWORD, Some(code));
    assert!(matches!(with(&code(now())), Err(LoginRefusal::WrongCode)), "it was taken when it was confirmed");
    bench.clock.advance(Duration::from_secs(30));
    assert!(with(&code(now())).is_ok());
    assert!(matches!(begin(PASSWORD, None), Err(AccessError::Refused(_))), "another one needs a code of this one");
    assert!(matches!(begin(PASSWORD, Some("000000")), Err(AccessError::Refused(_))));
    bench.clock.advance(Duration::from_secs(30));
    begin(PASSWORD, Some(&code(now()))).expect("begun again, and left so");
    let reserve = recovery.first().expect("a recovery code");
    assert!(with(reserve).is_ok());
    assert_eq!(bench.restarted().user("anna").map(|user| user.recovery_codes), Some(9));
    assert!(matches!(with(reserve), Err(LoginRefusal::WrongCode)));
    for _ in 0..10 {
        let _ = with("000000");
    }
    assert!(matches!(with("000000"), Err(LoginRefusal::Locked(_))), "codes are limited as passwords are");
    let change = UserChange { second_factor: Some(false), ..UserChange::default() };
    access.change_user("anna", change).expect("an admin removes what was lost");
    assert!(bench.log_in("anna", PASSWORD).is_ok());
}

#[test]
fn failed_logins_make_the_next_ones_wait() {
    let bench = Bench::with_anna();
    for _ in 0..5 {
        assert!(matches!(bench.log_in("anna", "wrong horse"), Err(LoginRefusal::Wrong)));
    }
    assert!(
        matches!(bench.log_in("anna", PASSWORD), Err(LoginRefusal::Locked(_))),
        "the right one is not heard either"
    );
    bench.clock.advance(Duration::from_secs(6));
    assert!(bench.log_in("anna", PASSWORD).is_ok());
}

#[test]
fn a_key_is_shown_once_and_ends_when_it_is_over_or_removed() {
    let bench = Bench::with_anna();
    let hour = jiff::SignedDuration::from_hours(1);
    let end = bench.clock.wall().checked_add(hour).expect("a time");
    let new = |expires| NewKey { name: "home assistant".to_owned(), role: Role::Viewer, cameras: None, expires };
    let past = bench.clock.wall().checked_sub(hour).expect("a time");
    assert!(bench.access.add_key(new(Some(past)), "anna").is_err());
    let added = bench.access.add_key(new(Some(end)), "anna").expect("a key");
    let file = std::fs::read_to_string(bench.dir.path().join("access/users.json")).expect("the file");
    assert!(!file.contains(&added.key), "the key itself is not kept");
    let caller = bench.restarted().of_key(&added.key).expect("let in");
    assert_eq!((&*caller.name, caller.role, caller.kind), ("home assistant", Role::Viewer, CallerKind::Key));
    let almost = format!("{}x", added.key);
    for wrong in ["", "outpost_key_", "outpost_key_00_", almost.as_str(), added.info.id.as_str()] {
        assert!(bench.access.of_key(wrong).is_none(), "{wrong}");
    }
    let caller = bench.access.of_key(&added.key).expect("let in");
    assert!(bench.access.keys().iter().all(|key| key.last_used.is_some()));
    bench.clock.advance(Duration::from_secs(3601));
    assert!(bench.access.of_key(&added.key).is_none(), "over");
    bench.clock.step_wall(bench.clock.wall(), TimeQuality::Unsynchronised);
    assert!(bench.access.of_key(&added.key).is_none(), "nor does a clock that cannot be trusted make it live again");
    bench.access.remove_key(&added.info.id).expect("removed");
    assert!(bench.access.of_key(&added.key).is_none() && caller.until.is_cancelled());
}

#[test]
fn grants_hold_for_a_camera_and_a_time() {
    let at = |text: &str| text.parse::<Timestamp>().expect("a time");
    let grant = Grant { since: Some(at("2026-11-01T00:00:00Z")), until: Some(at("2026-12-01T00:00:00Z")) };
    let mut caller = Caller::admin("vera", CallerKind::Session);
    assert!(caller.sees("yard", at("2020-01-01T00:00:00Z")) && caller.sees_everything());
    caller.cameras = Some(BTreeMap::from([("yard".to_owned(), grant)]));
    assert!(caller.sees("yard", at("2026-11-28T10:00:00Z")));
    assert!(!caller.sees("yard", at("2026-10-31T23:59:59Z")), "before access was granted");
    assert!(!caller.sees("yard", at("2026-12-01T00:00:00Z")) && !caller.sees("gate", at("2026-11-28T10:00:00Z")));
    let change: UserChange = serde_json::from_str(r#"{"cameras": null}"#).expect("all cameras again");
    assert_eq!((change.cameras, UserChange::default().cameras), (Some(None), None), "null differs from absent");
}

#[test]
fn a_damaged_list_of_users_lets_no_one_in_and_is_not_overwritten() {
    let bench = Bench::with_anna();
    let file = bench.dir.path().join("access/users.json");
    std::fs::write(&file, b"{ torn").expect("damage");
    let access = bench.restarted();
    assert!(access.has_users(), "the box does not count as one without users");
    assert_eq!(access.setup_secret().expect("randomness"), None);
    let new = NewUser { name: "eve".into(), password: PASSWORD.into(), role: Role::Admin, cameras: None };
    let refused = access.add_user(new).expect_err("refused").to_string();
    assert!(refused.contains("users.json") && refused.contains("copy"), "{refused}");
    assert_eq!(std::fs::read(&file).expect("the file"), b"{ torn");
}

/// A disk that hangs keeps its writer waiting, and no one else.
#[test]
fn requests_are_let_in_while_the_disk_takes_its_time() {
    let bench = Bench::with_anna();
    let token = bench.log_in("anna", PASSWORD).expect("a login").token;
    let folder = bench.dir.path().join("access");
    // Whatever is written waits for a reader of this pipe.
    let draft = folder.join("users.json.tmp");
    rustix::fs::mknodat(rustix::fs::CWD, &draft, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("a pipe");
    let (access, started) = (bench.access.clone(), std::sync::mpsc::channel());
    let writer = crate::supervise::spawn_thread("writer", move || {
        started.0.send(()).expect("the test waits");
        let change = UserChange { disabled: Some(true), ..UserChange::default() };
        let new = NewUser { name: "ben".into(), password: PASSWORD.into(), role: Role::Viewer, cameras: None };
        access.add_user(new).and_then(|_| access.change_user("ben", change)).is_ok()
    })
    .expect("a thread");
    started.1.recv().expect("the writer");
    crate::waiting::block_until("the change is on its way", || bench.access.user("ben").is_some());
    assert!(bench.access.of_session(&token).is_some() && bench.access.has_users());
    assert!(!writer.is_finished(), "the disk hangs");
    std::fs::read(&draft).expect("the disk goes on");
    // A pipe is not synced: the change is taken back.
    assert!(!writer.join().expect("the writer") && bench.access.user("ben").is_none());
}

#[test]
fn a_name_that_no_user_can_have_is_not_counted() {
    let bench = Bench::with_anna();
    let long = "x".repeat(60_000);
    for _ in 0..30 {
        assert!(matches!(bench.log_in(&long, PASSWORD), Err(LoginRefusal::Wrong)));
    }
    assert!(bench.log_in("anna", PASSWORD).is_ok());
}
