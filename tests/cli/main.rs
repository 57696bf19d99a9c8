//! The program as users run it: what it prints, writes, refuses and returns.

mod bad_input;
mod damage;
mod generate;
mod others;
mod report;
mod resume;
mod support;
mod train;
