//! Model manifests: `<name>.toml` beside the ONNX file says what the file is and how to use it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::heads::{HeadSpec, Misfit};
use super::input::InputSpec;

/// More threads than this are a slip of the finger.
const MAX_THREADS: usize = 64;

/// One model, as `models/<name>.toml` describes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Name in the config; the manifest is `<name>.toml`.
    pub name: String,
    /// The ONNX file, in the same folder.
    pub file: String,
    /// SHA-256 of the ONNX file, hex. A file that was cut off or swapped is never loaded.
    pub sha256: String,
    /// Files in the same folder where the ONNX file keeps weights, with the SHA-256 of each. Large exports have
    /// them: `model.onnx.data`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub external_data: BTreeMap<String, String>,
    /// Names of the values that the head reads, in the head's order. Default: all outputs of the model. Values
    /// that are no outputs of the model may be named too; what they do not need is not computed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<String>,
    /// Values of the inputs beside the picture, by name, such as `scale_factor = [1, 1]` of Paddle's exports or
    /// `orig_target_sizes = [640, 640]` of RT-DETR's. They are the same for every picture.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fixed_inputs: BTreeMap<String, Vec<f64>>,
    /// Labels in the order of the model's classes. Either these or `labels_file`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// File in the same folder with one label a line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels_file: Option<String>,
    /// Threads that share the work on one picture, 1 to 64. Default 1: with several cameras, cores are better
    /// spent on more pictures at once (`[infer] workers`). More make one picture of a large model come sooner.
    #[serde(default = "one")]
    pub threads: usize,
    /// Licence of the weights.
    pub licence: String,
    /// Its author and origin.
    pub origin: String,
    /// What it is fed.
    pub input: InputSpec,
    /// What it gives.
    pub head: HeadSpec,
}

fn one() -> usize {
    1
}

/// A model cannot be used. All texts are for the operator.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum ModelError {
    /// The config asks for a model that is not there.
    #[error("no model named {name:?} in {}; {}", dir.display(), there_are(installed))]
    Unknown { name: String, dir: PathBuf, installed: Vec<String> },
    /// The config asks for a version that is not there.
    #[error("model {name} has no version {version} in {}; there are {}", dir.display(), listed(versions))]
    UnknownVersion { name: String, version: u32, dir: PathBuf, versions: Vec<u32> },
    /// The manifest does not parse or does not make sense.
    #[error("model manifest {}: {reason}", path.display())]
    Manifest { path: PathBuf, reason: String },
    /// A file that the manifest names is not there.
    #[error("{} is missing, though the model's manifest names it; install the model again", path.display())]
    Missing { path: PathBuf },
    /// A file cannot be read.
    #[error("read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// The ONNX file is not the one that the manifest describes.
    #[error(
        "{} is damaged or another model: its SHA-256 is {found}, the manifest says {expected}; install the model again",
        path.display()
    )]
    Checksum { path: PathBuf, expected: String, found: String },
    /// The ONNX file keeps weights in a file that the manifest does not name.
    #[error(
        "{} keeps weights in {file}, which the manifest does not name; add external_data = {{ {file:?} = {sha256:?} }}",
        path.display()
    )]
    ExternalData { path: PathBuf, file: String, sha256: String },
    /// The manifest asks for an output that is not there.
    #[error("{} gives no {missing:?}; its outputs are {}; correct outputs", path.display(), outputs.join(", "))]
    Output { path: PathBuf, missing: String, outputs: Vec<String> },
    /// One picture takes too long on this box.
    #[error(
        "{} is too slow for this box: {found}; take a smaller model or export it for fewer pixels, or give it longer \
         (infer.max_picture_time)",
        path.display()
    )]
    TooSlow { path: PathBuf, found: String },
    /// The numbers that it gives for a picture cannot mean what the manifest says.
    #[error("model {model}: {doubt}")]
    Meaning { model: String, doubt: String },
    /// Not an ONNX file at all.
    #[error("{} is not an ONNX model: {reason}", path.display())]
    NotOnnx { path: PathBuf, reason: String },
    /// The engine lacks operators.
    #[error("{} uses operators that the engine does not have: {}", path.display(), operators.join(", "))]
    Operators { path: PathBuf, operators: Vec<String> },
    /// The input has another shape than the manifest says.
    #[error("{} takes {found}, but the manifest says one input {expected:?}; correct [input]", path.display())]
    Input { path: PathBuf, expected: Vec<usize>, found: String },
    /// A value of an input beside the picture does not fit.
    #[error("{}: fixed_inputs: {reason}", path.display())]
    FixedInput { path: PathBuf, reason: String },
    /// The engine refuses the model for another reason.
    #[error("load {}: {reason}", path.display())]
    Load { path: PathBuf, reason: String },
    /// The head does not fit the output.
    #[error("model {model}: {misfit}; correct [head] or the labels in its manifest")]
    Head { model: String, misfit: Misfit },
}

/// Names of the manifests that lie in a folder itself, sorted.
pub(super) fn manifests_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    let names: BTreeSet<String> = entries
        .filter_map(|entry| {
            let path = entry.path();
            let manifest = path.extension().is_some_and(|extension| extension == "toml");
            manifest.then(|| path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned)).flatten()
        })
        .collect();
    names.into_iter().collect()
}

impl ModelError {
    /// Whether the config asks for what is not there.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown { .. } | Self::UnknownVersion { .. })
    }
}

fn listed(versions: &[u32]) -> String {
    versions.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

fn there_are(installed: &[String]) -> String {
    if installed.is_empty() {
        "there are none at all".to_owned()
    } else {
        format!("there are: {}", installed.join(", "))
    }
}

impl Manifest {
    /// Reads and checks `<dir>/<name>.toml`, whatever other versions of the model there are.
    ///
    /// # Errors
    /// When there is no such model, or its manifest is not right.
    pub fn load(dir: &Path, name: &str) -> Result<Self, ModelError> {
        let unknown =
            || ModelError::Unknown { name: name.to_owned(), dir: dir.to_owned(), installed: manifests_in(dir) };
        if !is_plain_name(name) {
            return Err(unknown());
        }
        let path = dir.join(format!("{name}.toml"));
        let text = fs::read_to_string(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => unknown(),
            _ => ModelError::Read { path: path.clone(), source },
        })?;
        let wrong = |reason: String| ModelError::Manifest { path: path.clone(), reason };
        let manifest: Self = toml::from_str(&text).map_err(|error| wrong(toml_reason(&error, &text)))?;
        manifest.check(name).map_err(wrong)?;
        Ok(manifest)
    }

    fn check(&self, name: &str) -> Result<(), String> {
        if self.name != name {
            return Err(format!("name = {:?} is not the name of the file", self.name));
        }
        for file in [Some(&self.file), self.labels_file.as_ref()].into_iter().flatten() {
            if !is_plain_name(file) {
                return Err(format!("{file:?} must be the name of a file in the same folder"));
            }
        }
        if !is_sha256(&self.sha256) {
            return Err(format!("sha256 = {:?} is not 64 hex digits", self.sha256));
        }
        for (file, sha256) in &self.external_data {
            if !is_plain_name(file) {
                return Err(format!("external_data: {file:?} must be the name of a file in the same folder"));
            }
            if !is_sha256(sha256) {
                return Err(format!("external_data: {sha256:?} of {file} is not 64 hex digits"));
            }
        }
        if let Some((input, _)) = self.fixed_inputs.iter().find(|(_, values)| !values.iter().all(|v| v.is_finite())) {
            return Err(format!("fixed_inputs: the values of {input:?} must be finite numbers"));
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = self.outputs.iter().find(|output| !seen.insert(*output)) {
            return Err(format!("outputs names {twice:?} twice"));
        }
        if self.labels.is_empty() == self.labels_file.is_none() {
            return Err("it must have either labels or labels_file".to_owned());
        }
        if !(1..=MAX_THREADS).contains(&self.threads) {
            return Err(format!("threads = {} is not between 1 and {MAX_THREADS}", self.threads));
        }
        self.input.check()?;
        self.head.check()
    }

    /// The labels, from wherever they are.
    ///
    /// # Errors
    /// When the labels file is missing, empty, or names a label twice.
    pub fn read_labels(&self, dir: &Path) -> Result<Vec<Arc<str>>, ModelError> {
        let labels: Vec<Arc<str>> = match &self.labels_file {
            None => self.labels.iter().map(|label| label.trim().into()).collect(),
            Some(file) => {
                let bytes = read(&dir.join(file))?;
                String::from_utf8_lossy(&bytes).trim_end().lines().map(|line| line.trim().into()).collect()
            }
        };
        let mut seen = BTreeSet::new();
        match labels.iter().find(|label| label.is_empty() || !seen.insert((*label).clone())) {
            None if !labels.is_empty() => Ok(labels),
            bad => {
                let reason = match bad {
                    Some(label) if !label.is_empty() => format!("label {label:?} is there twice"),
                    _ => "a label is empty".to_owned(),
                };
                let path = dir.join(self.labels_file.clone().unwrap_or_else(|| format!("{}.toml", self.name)));
                Err(ModelError::Manifest { path, reason })
            }
        }
    }

    /// The bytes of the ONNX file, verified.
    ///
    /// # Errors
    /// When the file is missing or is not the one that the manifest describes.
    pub fn read_model(&self, dir: &Path) -> Result<Vec<u8>, ModelError> {
        read_verified(dir.join(&self.file), &self.sha256)
    }

    /// The bytes of a file where the ONNX file keeps weights, verified.
    ///
    /// # Errors
    /// When the file is missing, is not the one that the manifest describes, or is none that the manifest names.
    pub fn read_external(&self, dir: &Path, file: &str) -> Result<Vec<u8>, ModelError> {
        if let Some(sha256) = self.external_data.get(file) {
            return read_verified(dir.join(file), sha256);
        }
        let path = dir.join(&self.file);
        if !is_plain_name(file) {
            let reason = format!("it keeps weights in {file:?}, which is not a file in the same folder");
            return Err(ModelError::Load { path, reason });
        }
        let sha256 = hex::encode(Sha256::digest(read(&dir.join(file))?));
        Err(ModelError::ExternalData { path, file: file.to_owned(), sha256 })
    }

    /// The files that it names, all in its own folder.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        let external = self.external_data.keys().map(String::as_str);
        [Some(self.file.as_str()), self.labels_file.as_deref()].into_iter().flatten().chain(external)
    }
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn read_verified(path: PathBuf, sha256: &str) -> Result<Vec<u8>, ModelError> {
    let bytes = read(&path)?;
    let (found, expected) = (hex::encode(Sha256::digest(&bytes)), sha256.to_ascii_lowercase());
    if found == expected { Ok(bytes) } else { Err(ModelError::Checksum { path, expected, found }) }
}

fn read(path: &Path) -> Result<Vec<u8>, ModelError> {
    fs::read(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => ModelError::Missing { path: path.to_owned() },
        _ => ModelError::Read { path: path.to_owned(), source },
    })
}

/// A name that stays in its folder.
pub(super) fn is_plain_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

/// `line N: message`, on one line.
fn toml_reason(error: &toml::de::Error, text: &str) -> String {
    let message = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
    match error.span().and_then(|span| text.get(..span.start)) {
        Some(before) => format!("line {}: {message}", before.matches('\n').count() + 1),
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::input::{Colour, Layout};

    const HEADER: &str = "name = 'm'\nfile = 'm.onnx'\nlicence = 'MIT'\norigin = 'us'\n";
    const SHA: &str = "sha256 = '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08'\n";
    const REST: &str = "[input]\nwidth = 8\nheight = 8\n[head]\nkind = 'yolov8'\n";

    fn folder(manifest: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("temporary folder");
        fs::write(dir.path().join("m.toml"), manifest).expect("write");
        fs::write(dir.path().join("m.onnx"), "test").expect("write");
        dir
    }

    fn load(manifest: &str) -> Result<Manifest, ModelError> {
        Manifest::load(folder(manifest).path(), "m")
    }

    #[test]
    fn a_short_manifest_is_filled_with_the_usual() {
        let manifest = load(&format!("{HEADER}{SHA}labels = ['cat']\n{REST}")).expect("load");
        assert_eq!((manifest.threads, manifest.head.nms_iou()), (1, 0.6));
        assert_eq!((manifest.input.layout, manifest.input.colour), (Layout::Nchw, Colour::Rgb));
        assert_eq!((manifest.input.scale, manifest.input.std), (1.0, [1.0; 3]));
        let text = toml::to_string(&manifest).expect("write");
        assert_eq!(load(&text).expect("load again"), manifest);
    }

    #[test]
    fn a_wrong_manifest_is_refused_with_the_reason() {
        let labels = "labels = ['cat']\n";
        let cases = [
            (format!("{HEADER}{SHA}{REST}"), "either labels or labels_file"),
            (format!("{HEADER}{SHA}{labels}labels_file = 'x'\n{REST}"), "either labels or labels_file"),
            (format!("{HEADER}{SHA}{labels}colour = 'red'\n{REST}"), "line 7: unknown field `colour`"),
            (format!("{HEADER}sha256 = 'abc'\n{labels}{REST}"), "sha256 = \"abc\" is not 64 hex digits"),
            (format!("{HEADER}{SHA}{labels}threads = 0\n{REST}"), "threads = 0 is not between 1 and 64"),
            (format!("{HEADER}{SHA}{labels}threads = 65\n{REST}"), "threads = 65 is not between 1 and 64"),
            (format!("{HEADER}{SHA}{labels}{REST}nms_iou = 1.5\n"), "head.nms_iou = 1.5 is not between 0 and 1"),
            (format!("{HEADER}{SHA}{labels}[input]\nwidth = 0\nheight = 8\n[head]\nkind = 'ssd'"), "0x8 pixels"),
            (
                format!("{HEADER}{SHA}{labels}[input]\nwidth = 8\nheight = 8\nstd = [1, 0, 1]\n[head]\nkind = 'ssd'"),
                "input.std = [1.0, 0.0, 1.0]",
            ),
            (format!("{HEADER}{SHA}{labels}[input]\nwidth = 8\nheight = 8\n[head]\nkind = 'rcnn'"), "`rcnn`"),
            (HEADER.replace("'m'", "'n'") + SHA + labels + REST, "name = \"n\" is not the name of the file"),
            (HEADER.replace("m.onnx", "../m.onnx") + SHA + labels + REST, "must be the name of a file"),
        ];
        for (text, expected) in cases {
            let message = load(&text).expect_err(expected).to_string();
            assert!(message.contains(expected) && message.contains("m.toml: "), "{message}");
        }
    }

    #[test]
    fn an_unknown_model_is_named_with_those_that_there_are() {
        let dir = folder("");
        fs::write(dir.path().join("a.toml"), "").expect("write");
        for name in ["x", "../m", "", ".m"] {
            let message = Manifest::load(dir.path(), name).expect_err(name).to_string();
            assert!(message.starts_with(&format!("no model named {name:?} in /")), "{message}");
            assert!(message.ends_with("; there are: a, m"), "{message}");
        }
        let inner = dir.path().join("inner");
        fs::create_dir(&inner).expect("create a folder");
        let outside = Manifest::load(&inner, "../m").expect_err("a file outside of the folder");
        assert!(matches!(outside, ModelError::Unknown { .. }), "{outside}");
        let message = Manifest::load(Path::new("/nowhere"), "x").expect_err("no folder").to_string();
        assert_eq!(message, "no model named \"x\" in /nowhere; there are none at all");
    }

    #[test]
    fn the_file_must_be_there_and_be_the_one() {
        let dir = folder(&format!("{HEADER}{SHA}labels = ['cat']\n{REST}"));
        let manifest = Manifest::load(dir.path(), "m").expect("load");
        assert_eq!(manifest.read_model(dir.path()).expect("the checksum fits"), b"test");
        fs::write(dir.path().join("m.onnx"), "tess").expect("write");
        let message = manifest.read_model(dir.path()).expect_err("another file").to_string();
        assert!(message.contains("SHA-256 is 7134") && message.contains("says 9f86d0"), "{message}");
        fs::remove_file(dir.path().join("m.onnx")).expect("remove");
        let message = manifest.read_model(dir.path()).expect_err("no file").to_string();
        assert!(message.contains("m.onnx is missing, though the model's manifest names it"), "{message}");
    }

    #[test]
    fn labels_come_from_their_file_and_are_never_empty_or_double() {
        let dir = folder(&format!("{HEADER}{SHA}labels_file = 'l'\n{REST}"));
        let manifest = Manifest::load(dir.path(), "m").expect("load");
        let read = |text: &str| {
            fs::write(dir.path().join("l"), text).expect("write");
            manifest.read_labels(dir.path()).map_err(|error| error.to_string())
        };
        assert_eq!(read("hot dog \r\n cat\n\n").expect("labels"), ["hot dog".into(), Arc::from("cat")]);
        assert!(read("cat\n\ndog").expect_err("a gap").ends_with("/l: a label is empty"));
        assert!(read("").expect_err("nothing").ends_with("/l: a label is empty"));
        assert!(read("cat\ncat").expect_err("twice").ends_with("/l: label \"cat\" is there twice"));
    }
}
