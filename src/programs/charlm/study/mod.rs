//! `rnnx study`: how far does a character LM remember?

pub mod causes;
