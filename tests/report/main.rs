//! The HTML report and the attention picture: what they show, and that they need nothing but
//! themselves.

mod attention;
mod charlm;
mod command;
mod pairs;
mod seq2seq;
mod support;
