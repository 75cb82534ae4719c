//! Stage 5: the same object from frame to frame.
