//! What became of requests to models, as Triton's extension `statistics` says it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::catalog;
use super::messages::{
    InferBatchStatistics, InferStatistics, ModelStatisticsMessage, ModelStatisticsResponse, StatisticDuration,
};
use super::request::Refusal;
use crate::infer::ModelStatistics;
use crate::service::PipelineStatistics;
use crate::web::Shared;

/// Of a version of a model or pipeline. Jobs of cameras are counted as those of programs are.
pub(super) struct OfVersion {
    name: String,
    version: u32,
    counts: Counts,
}

/// What is counted of it since the start.
struct Counts {
    succeeded: u64,
    failed: Vec<(&'static str, u64)>,
    /// Those that wait or run, where that is known.
    pending: Option<u64>,
    queue: Duration,
    compute: Duration,
    failing: Duration,
    last_ms: u64,
}

impl From<ModelStatistics> for Counts {
    fn from(statistics: ModelStatistics) -> Self {
        let ModelStatistics { succeeded, failed, pending, queue, compute, failing, last_ms } = statistics;
        let failed = failed.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
        Self { succeeded, failed, pending: Some(pending), queue, compute, failing, last_ms }
    }
}

impl From<PipelineStatistics> for Counts {
    fn from(statistics: PipelineStatistics) -> Self {
        let PipelineStatistics { finished, failed, queue, compute, failing, last_ms } = statistics;
        let failed = failed.iter().map(|(reason, count)| (reason.as_str(), *count)).collect();
        Self { succeeded: finished, failed, pending: None, queue, compute, failing, last_ms }
    }
}

/// Of all versions of all models, of one model, or of one version; empty texts stand for all.
///
/// # Errors
/// When there is no such model or version.
pub(super) async fn of(shared: &Arc<Shared>, name: &str, version: &str) -> Result<Vec<OfVersion>, Refusal> {
    let models = if name.is_empty() {
        catalog::all(shared).await?
    } else {
        vec![catalog::describe(shared, name, version).await?]
    };
    let mut all = Vec::new();
    for model in models {
        let wanted = model.versions.iter().filter(|known| version.is_empty() || *known == version);
        let numbers: Vec<u32> = wanted.filter_map(|known| known.parse().ok()).collect();
        let of_version = |version, counts| OfVersion { name: model.name.clone(), version, counts };
        if model.is_pipeline() {
            let of = |version: &u32| shared.services.executions.statistics(&model.name, *version);
            all.extend(numbers.iter().map(|version| of_version(*version, of(version).into())));
        } else {
            let statistics = shared.services.models.statistics(&model.name, &numbers);
            all.extend(statistics.into_iter().map(|(version, statistics)| of_version(version, statistics.into())));
        }
    }
    Ok(all)
}

fn duration(count: u64, time: Duration) -> StatisticDuration {
    StatisticDuration { count, ns: u64::try_from(time.as_nanos()).unwrap_or(u64::MAX) }
}

impl OfVersion {
    /// Scaling and reading of the output are part of the model's time here.
    fn message(&self) -> ModelStatisticsMessage {
        let Counts { succeeded, failed, queue, compute, failing, last_ms, .. } = &self.counts;
        let (succeeded, none) = (*succeeded, StatisticDuration::default());
        let compute_infer = duration(succeeded, *compute);
        let beside = duration(succeeded, Duration::ZERO);
        let statistics = InferStatistics {
            success: Some(duration(succeeded, *queue + *compute)),
            fail: Some(duration(failed.iter().map(|(_, count)| count).sum(), *failing)),
            queue: Some(duration(succeeded, *queue)),
            compute_input: Some(beside),
            compute_infer: Some(compute_infer),
            compute_output: Some(beside),
            cache_hit: Some(none),
            cache_miss: Some(none),
        };
        let batch = InferBatchStatistics {
            batch_size: 1,
            compute_input: Some(beside),
            compute_infer: Some(compute_infer),
            compute_output: Some(beside),
        };
        ModelStatisticsMessage {
            name: self.name.clone(),
            version: self.version.to_string(),
            last_inference: *last_ms,
            inference_count: succeeded,
            execution_count: succeeded,
            inference_stats: Some(statistics),
            batch_stats: if succeeded > 0 { vec![batch] } else { Vec::new() },
        }
    }

    fn json(&self) -> Value {
        let written = |time: Option<StatisticDuration>| {
            let StatisticDuration { count, ns } = time.unwrap_or_default();
            json!({ "count": count, "ns": ns })
        };
        let message = self.message();
        let InferStatistics { success, fail, queue, compute_input, compute_infer, compute_output, .. } =
            message.inference_stats.unwrap_or_default();
        let batches = message.batch_stats.iter().map(|batch| {
            json!({
                "batch_size": batch.batch_size,
                "compute_input": written(batch.compute_input),
                "compute_infer": written(batch.compute_infer),
                "compute_output": written(batch.compute_output),
            })
        });
        let failed = self.counts.failed.iter().map(|(reason, count)| ((*reason).to_owned(), Value::from(*count)));
        json!({
            "name": message.name,
            "version": message.version,
            "last_inference": message.last_inference,
            "inference_count": message.inference_count,
            "execution_count": message.execution_count,
            "inference_stats": {
                "success": written(success),
                "fail": written(fail),
                "queue": written(queue),
                "compute_input": written(compute_input),
                "compute_infer": written(compute_infer),
                "compute_output": written(compute_output),
                "cache_hit": written(None),
                "cache_miss": written(None),
            },
            "batch_stats": batches.collect::<Vec<_>>(),
            // Beyond what Triton says.
            "pending": self.counts.pending,
            "failed_by_reason": failed.collect::<serde_json::Map<_, _>>(),
        })
    }
}

/// As HTTP has them.
pub(super) fn as_json(all: &[OfVersion]) -> Value {
    json!({ "model_stats": all.iter().map(OfVersion::json).collect::<Vec<_>>() })
}

/// As gRPC has them.
pub(super) fn as_message(all: &[OfVersion]) -> ModelStatisticsResponse {
    ModelStatisticsResponse { model_stats: all.iter().map(OfVersion::message).collect() }
}
