//! Configurations of the daemon under test.

use std::fmt::Write;
use std::path::PathBuf;

use super::broker::{self, Broker};
use super::bucket::{self, S3Server};
use super::clips::{Lamp, lamp};
use super::rtsp::{self, Auth, RtspServer};
use super::{Scratch, azure, gcs, port, repository};

/// Name of the box in every test.
pub const DEVICE: &str = "box1";
/// Folder in the bucket that the box delivers to.
pub const PREFIX: &str = "site1";
/// Seconds of video before an event, as configured below.
pub const PRE_ROLL_S: f64 = 5.0;
/// Seconds of video after an event, as configured below.
pub const POST_ROLL_S: f64 = 2.0;

/// The sections of a camera that looks for a lamp; `source` are the lines of its source.
pub fn lamp_sections(name: &str, source: &str) -> String {
    // The gate is not what is tested here, and sudden light is what it would rather not call motion.
    format!(
        "[camera.{name}.source]\n{source}\n[camera.{name}.motion]\nenabled = false\n\
         [camera.{name}.detect]\nmodel = \"light\"\n\
         [camera.{name}.track]\nmax_occlusion = \"500ms\"\n[camera.{name}.record]\npre_roll = \"1s\"\npost_roll = \"1s\"\n"
    )
}

/// The same, in which each camera without a rule makes an event of each object: tests are about several events.
pub fn with_rules(text: &str) -> String {
    let mut ruled = String::new();
    for line in text.lines() {
        let camera = line.strip_prefix("[camera.").and_then(|rest| rest.strip_suffix(".source]"));
        if let Some(name) = camera.filter(|name| !text.contains(&format!("[[camera.{name}.rules]]"))) {
            writeln!(ruled, "[[camera.{name}.rules]]\nname = \"object\"").expect("strings take everything");
        }
        writeln!(ruled, "{line}").expect("strings take everything");
    }
    ruled
}

/// A configuration file in the making.
#[derive(Debug)]
pub struct Config<'a> {
    scratch: &'a Scratch,
    port: u16,
    text: String,
    by_activity: bool,
}

impl<'a> Config<'a> {
    /// A box without cameras and outlets, with a page on a port of its own.
    pub fn new(scratch: &'a Scratch) -> Self {
        let port = port::free();
        let storage = scratch.path("box");
        std::fs::create_dir_all(&storage).expect("make the storage folder");
        let text = format!(
            "[device]\nid = \"{DEVICE}\"\n[storage]\npath = \"{}\"\n[web]\nlisten = \"127.0.0.1:{port}\"\n\
             [archive]\ntime_hold = \"0s\"\n[infer]\nmodel_dir = \"{}\"\n",
            storage.display(),
            repository().join("models").display()
        );
        Self { scratch, port, text, by_activity: false }
    }

    /// With models from another folder than the repository's.
    pub fn models_in(mut self, folder: &std::path::Path) -> Self {
        let usual = repository().join("models").display().to_string();
        self.text = self.text.replacen(&usual, &folder.display().to_string(), 1);
        self
    }

    /// The same box by another name.
    pub fn named(mut self, device: &str) -> Self {
        self.text = self.text.replacen(&format!("id = \"{DEVICE}\""), &format!("id = \"{device}\""), 1);
        self
    }

    /// Alerts to a broker.
    pub fn alerts_to(self, broker: &Broker) -> Self {
        self.alerts_through(broker, &broker.url())
    }

    /// Alerts to a broker that is reached at `url`.
    pub fn alerts_through(mut self, broker: &Broker, url: &str) -> Self {
        let password = self.scratch.secret("broker.password", broker::PASSWORD);
        self.add(&format!("[mqtt]\nurl = \"{url}\"\nusername = \"{}\"", broker::USER));
        self.add(&format!("password_file = \"{}\"", password.display()));
        if let Some(authority) = broker.authority() {
            self.add(&format!("ca_file = \"{}\"", authority.display()));
        }
        self
    }

    /// More of `[mqtt]`; right after the broker.
    pub fn mqtt(mut self, lines: &str) -> Self {
        self.add(lines);
        self
    }

    /// Alerts to a webhook, signed with what is in `secret`.
    pub fn posts_to(mut self, name: &str, url: &str, secret: &std::path::Path) -> Self {
        let secret = secret.display();
        self.add(&format!("[webhook.{name}]\nurl = \"{url}\"\nsecret_file = \"{secret}\"\nallow_http = true"));
        self
    }

    /// Archives to a bucket.
    pub fn uploads_to(self, store: &S3Server) -> Self {
        self.uploads_through(&store.endpoint())
    }

    /// Archives to the bucket of a server that is reached at `endpoint`.
    pub fn uploads_through(mut self, endpoint: &str) -> Self {
        let secret = self.scratch.secret("bucket.secret", bucket::SECRET_KEY);
        self.add(&format!(
            "[upload.cloud]\nurl = \"s3://{}/{PREFIX}\"\nendpoint = \"{endpoint}\"\nregion = \"us-east-1\"\n\
             access_key_id = \"{}\"\nsecret_access_key_file = \"{}\"\nallow_http = true",
            bucket::BUCKET,
            bucket::ACCESS_KEY,
            secret.display()
        ));
        self
    }

    /// Archives to Azure, to a server that is found on `port`.
    pub fn uploads_to_azure(mut self, name: &str, port: u16, container: &str, key_file: &std::path::Path) -> Self {
        self.add(&format!(
            "[upload.{name}]\nurl = \"az://{container}/{PREFIX}\"\nendpoint = \"{}\"\naccount = \"{}\"\n\
             account_key_file = \"{}\"\nallow_http = true",
            azure::endpoint(port),
            azure::ACCOUNT,
            key_file.display()
        ));
        self
    }

    /// Archives to Google, to a server that is found on `port`.
    pub fn uploads_to_google(mut self, name: &str, port: u16, bucket: &str) -> Self {
        let account = self.scratch.secret(&format!("{name}.json"), &gcs::service_account(port));
        self.add(&format!(
            "[upload.{name}]\nurl = \"gs://{bucket}/{PREFIX}\"\nservice_account_file = \"{}\"\nallow_http = true",
            account.display()
        ));
        self
    }

    /// Archives to a folder.
    pub fn copies_to(mut self, folder: &std::path::Path) -> Self {
        self.add(&format!("[upload.cloud]\nurl = \"file://{}\"", folder.display()));
        self
    }

    /// A camera that looks for people.
    pub fn camera(mut self, name: &str, server: &RtspServer, mount: &str, auth: Auth) -> Self {
        self.add(&format!("[camera.{name}.source]\nurl = \"{}\"\ntransport = \"tcp\"", server.url(mount)));
        if auth != Auth::None {
            let password = self.scratch.secret("camera.password", rtsp::PASSWORD);
            self.add(&format!("username = \"{}\"\npassword_file = \"{}\"", rtsp::USER, password.display()));
        }
        self.looks_for_people(name)
    }

    /// A camera whose smaller stream is looked at while the main one is recorded.
    pub fn camera_with_substream(mut self, name: &str, server: &RtspServer, main: &str, sub: &str) -> Self {
        let (main, sub) = (server.url(main), server.url(sub));
        self.add(&format!("[camera.{name}.source]\nurl = \"{main}\"\nsubstream = \"{sub}\""));
        self.looks_for_people(name)
    }

    /// A camera that is a clip, played in a loop.
    pub fn replay(mut self, name: &str, clip: &std::path::Path) -> Self {
        self.add(&format!("[camera.{name}.source]\nurl = \"replay:{}\"\nrepeat = true", clip.display()));
        self.looks_for_people(name)
    }

    /// A camera that is a clip, played in a loop, all of whose video is kept in segments of `segment_s`.
    pub fn recorded_all_the_time(self, name: &str, clip: &std::path::Path, segment_s: u32) -> Self {
        self.replay(name, clip).all_the_time(segment_s)
    }

    /// All video of the camera that was named last is kept, in segments of `segment_s`.
    pub fn all_the_time(mut self, segment_s: u32) -> Self {
        self.add(&format!("mode = \"continuous\"\nsegment = \"{segment_s}s\""));
        self
    }

    /// Takes the temperature from `thermal_dir`, and loses patience after a second.
    pub fn sheds_quickly(mut self, thermal_dir: &std::path::Path) -> Self {
        let thermal_dir = thermal_dir.display();
        self.add(&format!("[load]\nthermal_dir = \"{thermal_dir}\"\nrise_after = \"1s\"\nfall_after = \"1s\""));
        self
    }

    /// Deletes what is more than `bytes`.
    pub fn keeps_at_most(mut self, bytes: u64) -> Self {
        self.add(&format!("[retention]\nmax_bytes = {bytes}"));
        self
    }

    /// Goes on in `folder` while the storage folder's volume is away, which is noticed quickly.
    pub fn spools_to(mut self, folder: &std::path::Path) -> Self {
        let folder = folder.display();
        self.add(&format!("[spool]\npath = \"{folder}\"\ncheck_every = \"1s\"\npatience = \"3s\""));
        self
    }

    /// A camera that is a clip, played once, at which the detector looks `fps` times a second.
    pub fn played_once(mut self, name: &str, clip: &std::path::Path, fps: f64) -> Self {
        self.add(&format!("[camera.{name}.source]\nurl = \"replay:{}\"", clip.display()));
        self.add(&format!("[camera.{name}.detect]\nlabels = [\"person\"]\nfps = {fps:.1}"));
        self
    }

    /// A camera that looks for a lamp, for tests of what becomes of events: see [`lamp`].
    pub fn lamp(self, name: &str, what: Lamp) -> Self {
        let repeat = matches!(what, Lamp::Blinking | Lamp::BlinkingLarge);
        self.looks_for_a_lamp(name, &format!("url = \"replay:{}\"\nrepeat = {repeat}", lamp(what).display()))
    }

    /// A camera on a server that looks for a lamp.
    pub fn lamp_camera(self, name: &str, server: &RtspServer, mount: &str) -> Self {
        self.looks_for_a_lamp(name, &format!("url = \"{}\"\ntransport = \"tcp\"", server.url(mount)))
    }

    /// The same, of which the smaller stream is looked at while the main one is recorded.
    pub fn lamp_camera_with_substream(self, name: &str, server: &RtspServer, main: &str, sub: &str) -> Self {
        let (main, sub) = (server.url(main), server.url(sub));
        self.looks_for_a_lamp(name, &format!("url = \"{main}\"\nsubstream = \"{sub}\"\ntransport = \"tcp\""))
    }

    fn looks_for_a_lamp(self, name: &str, source: &str) -> Self {
        let mut config = self.models_in(&repository().join("tests/vm/models"));
        config.add(&lamp_sections(name, source));
        config
    }

    fn looks_for_people(mut self, name: &str) -> Self {
        self.add(&format!(
            "[camera.{name}.detect]\nlabels = [\"person\"]\nmin_score = 0.4\n\
             [camera.{name}.record]\npre_roll = \"{PRE_ROLL_S}s\"\npost_roll = \"{POST_ROLL_S}s\""
        ));
        self
    }

    /// Adds lines to the section that was begun last.
    pub fn add(&mut self, lines: &str) {
        writeln!(self.text, "{lines}").expect("strings take everything");
    }

    /// Cameras without a rule keep what a box does without one: one event for all that goes on at a time.
    pub fn by_activity(mut self) -> Self {
        self.by_activity = true;
        self
    }

    /// Writes the file; gives its path and the port of the page.
    pub fn write(self) -> (PathBuf, u16) {
        let path = self.scratch.path("outpost.toml");
        let text = if self.by_activity { self.text } else { with_rules(&self.text) };
        std::fs::write(&path, text).expect("write the configuration");
        (path, self.port)
    }
}
