//! Stage 6: does it matter?
