//! The program as users run it: what it prints, writes, refuses and returns.

mod bad_input;
mod damage;
mod eval;
mod generate;
mod gpu;
mod others;
mod report;
mod resume;
mod selftest;
mod support;
mod train;
