//! What a caller gives to be run: pictures in parts, one picture as the body, or JSON that names pictures of this box.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::multipart::{Field, Multipart};
use axum::extract::{DefaultBodyLimit, FromRequest, Request};
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::form_urlencoded;

use super::{problem, refused};
use crate::access::Caller;
use crate::execution::{ExecutionId, Pipeline};
use crate::executor::Accepted;
use crate::service::{Asked, ExecutionRequest, GivenPicture, Place};
use crate::web::problem::{Code, Problem};
use crate::web::session::name_of;
use crate::web::{Shared, body, box_pictures, idempotency};

/// Most pictures of one request.
const MOST_FILES: usize = 1000;
/// Most pictures of one execution, and their bytes.
const MOST_INPUTS: usize = 32;
const MOST_TOGETHER: usize = 128 << 20;
/// Longest field beside the pictures, bytes.
const LONGEST_FIELD: usize = 256 << 10;
/// What there is beside the pictures.
const FIELDS: &str = "file, pipeline, version, parameters and definition";
/// The part of a picture for the only input.
const FILE: &str = "file";

/// What is asked for, as it comes.
pub(super) struct Given<'a> {
    shared: &'a Arc<Shared>,
    caller: &'a Caller,
    pipeline: Option<String>,
    version: Option<u32>,
    definition: Option<Pipeline>,
    parameters: BTreeMap<String, Value>,
    key: Option<String>,
    is_urgent: bool,
}

/// What was taken in of a request.
#[derive(Default)]
pub(super) struct TakenIn {
    /// Of all together, where there are several.
    pub(super) batch: Option<ExecutionId>,
    pub(super) accepted: Vec<Accepted>,
    pub(super) refused: Vec<RefusedFile>,
    /// What the first that was refused is answered with, where none was taken in.
    first_problem: Option<Problem>,
}

/// A picture of several that was not taken in.
#[derive(Debug, Serialize)]
pub(super) struct RefusedFile {
    /// Its place in the request, from 0.
    place: usize,
    /// Its name there.
    file: String,
    /// As problems have it.
    code: &'static str,
    detail: String,
}

impl TakenIn {
    fn only(accepted: Accepted) -> Self {
        Self { accepted: vec![accepted], ..Self::default() }
    }

    /// One of several files does not keep the others back.
    fn note(&mut self, (place, file): (usize, String), outcome: Result<Accepted, Problem>) {
        match outcome {
            Ok(accepted) => self.accepted.push(accepted),
            Err(problem) => {
                let (code, detail) = (problem.code(), problem.detail().to_owned());
                self.refused.push(RefusedFile { place, file, code, detail });
                self.first_problem.get_or_insert(problem);
            }
        }
    }

    /// The same, or why nothing was taken in.
    fn or_problem(self) -> Result<Self, Problem> {
        match self.first_problem {
            Some(problem) if self.accepted.is_empty() => Err(problem),
            _ => Ok(self),
        }
    }
}

/// An execution of pictures of this box.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Command {
    #[serde(default)]
    pipeline: Option<String>,
    #[serde(default)]
    version: Option<u32>,
    #[serde(default)]
    definition: Option<Pipeline>,
    #[serde(default)]
    parameters: BTreeMap<String, Value>,
    inputs: BTreeMap<String, box_pictures::Reference>,
}

const EXAMPLE: &str = r#"{"pipeline": "objects", "inputs": {"image": {"event": "01J..."}}}"#;

impl<'a> Given<'a> {
    /// What the query says.
    pub(super) fn new(
        shared: &'a Arc<Shared>,
        caller: &'a Caller,
        query: &str,
        is_urgent: bool,
    ) -> Result<Self, Problem> {
        let mut given = Self {
            shared,
            caller,
            pipeline: None,
            version: None,
            definition: None,
            parameters: BTreeMap::new(),
            key: None,
            is_urgent,
        };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            given.field(&name, &value, "pipeline, version and parameters")?;
        }
        Ok(given)
    }

    /// Takes in all pictures of a request, each as it comes.
    pub(super) async fn take(mut self, request: Request) -> Result<TakenIn, Problem> {
        let _place = self.place().await?;
        self.key = idempotency::key(request.headers())?.map(str::to_owned);
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        match kind.split(';').next().unwrap_or_default().trim() {
            "multipart/form-data" => self.parts(request).await,
            "application/json" => {
                let (parts, body) = request.into_parts();
                Ok(TakenIn::only(self.command(&parts.headers, body).await?))
            }
            kind if kind.starts_with("image/") || kind == "application/octet-stream" => {
                Ok(TakenIn::only(self.picture(request).await?))
            }
            _ => {
                let detail =
                    "send pictures as multipart/form-data, one as image/..., or JSON that names pictures of this box";
                Err(Problem::new(Code::NotAnExecution, detail.to_owned()))
            }
        }
    }

    /// Reads a field. `known`: those that there are.
    fn field(&mut self, name: &str, value: &str, known: &str) -> Result<(), Problem> {
        let wrong = |allowed: &str| Problem::parameter(name, value, allowed);
        match name {
            "pipeline" => self.pipeline = Some(value.to_owned()),
            "version" => self.version = Some(value.parse().map_err(|_| wrong("the number of a version"))?),
            "parameters" => {
                let values = serde_json::from_str(value);
                self.parameters = values.map_err(|_| wrong("a JSON object of values by name"))?;
            }
            "definition" => {
                let read = serde_json::from_str(value);
                let reason = |error: serde_json::Error| format!("the definition is no pipeline: {error}");
                self.definition = Some(read.map_err(|error| Problem::new(Code::BadCommand, reason(error)))?);
            }
            _ => return Err(wrong(known)),
        }
        Ok(())
    }

    fn asked(&self) -> Result<Asked, Problem> {
        match (&self.pipeline, &self.definition) {
            (_, Some(definition)) => Ok(Asked::Inline(Box::new(definition.clone()))),
            (Some(name), None) => Ok(Asked::Named(name.clone(), self.version)),
            (None, None) => {
                let detail = "name a pipeline, before the pictures: pipeline=objects; GET /api/v1/pipelines lists them";
                Err(Problem::new(Code::BadCommand, detail.to_owned()))
            }
        }
    }

    /// What is asked for of one request, to be tried: pictures in parts, or JSON.
    /// The place is held until it was tried.
    pub(super) async fn only(mut self, request: Request) -> Result<(ExecutionRequest, Place), Problem> {
        let place = self.place().await?;
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let inputs = if kind.starts_with("application/json") {
            let (parts, body) = request.into_parts();
            self.of_box(&parts.headers, body).await?
        } else {
            self.of_parts(request).await?
        };
        Ok((self.request(inputs, None, None)?, place))
    }

    async fn place(&self) -> Result<Place, Problem> {
        self.shared.services.executions.place(&name_of(self.caller)).await.map_err(|error| problem(&error))
    }

    /// All parts of a request as pictures of one execution.
    async fn of_parts(&mut self, mut request: Request) -> Result<BTreeMap<String, GivenPicture>, Problem> {
        DefaultBodyLimit::disable().apply(&mut request);
        let none = || Problem::new(Code::BadCommand, "send a part `definition` and a part `file`".to_owned());
        let mut parts = Multipart::from_request(request, &()).await.map_err(|_| none())?;
        let mut inputs = BTreeMap::new();
        while let Some(part) = parts.next_field().await.map_err(|error| broken(&error))? {
            let name = part.name().unwrap_or_default().to_owned();
            match part.file_name().map(ToOwned::to_owned) {
                Some(file) => {
                    let bytes = content(part, self.shared.services.executions.max_file()).await?;
                    together(&mut inputs, name, GivenPicture { name: file, bytes, is_live: false })?;
                }
                None => {
                    let value = field(part).await?;
                    self.field(&name, &value, FIELDS)?;
                }
            }
        }
        Ok(inputs)
    }

    fn request(
        &self,
        inputs: BTreeMap<String, GivenPicture>,
        number: Option<usize>,
        batch: Option<ExecutionId>,
    ) -> Result<ExecutionRequest, Problem> {
        // Each further picture of a batch has its own.
        let key = self.key.as_ref().map(|key| number.map_or_else(|| key.clone(), |number| format!("{key}#{number}")));
        Ok(ExecutionRequest {
            pipeline: self.asked()?,
            parameters: self.parameters.clone(),
            inputs,
            owner: name_of(self.caller),
            idempotency_key: key,
            batch,
            is_urgent: self.is_urgent,
        })
    }

    async fn submit(
        &self,
        inputs: BTreeMap<String, GivenPicture>,
        number: Option<usize>,
        batch: Option<ExecutionId>,
    ) -> Result<Accepted, Problem> {
        let request = self.request(inputs, number, batch)?;
        self.shared.services.executions.submit(request).await.map_err(|refusal| refused(&refusal))
    }

    /// One picture as the body.
    async fn picture(self, request: Request) -> Result<Accepted, Problem> {
        let (bytes, most) = (request.into_body(), self.shared.services.executions.max_file());
        let bytes = whole(bytes, most).await?;
        let picture = GivenPicture { name: "picture".to_owned(), bytes, is_live: false };
        self.submit(BTreeMap::from([(FILE.to_owned(), picture)]), None, None).await
    }

    /// Pictures of this box.
    async fn command(mut self, headers: &HeaderMap, body: Body) -> Result<Accepted, Problem> {
        let inputs = self.of_box(headers, body).await?;
        self.submit(inputs, None, None).await
    }

    async fn of_box(&mut self, headers: &HeaderMap, body: Body) -> Result<BTreeMap<String, GivenPicture>, Problem> {
        let command: Command = body::command(headers, body, EXAMPLE).await?;
        self.pipeline = command.pipeline.or(self.pipeline.take());
        self.version = command.version.or(self.version);
        self.definition = command.definition.or(self.definition.take());
        if !command.parameters.is_empty() {
            self.parameters = command.parameters;
        }
        let mut inputs = BTreeMap::new();
        for (input, reference) in command.inputs {
            inputs.insert(input, box_pictures::read(self.shared, self.caller, reference).await?);
        }
        Ok(inputs)
    }

    /// Pictures in parts: each part `file` is an execution of its own; parts with the names of inputs are one together.
    async fn parts(mut self, mut request: Request) -> Result<TakenIn, Problem> {
        DefaultBodyLimit::disable().apply(&mut request);
        let none =
            || Problem::new(Code::BadCommand, "send a part `file` for each picture, with its file name".to_owned());
        let mut parts = Multipart::from_request(request, &()).await.map_err(|_| none())?;
        let (mut named, mut taken, mut files) = (BTreeMap::new(), TakenIn::default(), 0);
        let mut last: Option<(usize, String, Result<Bytes, Problem>)> = None;
        while let Some(part) = parts.next_field().await.map_err(|error| broken(&error))? {
            let name = part.name().unwrap_or_default().to_owned();
            let Some(file) = part.file_name().map(ToOwned::to_owned) else {
                let value = field(part).await?;
                self.field(&name, &value, FIELDS)?;
                continue;
            };
            let bytes = content(part, self.shared.services.executions.max_file()).await;
            if name != FILE {
                together(&mut named, name, GivenPicture { name: file, bytes: bytes?, is_live: false })?;
                continue;
            }
            // Whether it is alone is known with the next one.
            if let Some(before) = last.replace((files, file, bytes)) {
                taken.batch.get_or_insert_with(|| self.shared.services.executions.batch());
                self.one(before, &mut taken).await?;
            }
            files += 1;
        }
        match last {
            Some(last) if named.is_empty() => self.one(last, &mut taken).await?,
            Some(_) => {
                let detail = "parts `file` are pictures of their own: name all after inputs of the pipeline, or none";
                return Err(Problem::new(Code::BadCommand, detail.to_owned()));
            }
            None if named.is_empty() => return Err(none()),
            None => taken.accepted.push(self.submit(named, None, None).await?),
        }
        taken.or_problem()
    }

    /// A picture of its own. Whatever is wrong with it keeps no other back, but for a request that broke off, and for a box
    /// that takes in nothing yet: a part of the pictures would be refused for no reason of theirs.
    async fn one(
        &self,
        (place, file, bytes): (usize, String, Result<Bytes, Problem>),
        taken: &mut TakenIn,
    ) -> Result<(), Problem> {
        let outcome = match bytes {
            Err(problem) if problem.is(Code::BadCommand) => return Err(problem),
            Err(problem) => Err(problem),
            Ok(_) if place >= MOST_FILES => {
                Err(Problem::new(Code::TooLarge, format!("one request has {MOST_FILES} pictures at most")))
            }
            Ok(bytes) => {
                let picture = GivenPicture { name: file.clone(), bytes, is_live: false };
                // The first of several has the key itself: the same picture alone is the same execution.
                let number = (place > 0).then_some(place);
                self.submit(BTreeMap::from([(FILE.to_owned(), picture)]), number, taken.batch).await
            }
        };
        match outcome {
            Err(problem) if taken.accepted.is_empty() && is_of_the_box(&problem) => Err(problem),
            outcome => {
                taken.note((place, file), outcome);
                Ok(())
            }
        }
    }
}

/// Adds a picture to those of one execution. They are in memory together.
fn together(inputs: &mut BTreeMap<String, GivenPicture>, name: String, picture: GivenPicture) -> Result<(), Problem> {
    let bytes = inputs.values().map(|picture| picture.bytes.len()).sum::<usize>() + picture.bytes.len();
    if inputs.len() >= MOST_INPUTS || bytes > MOST_TOGETHER {
        let detail = format!("the pictures of one execution are {MOST_INPUTS} and have {MOST_TOGETHER} bytes at most");
        return Err(Problem::new(Code::TooLarge, detail));
    }
    inputs.insert(name, picture);
    Ok(())
}

/// Whether it passes without a change of what is sent.
fn is_of_the_box(problem: &Problem) -> bool {
    [Code::Busy, Code::VolumeAway, Code::NoRoom].iter().any(|code| problem.is(*code))
}

fn broken(error: &impl Error) -> Problem {
    let detail = format!("the request ended early: {error}; pictures that were whole by then are taken in");
    Problem::new(Code::BadCommand, detail)
}

fn too_large(most: u64) -> Problem {
    Problem::new(Code::TooLarge, format!("a picture has at most {most} bytes: executions.max_file"))
}

async fn content(mut part: Field<'_>, most: u64) -> Result<Bytes, Problem> {
    let mut content = BytesMut::new();
    while let Some(bytes) = part.chunk().await.map_err(|error| broken(&error))? {
        if (content.len() + bytes.len()) as u64 > most {
            return Err(too_large(most));
        }
        content.extend_from_slice(&bytes);
    }
    Ok(content.freeze())
}

async fn whole(body: Body, most: u64) -> Result<Bytes, Problem> {
    let (mut stream, mut content) = (body.into_data_stream(), BytesMut::new());
    while let Some(bytes) = stream.next().await {
        let bytes = bytes.map_err(|error| broken(&error))?;
        if (content.len() + bytes.len()) as u64 > most {
            return Err(too_large(most));
        }
        content.extend_from_slice(&bytes);
    }
    Ok(content.freeze())
}

async fn field(mut part: Field<'_>) -> Result<String, Problem> {
    let mut value = Vec::new();
    while let Some(bytes) = part.chunk().await.map_err(|error| broken(&error))? {
        value.extend_from_slice(&bytes);
        if value.len() > LONGEST_FIELD {
            return Err(Problem::new(Code::TooLarge, format!("a field has at most {LONGEST_FIELD} bytes")));
        }
    }
    Ok(String::from_utf8_lossy(&value).into_owned())
}
