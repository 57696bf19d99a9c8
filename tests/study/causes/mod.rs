//! Measures of causes, on networks whose inside was written by hand.

mod auc;
mod brackets;
mod context;
mod dyck;
mod follow;
mod measures;
mod memory;
mod models;
mod repeats;
mod stepper;
mod writing;
