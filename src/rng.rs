//! Counter-based random numbers: Philox4x32-10.
//!
//! Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3" (SC 2011). A number is
//! a pure function of (seed, stream, step, index): the same on every device, in any order, and
//! nothing but the counters has to be saved for a run to be resumed with the same bits.

const M0: u32 = 0xD251_1F53;
const M1: u32 = 0xCD9E_8D57;
const W0: u32 = 0x9E37_79B9;
const W1: u32 = 0xBB67_AE85;

/// Ten rounds of Philox4x32: 128 random bits for a 128-bit counter and a 64-bit key.
#[inline(always)]
pub fn philox4x32_10(mut ctr: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            key = [key[0].wrapping_add(W0), key[1].wrapping_add(W1)];
        }
        let p0 = u64::from(M0) * u64::from(ctr[0]);
        let p1 = u64::from(M1) * u64::from(ctr[2]);
        ctr = [
            (p1 >> 32) as u32 ^ ctr[1] ^ key[0],
            p1 as u32,
            (p0 >> 32) as u32 ^ ctr[3] ^ key[1],
            p0 as u32,
        ];
    }
    ctr
}

/// Blocks `first..first + N` of a stream at once, word by word: `[word][block]`. Written over
/// arrays so that the compiler can use vector registers.
#[inline(always)]
pub fn philox4x32_10_wide<const N: usize>(stream: Stream, first: u64) -> [[u32; N]; 4] {
    let blocks: [u64; N] = std::array::from_fn(|i| first + i as u64);
    let (mut c0, mut c1) = (blocks.map(|b| b as u32), blocks.map(|b| (b >> 32) as u32));
    let (mut c2, mut c3) = ([stream.step; N], [stream.domain; N]);
    let [mut k0, mut k1] = stream.key;
    for round in 0..10 {
        if round > 0 {
            k0 = k0.wrapping_add(W0);
            k1 = k1.wrapping_add(W1);
        }
        let low = c0.iter_mut().zip(&mut c1);
        for ((c0, c1), (c2, c3)) in low.zip(c2.iter_mut().zip(&mut c3)) {
            let p0 = u64::from(M0) * u64::from(*c0);
            let p1 = u64::from(M1) * u64::from(*c2);
            *c0 = (p1 >> 32) as u32 ^ *c1 ^ k0;
            *c1 = p1 as u32;
            *c2 = (p0 >> 32) as u32 ^ *c3 ^ k1;
            *c3 = p0 as u32;
        }
    }
    [c0, c1, c2, c3]
}

/// What a sequence of random numbers is for. Streams never share a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// Initial parameter values; the step is the segment's number.
    Init = 1,
    /// The order of training windows; the step is the epoch.
    Shuffle = 2,
    /// Dropout masks; the step is the training step.
    Dropout = 3,
    /// Sampling while generating; the step is the stream's number, of a source's samples the source's,
    /// and the lane the sample's.
    Sample = 4,
    /// The order of the files of an embedded corpus.
    Corpus = 5,
    /// Which inputs of a decoder are its own predictions; the step is the training step.
    TeacherForcing = 6,
    /// Which windows of a text validate.
    Division = 7,
    /// Resampled files and drawn positions of a study; the step says of what.
    Study = 8,
    /// Words of brackets; the step is the training step, or 0 for those that are scored.
    Dyck = 9,
}

/// A random sequence that is addressed by index.
///
/// Key = seed. Counter = (index / 4 low, index / 4 high, step, purpose + 256 * lane), where `lane`
/// tells apart several sequences of one purpose in one step (the dropout of each layer).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    key: [u32; 2],
    step: u32,
    domain: u32,
}

impl Stream {
    /// The sequence of one purpose at one step.
    pub fn new(seed: u64, purpose: Purpose, step: u32) -> Self {
        Stream {
            key: [seed as u32, (seed >> 32) as u32],
            step,
            domain: purpose as u32,
        }
    }

    /// A sibling sequence of the same purpose and step. `lane` is below 2^24.
    pub fn lane(self, lane: u32) -> Self {
        Stream {
            domain: (self.domain & 0xFF) | (lane << 8),
            ..self
        }
    }

    /// Key (low, high), step and domain: what a kernel needs to make the same numbers.
    pub fn words(&self) -> [u32; 4] {
        [self.key[0], self.key[1], self.step, self.domain]
    }

    /// Random words `4 * block .. 4 * block + 4`.
    #[inline(always)]
    pub fn block(&self, block: u64) -> [u32; 4] {
        philox4x32_10(
            [block as u32, (block >> 32) as u32, self.step, self.domain],
            self.key,
        )
    }

    /// Random word number `index`.
    pub fn word(&self, index: u64) -> u32 {
        self.block(index / 4)[(index % 4) as usize]
    }

    /// Number `index` of the sequence, uniform in [0, 1) with 32 random bits (exact in f64).
    pub fn uniform(&self, index: u64) -> f64 {
        f64::from(self.word(index)) * (1.0 / 4_294_967_296.0)
    }

    /// A cursor that reads the sequence from its start.
    pub fn reader(self) -> Reader {
        self.reader_at(0)
    }

    /// A cursor that reads the sequence from word `index`.
    fn reader_at(self, index: u64) -> Reader {
        Reader {
            stream: self,
            index,
        }
    }
}

/// Reads a [`Stream`] word by word; `position` is all the state it has.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    stream: Stream,
    index: u64,
}

impl Reader {
    /// Words read so far.
    pub fn position(&self) -> u64 {
        self.index
    }

    /// The next 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        self.index += 1;
        self.stream.word(self.index - 1)
    }

    /// Uniform in [0, 1) with 32 random bits (exact in f64).
    pub fn uniform(&mut self) -> f64 {
        self.index += 1;
        self.stream.uniform(self.index - 1)
    }

    /// Uniform integer in `0..bound`, without bias (Lemire 2019, arXiv 1805.10941). `bound` > 0.
    pub fn below(&mut self, bound: u32) -> u32 {
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let wide = u64::from(self.next_u32()) * u64::from(bound);
            if wide as u32 >= threshold {
                return (wide >> 32) as u32;
            }
        }
    }

    /// Standard normal (Box-Muller, two words a number).
    pub fn normal(&mut self) -> f64 {
        let u = 1.0 - self.uniform(); // in (0, 1]: its logarithm is finite
        let v = self.uniform();
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }

    /// Fisher-Yates shuffle in place.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u32 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of Random123 (`kat_vectors`, philox4x32 with 10 rounds).
    #[test]
    fn random123_vectors() {
        assert_eq!(
            philox4x32_10([0; 4], [0; 2]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            philox4x32_10([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox4x32_10(
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0]
            ),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn wide_blocks_are_the_same_blocks() {
        let stream = Stream::new(11, Purpose::Dropout, 3).lane(2);
        let first = (1u64 << 32) - 5; // the carry into the second word is crossed
        let wide = philox4x32_10_wide::<16>(stream, first);
        for (word, blocks) in wide.iter().enumerate() {
            for (i, &bits) in blocks.iter().enumerate() {
                assert_eq!(bits, stream.block(first + i as u64)[word]);
            }
        }
    }

    /// Kernels make the same numbers from these words, and resumed runs go on with them.
    #[test]
    fn the_words_of_a_stream() {
        let stream = Stream::new(7 << 32 | 9, Purpose::Dropout, 5);
        assert_eq!(stream.words(), [9, 7, 5, 3]);
        // The lane replaces the one before it.
        let lane = stream.lane(0xAB_CDEF).lane(0x12_3456);
        assert_eq!(lane.words(), [9, 7, 5, 0x1234_5603]);
        assert_eq!(
            lane.block(1 << 32 | 6),
            philox4x32_10([6, 1, 5, 0x1234_5603], [9, 7])
        );
        let mut reader = lane.reader();
        assert_eq!(reader.position(), 0);
        reader.normal();
        assert_eq!(reader.position(), 2);
    }

    #[test]
    fn streams_do_not_overlap_and_readers_continue() {
        let a = Stream::new(1, Purpose::Dropout, 5);
        assert_ne!(a.block(0), a.lane(1).block(0));
        assert_ne!(a.block(0), Stream::new(1, Purpose::Dropout, 6).block(0));
        assert_ne!(a.block(0), Stream::new(2, Purpose::Dropout, 5).block(0));
        assert_ne!(a.block(0), Stream::new(1, Purpose::Init, 5).block(0));
        let mut whole = a.reader();
        let first: Vec<u32> = (0..7).map(|_| whole.next_u32()).collect();
        let mut rest = a.reader_at(3);
        let tail: Vec<u32> = (0..4).map(|_| rest.next_u32()).collect();
        assert_eq!(first[3..], tail);
    }

    #[test]
    fn moments_and_permutation() {
        let mut r = Stream::new(7, Purpose::Init, 0).reader();
        let n = 20_000;
        let xs: Vec<f64> = (0..n).map(|_| r.normal()).collect();
        let mean = xs.iter().sum::<f64>() / f64::from(n);
        let var = xs.iter().map(|x| x * x).sum::<f64>() / f64::from(n);
        // 4 standard errors: 4 / sqrt(20000) and 4 * sqrt(2 / 20000).
        assert!(
            mean.abs() < 0.029 && (var - 1.0).abs() < 0.04,
            "{mean} {var}"
        );
        let mut order: Vec<u32> = (0..1000).collect();
        r.shuffle(&mut order);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_ne!(order, sorted);
        assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
    }
}
