//! Stage 7: make it durable.
