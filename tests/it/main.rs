//! The built daemon against the real things: an RTSP server, Mosquitto, SeaweedFS, Azurite, Chromium, systemd.
//!
//! Every test starts its own servers on ports of its own and ends them by their process id. What they
//! need is installed by `make setup`; the machine's other services are never touched.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by a panic")]

mod harness;

mod layering;

mod access;
mod activity;
mod alerts;
mod api;
mod audio;
mod browser;
mod camera_config;
mod camera_pipelines;
mod cameras;
mod changes;
mod cli;
#[cfg(target_arch = "x86_64")]
mod clock;
mod clouds;
mod compatibility;
mod connections;
mod continuous;
mod crash;
mod degraded;
mod diagnostics;
mod dropped;
mod end_to_end;
mod events_page;
mod executions;
mod first_camera;
mod home_assistant;
mod lake;
mod library;
mod library_backup;
mod link;
mod live;
mod manners;
mod metered;
mod model_versions;
mod models;
mod network_streams;
mod older_version;
mod optional;
mod outages;
mod overload;
mod pages;
mod photo_crash;
mod photo_files;
mod photo_folders;
mod photo_gallery;
mod photo_storage;
mod photo_uploads;
mod pictures;
#[cfg(target_arch = "x86_64")]
mod pipelines_page;
mod power_cut;
mod proxy_login;
mod publish;
mod reload;
mod retention;
mod sealed;
mod service;
mod shared_video;
mod soak;
mod store_command;
mod timeline;
mod tls;
mod torn_writes;
#[cfg(target_arch = "x86_64")]
mod v4l2;
mod volumes;
mod webhooks;
mod whep;
