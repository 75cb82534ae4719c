//! Outlet: the page, the API and the metrics.
