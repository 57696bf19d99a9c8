//! Causes, not only correlations: what the units of a character LM hold, and what becomes of its
//! predictions when they, or the text, are changed.
//!
//! [`follow`] searches the units for those that tell the structure of the text, [`memory`] asks how
//! long units keep what they hold. [`swaps`] changes an opener, [`units`] fixes or patches single units,
//! [`context`] changes what is far away. [`writing`] judges what the model writes by itself, and
//! [`dyck`] is a language whose rule is known. All but [`writing`] see the model as a [`network`] whose
//! state can be copied and held; [`stepper`] is that of a character LM.

pub mod auc;
pub mod brackets;
pub mod context;
pub mod draws;
pub mod dyck;
pub mod follow;
pub mod measures;
pub mod memory;
pub mod network;
pub mod record;
pub mod repeats;
pub mod stepper;
pub mod swaps;
pub mod tables;
pub mod units;
pub mod writing;
