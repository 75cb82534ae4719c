//! Stage 4: what is in the picture?
