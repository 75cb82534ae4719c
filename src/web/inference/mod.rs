//! The Open Inference Protocol, version 2: programs that speak to Triton or KServe speak to the box.
//!
//! A model takes a picture as `image` (a file as `BYTES`, or pixels as `UINT8`, rows of R, G, B) and gives `boxes` (x, y,
//! width, height in shares of the picture), `scores`, `classes` and `labels`. As `tensor` (`FP32`, or `UINT8`) it takes what
//! its own input holds, and gives its own outputs. A pipeline is a model too: its inputs are files
//! as `BYTES`; of its outputs numbers are `FP64`, pictures files, all else JSON.

mod catalog;
mod codec;
mod config;
mod grpc;
mod http;
mod json;
mod messages;
mod picture;
mod pipeline;
mod request;
mod run;
mod statistics;
mod tensor;

use super::routes::Routes;

/// Name of the server in the protocol.
const SERVER: &str = "outpost";
/// What is spoken beyond the protocol.
const EXTENSIONS: [&str; 4] = ["binary_tensor_data", "model_configuration", "model_repository", "statistics"];

pub(super) fn routes() -> Routes {
    http::routes().merge(grpc::routes())
}
