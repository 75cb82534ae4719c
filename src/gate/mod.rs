//! Stage 2: is a frame worth looking at?
