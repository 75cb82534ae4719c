//! Outpost: cameras in, local inference, durable events, delivery when the link allows.
//!
//! ```text
//! camera -> source -> [preroll ring] -> gate -> decode -> infer -> track -> rules -> record -> store -> upload / alert / lake
//!                                                                                                  \-> service -> web, MQTT, command line
//! ```
//!
//! The recorder writes clips, pictures and `event.json` into the archive, then the index of the store. The store is the
//! only thing between cameras and outlets: upload, alert and lake drain its durable queues, so "offline" is not a mode but a queue that grows. ARCHITECTURE.md has the map.

pub mod age_limit;
pub mod allocator;
pub mod byte_size;
pub mod clock;
pub mod durable;
pub mod health;
pub mod load;
pub mod metrics;
pub mod seal;
pub mod supervise;
pub mod telemetry;
pub mod volume_folder;
pub mod zone;

pub mod allowance;
pub mod asset;
pub mod away;
pub mod control;
pub mod coverage;
pub mod destination;
pub mod detection;
pub mod event;
pub mod execution;
pub mod frame;
pub mod photo;
pub mod polygon;
pub mod reception;
pub mod schedule;
pub mod segment;
pub mod status;

pub mod source;

pub mod gate;

pub mod decode;

pub mod infer;

pub mod track;

pub mod rules;

pub mod mux;

pub mod picture;

pub mod store;

pub mod access;
pub mod audit;
pub mod discovery;

pub mod archive;

pub mod record;

pub mod block;
pub mod executor;
pub mod library;
pub mod live;
pub mod webrtc;

pub mod coverage_export;
pub mod recovery;
pub mod retention;
pub mod timekeeper;

pub mod upload;

pub mod lake;

pub mod alert;

pub mod service;

pub mod web;

pub mod app;
pub mod backtest;
pub mod cameras;
pub mod cli;
pub mod config;
pub mod pipeline;
pub mod reload;
pub mod volume_session;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod waiting;
