//! The pictures that an execution is given.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Asked, ExecutionRefusal, ExecutionRequest};
use crate::block::Plan;
use crate::execution::Execution;
use crate::executor::{ExecutionArchive, ExecutorError, GivenFile, Sent};
use crate::photo::{HEAD, PictureFormat};

/// A picture as its sender gave it.
#[derive(Clone, Debug)]
pub struct GivenPicture {
    /// Its name there.
    pub name: String,
    /// Its content.
    pub bytes: Bytes,
    /// It is what a camera shows at the moment: asked for again, it has another content.
    pub is_live: bool,
}

/// A file that is no picture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is neither a picture nor a video: send JPEG, PNG, WebP, GIF, TIFF, HEIC or AVIF")]
pub struct UnknownFile {
    /// Its name.
    pub name: String,
}

/// The pictures for the inputs of `plan`. One that comes without the name of an input is for the only one there is.
pub(super) fn fitting(
    plan: &Plan,
    mut given: BTreeMap<String, GivenPicture>,
) -> Result<BTreeMap<String, GivenFile>, ExecutionRefusal> {
    if let ([input], true) = (plan.inputs(), given.len() == 1)
        && let Some((name, picture)) = given.pop_first()
    {
        // Programs call their only picture what they like.
        let name = if name == *input || name == "file" { input.clone() } else { name };
        given.insert(name, picture);
    }
    if let Some(unknown) = given.keys().find(|name| !plan.inputs().contains(name)) {
        let inputs = plan.inputs().join(", ");
        return Err(ExecutionRefusal::Inputs(format!("the pipeline has no input {unknown:?}; it has {inputs}")));
    }
    if let Some(missing) = plan.inputs().iter().find(|input| !given.contains_key(*input)) {
        return Err(ExecutionRefusal::Inputs(format!(
            "there is no picture for the input {missing}: send one with that name"
        )));
    }
    given.into_iter().map(|(input, picture)| Ok((input, known(picture)?))).collect()
}

fn known(GivenPicture { name, bytes, .. }: GivenPicture) -> Result<GivenFile, ExecutionRefusal> {
    let head = bytes.get(..HEAD).unwrap_or(&bytes);
    let Some(format) = PictureFormat::of(head, &name) else {
        return Err(ExecutionRefusal::Inputs(UnknownFile { name }.to_string()));
    };
    Ok(GivenFile { name, media_type: format.media_type().to_owned(), extension: format.extension(), bytes })
}

/// What a request says of its execution.
pub(super) fn sent(request: &ExecutionRequest) -> Sent<'_> {
    let (pipeline, version, definition) = match &request.pipeline {
        Asked::Named(name, version) => (name, *version, None),
        Asked::Inline(definition) => (&definition.name, None, Some(&**definition)),
    };
    let sent = |picture: &GivenPicture| (!picture.is_live).then(|| picture.bytes.clone());
    let inputs = request.inputs.iter().map(|(name, picture)| (name.as_str(), sent(picture))).collect();
    Sent { pipeline, version, definition, parameters: &request.parameters, inputs }
}

/// The pictures of an execution, to be given again. Blocks.
pub(super) fn again(
    archive: &ExecutionArchive,
    execution: &Execution,
) -> Result<BTreeMap<String, GivenPicture>, ExecutorError> {
    let mut inputs = BTreeMap::new();
    for (input, file) in &execution.inputs {
        let path = archive.file(execution, &file.file.file).ok_or(ExecutorError::Unknown)?;
        let bytes = std::fs::read(&path)
            .map_err(|error| anyhow::Error::new(error).context(format!("read {}", path.display())))?;
        inputs.insert(input.clone(), GivenPicture { name: file.name.clone(), bytes: bytes.into(), is_live: false });
    }
    Ok(inputs)
}
