//! The settings of one camera, as page and API see and change them: secrets are masked, and only cameras can be named as
//! sources, never files of this box.

use serde_json::{Map, Value as Json};
use toml_edit::{DocumentMut, Item, Table};
use url::Url;

use super::edit::{json, merge, remove_section};
use super::files::{CAMERA, Files, Part, Texts, names, put, removed, set_removed};
use super::{Camera, ConfigError};
use crate::service::CameraEdit;
use crate::source;

/// What an address behind `ffmpeg:` begins with.
const LIBAV: &str = "ffmpeg:";
/// Stands in shown addresses for what is secret.
const MASK: &str = "***";
/// How the own file begins.
const OWN_HEADER: &str = "# Written by outpost: the cameras that were changed by its page or API. Each stands in place of the one of the\n\
                          # same name in the main configuration. Remove a section here to use that one again.\n";

/// The settings of a camera as they may be shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// The keys that are set in the file.
    pub settings: Json,
    /// All keys, with their defaults.
    pub effective: Json,
    /// Where they are set.
    pub part: Part,
}

/// What may be written, with the password taken out.
#[derive(Clone, Debug, PartialEq)]
pub struct Admitted {
    /// The keys to be changed.
    pub patch: Map<String, Json>,
    /// To be put into a file of its own.
    pub password: Option<String>,
}

impl Admitted {
    /// Names the file that holds the password now.
    pub fn set_password_file(&mut self, file: &std::path::Path) {
        let source = self.patch.entry("source").or_insert_with(|| Json::Object(Map::new()));
        if let Some(source) = source.as_object_mut() {
            source.insert("password_file".to_owned(), file.display().to_string().into());
        }
    }
}

/// The settings of camera `name`, without secrets; `None` where there is no such camera.
///
/// # Errors
/// When the files cannot be used.
pub fn shown(files: &Files, texts: &Texts, name: &str) -> Result<Option<Shown>, ConfigError> {
    let (config, _) = files.parse(texts)?;
    let Some(camera) = config.camera.get(name) else { return Ok(None) };
    let part = part_of(files, texts, name)?;
    let document = files.document(part, texts.get(part))?;
    let mut settings = document.get(CAMERA).and_then(|cameras| cameras.get(name)).map(json).unwrap_or_default();
    // By the text: numbers keep the form that people write.
    let effective = serde_json::to_string(camera).ok().and_then(|text| serde_json::from_str(&text).ok());
    let mut effective = effective.unwrap_or_default();
    mask(&mut settings);
    mask(&mut effective);
    Ok(Some(Shown { settings, effective, part }))
}

/// The part in which camera `name` stands.
fn part_of(files: &Files, texts: &Texts, name: &str) -> Result<Part, ConfigError> {
    let Some(own) = &texts.own else { return Ok(Part::Main) };
    let own = files.document(Part::Own, own)?;
    let is_own = names(&own).iter().any(|known| known == name);
    Ok(if is_own { Part::Own } else { Part::Main })
}

/// Whether the own file takes camera `name` out of the main one.
fn is_removed(files: &Files, texts: &Texts, name: &str) -> Result<bool, ConfigError> {
    let own = files.document(Part::Own, texts.get(Part::Own))?;
    Ok(removed(&own).iter().any(|known| known == name))
}

fn mask(settings: &mut Json) {
    let Some(source) = settings.get_mut("source").and_then(Json::as_object_mut) else { return };
    for key in ["url", "substream"] {
        if let Some(Json::String(address)) = source.get_mut(key) {
            *address = masked(address);
        }
    }
}

fn masked(address: &str) -> String {
    source::Config { url: address.to_owned(), ..source::Config::default() }.display_url()
}

/// What of `patch` may be written for a camera that is `known`, or new.
///
/// # Errors
/// In words for the person who sent it; no secrets.
pub fn admit(patch: &Map<String, Json>, known: Option<&Camera>) -> Result<Admitted, String> {
    let mut admitted = Admitted { patch: patch.clone(), password: None };
    let Some(source) = admitted.patch.get_mut("source") else { return Ok(admitted) };
    let Some(source) = source.as_object_mut() else {
        return Err("source: an object is wanted, such as {\"url\": \"rtsp://192.0.2.7/stream\"}".to_owned());
    };
    let known = known.map(|camera| &camera.source);
    for key in ["url", "substream"] {
        let before = known.and_then(|known| if key == "url" { Some(&known.url) } else { known.substream.as_ref() });
        admit_address(source, key, before.map(String::as_str))?;
    }
    admitted.password = match source.remove("password") {
        None => None,
        Some(Json::String(password)) if !password.is_empty() && !password.contains(['\n', '\r', '\0']) => {
            Some(password)
        }
        Some(Json::Null) => {
            source.insert("password_file".to_owned(), Json::Null);
            source.insert("username".to_owned(), Json::Null);
            None
        }
        Some(_) => return Err("source.password: a text of one line is wanted, or null to forget it".to_owned()),
    };
    if let Some(Json::String(file)) = source.get("password_file") {
        let is_known =
            known.and_then(|known| known.password_file.as_ref()).is_some_and(|known| known.as_os_str() == &**file);
        if !is_known {
            return Err(
                "source.password_file: files of the box are named in its configuration alone; send the password \
                        itself as source.password"
                    .to_owned(),
            );
        }
    }
    Ok(admitted)
}

fn admit_address(source: &mut Map<String, Json>, key: &str, before: Option<&str>) -> Result<(), String> {
    let Some(Json::String(address)) = source.get(key).cloned() else { return Ok(()) };
    if before.is_some_and(|before| before == address || masked(before) == address) {
        source.remove(key);
        return Ok(());
    }
    if address.contains(MASK) {
        return Err(format!("source.{key}: {MASK} stands for a secret of the address before; write the whole address"));
    }
    let is_published = address == "whip:" && key == "url";
    if !is_published && !["rtsp://", LIBAV, "v4l2:", "whep+http"].iter().any(|scheme| address.starts_with(scheme)) {
        return Err(format!(
            "source.{key}: {:?} is no camera: it begins with rtsp://, ffmpeg:, whep+https:// or v4l2:, or is whip: for a phone or browser",
            masked(&address)
        ));
    }
    // As people copy addresses from manuals and other programs.
    let bare = address.strip_prefix(LIBAV).unwrap_or(&address);
    let Ok(mut url) = Url::parse(bare) else { return Ok(()) };
    if url.username().is_empty() && url.password().is_none() {
        return Ok(());
    }
    let (name, password) = (decoded(url.username()), decoded(url.password().unwrap_or_default()));
    if url.set_username("").and(url.set_password(None)).is_err() {
        return Ok(());
    }
    let prefix = if address.starts_with(LIBAV) { LIBAV } else { "" };
    source.insert(key.to_owned(), format!("{prefix}{url}").into());
    source.insert("username".to_owned(), name.into());
    source.insert("password".to_owned(), password.into());
    Ok(())
}

fn decoded(text: &str) -> String {
    url::form_urlencoded::parse(format!("x={}", text.replace('+', "%2B")).as_bytes())
        .next()
        .map(|(_, text)| text.into_owned())
        .unwrap_or_default()
}

/// The parts that an edit can be written to, the better one first.
///
/// # Errors
/// When a file is no TOML.
pub fn places(files: &Files, texts: &Texts, name: &str) -> Result<Vec<Part>, ConfigError> {
    let is_own = part_of(files, texts, name)? == Part::Own || is_removed(files, texts, name)?;
    let own = files.own.as_ref().map(|_| Part::Own);
    Ok(if is_own { vec![Part::Own] } else { std::iter::once(Part::Main).chain(own).collect() })
}

/// The texts after `edit`, which is written to `part`.
///
/// # Errors
/// When a file is no TOML, or TOML has no such value.
pub fn apply(files: &Files, texts: &Texts, edit: &CameraEdit, part: Part) -> Result<Texts, ConfigError> {
    let name = edit.camera();
    let mut document = files.document(part, texts.get(part))?;
    if part == Part::Own {
        let main = files.document(Part::Main, &texts.main)?;
        take_over(&mut document, &main, edit);
    }
    match edit {
        CameraEdit::Remove { .. } => drop(remove_section(&mut document, CAMERA, name)),
        CameraEdit::Add { settings: patch, .. } | CameraEdit::Change { patch, .. } => {
            let is_there = names(&document).iter().any(|known| known == name);
            if !is_there {
                let mut section = Table::new();
                section.set_implicit(patch.values().all(Json::is_object));
                put(&mut document, name, Item::Table(section));
            }
            let section = document.get_mut(CAMERA).and_then(|cameras| cameras.get_mut(name));
            let section = section.and_then(Item::as_table_like_mut);
            let section = section.ok_or_else(|| ConfigError::new(format!("{CAMERA}.{name}"), "it is no section"))?;
            merge(section, patch).map_err(|reason| ConfigError::new(format!("{CAMERA}.{name}"), reason))?;
        }
    }
    let text = document.to_string();
    let is_new = part == Part::Own && texts.get(Part::Own).trim().is_empty();
    Ok(texts.with(part, if is_new { format!("{OWN_HEADER}\n{}", text.trim_start()) } else { text }))
}

/// Makes the own file the place of a camera of the main one.
fn take_over(own: &mut DocumentMut, main: &DocumentMut, edit: &CameraEdit) {
    let name = edit.camera();
    let is_main = names(main).iter().any(|known| known == name);
    let mut gone: Vec<String> = removed(own).into_iter().filter(|known| known != name).collect();
    match edit {
        CameraEdit::Remove { .. } if is_main => gone.push(name.to_owned()),
        CameraEdit::Change { .. } if !names(own).iter().any(|known| known == name) => {
            if let Some(section) = main.get(CAMERA).and_then(|cameras| cameras.get(name)) {
                put(own, name, section.clone());
            }
        }
        _ => {}
    }
    set_removed(own, &gone);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const MAIN: &str = "# Our box.\n\n[camera.yard.source]\nurl = \"rtsp://h/1?token=secret\" # main\nusername = \"a\"\n\
                        password_file = \"/p\"\n# The gate.\n[camera.gate.source]\nurl = \"rtsp://h/2\"\n";

    fn files() -> Files {
        Files { main: "/etc/main.toml".into(), own: Some("/var/own.toml".into()) }
    }

    fn texts() -> Texts {
        Texts { main: MAIN.to_owned(), own: None }
    }

    fn object(value: Json) -> Map<String, Json> {
        value.as_object().expect("an object").clone()
    }

    fn change(name: &str, patch: Json) -> CameraEdit {
        CameraEdit::Change { name: name.to_owned(), patch: object(patch) }
    }

    fn yard() -> Camera {
        files().parse(&texts()).expect("good").0.camera.remove("yard").expect("yard")
    }

    #[test]
    fn secrets_are_never_shown_and_an_unchanged_mask_keeps_them() {
        let shown = shown(&files(), &texts(), "yard").expect("good").expect("a camera");
        for settings in [&shown.settings, &shown.effective] {
            assert_eq!(settings["source"]["url"], "rtsp://h/1?token=***");
            assert!(!settings.to_string().contains("secret"));
        }
        assert_eq!(shown.effective["detect"]["min_score"].to_string(), "0.4");
        let admitted = admit(&object(json!({"source": {"url": "rtsp://h/1?token=***"}})), Some(&yard())).expect("same");
        assert_eq!(admitted.patch["source"], json!({}));
        let elsewhere = admit(&object(json!({"source": {"url": "rtsp://evil/1?token=***"}})), Some(&yard()));
        assert!(elsewhere.expect_err("another host would get it").contains("the whole address"));
        assert!(super::shown(&files(), &texts(), "none").expect("good").is_none());
    }

    #[test]
    fn only_cameras_can_be_named_and_no_files() {
        for address in ["replay:/etc/passwd", "file:///etc/passwd", "/etc/passwd", "http://h/x", ""] {
            let refused = admit(&object(json!({"source": {"url": address}})), None).expect_err(address);
            assert!(refused.contains("no camera"), "{refused}");
        }
        let file = json!({"source": {"password_file": "/etc/shadow"}});
        assert!(admit(&object(file), Some(&yard())).expect_err("a file").contains("source.password"));
        admit(&object(json!({"source": {"password_file": "/p"}})), Some(&yard())).expect("it is named already");
        assert!(admit(&object(json!({"source": 3})), None).is_err());
    }

    #[test]
    fn a_login_in_an_address_is_taken_out() {
        for (address, bare) in [
            ("rtsp://admin:p%40ss+1@192.0.2.7/main", "rtsp://192.0.2.7/main"),
            ("ffmpeg:http://admin:p%40ss+1@192.0.2.7/main", "ffmpeg:http://192.0.2.7/main"),
        ] {
            let admitted = admit(&object(json!({"source": {"url": address}})), None).expect("a camera");
            assert_eq!(admitted.password.as_deref(), Some("p@ss+1"));
            assert_eq!(admitted.patch["source"], json!({"url": bare, "username": "admin"}));
        }
        let forgotten = admit(&object(json!({"source": {"password": null}})), Some(&yard())).expect("forgotten");
        assert_eq!(forgotten.patch["source"], json!({"username": null, "password_file": null}));
    }

    #[test]
    fn a_camera_is_changed_where_it_stands() {
        let edit = change("gate", json!({"record": {"post_roll": "9s"}}));
        let after = apply(&files(), &texts(), &edit, Part::Main).expect("main");
        assert_eq!(after.main, format!("{MAIN}\n[camera.gate.record]\npost_roll = \"9s\"\n"));
        assert_eq!(places(&files(), &texts(), "gate").expect("places"), [Part::Main, Part::Own]);

        let after = apply(&files(), &texts(), &edit, Part::Own).expect("own");
        assert_eq!(after.main, MAIN);
        let own = after.own.clone().expect("own");
        assert!(own.starts_with("# Written by outpost"), "{own}");
        assert!(own.contains("# The gate.\n[camera.gate.source]\nurl = \"rtsp://h/2\"\n"), "with comments: {own}");
        assert_eq!(places(&files(), &after, "gate").expect("places"), [Part::Own]);
        let (config, _) = files().parse(&after).expect("good");
        assert_eq!(config.camera["gate"].record.post_roll.as_secs(), 9);
        let again = apply(&files(), &after, &change("gate", json!({"record": null})), Part::Own).expect("own");
        assert_eq!(files().parse(&again).expect("good").0, files().parse(&texts()).expect("good").0);
    }

    #[test]
    fn cameras_are_added_and_removed_in_either_file() {
        for part in [Part::Main, Part::Own] {
            let settings = object(json!({"source": {"url": "rtsp://h/3"}}));
            let add = CameraEdit::Add { name: "pier".to_owned(), settings };
            let more = apply(&files(), &texts(), &add, part).expect("added");
            assert!(more.get(part).contains("\n[camera.pier.source]\nurl = \"rtsp://h/3\"\n"), "{}", more.get(part));
            let remove = |name: &str| CameraEdit::Remove { name: name.to_owned() };
            let less = apply(&files(), &more, &remove("yard"), part).expect("removed");
            let (config, _) = files().parse(&less).expect("good");
            assert_eq!(config.camera.keys().collect::<Vec<_>>(), ["gate", "pier"], "{part:?}");
            assert!(less.main.contains("# Our box."));
            let add =
                CameraEdit::Add { name: "yard".to_owned(), settings: object(json!({"source": {"url": "rtsp://h/9"}})) };
            let back = apply(&files(), &less, &add, part).expect("added");
            assert_eq!(files().parse(&back).expect("good").0.camera["yard"].source.url, "rtsp://h/9");
            let none = apply(&files(), &more, &remove("pier"), part).expect("removed");
            assert_eq!(files().parse(&none).expect("good").0, files().parse(&texts()).expect("good").0);
        }
    }
}
