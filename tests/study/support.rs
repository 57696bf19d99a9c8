//! Small texts, and models whose figures are known.

use rnnx::Result;
use rnnx::data::chars::CharVocab;
use rnnx::programs::charlm::study::dump::{FileDump, Symbols, dump};
use rnnx::programs::charlm::study::estimate::{Bootstrap, Estimate};
use rnnx::programs::charlm::study::measures::reading::Reading;
use rnnx::programs::charlm::study::predictor::{Oracle, Predictor, Uniform};
use rnnx::programs::charlm::study::source::SourceFile;

/// Number of ids: newline and printable ASCII.
pub const V: usize = 96;

/// Ids are sorted characters, so that the newline is 0 and the blank 1.
pub fn vocab() -> CharVocab {
    let printable = (b' '..=b'~').map(char::from);
    CharVocab::from_tokens(['\n'].into_iter().chain(printable)).unwrap()
}

pub fn id(c: char) -> usize {
    usize::from(vocab().id(c).unwrap())
}

/// A file named by its number.
pub fn files<S: AsRef<str>>(texts: &[S]) -> Vec<SourceFile> {
    let vocab = vocab();
    let file = |(i, text): (usize, &S)| {
        let chars: Vec<char> = text.as_ref().chars().collect();
        let ids = chars.iter().map(|&c| u32::from(vocab.id(c).unwrap()));
        SourceFile::new(format!("{i}.py"), chars.clone(), ids.collect())
    };
    texts.iter().enumerate().map(file).collect()
}

/// Two files of a text, `times` times in each.
pub fn two_of(text: &str, times: usize) -> Vec<SourceFile> {
    files(&[text.repeat(times), text.repeat(times)])
}

/// What models say of files.
pub struct Said<'a> {
    files: &'a [SourceFile],
    dumps: Vec<FileDump>,
    bootstrap: Bootstrap,
}

impl<'a> Said<'a> {
    pub fn by(
        files: &'a [SourceFile],
        make: impl Fn(&'a SourceFile) -> Box<dyn Predictor + 'a> + Sync,
    ) -> Self {
        let make = |file| -> Result<_> { Ok(make(file)) };
        Said {
            files,
            dumps: dump(files, Symbols::of(&vocab()), make).unwrap(),
            bootstrap: Bootstrap::new(files.len()),
        }
    }

    pub fn by_oracle(files: &'a [SourceFile]) -> Self {
        Said::by(files, |file| Box::new(Oracle::new(&file.ids, V)))
    }

    pub fn by_uniform(files: &'a [SourceFile]) -> Self {
        Said::by(files, |_| Box::new(Uniform { vocab: V }))
    }

    pub fn reading(&self) -> Reading<'_> {
        Reading {
            files: self.files,
            dumps: &self.dumps,
            bootstrap: &self.bootstrap,
        }
    }

    pub fn dumps(&self) -> &[FileDump] {
        &self.dumps
    }
}

/// An estimate of files that are all alike: the interval is the mean.
#[track_caller]
pub fn assert_is(estimate: Option<Estimate>, mean: f64) {
    let found = estimate.expect("is not blank");
    for x in [Some(found.mean), found.low, found.high] {
        let x = x.expect("two files give an interval");
        assert!(
            (x - mean).abs() <= 1e-5 * mean.abs().max(1e-6),
            "{found:?} is not {mean}"
        );
    }
}

/// A model of this many characters in a row: what it says is a function of all that it has read.
pub struct Reader<F> {
    read: Vec<u32>,
    held: usize,
    says: F,
}

/// A model that says of the characters read, as ids, which are likely: pairs of an id and its
/// probability. The rest is spread over the other ids.
pub fn reader<'a, F: Fn(&[u32]) -> Vec<(usize, f32)> + 'a>(says: F) -> Box<dyn Predictor + 'a> {
    Box::new(Reader {
        read: Vec::new(),
        held: 0,
        says,
    })
}

impl<F: Fn(&[u32]) -> Vec<(usize, f32)>> Predictor for Reader<F> {
    fn vocab(&self) -> usize {
        V
    }

    fn reset(&mut self) {
        self.read.clear();
    }

    fn predict(&mut self, probabilities: &mut [f32]) {
        let said = (self.says)(&self.read);
        let rest = 1.0 - said.iter().map(|(_, p)| p).sum::<f32>();
        probabilities.fill(rest / (V - said.len()) as f32);
        for (id, p) in said {
            probabilities[id] = p;
        }
    }

    fn read(&mut self, id: u32) {
        self.read.push(id);
    }

    fn hold(&mut self) {
        self.held = self.read.len();
    }

    fn rewind(&mut self) {
        self.read.truncate(self.held);
    }
}

/// A stack of brackets: says 0.5 for the closer of the innermost open bracket, and 0 for closers where
/// none is open. What was opened more than `reach` characters ago it knows to be open, but not which
/// bracket it is: then each closer has a sixth.
pub fn stack<'a>(reach: usize) -> Box<dyn Predictor + 'a> {
    let [openers, closers] = ["([{", ")]}"].map(|of| of.chars().map(id).collect::<Vec<_>>());
    reader(move |read| {
        let mut open: Vec<(usize, usize)> = Vec::new();
        for (at, &c) in read.iter().enumerate() {
            if let Some(kind) = openers.iter().position(|&o| o == c as usize) {
                open.push((at, kind));
            } else if closers.contains(&(c as usize)) {
                open.pop();
            }
        }
        match open.last() {
            None => closers.iter().map(|&c| (c, 0.0)).collect(),
            Some((at, kind)) if read.len() - at <= reach => vec![(closers[*kind], 0.5)],
            Some(_) => closers.iter().map(|&c| (c, 1.0 / 6.0)).collect(),
        }
    })
}
