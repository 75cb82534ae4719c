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
    #[arg(long, default_value_t = 0.4, value_parser = score)]
    min_score: f32,
}

#[derive(Serialize)]
struct Line<'a> {
    picture: &'a str,
    #[serde(flatten)]
    detection: &'a Detection,
}

fn score(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(score) if (0.0..=1.0).contains(&score) => Ok(score),
        _ => Err("a score is a number from 0 to 1, such as 0.4".to_owned()),
    }
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
            super::output::list_json(&Line { picture: &path.display().to_string(), detection })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_lies_between_0_and_1() {
        assert_eq!((score("0"), score("0.25"), score("1")), (Ok(0.0), Ok(0.25), Ok(1.0)));
        for wrong in ["40", "-1", "nan", "inf", "1.01", "", "half"] {
            assert!(score(wrong).is_err(), "{wrong}");
        }
    }
}
