//! Pipelines, and pictures that are sent through them.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::Scratch;
use super::daemon::Daemon;
use super::process::run;

/// Saves a pipeline, as TOML.
pub fn save(daemon: &Daemon, scratch: &Scratch, pipeline: &str) {
    let file = scratch.path("pipeline.toml");
    fs::write(&file, pipeline).expect("write");
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail-with-body", "--header", "content-type: application/toml"]);
    run(curl
        .arg("--data-binary")
        .arg(format!("@{}", file.display()))
        .arg(format!("{}api/v1/pipelines", daemon.page())));
}

/// Sends files in one request, and gives the answer.
pub fn send(page: &str, query: &str, headers: &[&str], files: &[PathBuf]) -> Option<Value> {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--fail", "--max-time", "300"]).stdin(Stdio::null());
    for header in headers {
        curl.args(["--header", header]);
    }
    for file in files {
        curl.arg("--form").arg(format!("file=@{}", file.display()));
    }
    let output = curl.arg(format!("{page}api/v1/executions?{query}")).output().expect("curl");
    output.status.success().then(|| serde_json::from_slice(&output.stdout).ok()).flatten()
}

/// The ids of the executions of an answer.
pub fn ids(answer: &Value) -> Vec<String> {
    let executions = answer["executions"].as_array().expect("executions");
    executions.iter().map(|execution| execution["id"].as_str().expect("an id").to_owned()).collect()
}
