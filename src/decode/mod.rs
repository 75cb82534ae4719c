//! Stage 3: packets to pictures.
