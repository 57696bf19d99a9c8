//! Causes, not only correlations: what the units of a character LM hold, and what happens to its
//! predictions when they, or the text, are changed.

pub mod dyck;
pub mod network;
pub mod stepper;
