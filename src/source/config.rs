//! Where a camera is and how to ask it.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;

use super::Role;

/// The forms that an address may have, for messages.
const FORMS: &str = "use rtsp://host/path, v4l2:/dev/video0 or replay:/path/to/clip.mp4";

/// What the keys of addresses that carry secrets end in. Some cameras want the password in the path.
const SECRET_KEYS: [&str; 8] = ["password=", "passwd=", "pwd=", "pass=", "token=", "secret=", "auth=", "key="];

/// What `max_silence` may be.
const SILENCE_RANGE: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

/// `[camera.<name>.source]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address of the stream that is recorded: `rtsp://host:554/path`, `v4l2:/dev/video0` or
    /// `replay:/path/to/clip.mp4`. Without user name and password. No default.
    pub url: String,
    /// RTSP address of the camera's smaller stream, decoded for detection instead of the main one.
    /// Default: none, the main stream serves both.
    pub substream: Option<String>,
    /// RTSP user name. Default: none.
    pub username: Option<String>,
    /// File that holds the RTSP password and nothing else. Default: none.
    pub password_file: Option<PathBuf>,
    /// How RTSP cameras send: `tcp` or `udp`. Default: `tcp`.
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
}

/// How RTP packets come from the camera.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Within the RTSP connection: nothing is lost, works through firewalls.
    #[default]
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
            transport: Transport::Tcp,
            max_silence: None,
            format: V4l2Format::Auto,
            width: None,
            height: None,
            fps: None,
            repeat: false,
            pace: Pace::Real,
        }
    }
}

impl Config {
    /// Checks each key by itself and against the others.
    ///
    /// # Errors
    /// One sentence for the person who wrote the file; no secrets.
    pub fn validate(&self) -> Result<(), String> {
        if self.url.is_empty() {
            return Err(format!("url is missing: {FORMS}"));
        }
        let address = Address::parse(&self.url).map_err(|e| format!("url {e}"))?;
        self.validate_rtsp_keys(matches!(address, Address::Rtsp(_)))?;
        self.validate_v4l2_keys(matches!(address, Address::V4l2(_)))?;
        if !matches!(address, Address::Replay(_)) && (self.repeat || self.pace != Pace::Real) {
            return Err("repeat and pace are for replay: sources only, remove them".to_owned());
        }
        if self.max_silence.is_some_and(|limit| !SILENCE_RANGE.contains(&limit)) {
            return Err("max_silence must be 1s to 1h".to_owned());
        }
        Ok(())
    }

    /// Whether the source is a file that is played, and not a camera that goes on by itself.
    pub fn is_file(&self) -> bool {
        matches!(Address::parse(&self.url), Ok(Address::Replay(_)))
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

    fn validate_rtsp_keys(&self, is_rtsp: bool) -> Result<(), String> {
        if !is_rtsp {
            let alien = self.substream.is_some() || self.username.is_some() || self.password_file.is_some();
            if alien || self.transport != Transport::Tcp {
                return Err(
                    "substream, username, password_file and transport are for rtsp:// sources only, remove them".into(),
                );
            }
            return Ok(());
        }
        if let Some(substream) = &self.substream {
            match Address::parse(substream).map_err(|e| format!("substream {e}"))? {
                Address::Rtsp(_) => {}
                _ => return Err(format!("substream {:?} must be an rtsp:// address", redact(substream))),
            }
        }
        match (&self.username, &self.password_file) {
            (Some(_), None) => Err("username is set but password_file is not: put the password into a file".to_owned()),
            (None, Some(_)) => Err("password_file is set but username is not: set username too".to_owned()),
            (Some(name), Some(_)) if name.is_empty() => Err("username is empty: set it or remove it".to_owned()),
            _ => Ok(()),
        }
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

/// A parsed address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Rtsp(Url),
    V4l2(PathBuf),
    Replay(PathBuf),
}

impl Address {
    /// The error continues a sentence that begins with the name of the key.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let shown = redact(text);
        let path_after = |scheme: &str| {
            let path = text.strip_prefix(scheme)?;
            // "v4l2:///dev/video0" is how people write what they take for a URL.
            Some(path.strip_prefix("//").filter(|p| p.starts_with('/')).unwrap_or(path))
        };
        if let Some(path) = path_after("v4l2:") {
            if !path.starts_with('/') {
                return Err(format!("{shown:?} must name a device by its full path, like v4l2:/dev/video0"));
            }
            return Ok(Self::V4l2(path.into()));
        }
        if let Some(path) = path_after("replay:") {
            if path.is_empty() || path.contains('\0') {
                return Err(format!("{shown:?} must name a file, like replay:/path/to/clip.mp4"));
            }
            return Ok(Self::Replay(path.into()));
        }
        let url = Url::parse(text).map_err(|e| format!("{shown:?} is not valid ({e}): {FORMS}"))?;
        match url.scheme() {
            "rtsp" => {}
            "rtsps" => {
                return Err(format!("{shown:?}: encrypted RTSP is not supported, use rtsp:// in a network of its own"));
            }
            _ => return Err(format!("{shown:?} has an unknown scheme: {FORMS}")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(format!("{shown:?} carries credentials: remove them and use username and password_file"));
        }
        if url.host().is_none() {
            return Err(format!("{shown:?} names no host: {FORMS}"));
        }
        Ok(Self::Rtsp(url))
    }
}

/// `address` without user info and without the values of keys that look like secrets.
pub(super) fn redact(address: &str) -> String {
    let has_user_info = match Url::parse(address) {
        Ok(url) => !url.username().is_empty() || url.password().is_some(),
        Err(_) => true,
    };
    let mut text = address.to_owned();
    if has_user_info && let (Some(scheme), Some(at)) = (text.find("://"), text.rfind('@')) {
        // From the last '@', since a password may hold one too. Rather too little shown than too much.
        if scheme + 3 <= at {
            text.replace_range(scheme + 3..=at, "");
        }
    }
    for key in SECRET_KEYS {
        let mut from = 0;
        // ASCII lower case keeps byte positions.
        while let Some(found) = text.to_ascii_lowercase().get(from..).and_then(|rest| rest.find(key)) {
            let start = from + found + key.len();
            let value = text.get(start..).unwrap_or_default();
            let end = start + value.find(['&', '/', '?', '#']).unwrap_or(value.len());
            text.replace_range(start..end, "***");
            from = start + 3;
        }
    }
    text
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
        let cases = [
            ("rtsp://10.0.0.7:8554/ch1", rtsp("rtsp://10.0.0.7:8554/ch1")),
            ("rtsp://cam.lan/stream?channel=1&subtype=0", rtsp("rtsp://cam.lan/stream?channel=1&subtype=0")),
            ("rtsp://[fe80::1]/x", rtsp("rtsp://[fe80::1]/x")),
            ("v4l2:/dev/video0", Address::V4l2("/dev/video0".into())),
            ("v4l2:///dev/video2", Address::V4l2("/dev/video2".into())),
            ("replay:/srv/a clip:1.mp4", Address::Replay("/srv/a clip:1.mp4".into())),
            ("replay:demo/clip.mp4", Address::Replay("demo/clip.mp4".into())),
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
            ("http://cam/x", "unknown scheme"),
            ("rtsps://cam/x", "encrypted RTSP is not supported"),
            ("rtsp://root:hunter2@cam/x", "use username and password_file"),
            ("rtsp://root:hun@ter2@cam/x", "use username and password_file"),
            ("rtsp://root:hunter2@ca m/x", "is not valid"),
            ("v4l2:video0", "by its full path"),
            ("v4l2:", "by its full path"),
            ("replay:", "must name a file"),
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
        let cases = [
            (Config { substream: Some("v4l2:/dev/video0".into()), ..rtsp() }, "must be an rtsp://"),
            (Config { substream: Some("rtsp://a:b@cam/y".into()), ..rtsp() }, "substream \"rtsp://cam/y\" carries"),
            (Config { username: Some("a".into()), ..rtsp() }, "password_file is not"),
            (Config { password_file: Some("/p".into()), ..rtsp() }, "username is not"),
            (Config { width: Some(640), height: Some(480), ..rtsp() }, "v4l2: sources only"),
            (Config { repeat: true, ..rtsp() }, "replay: sources only"),
            (Config { transport: Transport::Udp, ..url("v4l2:/dev/video0") }, "rtsp:// sources only"),
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
