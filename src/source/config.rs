//! Where a camera is and how to ask it.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;

use super::Role;
use super::address::{Address, FORMS, redact};

/// What a program without the feature says of a V4L2 camera.
pub(super) const NO_V4L2: &str = "this program was built without V4L2 cameras: build it with the Cargo feature \"v4l\"";

/// Those whose protocol has a place for a user name and a password.
const SCHEMES_WITH_LOGIN: [&str; 6] = ["http", "https", "rtmp", "rtmps", "rtsp", "rtsps"];

/// What is replaced by the password in addresses behind `ffmpeg:`.
pub(super) const PASSWORD: &str = "{password}";

/// What is replaced by the user name and the password in addresses behind `ffmpeg:`.
pub(super) const PLACEHOLDERS: [&str; 2] = ["{username}", PASSWORD];

/// What `max_silence` may be.
const SILENCE_RANGE: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

/// `[camera.<name>.source]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address of the stream that is recorded: `rtsp://host:554/path`, `v4l2:/dev/video0`,
    /// `replay:/path/to/clip.mp4`, or `ffmpeg:` and an address that libavformat reads: `http://` and `https://`
    /// (MJPEG, FLV, MPEG-TS, HLS), `rtmp://`, `srt://`, `udp://`, `rtsp://`; `whip:` for a phone or browser that
    /// publishes, `whep+https://host/path` for a camera that offers WHEP. Without user name and password; behind
    /// `ffmpeg:`, `{username}` and `{password}` stand for them where a camera wants them in the address. No default.
    pub url: String,
    /// Network address of the camera's smaller stream, decoded for detection instead of the main one.
    /// Default: none, the main stream serves both.
    pub substream: Option<String>,
    /// User name of a network camera. Default: none.
    pub username: Option<String>,
    /// File that holds the password of a network camera and nothing else; of a `whep+` camera the bearer token that it
    /// wants, without `username`; of a `whip:` camera the token that publishers show, of 16 characters or more. Default: none; a `whip:` camera then takes users and keys that may operate it alone.
    pub password_file: Option<PathBuf>,
    /// Whether the certificate behind `ffmpeg:https://`, `ffmpeg:rtmps://` and `whep+https://` must be one that this system trusts.
    /// Cameras that made their own need `false`; an attacker in between can then read the password. Default: `true`.
    pub verify_tls: bool,
    /// How RTSP cameras send: `auto`, `tcp` or `udp`. `auto` is TCP, and UDP for cameras that refuse TCP; it is remembered
    /// which one a camera takes. Default: `auto`.
    pub transport: Transport,
    /// How long the camera may give no picture before it is connected again, also before its first one. Default: none;
    /// the camera's pace is learned: 10 s at first, twice as long after each try without a picture, and three times
    /// the longest pause that was seen between pictures, 2 minutes at most.
    #[serde(
        with = "jiff::fmt::serde::unsigned_duration::friendly::compact::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_silence: Option<Duration>,
    /// What a V4L2 camera shall give: `auto`, `h264`, `mjpeg` or `yuyv`. Default: `auto`.
    pub format: V4l2Format,
    /// Width wished from a V4L2 camera, pixels; the nearest that it has is taken. Default: 1280.
    pub width: Option<u32>,
    /// Height wished from a V4L2 camera, pixels. Default: 720.
    pub height: Option<u32>,
    /// Frames per second wished from a V4L2 camera. Default: 15.
    pub fps: Option<u32>,
    /// Play a file again and again. Default: `false`.
    pub repeat: bool,
    /// How fast a file is played: `real` or `fast`. Default: `real`.
    pub pace: Pace,
    /// Whether audio is asked for, which `record.audio` decides. Not a key of this section.
    #[serde(skip)]
    pub takes_audio: bool,
}

/// How RTP packets come from the camera.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP, or UDP where the camera refuses TCP.
    #[default]
    Auto,
    /// Within the RTSP connection: nothing is lost, works through firewalls.
    Tcp,
    /// As datagrams: for cameras that cannot do TCP, in a network without loss.
    Udp,
}

/// Pixel format or codec of a V4L2 camera.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum V4l2Format {
    /// The first that the camera has of H.264, MJPEG, YUYV.
    #[default]
    Auto,
    /// H.264, recorded as it is.
    H264,
    /// Motion JPEG.
    Mjpeg,
    /// Uncompressed.
    Yuyv,
}

/// How fast a file is played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pace {
    /// As fast as it was recorded.
    #[default]
    Real,
    /// As fast as the consumer takes it. Packets still carry times that advance as the file's do.
    Fast,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: String::new(),
            substream: None,
            username: None,
            password_file: None,
            verify_tls: true,
            transport: Transport::Auto,
            max_silence: None,
            format: V4l2Format::Auto,
            width: None,
            height: None,
            fps: None,
            repeat: false,
            pace: Pace::Real,
            takes_audio: false,
        }
    }
}

impl Config {
    /// Checks each key by itself and against the others.
    ///
    /// # Errors
    /// One sentence for the person who wrote the file; no secrets.
    pub fn validate(&self) -> Result<(), String> {
        if self.max_silence.is_some_and(|limit| !SILENCE_RANGE.contains(&limit)) {
            return Err("max_silence must be 1s to 1h".to_owned());
        }
        if self.url.is_empty() {
            return Err(format!("url is missing: {FORMS}"));
        }
        let address = Address::parse(&self.url).map_err(|e| format!("url {e}"))?;
        self.validate_network_keys(&address)?;
        if matches!(address, Address::V4l2(_)) && !cfg!(feature = "v4l") {
            return Err(format!("url {:?}: {NO_V4L2}", self.url));
        }
        self.validate_v4l2_keys(matches!(address, Address::V4l2(_)))?;
        if !matches!(address, Address::Replay(_)) && (self.repeat || self.pace != Pace::Real) {
            return Err("repeat and pace are for replay: sources only, remove them".to_owned());
        }
        Ok(())
    }

    /// Whether the source is a file that is played, and not a camera that goes on by itself.
    pub fn is_file(&self) -> bool {
        matches!(Address::parse(&self.url), Ok(Address::Replay(_)))
    }

    /// The file or device, where it is one of this box.
    pub fn local_place(&self) -> Option<PathBuf> {
        match Address::parse(&self.url) {
            Ok(Address::Replay(file) | Address::V4l2(file)) => Some(file),
            _ => None,
        }
    }

    /// Whether the camera sends by itself: a phone or a browser that publishes.
    pub fn is_published(&self) -> bool {
        matches!(Address::parse(&self.url), Ok(Address::Published))
    }

    /// Where the stream with this role is asked for by WHEP, if it is.
    pub fn whep_of(&self, role: Role) -> Option<Url> {
        match Address::parse(self.url_of(role)) {
            Ok(Address::Whep(url)) => Some(url),
            _ => None,
        }
    }

    /// The main address as people may see it: without anything that looks like a secret.
    pub fn display_url(&self) -> String {
        redact(&self.url)
    }

    /// [`Config::display_url`] of the stream with this role.
    pub fn display_url_of(&self, role: Role) -> String {
        redact(self.url_of(role))
    }

    /// The address of the stream with this role.
    pub(super) fn url_of(&self, role: Role) -> &str {
        match role {
            Role::Main => &self.url,
            Role::Sub => self.substream.as_deref().unwrap_or(&self.url),
        }
    }

    fn validate_network_keys(&self, address: &Address) -> Result<(), String> {
        let (is_rtsp, is_network) = match address {
            Address::Rtsp(_) => (true, true),
            Address::Libav(url) => (url.scheme().starts_with("rtsp"), true),
            Address::Whep(_) => (false, true),
            Address::V4l2(_) | Address::Replay(_) | Address::Published => (false, false),
        };
        if self.transport != Transport::Auto && !is_rtsp {
            return Err("transport is for rtsp:// sources only, remove it".to_owned());
        }
        if !self.verify_tls && !matches!(address, Address::Libav(_) | Address::Whep(_)) {
            return Err("verify_tls is for ffmpeg: and whep+https:// sources only, remove it".to_owned());
        }
        if *address == Address::Published {
            if self.substream.is_some() || self.username.is_some() {
                return Err(
                    "substream and username are not for whip: cameras, remove them; password_file names the token \
                            of publishers"
                        .to_owned(),
                );
            }
            return Ok(());
        }
        if !is_network {
            if self.substream.is_some() || self.username.is_some() || self.password_file.is_some() {
                return Err("substream, username and password_file are for rtsp://, ffmpeg: and whep+ sources only, \
                            remove them"
                    .to_owned());
            }
            return Ok(());
        }
        if let Address::Whep(url) = address {
            return self.validate_whep(url);
        }
        match (&self.username, &self.password_file) {
            (Some(_), None) => {
                return Err("username is set but password_file is not: put the password into a file".to_owned());
            }
            (None, Some(_)) => return Err("password_file is set but username is not: set username too".to_owned()),
            (Some(name), Some(_)) if name.is_empty() => return Err("username is empty: set it or remove it".to_owned()),
            _ => {}
        }
        self.validate_login("url", address, &self.url)?;
        let Some(substream) = &self.substream else { return Ok(()) };
        match Address::parse(substream).map_err(|e| format!("substream {e}"))? {
            address @ (Address::Rtsp(_) | Address::Libav(_)) => self.validate_login("substream", &address, substream),
            _ => Err(format!("substream {:?} must be an rtsp:// or ffmpeg: address", redact(substream))),
        }
    }

    /// A token is all that such a camera asks for.
    fn validate_whep(&self, url: &Url) -> Result<(), String> {
        if self.username.is_some() {
            return Err("username is not for whep+ sources, remove it; password_file names the token".to_owned());
        }
        if !self.verify_tls && url.scheme() != "https" {
            return Err("verify_tls is for whep+https:// only, remove it".to_owned());
        }
        let Some(substream) = &self.substream else { return Ok(()) };
        match Address::parse(substream).map_err(|e| format!("substream {e}"))? {
            Address::Whep(_) => Ok(()),
            _ => Err(format!("substream {:?} must be a whep+https:// address, as url is", redact(substream))),
        }
    }

    /// Whether the address has a place for the login, where there is one.
    fn validate_login(&self, key: &str, address: &Address, text: &str) -> Result<(), String> {
        let has_places = PLACEHOLDERS.iter().any(|place| text.contains(place));
        let Address::Libav(url) = address else {
            if has_places {
                return Err(format!(
                    "{key}: {{username}} and {{password}} are replaced behind ffmpeg: only, write ffmpeg:rtsp:// there"
                ));
            }
            return Ok(());
        };
        if has_places && self.username.is_none() {
            return Err(format!("{key} has a place for the login: set username and password_file"));
        }
        // Where the address has no place for it, the password goes by the protocol.
        if self.username.is_some() && !text.contains(PASSWORD) && !SCHEMES_WITH_LOGIN.contains(&url.scheme()) {
            return Err(format!(
                "{key}: {} has no user names and no place for the password; remove username and password_file, or write \
                 {{username}} and {{password}} where the camera wants them in the address",
                url.scheme()
            ));
        }
        Ok(())
    }

    fn validate_v4l2_keys(&self, is_v4l2: bool) -> Result<(), String> {
        let wishes = self.width.is_some() || self.height.is_some() || self.fps.is_some();
        if !is_v4l2 && (wishes || self.format != V4l2Format::Auto) {
            return Err("format, width, height and fps are for v4l2: sources only, remove them".to_owned());
        }
        if self.width.is_some() != self.height.is_some() {
            return Err("width and height go together: set both or neither".to_owned());
        }
        for (key, value) in [("width", self.width), ("height", self.height)] {
            if value.is_some_and(|v| !(16..=16384).contains(&v)) {
                return Err(format!("{key} must be 16 to 16384 pixels"));
            }
        }
        if self.fps.is_some_and(|fps| !(1..=240).contains(&fps)) {
            return Err("fps must be 1 to 240".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(url: &str) -> Config {
        Config { url: url.to_owned(), ..Config::default() }
    }

    #[test]
    fn addresses_parse_to_what_they_mean() {
        let rtsp = |s: &str| Address::Rtsp(Url::parse(s).expect("valid"));
        let libav = |s: &str| Address::Libav(Url::parse(s).expect("valid"));
        let whep = |s: &str| Address::Whep(Url::parse(s).expect("valid"));
        let cases = [
            ("rtsp://10.0.0.7:8554/ch1", rtsp("rtsp://10.0.0.7:8554/ch1")),
            ("rtsp://cam.lan/stream?channel=1&subtype=0", rtsp("rtsp://cam.lan/stream?channel=1&subtype=0")),
            ("rtsp://[fe80::1]/x", rtsp("rtsp://[fe80::1]/x")),
            ("ffmpeg:http://10.0.0.8/video.mjpg?fps=5", libav("http://10.0.0.8/video.mjpg?fps=5")),
            ("ffmpeg:rtmp://cam/live/1", libav("rtmp://cam/live/1")),
            ("ffmpeg:srt://cam:9000?latency=200000", libav("srt://cam:9000?latency=200000")),
            ("ffmpeg:udp://239.0.0.1:5000", libav("udp://239.0.0.1:5000")),
            ("ffmpeg:rtsp://cam/x", libav("rtsp://cam/x")),
            ("v4l2:/dev/video0", Address::V4l2("/dev/video0".into())),
            ("v4l2:///dev/video2", Address::V4l2("/dev/video2".into())),
            ("replay:/srv/a clip:1.mp4", Address::Replay("/srv/a clip:1.mp4".into())),
            ("replay:demo/clip.mp4", Address::Replay("demo/clip.mp4".into())),
            ("whip:", Address::Published),
            ("whep+https://cam/whep/1?x=y", whep("https://cam/whep/1?x=y")),
            ("whep+http://10.0.0.9:8889/cam/whep", whep("http://10.0.0.9:8889/cam/whep")),
        ];
        for (text, expected) in cases {
            assert_eq!(Address::parse(text), Ok(expected), "{text}");
            assert_eq!(url(text).validate(), Ok(()), "{text}");
        }
    }

    #[test]
    fn wrong_addresses_are_refused_with_a_way_out_and_without_the_secret() {
        let cases = [
            ("", "url is missing"),
            ("10.0.0.7", "is not valid"),
            ("http://cam/x", "write ffmpeg: in front of it"),
            ("gopher://cam/x", "unknown scheme"),
            ("rtsps://cam/x", "write ffmpeg:rtsps://"),
            ("ffmpeg:", "is not valid"),
            ("ffmpeg:/etc/passwd", "is not valid"),
            ("ffmpeg:file:///etc/passwd", "one of http://"),
            ("ffmpeg:concat:http://a/x|http://b/y", "one of http://"),
            ("ffmpeg:subfile,,start,0,end,9,,:/etc/passwd", "is not valid"),
            ("ffmpeg:http://root:hunter2@cam/x", "use username and password_file"),
            ("ffmpeg:http://root:hun@ter2@ca m/x", "is not valid"),
            ("ffmpeg:http://cam/x?user={username}&password={password}", "set username and password_file"),
            ("rtsp://root:hunter2@cam/x", "use username and password_file"),
            ("rtsp://root:hun@ter2@cam/x", "use username and password_file"),
            ("rtsp://root:hunter2@ca m/x", "is not valid"),
            ("v4l2:video0", "by its full path"),
            ("v4l2:", "by its full path"),
            ("replay:", "must name a file"),
            ("whip:phone", "nothing stands behind whip:"),
            ("whep+rtsp://cam/x", "behind whep+ comes http:// or https://"),
            ("whep+https://root:hunter2@cam/x", "carries credentials"),
            ("whep+", "is not valid"),
        ];
        for (text, expected) in cases {
            let message = url(text).validate().expect_err(text);
            assert!(message.contains(expected), "{text}: {message}");
            assert!(!message.contains("hunter2") && !message.contains("ter2"), "{message}");
        }
    }

    #[test]
    fn keys_that_do_not_fit_the_source_or_each_other_are_refused() {
        let rtsp = || url("rtsp://cam/x");
        let with_login =
            |address: &str| Config { username: Some("a".to_owned()), password_file: Some("/p".into()), ..url(address) };
        for address in [
            "rtsp://cam/x",
            "ffmpeg:http://cam/x",
            "ffmpeg:rtmp://cam/x?u={username}&p={password}",
            "ffmpeg:http://cam/{username}",
        ] {
            assert_eq!(with_login(address).validate(), Ok(()), "{address}");
        }
        let cases = [
            (Config { substream: Some("v4l2:/dev/video0".into()), ..rtsp() }, "must be an rtsp:// or ffmpeg: address"),
            (Config { substream: Some("rtsp://a:b@cam/y".into()), ..rtsp() }, "substream \"rtsp://cam/y\" carries"),
            (Config { username: Some("a".into()), ..rtsp() }, "password_file is not"),
            (Config { password_file: Some("/p".into()), ..rtsp() }, "username is not"),
            (Config { width: Some(640), height: Some(480), ..rtsp() }, "v4l2: sources only"),
            (Config { repeat: true, ..rtsp() }, "replay: sources only"),
            (Config { transport: Transport::Udp, ..url("v4l2:/dev/video0") }, "rtsp:// sources only"),
            (Config { transport: Transport::Udp, ..url("ffmpeg:http://cam/x") }, "rtsp:// sources only"),
            (Config { username: Some("a".into()), ..url("v4l2:/dev/video0") }, "ffmpeg: and whep+ sources only"),
            (Config { verify_tls: false, ..rtsp() }, "ffmpeg: and whep+https:// sources only"),
            (with_login("whep+https://cam/x"), "password_file names the token"),
            (Config { verify_tls: false, ..url("whep+http://cam/x") }, "whep+https:// only"),
            (Config { substream: Some("rtsp://cam/y".into()), ..url("whep+https://cam/x") }, "must be a whep+https://"),
            (with_login("ffmpeg:srt://cam:9000"), "srt has no user names"),
            (with_login("ffmpeg:srt://cam:9000?streamid={username}"), "no place for the password"),
            (with_login("rtsp://cam/{username}/{password}"), "behind ffmpeg: only"),
            (
                Config { substream: Some("ffmpeg:udp://cam:9000".into()), ..with_login("rtsp://cam/x") },
                "substream: udp",
            ),
            (Config { width: Some(640), ..url("v4l2:/dev/video0") }, "set both or neither"),
            (Config { max_silence: Some(Duration::ZERO), ..rtsp() }, "max_silence must be 1s to 1h"),
            (Config { fps: Some(0), ..url("v4l2:/dev/video0") }, "1 to 240"),
            (Config { width: Some(1), height: Some(480), ..url("v4l2:/dev/video0") }, "width must be"),
        ];
        for (config, expected) in cases {
            let message = config.validate().expect_err(expected);
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn shown_addresses_hold_no_secret() {
        let cases = [
            ("rtsp://a:b@cam/x", "rtsp://cam/x"),
            ("rtsp://cam/user@2x", "rtsp://cam/user@2x"),
            ("rtsp://cam/user=admin_password=tlJwpbo6_channel=1.sdp", "rtsp://cam/user=admin_password=***"),
            ("rtsp://cam/x?Token=abc&ch=1&PWD=z", "rtsp://cam/x?Token=***&ch=1&PWD=***"),
            ("ffmpeg:http://a:b@cam/x", "ffmpeg:http://cam/x"),
            ("whep+https://a:b@cam/x?token=z", "whep+https://cam/x?token=***"),
            ("ffmpeg:srt://cam:9000?passphrase=0123456789", "ffmpeg:srt://cam:9000?passphrase=***"),
            ("v4l2:/dev/video0", "v4l2:/dev/video0"),
        ];
        for (text, expected) in cases {
            assert_eq!(url(text).display_url(), expected);
        }
    }

    #[test]
    fn the_sub_role_falls_back_to_the_main_stream() {
        let mut config = url("rtsp://cam/main");
        assert_eq!(config.url_of(Role::Sub), "rtsp://cam/main");
        config.substream = Some("rtsp://cam/sub".to_owned());
        assert_eq!((config.url_of(Role::Main), config.url_of(Role::Sub)), ("rtsp://cam/main", "rtsp://cam/sub"));
    }

    #[test]
    fn the_config_reads_from_toml_and_refuses_unknown_keys() {
        let text = "url = \"v4l2:/dev/video0\"\nformat = \"mjpeg\"\nwidth = 640\nheight = 480\nfps = 10\n";
        let config: Config = toml::from_str(text).expect("parses");
        assert_eq!((config.format, config.width, config.pace), (V4l2Format::Mjpeg, Some(640), Pace::Real));
        let failure = toml::from_str::<Config>("url = \"x\"\npassword = \"x\"\n").expect_err("unknown key");
        assert!(failure.to_string().contains("password"), "{failure}");
    }
}
