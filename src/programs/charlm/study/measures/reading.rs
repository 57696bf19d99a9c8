//! What measures are taken of, and what is right.

use crate::programs::charlm::study::dump::{FileDump, Position};
use crate::programs::charlm::study::estimate::Bootstrap;
use crate::programs::charlm::study::source::SourceFile;
use crate::programs::charlm::study::syntax::BracketKind;

/// Files and what a model said of them, file by file.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// The files.
    pub files: &'a [SourceFile],
    /// Of each file.
    pub dumps: &'a [FileDump],
    /// The draws of as many files.
    pub bootstrap: &'a Bootstrap,
}

impl<'a> Reading<'a> {
    /// The number of each file, the file, and what the model said of it.
    pub fn each(&self) -> impl Iterator<Item = (usize, &'a SourceFile, &'a FileDump)> {
        let pairs = self.files.iter().zip(self.dumps).enumerate();
        pairs.map(|(i, (file, dump))| (i, file, dump))
    }
}

/// 1 where the likeliest character is the one that stands there, else 0.
pub fn top1(file: &SourceFile, dump: &FileDump, at: usize) -> f64 {
    f64::from(u8::from(dump.positions[at].argmax == file.ids[at]))
}

/// 1 where the closer that stands at a place is the likeliest closer, else 0. With two as likely it
/// is not.
pub fn type_right(position: &Position, kind: BracketKind) -> f64 {
    let own = kind as usize;
    let mut others = (0..3).filter(|&other| other != own);
    let is_right = others.all(|other| position.closers[other] < position.closers[own]);
    f64::from(u8::from(is_right))
}
