//! The commands of the program, one file each.

pub mod data;
pub mod inspect;
