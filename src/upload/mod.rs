//! Outlet: files to the cloud.
