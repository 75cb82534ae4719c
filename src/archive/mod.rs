//! Outlet: events to files on the box.

pub mod mux;
