//! Addresses of cameras: what they mean, and how they are shown.

use std::path::PathBuf;

use url::Url;

/// The forms that an address may have, for messages.
pub(super) const FORMS: &str = "use rtsp://host/path, ffmpeg:http://host/path, whep+https://host/path, v4l2:/dev/video0, whip: or \
     replay:/path/to/clip.mp4";

/// What may stand behind `ffmpeg:`. Nothing that reads files of this box.
const LIBAV_SCHEMES: [&str; 9] = ["http", "https", "rtmp", "rtmps", "rtsp", "rtsps", "srt", "udp", "tcp"];

/// What the keys of addresses that carry secrets end in. Some cameras want the password in the path.
const SECRET_KEYS: [&str; 9] =
    ["password=", "passphrase=", "passwd=", "pwd=", "pass=", "token=", "secret=", "auth=", "key="];

/// What addresses for libavformat begin with.
pub(super) const LIBAV: &str = "ffmpeg:";

/// What addresses of cameras that offer WHEP begin with; the rest is what is asked.
pub(super) const WHEP: &str = "whep+";

/// A parsed address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Rtsp(Url),
    /// What libavformat is asked to open, of a scheme in [`LIBAV_SCHEMES`].
    Libav(Url),
    V4l2(PathBuf),
    Replay(PathBuf),
    /// Nothing to connect to: publishers come.
    Published,
    /// Where a camera offers WHEP, of scheme `http` or `https`.
    Whep(Url),
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
        if let Some(rest) = text.strip_prefix("whip:") {
            if !rest.is_empty() {
                return Err(format!("{shown:?}: nothing stands behind whip:, publishers find the camera by its name"));
            }
            return Ok(Self::Published);
        }
        let behind = text.strip_prefix(LIBAV);
        let whep = text.strip_prefix(WHEP);
        let url = Url::parse(behind.or(whep).unwrap_or(text));
        let url = url.map_err(|e| format!("{shown:?} is not valid ({e}): {FORMS}"))?;
        match (url.scheme(), behind) {
            ("http" | "https", None) if whep.is_some() => {}
            _ if whep.is_some() => {
                return Err(format!("{shown:?}: behind whep+ comes http:// or https://"));
            }
            ("rtsp", None) => {}
            (scheme, Some(_)) if LIBAV_SCHEMES.contains(&scheme) => {}
            (_, Some(_)) => {
                let known = LIBAV_SCHEMES.map(|scheme| format!("{scheme}://")).join(", ");
                return Err(format!("{shown:?}: behind ffmpeg: comes the address of a camera, one of {known}"));
            }
            ("rtsps", None) => {
                return Err(format!(
                    "{shown:?}: encrypted RTSP goes through libavformat, which checks no certificate there: write \
                     ffmpeg:rtsps://, or use rtsp:// in a network of its own"
                ));
            }
            (scheme, None) if LIBAV_SCHEMES.contains(&scheme) => {
                return Err(format!("{shown:?} is read by libavformat: write ffmpeg: in front of it"));
            }
            _ => return Err(format!("{shown:?} has an unknown scheme: {FORMS}")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(format!("{shown:?} carries credentials: remove them and use username and password_file"));
        }
        if url.host().is_none() {
            return Err(format!("{shown:?} names no host: {FORMS}"));
        }
        Ok(match (behind, whep) {
            (Some(_), _) => Self::Libav(url),
            (_, Some(_)) => Self::Whep(url),
            _ => Self::Rtsp(url),
        })
    }
}

/// `address` without user info and without the values of keys that look like secrets.
pub(super) fn redact(address: &str) -> String {
    let bare = [LIBAV, WHEP].iter().find_map(|prefix| address.strip_prefix(prefix));
    let has_user_info = match Url::parse(bare.unwrap_or(address)) {
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
