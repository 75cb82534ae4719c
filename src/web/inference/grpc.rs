//! The protocol over gRPC: `inference.GRPCInferenceService`, on the port of the page.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use prost::Message;
use serde_json::Value;
use tonic::server::{Grpc, StreamingService, UnaryService};
use tonic::{Code, Status, Streaming};
use tonic_prost::ProstCodec;

use super::catalog::{self, IndexEntry, TensorDescription};
use super::codec::InferCodec;
use super::config::config_of;
use super::http::LARGEST;
use super::messages::{
    Empty, InferInputTensor, InferOutputTensor, InferParameter, InferTensorContents, ModelConfigResponse, ModelIndex,
    ModelInferRequest, ModelInferResponse, ModelMetadataResponse, ModelReadyResponse, ModelRequest,
    ModelStreamInferResponse, ParameterChoice, RepositoryIndexRequest, RepositoryIndexResponse, RepositoryModelRequest,
    ServerLiveResponse, ServerMetadataResponse, ServerReadyResponse, TensorMetadata,
};
use super::request::{InferAnswer, InferRequest, Refusal};
use super::run;
use super::tensor::{DataType, Tensor, put_element};
use super::{EXTENSIONS, SERVER, statistics};
use crate::access::Caller;
use crate::service::Place;
use crate::web::Shared;
use crate::web::routes::{Needs, Routes};
use crate::web::sender::check_origin;
use crate::web::session::{Known, name_of};

pub(super) fn routes() -> Routes {
    Routes::default()
        .post("/inference.GRPCInferenceService/ServerLive", Needs::VIEW, server_live)
        .post("/inference.GRPCInferenceService/ServerReady", Needs::VIEW, server_ready)
        .post("/inference.GRPCInferenceService/ServerMetadata", Needs::VIEW, server_metadata)
        .post("/inference.GRPCInferenceService/ModelReady", Needs::VIEW, model_ready)
        .post("/inference.GRPCInferenceService/ModelMetadata", Needs::VIEW, model_metadata)
        .post("/inference.GRPCInferenceService/ModelConfig", Needs::VIEW, model_config)
        .post("/inference.GRPCInferenceService/ModelStatistics", Needs::VIEW, model_statistics)
        .post("/inference.GRPCInferenceService/ModelInfer", Needs::OPERATE, model_infer)
        .post("/inference.GRPCInferenceService/ModelStreamInfer", Needs::OPERATE, model_stream_infer)
        .post("/inference.GRPCInferenceService/RepositoryIndex", Needs::OPERATE, repository_index)
        .post("/inference.GRPCInferenceService/RepositoryModelLoad", Needs::OPERATE, load)
        .post("/inference.GRPCInferenceService/RepositoryModelUnload", Needs::OPERATE, unload)
}

type Shares = State<Arc<Shared>>;

/// Largest request without tensors, bytes.
const SMALL: usize = 64 << 10;

/// A method with one request and one answer.
struct Unary<F>(F);

impl<F, A, R, Fut> UnaryService<A> for Unary<F>
where
    F: FnMut(A) -> Fut,
    Fut: Future<Output = Result<R, Status>> + Send + 'static,
    R: Message,
{
    type Response = R;
    type Future = futures::future::BoxFuture<'static, Result<tonic::Response<R>, Status>>;

    fn call(&mut self, request: tonic::Request<A>) -> Self::Future {
        let answer = (self.0)(request.into_inner());
        Box::pin(async move { answer.await.map(tonic::Response::new) })
    }
}

/// Answers a method with one small request and one answer.
async fn unary<A, R, Fut>(request: Request, method: impl FnMut(A) -> Fut + Send) -> Response
where
    A: Message + Default + 'static,
    R: Message + Default + 'static,
    Fut: Future<Output = Result<R, Status>> + Send + 'static,
{
    if let Err(status) = check_page(&request) {
        return status.into_http();
    }
    let codec: ProstCodec<R, A> = ProstCodec::default();
    let mut grpc = Grpc::new(codec).max_decoding_message_size(SMALL).max_encoding_message_size(usize::MAX);
    grpc.unary(Unary(method), request).await.map(axum::body::Body::new)
}

/// Turns away what a page of another site made a browser send.
fn check_page(request: &Request) -> Result<(), Status> {
    let foreign = |_| Status::permission_denied("commands are taken from the box's own page only");
    check_origin(request.headers()).map_err(foreign)
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let code = match &refusal {
            Refusal::NotFound(_) => Code::NotFound,
            Refusal::Invalid(_) => Code::InvalidArgument,
            Refusal::Busy(_) => Code::Unavailable,
            Refusal::Failed(_) => Code::Internal,
        };
        Self::new(code, refusal.message())
    }
}

async fn server_live(request: Request) -> Response {
    unary(request, |_: Empty| async { Ok(ServerLiveResponse { live: true }) }).await
}

async fn server_ready(State(shared): Shares, request: Request) -> Response {
    let ready = move |_: Empty| {
        let shared = shared.clone();
        async move { Ok(ServerReadyResponse { ready: catalog::all(&shared).await.is_ok() }) }
    };
    unary(request, ready).await
}

async fn server_metadata(request: Request) -> Response {
    let metadata = |_: Empty| async {
        let extensions = EXTENSIONS.map(str::to_owned).to_vec();
        Ok(ServerMetadataResponse {
            name: SERVER.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            extensions,
        })
    };
    unary(request, metadata).await
}

async fn model_ready(State(shared): Shares, request: Request) -> Response {
    let ready = move |asked: ModelRequest| {
        let shared = shared.clone();
        async move {
            let model = catalog::describe(&shared, &asked.name, &asked.version).await;
            Ok(ModelReadyResponse { ready: model.is_ok_and(|model| model.is_ready) })
        }
    };
    unary(request, ready).await
}

async fn model_metadata(State(shared): Shares, request: Request) -> Response {
    let metadata = move |asked: ModelRequest| {
        let shared = shared.clone();
        async move {
            let model = catalog::describe(&shared, &asked.name, &asked.version).await?;
            Ok(ModelMetadataResponse {
                name: model.name,
                versions: model.versions,
                platform: model.platform.to_owned(),
                inputs: model.inputs.into_iter().map(tensor_metadata).collect(),
                outputs: model.outputs.into_iter().map(tensor_metadata).collect(),
            })
        }
    };
    unary(request, metadata).await
}

async fn model_config(State(shared): Shares, request: Request) -> Response {
    let config = move |asked: ModelRequest| {
        let shared = shared.clone();
        async move {
            let model = catalog::describe(&shared, &asked.name, &asked.version).await?;
            let reference =
                if asked.version.is_empty() { asked.name } else { format!("{}/{}", asked.name, asked.version) };
            let own = shared.services.models.tensors(&reference);
            Ok(ModelConfigResponse { config: Some(config_of(&model, own.as_ref())) })
        }
    };
    unary(request, config).await
}

async fn model_statistics(State(shared): Shares, request: Request) -> Response {
    let of = move |asked: ModelRequest| {
        let shared = shared.clone();
        async move { Ok(statistics::as_message(&statistics::of(&shared, &asked.name, &asked.version).await?)) }
    };
    unary(request, of).await
}

fn tensor_metadata(TensorDescription { name, datatype, shape }: TensorDescription) -> TensorMetadata {
    TensorMetadata { name, datatype: datatype.as_str().to_owned(), shape }
}

async fn model_infer(State(shared): Shares, Known(caller): Known, request: Request) -> Response {
    if let Err(status) = check_page(&request) {
        return status.into_http();
    }
    let mut place = match shared.services.executions.place(&name_of(&caller)).await {
        Ok(place) => Some(place),
        Err(error) => return Status::unavailable(error.to_string()).into_http(),
    };
    let infer = move |asked: ModelInferRequest| {
        let (shared, caller, place) = (shared.clone(), caller.clone(), place.take());
        async move {
            let place = place.ok_or_else(|| Status::internal("one request is answered at a time"))?;
            Ok(answer(&shared, &caller, asked, place).await?)
        }
    };
    let codec: InferCodec<ModelInferResponse> = InferCodec::default();
    let mut grpc = Grpc::new(codec).max_decoding_message_size(LARGEST).max_encoding_message_size(usize::MAX);
    grpc.unary(Unary(infer), request).await.map(axum::body::Body::new)
}

async fn answer(
    shared: &Arc<Shared>,
    caller: &Caller,
    asked: ModelInferRequest,
    place: Place,
) -> Result<ModelInferResponse, Refusal> {
    Ok(written(run::infer(shared, caller, read(asked)?, place).await?))
}

/// A method with many requests, each of which is answered in turn.
struct Each {
    shared: Arc<Shared>,
    caller: Caller,
}

impl StreamingService<ModelInferRequest> for Each {
    type Response = ModelStreamInferResponse;
    type ResponseStream = futures::stream::BoxStream<'static, Result<ModelStreamInferResponse, Status>>;
    type Future = futures::future::BoxFuture<'static, Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, requests: tonic::Request<Streaming<ModelInferRequest>>) -> Self::Future {
        let (shared, caller) = (self.shared.clone(), self.caller.clone());
        let answers = answers(shared, caller, requests.into_inner());
        Box::pin(async move { Ok(tonic::Response::new(answers.boxed())) })
    }
}

/// One that cannot be answered does not end the stream.
fn answers(
    shared: Arc<Shared>,
    caller: Caller,
    requests: Streaming<ModelInferRequest>,
) -> impl Stream<Item = Result<ModelStreamInferResponse, Status>> + Send {
    requests.then(move |asked| {
        let (shared, caller) = (shared.clone(), caller.clone());
        async move {
            let asked = asked?;
            let id = asked.id.clone();
            let place = shared.services.executions.place(&name_of(&caller)).await;
            let answered = async {
                let place = place.map_err(|error| Refusal::Busy(error.to_string()))?;
                answer(&shared, &caller, asked, place).await
            };
            Ok(match answered.await {
                Ok(answer) => ModelStreamInferResponse { error_message: String::new(), infer_response: Some(answer) },
                Err(refusal) => {
                    let infer_response = Some(ModelInferResponse { id, ..ModelInferResponse::default() });
                    ModelStreamInferResponse { error_message: refusal.message().to_owned(), infer_response }
                }
            })
        }
    })
}

async fn model_stream_infer(State(shared): Shares, Known(caller): Known, request: Request) -> Response {
    if let Err(status) = check_page(&request) {
        return status.into_http();
    }
    let codec: InferCodec<ModelStreamInferResponse> = InferCodec::default();
    let mut grpc = Grpc::new(codec).max_decoding_message_size(LARGEST).max_encoding_message_size(usize::MAX);
    grpc.streaming(Each { shared, caller }, request).await.map(axum::body::Body::new)
}

async fn repository_index(State(shared): Shares, request: Request) -> Response {
    let index = move |asked: RepositoryIndexRequest| {
        let shared = shared.clone();
        async move {
            let entry = |entry: IndexEntry| {
                let state = entry.state().to_owned();
                ModelIndex { name: entry.name, version: entry.version, state, reason: entry.reason }
            };
            let entries = catalog::index(&shared, asked.ready).await?;
            Ok(RepositoryIndexResponse { models: entries.into_iter().map(entry).collect() })
        }
    };
    unary(request, index).await
}

async fn load(State(shared): Shares, request: Request) -> Response {
    let load = move |asked: RepositoryModelRequest| {
        let shared = shared.clone();
        async move { Ok(run::load(&shared, &asked.model_name).await.map(|()| Empty {})?) }
    };
    unary(request, load).await
}

async fn unload(State(shared): Shares, request: Request) -> Response {
    let unload = move |asked: RepositoryModelRequest| {
        let shared = shared.clone();
        async move { Ok(run::unload(&shared, &asked.model_name).await.map(|()| Empty {})?) }
    };
    unary(request, unload).await
}

/// A request as all of them are.
fn read(asked: ModelInferRequest) -> Result<InferRequest, Refusal> {
    let mut raw = asked.raw_input_contents.into_iter();
    let mut inputs = Vec::new();
    for input in asked.inputs {
        inputs.push(tensor(input, &mut raw)?);
    }
    if raw.next().is_some() {
        return Err(Refusal::Invalid("there are more raw_input_contents than inputs".to_owned()));
    }
    Ok(InferRequest {
        model: asked.model_name,
        version: asked.model_version,
        id: asked.id,
        parameters: parameters(asked.parameters),
        inputs,
        outputs: asked.outputs.into_iter().map(|output| output.name).collect(),
    })
}

fn parameters(given: impl IntoIterator<Item = (String, InferParameter)>) -> BTreeMap<String, Value> {
    let value = |InferParameter { choice }| match choice {
        Some(ParameterChoice::Bool(value)) => value.into(),
        Some(ParameterChoice::Int64(value)) => value.into(),
        Some(ParameterChoice::String(value)) => value.into(),
        Some(ParameterChoice::Double(value)) => value.into(),
        Some(ParameterChoice::Uint64(value)) => value.into(),
        None => Value::Null,
    };
    given.into_iter().map(|(name, parameter)| (name, value(parameter))).collect()
}

fn tensor(input: InferInputTensor, raw: &mut impl Iterator<Item = Bytes>) -> Result<Tensor, Refusal> {
    let InferInputTensor { name, datatype, shape, contents, .. } = input;
    let Some(datatype) = DataType::named(&datatype) else {
        return Err(Refusal::Invalid(format!("{name}: no model here takes {datatype}; send BYTES or UINT8")));
    };
    let missing = || Refusal::Invalid(format!("{name} has neither contents nor raw_input_contents"));
    let data = match contents {
        Some(contents) => of_contents(contents, datatype),
        None => raw.next().ok_or_else(missing)?,
    };
    Ok(Tensor { name, datatype, shape, data })
}

fn of_contents(contents: InferTensorContents, datatype: DataType) -> Bytes {
    let mut data = BytesMut::new();
    match datatype {
        DataType::Bool => data.extend(contents.bool_contents.into_iter().map(u8::from)),
        DataType::Uint8 => data.extend(contents.uint_contents.into_iter().map(|value| value.min(255) as u8)),
        DataType::Int32 => contents.int_contents.iter().for_each(|value| data.extend_from_slice(&value.to_le_bytes())),
        DataType::Int64 => {
            contents.int64_contents.iter().for_each(|value| data.extend_from_slice(&value.to_le_bytes()))
        }
        DataType::Fp32 => contents.fp32_contents.iter().for_each(|value| data.extend_from_slice(&value.to_le_bytes())),
        DataType::Fp64 => contents.fp64_contents.iter().for_each(|value| data.extend_from_slice(&value.to_le_bytes())),
        DataType::Bytes => contents.bytes_contents.iter().for_each(|element| put_element(&mut data, element)),
    }
    data.freeze()
}

/// An answer as it is sent: the elements of all outputs raw.
fn written(answer: InferAnswer) -> ModelInferResponse {
    let (outputs, raw): (Vec<_>, Vec<_>) = answer
        .outputs
        .into_iter()
        .map(|Tensor { name, datatype, shape, data }| {
            let datatype = datatype.as_str().to_owned();
            (InferOutputTensor { name, datatype, shape, parameters: Default::default() }, data)
        })
        .unzip();
    ModelInferResponse {
        model_name: answer.model,
        model_version: answer.version,
        id: answer.id,
        parameters: Default::default(),
        outputs,
        raw_output_contents: raw,
    }
}
