//! The built daemon against the real things: an RTSP server, Mosquitto, SeaweedFS, Chromium.
//!
//! Every test starts its own servers on ports of its own and ends them by their process id. What they
//! need is installed by `make setup`; the machine's other services are never touched.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by a panic")]

mod harness;

mod layering;

mod browser;
mod cameras;
mod cli;
mod crash;
mod end_to_end;
mod outages;
mod store_command;
mod torn_writes;
