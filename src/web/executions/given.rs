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
use serde::Deserialize;
use serde_json::Value;
use url::form_urlencoded;

use super::{problem, refused};
use crate::access::Caller;
use crate::execution::{ExecutionId, Pipeline};
use crate::executor::Accepted;
use crate::service::{Asked, ExecutionRequest, GivenPicture};
use crate::web::problem::{Code, Problem};
use crate::web::session::name_of;
use crate::web::{Shared, body, box_pictures, idempotency};

/// Most pictures of one request.
const MOST_FILES: usize = 1000;
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
    pub(super) async fn take(mut self, request: Request) -> Result<(Option<ExecutionId>, Vec<Accepted>), Problem> {
        let _place = self.shared.services.executions.place().await.map_err(|error| problem(&error))?;
        self.key = idempotency::key(request.headers())?.map(str::to_owned);
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        match kind.split(';').next().unwrap_or_default().trim() {
            "multipart/form-data" => self.parts(request).await,
            "application/json" => {
                let (parts, body) = request.into_parts();
                Ok((None, vec![self.command(&parts.headers, body).await?]))
            }
            kind if kind.starts_with("image/") || kind == "application/octet-stream" => {
                Ok((None, vec![self.picture(request).await?]))
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
    pub(super) async fn only(mut self, request: Request) -> Result<ExecutionRequest, Problem> {
        let _place = self.shared.services.executions.place().await.map_err(|error| problem(&error))?;
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let inputs = if kind.starts_with("application/json") {
            let (parts, body) = request.into_parts();
            self.of_box(&parts.headers, body).await?
        } else {
            self.of_parts(request).await?
        };
        self.request(inputs, None, None)
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
                    inputs.insert(name, GivenPicture { name: file, bytes });
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
        // Each picture of a batch has its own.
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
        let picture = GivenPicture { name: "picture".to_owned(), bytes };
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
    async fn parts(mut self, mut request: Request) -> Result<(Option<ExecutionId>, Vec<Accepted>), Problem> {
        DefaultBodyLimit::disable().apply(&mut request);
        let none =
            || Problem::new(Code::BadCommand, "send a part `file` for each picture, with its file name".to_owned());
        let mut parts = Multipart::from_request(request, &()).await.map_err(|_| none())?;
        let (mut together, mut accepted, mut batch) = (BTreeMap::new(), Vec::new(), None);
        let mut first: Option<GivenPicture> = None;
        while let Some(part) = parts.next_field().await.map_err(|error| broken(&error))? {
            let name = part.name().unwrap_or_default().to_owned();
            let Some(file) = part.file_name().map(ToOwned::to_owned) else {
                let value = field(part).await?;
                self.field(&name, &value, FIELDS)?;
                continue;
            };
            let bytes = content(part, self.shared.services.executions.max_file()).await?;
            let picture = GivenPicture { name: file, bytes };
            if name != FILE {
                together.insert(name, picture);
                continue;
            }
            if accepted.len() + 1 >= MOST_FILES {
                return Err(Problem::new(Code::TooLarge, format!("one request has {MOST_FILES} pictures at most")));
            }
            // Whether it is alone is known with the next one.
            if let Some(before) = first.replace(picture) {
                let batch = *batch.get_or_insert_with(|| self.shared.services.executions.batch());
                accepted.push(self.one(before, accepted.len(), Some(batch)).await?);
            }
        }
        match first {
            Some(only) if accepted.is_empty() && together.is_empty() => {
                accepted.push(self.submit(BTreeMap::from([(FILE.to_owned(), only)]), None, None).await?);
            }
            Some(last) if together.is_empty() => accepted.push(self.one(last, accepted.len(), batch).await?),
            Some(_) => {
                let detail = "parts `file` are pictures of their own: name all after inputs of the pipeline, or none";
                return Err(Problem::new(Code::BadCommand, detail.to_owned()));
            }
            None if together.is_empty() => return Err(none()),
            None => accepted.push(self.submit(together, None, None).await?),
        }
        Ok((batch, accepted))
    }

    async fn one(&self, picture: GivenPicture, number: usize, batch: Option<ExecutionId>) -> Result<Accepted, Problem> {
        self.submit(BTreeMap::from([(FILE.to_owned(), picture)]), Some(number), batch).await
    }
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
