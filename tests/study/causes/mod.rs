//! Measures of causes, on networks whose inside was written by hand.

mod dyck;
mod models;
mod stepper;
