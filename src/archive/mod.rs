//! Outlet: events to files on the box.
