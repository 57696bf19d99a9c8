//! The study of a character LM: its lexer, its measures and its command.

mod causes;
mod lexer;
