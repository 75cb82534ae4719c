//! What the configuration names outside of itself: files, folders, addresses. `outpost check` looks at all of it; a start
//! does not, since a disk, a camera or a secret that is missing costs only what needs it.

use std::io::{ErrorKind, Read};
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, StatVfsMountFlags, access, statfs, statvfs};

use super::files::SERVICE_STATE;
use super::{Config, Diagnostic};
use crate::execution::CameraPipeline;
use crate::{service, source, web};

/// No secret or certificate is longer, bytes.
const MOST_READ: u64 = 1 << 20;
/// A limit of all recordings below this holds hardly one clip, bytes.
const LEAST_QUOTA: u64 = 16 << 20;
/// File systems of the kernel's own, on which nothing can be kept, and their magic numbers.
const OF_KERNEL: [(u64, &str); 4] = [
    (0x9fa0, "/proc, which is the kernel's"),
    (0x6265_6572, "/sys, which is the kernel's"),
    (0x2727_0b4a, "a control group"),
    (0x6462_6720, "debugfs, which is the kernel's"),
];

/// What is wrong.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// What the daemon would stumble over.
    pub errors: Vec<Diagnostic>,
    /// What may be as it should be: a disk or camera that is away, a secret that this user may not read.
    pub warnings: Vec<Diagnostic>,
}

/// Why something cannot be used.
enum Trouble {
    Error(String),
    Warning(String),
}

impl Findings {
    fn note(&mut self, key: impl Into<String>, outcome: Result<(), Trouble>) {
        match outcome {
            Ok(()) => {}
            Err(Trouble::Error(message)) => self.errors.push(Diagnostic::new(key, message)),
            Err(Trouble::Warning(message)) => self.warnings.push(Diagnostic::new(key, message)),
        }
    }

    fn has(&self, section: &str) -> bool {
        // Not those of another one whose name begins with this one.
        let is_within =
            |key: &str| key.strip_prefix(section).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        self.errors.iter().chain(&self.warnings).any(|found| is_within(&found.key))
    }

    /// Where the files of a section are there, what they hold.
    fn note_use(&mut self, section: &str, key: &str, outcome: Result<(), String>) {
        if !self.has(section) {
            self.note(format!("{section}{key}"), outcome.map_err(Trouble::Error));
        }
    }
}

/// Looks at everything that `config` names.
pub fn look(config: &Config) -> Findings {
    let mut found = Findings::default();
    for (key, file) in files(config) {
        found.note(key, readable(file));
    }
    places(config, &mut found);
    outlets(config, &mut found);
    cameras(config, &mut found);
    page(config, &mut found);
    found
}

/// Files that are read at some time, by their keys.
fn files(config: &Config) -> Vec<(String, &Path)> {
    let mut files: Vec<(String, Option<&PathBuf>)> = Vec::new();
    if let Some(mqtt) = config.mqtt.as_ref().filter(|mqtt| mqtt.is_enabled()) {
        let keys = [
            ("password_file", &mqtt.password_file),
            ("ca_file", &mqtt.ca_file),
            ("client_cert_file", &mqtt.client_cert_file),
            ("client_key_file", &mqtt.client_key_file),
        ];
        files.extend(keys.map(|(key, file)| (format!("mqtt.{key}"), file.as_ref())));
    }
    for (name, webhook) in &config.webhook {
        let keys = [("secret_file", &webhook.secret_file), ("ca_file", &webhook.ca_file)];
        files.extend(keys.map(|(key, file)| (format!("webhook.{name}.{key}"), file.as_ref())));
    }
    for (name, upload) in &config.upload {
        let keys = [
            ("secret_access_key_file", &upload.secret_access_key_file),
            ("session_token_file", &upload.session_token_file),
            ("account_key_file", &upload.account_key_file),
            ("service_account_file", &upload.service_account_file),
            ("password_file", &upload.password_file),
            ("ca_file", &upload.ca_file),
        ];
        files.extend(keys.map(|(key, file)| (format!("upload.{name}.{key}"), file.as_ref())));
    }
    for (name, camera) in config.cameras() {
        files.push((format!("camera.{name}.source.password_file"), camera.source.password_file.as_ref()));
    }
    let tls = [("certificate", &config.web.tls.certificate), ("key", &config.web.tls.key)];
    files.extend(tls.map(|(key, file)| (format!("web.tls.{key}"), file.as_ref())));
    if let Some(proxy) = &config.web.proxy_login {
        let keys = [("jwks_file", &proxy.jwks_file), ("ca_file", &proxy.ca_file)];
        files.extend(keys.map(|(key, file)| (format!("web.proxy_login.{key}"), file.as_ref())));
    }
    files.into_iter().filter_map(|(key, file)| Some((key, file?.as_path()))).collect()
}

fn readable(file: &Path) -> Result<(), Trouble> {
    let name = file.display();
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => Trouble::Error(format!("{name} does not exist: make it, or correct the path")),
        ErrorKind::PermissionDenied => {
            Trouble::Warning(format!("{name} may not be read by this user; the user that Outpost runs as has to"))
        }
        _ => Trouble::Error(format!("{name} cannot be read: {error}")),
    };
    let about = std::fs::metadata(file).map_err(failed)?;
    if !about.is_file() {
        return Err(Trouble::Error(format!("{name} is no file")));
    }
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file).map_err(failed)?;
    opened.take(MOST_READ).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.trim_ascii().is_empty() {
        return Err(Trouble::Error(format!("{name} is empty")));
    }
    Ok(())
}

/// Folders that are written.
fn places(config: &Config, found: &mut Findings) {
    let storage = &config.storage.path;
    found.note("storage.path", writable(storage));
    if !config.spool.path.as_os_str().is_empty() {
        found.note("spool.path", writable(&config.spool.path));
    }
    let quota = config.retention.max_bytes;
    if (1..LEAST_QUOTA).contains(&quota) {
        let message = format!("max_bytes is {quota}, it has to be {LEAST_QUOTA} (16 MiB) or more, or 0 for no limit");
        found.errors.push(Diagnostic::new("retention.max_bytes", message));
    }
    if let Some(keeps) = config.retention.min_free
        && let Some(size) = nearest(storage).and_then(|there| statvfs(there).ok()).map(|at| at.f_blocks * at.f_frsize)
        && size > 0
        && keeps >= size
    {
        let message = format!("{keeps} bytes are to stay free where {size} are all that there is: nothing is recorded");
        found.errors.push(Diagnostic::new("retention.min_free", message));
    }
    for (name, folder) in &config.library.watch {
        if !folder.path.is_dir() {
            let message =
                format!("there is no folder {}: nothing is taken in until it is there", folder.path.display());
            found.warnings.push(Diagnostic::new(format!("library.watch.{name}.path"), message));
        }
    }
}

/// Where a path begins that is there.
fn nearest(path: &Path) -> Option<&Path> {
    path.ancestors().find(|there| std::fs::symlink_metadata(there).is_ok())
}

fn writable(folder: &Path) -> Result<(), Trouble> {
    let Some(there) = nearest(folder) else { return Ok(()) };
    let (name, below) = (folder.display(), there.display());
    if !there.is_dir() {
        return Err(Trouble::Error(format!("{name} cannot be a folder: {below} is none; name another one")));
    }
    let kind = statfs(there).map(|at| at.f_type as u64).unwrap_or_default();
    if let Some((_, whose)) = OF_KERNEL.iter().find(|(magic, _)| *magic == kind) {
        return Err(Trouble::Error(format!("{name} lies on {whose}: name a folder on a disk")));
    }
    if statvfs(there).is_ok_and(|at| at.f_flag.contains(StatVfsMountFlags::RDONLY)) {
        return Err(Trouble::Error(format!("{name} lies on a file system that is mounted read-only")));
    }
    access(there, Access::WRITE_OK | Access::EXEC_OK).map_err(|_| {
        Trouble::Warning(format!("{below} may not be written by this user; the user that Outpost runs as has to"))
    })
}

fn outlets(config: &Config, found: &mut Findings) {
    if let Some(mqtt) = config.mqtt.as_ref().filter(|mqtt| mqtt.is_enabled()) {
        found.note_use("mqtt", "", mqtt.check_files().map_err(|error| format!("{error:#}")));
    }
    for (name, webhook) in &config.webhook {
        let checked = webhook.check_files().map_err(|error| format!("{error:#}"));
        found.note_use(&format!("webhook.{name}"), "", checked);
    }
    for (name, upload) in &config.upload {
        let Some(folder) = upload.folder() else { continue };
        found.note(format!("upload.{name}.url"), copies_to(&folder, &config.storage.path));
    }
}

/// Whether copies may go to `folder`.
fn copies_to(folder: &Path, storage: &Path) -> Result<(), Trouble> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = folder.display();
    if folder.starts_with(storage) || real(folder).starts_with(real(storage)) {
        let message =
            format!("{name} lies within storage.path: copies there are lost with it; name a folder elsewhere");
        return Err(Trouble::Error(message));
    }
    match nearest(folder) {
        Some(there) if there != folder && !there.is_dir() => {
            Err(Trouble::Error(format!("{name} cannot be a folder: {} is none", there.display())))
        }
        Some(there) if there == folder && !there.is_dir() => Err(Trouble::Error(format!("{name} is no folder"))),
        Some(there) if there == folder => Ok(()),
        _ => Err(Trouble::Warning(format!("there is no folder {name}: nothing is delivered until it is there"))),
    }
}

fn cameras(config: &Config, found: &mut Findings) {
    for (name, camera) in config.cameras() {
        let section = format!("camera.{name}.source");
        let outcome = match camera.source.local_place() {
            Some(place) if camera.source.is_file() => readable(&place),
            Some(place) if !place.exists() => {
                Err(Trouble::Warning(format!("there is no {}: the camera is waited for", place.display())))
            }
            _ => Ok(()),
        };
        found.note(format!("{section}.url"), outcome);
        if camera.pipeline.is_set() {
            found.note(format!("camera.{name}.pipeline.name"), known_pipeline(config, &camera.pipeline));
        }
        let Some(secret) = &camera.source.password_file else { continue };
        let checked = if camera.source.is_published() {
            service::check_token(secret).map_err(|error| format!("{error:#}"))
        } else {
            source::check_password(secret).map_err(|reason| format!("{} {reason}", secret.display()))
        };
        found.note_use(&section, ".password_file", checked);
    }
    found.errors.extend(unmatched_labels(config));
}

/// Where the service keeps them is not known for sure from here.
fn known_pipeline(config: &Config, wanted: &CameraPipeline) -> Result<(), Trouble> {
    let state = std::env::var_os("STATE_DIRECTORY").map(PathBuf::from);
    let spool = config.spool.folder(state.as_deref(), &config.storage.path).ok().flatten();
    let service = Some(PathBuf::from(SERVICE_STATE));
    let mut folders = [state, spool, service, Some(config.storage.path.clone())].into_iter().flatten();
    if folders.any(|folder| service::pipeline_is_there(&folder.join("pipelines"), &wanted.name, wanted.version)) {
        return Ok(());
    }
    let version = if wanted.version == 0 { String::new() } else { format!(" in version {}", wanted.version) };
    let why =
        format!("there is no pipeline {:?}{version} on this box: save it on the page, or name another", wanted.name);
    Err(Trouble::Warning(why))
}

/// Labels of rules and zones that no object can have, since `detect.labels` leaves them out.
fn unmatched_labels(config: &Config) -> Vec<Diagnostic> {
    let mut wrong = Vec::new();
    for (name, camera) in config.cameras().filter(|(_, camera)| camera.uses_model()) {
        let wanted = &camera.detect.labels;
        let all = camera.labels().into_iter();
        for (key, label) in all.filter(|(_, label)| !wanted.is_empty() && !wanted.iter().any(|known| known == label)) {
            let why = format!("detect.labels leaves out {label:?}, so nothing is ever found: name it there too");
            wrong.push(Diagnostic::new(format!("camera.{name}.{key}"), why));
        }
    }
    wrong
}

fn page(config: &Config, found: &mut Findings) {
    found.note_use("web.tls", "", web::check_certificate_files(&config.web).map_err(|error| format!("{error:#}")));
    let socket = config.web.socket_in(&config.storage.path);
    let runs = [socket.as_path(), Path::new(web::SERVICE_SOCKET)].into_iter().any(|at| UnixStream::connect(at).is_ok());
    let outcome = match TcpListener::bind(config.web.listen).map_err(|error| error.kind()) {
        Err(ErrorKind::AddrNotAvailable) => Err(not_ours(config.web.listen.ip())),
        // The daemon that runs has it.
        Err(ErrorKind::AddrInUse) if !runs => Err(Trouble::Warning(format!(
            "port {} is in use: by Outpost itself, or by another program (\"ss -ltnp\" shows which)",
            config.web.listen.port()
        ))),
        _ => Ok(()),
    };
    found.note("web.listen", outcome);
    // By any port: its own is the daemon's, which opens it for sessions.
    let media = UdpSocket::bind((config.webrtc.listen.ip(), 0)).map_err(|error| error.kind());
    if matches!(media, Err(ErrorKind::AddrNotAvailable)) {
        found.note("webrtc.listen", Err(not_ours(config.webrtc.listen.ip())));
    }
    if let Some(folder) = config.web.socket.as_deref().and_then(Path::parent) {
        found.note("web.socket", if folder.is_dir() { writable(folder) } else { no_folder(folder) });
    }
}

fn not_ours(address: IpAddr) -> Trouble {
    Trouble::Error(format!(
        "{address} is no address of this box (\"ip address\" lists them): name one that is, or 0.0.0.0 for all"
    ))
}

fn no_folder(folder: &Path) -> Result<(), Trouble> {
    Err(Trouble::Error(format!("there is no folder {}: make it, or name another socket", folder.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys of what is found in `text`, where `{dir}` is a folder with a secret, and a box beside it.
    fn found(text: &str) -> (Vec<String>, Vec<String>) {
        let dir = tempfile::tempdir().expect("tempdir");
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("write");
        write("good", "0123456789abcdef\n");
        write("short", "0123\n");
        write("empty", "\n");
        write("lines", "one\ntwo\n");
        let known = "[storage]\npath = \"{dir}/box\"\n[web]\nlisten = \"127.0.0.1:0\"\n";
        let text = if text.contains("[storage]") { text.to_owned() } else { format!("{known}{text}") };
        let config = Config::parse(&text.replace("{dir}", &dir.path().display().to_string())).expect("good by itself");
        let Findings { errors, warnings } = look(&config);
        let keys = |of: Vec<Diagnostic>| of.into_iter().map(|found| found.key).collect();
        (keys(errors), keys(warnings))
    }

    fn errors(text: &str) -> Vec<String> {
        found(text).0
    }

    #[test]
    fn a_camera_whose_pipeline_is_not_there_is_noted() {
        let camera = |name: &str, pipeline: &str| {
            format!("[camera.{name}.source]\nurl = \"rtsp://h/1\"\n[camera.{name}.pipeline]\n{pipeline}\n")
        };
        let text = camera("a", "name = \"no-such-people\"")
            + &camera("b", "name = \"objects\"")
            + &camera("c", "name = \"objects\"\nversion = 7");
        assert_eq!(found(&text), (vec![], vec!["camera.a.pipeline.name".into(), "camera.c.pipeline.name".into()]));
    }

    #[test]
    fn secrets_that_are_missing_empty_or_too_short_are_found_each_by_its_key() {
        let text = "[mqtt]\nurl = \"mqtt://h\"\nusername = \"u\"\npassword_file = \"{dir}/none\"\n\
                    [webhook.a]\nurl = \"https://h/\"\nsecret_file = \"{dir}/short\"\n\
                    [webhook.b]\nurl = \"https://h/\"\nsecret_file = \"{dir}/good\"\nca_file = \"{dir}\"\n\
                    [upload.s3]\nurl = \"s3://b\"\naccess_key_id = \"k\"\nsecret_access_key_file = \"{dir}/empty\"\n\
                    [camera.a.source]\nurl = \"rtsp://h/1\"\nusername = \"u\"\npassword_file = \"{dir}/lines\"\n\
                    [camera.b.source]\nurl = \"whip:\"\npassword_file = \"{dir}/short\"\n\
                    [camera.c.source]\nurl = \"replay:{dir}/none.mp4\"\n\
                    [web.tls]\ncertificate = \"{dir}/good\"\nkey = \"{dir}/good\"\n";
        let mut keys = errors(text);
        keys.sort();
        let expected = [
            "camera.a.source.password_file",
            "camera.b.source.password_file",
            "camera.c.source.url",
            "mqtt.password_file",
            "upload.s3.secret_access_key_file",
            "web.tls",
            "webhook.a",
            "webhook.b.ca_file",
        ];
        assert_eq!(keys, expected);
        assert!(errors(&text.replace("{dir}", "/proc/nowhere")).len() >= 8);
    }

    #[test]
    fn folders_that_cannot_be_are_found() {
        let at = |path: &str| format!("[storage]\npath = \"{path}\"\n[web]\nlisten = \"127.0.0.1:0\"\n");
        for path in ["/proc/box", "{dir}/good", "{dir}/good/box", "/sys/box"] {
            assert_eq!(errors(&at(path)), ["storage.path"], "{path}");
        }
        assert!(errors(&at("{dir}/a/b/c")).is_empty(), "it is made");
        let copies = |to: &str| format!("[upload.usb]\nurl = \"file://{to}\"\n");
        for to in ["{dir}/box", "{dir}/box/copies", "{dir}/good"] {
            assert_eq!(errors(&copies(to)), ["upload.usb.url"], "{to}");
        }
        assert_eq!(found(&copies("{dir}/none")), (vec![], vec!["upload.usb.url".to_owned()]), "a disk that is away");
        assert_eq!(found(&copies("{dir}")), (vec![], vec![]));
        assert_eq!(errors("[retention]\nmin_free = \"1000 TiB\"\n"), ["retention.min_free"]);
        assert_eq!(errors("[retention]\nmax_bytes = 1\n"), ["retention.max_bytes"]);
        assert_eq!(errors(&at("{dir}/box").replace("127.0.0.1", "192.0.2.1")), ["web.listen"]);
        assert_eq!(errors("[webrtc]\nlisten = \"192.0.2.1:8189\"\n"), ["webrtc.listen"]);
    }

    #[test]
    fn a_mistake_hides_none_of_another_section_whose_name_begins_like_its_own() {
        let hook = |name: &str, secret: &str| {
            format!("[webhook.{name}]\nurl = \"https://h/\"\nsecret_file = \"{{dir}}/{secret}\"\n")
        };
        let mut keys = errors(&(hook("a", "short") + &hook("ab", "none")));
        keys.sort();
        assert_eq!(keys, ["webhook.a", "webhook.ab.secret_file"]);
    }

    #[test]
    fn rules_of_labels_that_are_not_looked_for_are_found() {
        let text = "[camera.a.source]\nurl = \"rtsp://h/1\"\n[camera.a.detect]\nlabels = [\"person\"]\n\
                    [[camera.a.rules]]\nname = \"x\"\nwhen = \"object\"\nlabels = [\"person\"]\n\
                    [[camera.a.rules]]\nname = \"y\"\nwhen = \"object\"\nlabels = [\"car\"]\n\
                    [camera.a.zones.z]\npoints = [[0, 0], [1, 0], [1, 1]]\nlabels = [\"dog\"]\n";
        assert_eq!(errors(text), ["camera.a.rules.1.labels", "camera.a.zones.z.labels"]);
        assert!(errors(&text.replace("[\"person\"]\n[[", "[]\n[[")).is_empty(), "without labels all are looked for");
    }

    #[test]
    fn a_camera_that_is_away_is_no_mistake() {
        let text = "[camera.a.source]\nurl = \"v4l2:/dev/video-none\"\n";
        if cfg!(feature = "v4l") {
            assert_eq!(found(text), (vec![], vec!["camera.a.source.url".to_owned()]));
        }
    }
}
