//! `outpost detect`.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::decode::load_still;
use crate::detection::Detection;
use crate::infer::{CameraConfig, Detector};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// JPEG or PNG files.
    #[arg(required = true)]
    pictures: Vec<PathBuf>,
    /// The model; default: the one that comes with Outpost.
    #[arg(long)]
    model: Option<String>,
    /// Folder with models; default: the installed one.
    #[arg(long)]
    model_dir: Option<PathBuf>,
    /// Lowest score that is shown, 0 to 1.
    #[arg(long, default_value_t = 0.4)]
    min_score: f32,
}

#[derive(Serialize)]
struct Line<'a> {
    picture: &'a str,
    #[serde(flatten)]
    detection: &'a Detection,
}

pub(super) fn main(args: &Args) -> Result<()> {
    let dir = args.model_dir.clone().unwrap_or_else(super::find_model_dir);
    let model = args.model.clone().unwrap_or_else(|| CameraConfig::default().model);
    let detector = Detector::load(&dir, &model)?;
    for path in &args.pictures {
        let picture = load_still(path)?;
        let detections =
            detector.detect(&picture, args.min_score).with_context(|| format!("detect in {}", path.display()))?;
        for detection in &detections {
            super::print_json(&Line { picture: &path.display().to_string(), detection })?;
        }
    }
    Ok(())
}
