//! Counters and gauges of the whole box, in Prometheus terms. Units are in the names.
//!
//! One struct, passed to the parts that count. What can be derived (queue lengths, disk space) is not
//! kept here but read on request.

mod labels;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::health::Traffic;

pub use labels::{
    CameraLabel, ClassLabel, DropLabel, EvictedLabel, LinkLabel, ModelFailureLabel, ModelLabel, NameLabel,
    OutcomeLabel, OutletLabel, OutputLabel, OwnerLabel, PartLabel, PriorityLabel, SessionLabel, StageLabel, camera,
    class, dropped, evicted, link_state, model, model_failure, outcome, outlet, output, owner, part, priority, session,
    stage,
};

/// All metrics. Clones share the values.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    /// Packets received.
    pub packets: Family<CameraLabel, Counter>,
    /// Bytes of packets received.
    pub packet_bytes: Family<CameraLabel, Counter>,
    /// RTP packets that the network lost.
    pub packets_lost: Family<CameraLabel, Counter>,
    /// Packets or frames that a full queue shed.
    pub dropped: Family<DropLabel, Counter>,
    /// Connections that had to be made again.
    pub reconnects: Family<CameraLabel, Counter>,
    /// Frames decoded.
    pub frames_decoded: Family<CameraLabel, Counter>,
    /// Packets that did not decode.
    pub decode_errors: Family<CameraLabel, Counter>,
    /// Frames that the detector looked at.
    pub frames_detected: Family<CameraLabel, Counter>,
    /// Time that the detector took, seconds a frame.
    pub detect_seconds: Histogram,
    /// Time that the pipeline of a camera took, seconds a picture.
    pub pipeline_seconds: Histogram,
    /// Pictures for which it gave nothing.
    pub pipeline_failures: Family<CameraLabel, Counter>,
    /// Numbers that it gave last.
    pub pipeline_value: Family<OutputLabel, Gauge<f64, AtomicU64>>,
    /// Jobs that wait for an inference thread, as they were within the last second.
    pub infer_waiting: Family<PriorityLabel, Gauge>,
    /// Jobs of models with a result.
    pub model_successes: Family<ModelLabel, Counter>,
    /// Jobs of models without one.
    pub model_failures: Family<ModelFailureLabel, Counter>,
    /// Jobs of models that wait or run.
    pub model_pending: Family<ModelLabel, Gauge>,
    /// Seconds that jobs with a result waited for a thread.
    pub model_queue_seconds: Family<ModelLabel, Counter<f64, AtomicU64>>,
    /// Seconds that they ran.
    pub model_compute_seconds: Family<ModelLabel, Counter<f64, AtomicU64>>,
    /// Events begun.
    pub events: Family<CameraLabel, Counter>,
    /// Time from the decision that an event began to its durable record, seconds.
    pub event_commit_seconds: Histogram,
    /// Items delivered and confirmed.
    pub delivered: Family<OutletLabel, Counter>,
    /// Bytes delivered and confirmed.
    pub delivered_bytes: Family<OutletLabel, Counter>,
    /// Tries that failed.
    pub delivery_failures: Family<OutletLabel, Counter>,
    /// 1 for the state that the link of a destination is in.
    pub upload_link: Family<LinkLabel, Gauge>,
    /// Bytes a second that got through to a destination lately.
    pub upload_bytes_per_second: Family<OutletLabel, Gauge>,
    /// Items waiting, read from the store at scrape time.
    pub queue_items: Family<OutletLabel, Gauge>,
    /// 1 while the camera gives packets; missing for a file that was played to its end.
    pub camera_online: Family<CameraLabel, Gauge>,
    /// 1 while packets come, but nothing comes out of the stage.
    pub camera_degraded: Family<StageLabel, Gauge>,
    /// Viewers of a camera's video.
    pub live_viewers: Family<CameraLabel, Gauge>,
    /// WebRTC sessions.
    pub webrtc_sessions: Family<SessionLabel, Gauge>,
    /// Their media packets.
    pub webrtc_packets: Family<SessionLabel, Counter>,
    /// Bytes of these.
    pub webrtc_bytes: Family<SessionLabel, Counter>,
    /// Those that were lost on the way.
    pub webrtc_packets_lost: Family<SessionLabel, Counter>,
    /// Requests for lost ones.
    pub webrtc_resend_requests: Family<SessionLabel, Counter>,
    /// Requests for a key frame.
    pub webrtc_key_frame_requests: Family<SessionLabel, Counter>,
    /// Files of events that were found damaged or missing.
    pub damaged_files: Counter,
    /// Events that a rebuild of the index still has to look at; 0 when it is complete.
    pub rebuild_left: Gauge,
    /// 1 while the index refuses new records because the disk is full.
    pub index_full: Gauge,
    /// Free bytes on the archive's volume.
    pub disk_free_bytes: Gauge,
    /// Size of the archive's volume.
    pub disk_size_bytes: Gauge,
    /// Level of the overload ladder: 0 does everything, 6 the least.
    pub load_level: Gauge,
    /// Bytes that the box holds, read from the store at scrape time.
    pub held_bytes: Family<ClassLabel, Gauge>,
    /// Files deleted to make room or because of their age.
    pub evicted_files: Family<EvictedLabel, Counter>,
    /// Bytes of these.
    pub evicted_bytes: Family<EvictedLabel, Counter>,
    /// 0 while everything is recorded, up to 4 while nothing is, for lack of space.
    pub recording_level: Gauge,
    /// Events whose media were left out or cut short for lack of space.
    pub media_skipped: Family<CameraLabel, Counter>,
    /// 1 while the spool stands in for the archive's volume.
    pub spooling: Gauge,
    /// Time of a small write to the archive's volume.
    pub volume_probe_seconds: Histogram,
    /// Files that were given to the library.
    pub library_files: Family<OutcomeLabel, Counter>,
    /// Bytes of those that were added.
    pub library_added_bytes: Counter,
    /// Time that a look at a file takes, its thumbnails among it.
    pub library_inspect_seconds: Histogram,
    /// Time that a page of a search takes.
    pub library_search_seconds: Histogram,
    /// Photos of all users, read from the store at scrape time.
    pub library_photos: Gauge,
    /// Bytes of these.
    pub library_bytes: Gauge,
    /// Executions that are over.
    pub executions: Family<OutcomeLabel, Counter>,
    /// Time of an execution, from its beginning to its result on the disk.
    pub execution_seconds: Histogram,
    /// How much of its quota a user has taken, percent.
    pub library_quota_percent: Family<OwnerLabel, Gauge>,
    /// Parts that hung or panicked and were restarted.
    pub part_restarts: Family<PartLabel, Counter>,
}

impl Metrics {
    /// A fresh set, all zero.
    pub fn new() -> Self {
        let buckets = || [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
        let metrics = Self {
            registry: Arc::new(Mutex::new(Registry::with_prefix("outpost"))),
            packets: Family::default(),
            packet_bytes: Family::default(),
            packets_lost: Family::default(),
            dropped: Family::default(),
            reconnects: Family::default(),
            frames_decoded: Family::default(),
            decode_errors: Family::default(),
            frames_detected: Family::default(),
            detect_seconds: Histogram::new(buckets()),
            pipeline_seconds: Histogram::new(buckets()),
            pipeline_failures: Family::default(),
            pipeline_value: Family::default(),
            infer_waiting: Family::default(),
            model_successes: Family::default(),
            model_failures: Family::default(),
            model_pending: Family::default(),
            model_queue_seconds: Family::default(),
            model_compute_seconds: Family::default(),
            events: Family::default(),
            event_commit_seconds: Histogram::new(buckets()),
            delivered: Family::default(),
            delivered_bytes: Family::default(),
            delivery_failures: Family::default(),
            upload_link: Family::default(),
            upload_bytes_per_second: Family::default(),
            queue_items: Family::default(),
            camera_online: Family::default(),
            camera_degraded: Family::default(),
            live_viewers: Family::default(),
            webrtc_sessions: Family::default(),
            webrtc_packets: Family::default(),
            webrtc_bytes: Family::default(),
            webrtc_packets_lost: Family::default(),
            webrtc_resend_requests: Family::default(),
            webrtc_key_frame_requests: Family::default(),
            damaged_files: Counter::default(),
            rebuild_left: Gauge::default(),
            index_full: Gauge::default(),
            disk_free_bytes: Gauge::default(),
            disk_size_bytes: Gauge::default(),
            load_level: Gauge::default(),
            held_bytes: Family::default(),
            evicted_files: Family::default(),
            evicted_bytes: Family::default(),
            recording_level: Gauge::default(),
            media_skipped: Family::default(),
            spooling: Gauge::default(),
            volume_probe_seconds: Histogram::new(buckets()),
            library_files: Family::default(),
            library_added_bytes: Counter::default(),
            library_inspect_seconds: Histogram::new(buckets()),
            library_search_seconds: Histogram::new(buckets()),
            library_photos: Gauge::default(),
            library_bytes: Gauge::default(),
            executions: Family::default(),
            execution_seconds: Histogram::new(buckets()),
            library_quota_percent: Family::default(),
            part_restarts: Family::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&self) {
        let mut guard = self.registry.lock();
        let r = &mut *guard;
        r.register("packets", "Packets received", self.packets.clone());
        r.register_with_unit("packet", "Bytes of packets received", Unit::Bytes, self.packet_bytes.clone());
        r.register("rtp_packets_lost", "RTP packets lost by the network", self.packets_lost.clone());
        r.register(
            "dropped",
            "Packets or frames shed: a queue was full, a newer frame replaced them, or their detector failed or hung",
            self.dropped.clone(),
        );
        r.register("reconnects", "Camera connections that had to be made again", self.reconnects.clone());
        r.register("frames_decoded", "Frames decoded", self.frames_decoded.clone());
        r.register("decode_errors", "Packets that did not decode", self.decode_errors.clone());
        r.register("frames_detected", "Frames that the detector looked at", self.frames_detected.clone());
        r.register_with_unit("detect", "Detector time per frame", Unit::Seconds, self.detect_seconds.clone());
        let pipeline = self.pipeline_seconds.clone();
        r.register_with_unit("camera_pipeline", "A camera's pipeline, per picture", Unit::Seconds, pipeline);
        let failures = self.pipeline_failures.clone();
        r.register("camera_pipeline_failures", "Pictures for which a camera's pipeline gave nothing", failures);
        r.register("camera_pipeline_value", "What a camera's pipeline gave last", self.pipeline_value.clone());
        r.register("infer_waiting", "Jobs that wait for an inference thread", self.infer_waiting.clone());
        r.register("model_successes", "Jobs of the model with a result", self.model_successes.clone());
        r.register("model_failures", "Jobs of the model without a result", self.model_failures.clone());
        r.register("model_pending", "Jobs of the model that wait or run", self.model_pending.clone());
        let (queue, compute) = (self.model_queue_seconds.clone(), self.model_compute_seconds.clone());
        r.register_with_unit("model_queue", "Time that jobs with a result waited for a thread", Unit::Seconds, queue);
        r.register_with_unit("model_compute", "Time that jobs with a result ran", Unit::Seconds, compute);
        r.register("events", "Events begun", self.events.clone());
        r.register_with_unit(
            "event_commit",
            "Decision to durable record",
            Unit::Seconds,
            self.event_commit_seconds.clone(),
        );
        r.register("delivered_items", "Items delivered and confirmed", self.delivered.clone());
        r.register_with_unit("delivered", "Bytes delivered and confirmed", Unit::Bytes, self.delivered_bytes.clone());
        r.register("delivery_failures", "Delivery tries that failed", self.delivery_failures.clone());
        r.register("upload_link", "1 for the state that a destination's link is in", self.upload_link.clone());
        r.register(
            "upload_bytes_per_second",
            "Bytes a second that got through lately",
            self.upload_bytes_per_second.clone(),
        );
        r.register("queue_items", "Items waiting for delivery", self.queue_items.clone());
        r.register(
            "camera_online",
            "1 while the camera gives packets; missing for a file that was played to its end",
            self.camera_online.clone(),
        );
        r.register("live_viewers", "Viewers of the camera's video", self.live_viewers.clone());
        r.register("webrtc_sessions", "WebRTC sessions", self.webrtc_sessions.clone());
        r.register("webrtc_packets", "Media packets of these", self.webrtc_packets.clone());
        r.register_with_unit("webrtc", "Bytes of media packets", Unit::Bytes, self.webrtc_bytes.clone());
        r.register("webrtc_packets_lost", "Media packets lost on the way", self.webrtc_packets_lost.clone());
        r.register("webrtc_resend_requests", "Requests for lost packets", self.webrtc_resend_requests.clone());
        r.register("webrtc_key_frame_requests", "Requests for a key frame", self.webrtc_key_frame_requests.clone());
        r.register(
            "camera_degraded",
            "1 while the camera is connected, but nothing comes out of the stage",
            self.camera_degraded.clone(),
        );
        r.register("damaged_files", "Files of events found damaged or missing", self.damaged_files.clone());
        r.register("index_rebuild_left", "Events that a rebuild of the index has left", self.rebuild_left.clone());
        r.register("index_full", "1 while the index refuses new records for want of room", self.index_full.clone());
        r.register_with_unit(
            "disk_free",
            "Free space on the archive volume",
            Unit::Bytes,
            self.disk_free_bytes.clone(),
        );
        r.register(
            "load_level",
            "Level of the overload ladder: 0 does everything, 6 the least",
            self.load_level.clone(),
        );
        r.register_with_unit("disk_size", "Size of the archive volume", Unit::Bytes, self.disk_size_bytes.clone());
        r.register_with_unit("held", "Recordings on the box", Unit::Bytes, self.held_bytes.clone());
        r.register("evicted_files", "Files deleted from the box", self.evicted_files.clone());
        r.register_with_unit("evicted", "Bytes deleted from the box", Unit::Bytes, self.evicted_bytes.clone());
        r.register(
            "recording_level",
            "0: all is recorded, 1: no continuous video, 2: no clips, 3: no pictures, 4: nothing",
            self.recording_level.clone(),
        );
        r.register("spooling", "1 while the spool stands in for the archive's volume", self.spooling.clone());
        r.register_with_unit(
            "volume_probe",
            "Time of a small write to the archive's volume",
            Unit::Seconds,
            self.volume_probe_seconds.clone(),
        );
        r.register("media_skipped", "Events with media left out for lack of space", self.media_skipped.clone());
        r.register("library_files", "Files given to the library", self.library_files.clone());
        let added = self.library_added_bytes.clone();
        r.register_with_unit("library_added", "Bytes of files added to the library", Unit::Bytes, added);
        let inspect = self.library_inspect_seconds.clone();
        r.register_with_unit("library_inspect", "A look at a file, with its thumbnails", Unit::Seconds, inspect);
        let search = self.library_search_seconds.clone();
        r.register_with_unit("library_search", "A page of a search", Unit::Seconds, search);
        r.register("library_photos", "Photos of all users", self.library_photos.clone());
        r.register_with_unit("library", "Bytes of these", Unit::Bytes, self.library_bytes.clone());
        r.register("executions", "Executions that are over", self.executions.clone());
        let execution = self.execution_seconds.clone();
        r.register_with_unit("execution", "An execution, with its result on the disk", Unit::Seconds, execution);
        r.register("library_quota_percent", "Share of its quota that a user takes", self.library_quota_percent.clone());
        r.register("part_restarts", "Parts that hung or panicked and were restarted", self.part_restarts.clone());
    }

    /// Counts what came of sessions since it was counted last.
    pub fn count_sessions(&self, of: &SessionLabel, traffic: Traffic) {
        let values = [
            (&self.webrtc_packets, traffic.packets),
            (&self.webrtc_bytes, traffic.bytes),
            (&self.webrtc_packets_lost, traffic.packets_lost),
            (&self.webrtc_resend_requests, traffic.resend_requests),
            (&self.webrtc_key_frame_requests, traffic.key_frame_requests),
        ];
        for (counter, more) in values {
            counter.get_or_create(of).inc_by(more);
        }
    }

    /// Takes the gauges of camera `name` out: it is not in use any more. Its counters stay, as counters do.
    pub fn forget_camera(&self, name: &str) {
        self.camera_online.remove(&camera(name));
        self.live_viewers.remove(&camera(name));
        for of in crate::health::Stage::ALL {
            self.camera_degraded.remove(&stage(name, of.as_str()));
        }
    }

    /// The OpenMetrics text of all values.
    ///
    /// # Errors
    /// When formatting fails, which a `String` target never does.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.registry.lock())?;
        Ok(out)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_carry_units_and_labels() {
        let metrics = Metrics::new();
        metrics.packet_bytes.get_or_create(&camera("yard")).inc_by(17);
        metrics.detect_seconds.observe(0.07);
        let text = metrics.encode().expect("encode");
        assert!(text.contains("outpost_packet_bytes_total{camera=\"yard\"} 17"), "{text}");
        assert!(text.contains("outpost_detect_seconds_bucket{le=\"0.1\"} 1"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }

    /// One value of every metric, since a family without any is not written.
    fn filled() -> Metrics {
        let metrics = Metrics::new();
        let camera = camera("yard");
        for counter in [
            &metrics.packets,
            &metrics.packet_bytes,
            &metrics.packets_lost,
            &metrics.reconnects,
            &metrics.frames_decoded,
            &metrics.decode_errors,
            &metrics.frames_detected,
            &metrics.events,
            &metrics.media_skipped,
            &metrics.pipeline_failures,
        ] {
            counter.get_or_create(&camera).inc();
        }
        metrics.camera_online.get_or_create(&camera).set(1);
        metrics.camera_degraded.get_or_create(&stage("yard", "decoding")).set(1);
        metrics.live_viewers.get_or_create(&camera).set(1);
        metrics.webrtc_sessions.get_or_create(&session("yard", "player")).set(1);
        metrics.count_sessions(&session("yard", "player"), Traffic::default());
        metrics.dropped.get_or_create(&dropped("yard", "decode_queue")).inc();
        metrics.pipeline_value.get_or_create(&output("yard", "people")).set(1.0);
        metrics.infer_waiting.get_or_create(&priority("camera")).set(1);
        let model = model("m", 2);
        metrics.model_successes.get_or_create(&model).inc();
        metrics.model_failures.get_or_create(&model_failure("m", 2, "backend")).inc();
        metrics.model_pending.get_or_create(&model).set(1);
        metrics.model_queue_seconds.get_or_create(&model).inc_by(0.5);
        metrics.model_compute_seconds.get_or_create(&model).inc_by(0.5);
        let outlet = outlet("mqtt");
        for counter in [&metrics.delivered, &metrics.delivered_bytes, &metrics.delivery_failures] {
            counter.get_or_create(&outlet).inc();
        }
        for gauge in [&metrics.upload_bytes_per_second, &metrics.queue_items] {
            gauge.get_or_create(&outlet).set(1);
        }
        metrics.upload_link.get_or_create(&link_state("upload/cloud", "online")).set(1);
        metrics.library_files.get_or_create(&outcome("added")).inc();
        metrics.executions.get_or_create(&outcome("finished")).inc();
        metrics.library_quota_percent.get_or_create(&owner("anna")).set(1);
        metrics.held_bytes.get_or_create(&class("clips")).set(1);
        metrics.evicted_files.get_or_create(&evicted("clips", "age")).inc();
        metrics.evicted_bytes.get_or_create(&evicted("clips", "age")).inc();
        metrics.part_restarts.get_or_create(&part("governor")).inc();
        metrics
    }

    /// Name, type and labels of each metric, as a row of docs/metrics.md has them.
    fn of_the_program(text: &str) -> BTreeSet<String> {
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        types
            .map(|(name, kind)| {
                let name = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
                let labels = text.lines().find_map(|line| line.strip_prefix(&name)?.strip_prefix('{')?.split_once('}'));
                let labels = labels.map(|(labels, _)| labels.split(',').filter_map(|label| label.split_once('=')));
                let labels: Vec<String> = labels.into_iter().flatten().map(|(label, _)| format!("`{label}`")).collect();
                format!("`{name}` | {kind} | {}", labels.join(", ")).trim_end().to_owned()
            })
            .collect()
    }

    fn of_the_manual(page: &str) -> BTreeSet<String> {
        let rows = page.lines().filter_map(|line| line.strip_prefix("| ")).filter(|row| row.starts_with("`outpost_"));
        let facts = rows.map(|row| row.split(" |").take(3).collect::<Vec<_>>()).filter(|facts| facts.len() == 3);
        // A condition to alert on is not a row of a metric.
        let of_metrics = facts.filter(|facts| facts.first().is_some_and(|name| !name.contains(' ')));
        of_metrics.map(|facts| facts.join(" |").trim_end().to_owned()).collect()
    }

    #[test]
    fn every_metric_is_documented_with_its_type_and_labels() {
        let metrics = of_the_program(&filled().encode().expect("encode"));
        let registered = include_str!("mod.rs").matches("\n        r.register").count();
        assert_eq!(metrics.len(), registered, "each registered metric has a value in this test");
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        let manual = of_the_manual(&std::fs::read_to_string(page).expect("read docs/metrics.md"));
        let missing: Vec<&String> = metrics.difference(&manual).collect();
        let gone: Vec<&String> = manual.difference(&metrics).collect();
        assert!(missing.is_empty() && gone.is_empty(), "docs/metrics.md lacks {missing:#?} and has {gone:#?}");
    }
}
