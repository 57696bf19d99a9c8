//! The study of a character LM: measures on models whose figures are known.

mod causes;
