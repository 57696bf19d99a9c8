//! The figures of a batch.

use super::model::Loss;
use crate::error::{Error, Result};
use crate::files::state::LossScaler;
use crate::interrupt;
use crate::optim::adam_gpu::GpuAdamStep;
use crate::ranks::Ranks;
use crate::ranks::message::{Reader, Writer};

/// The figures of one batch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scores {
    /// Loss in nats a token, L2 included.
    pub loss: f64,
    /// Cross-entropy in nats a token.
    pub ce: f64,
    /// Tokens predicted right.
    pub correct: usize,
    /// Tokens that the figures are of.
    pub tokens: f64,
    /// Norm of the gradient over all tensors, before clipping; not finite after a bad step, which
    /// then changed nothing. Zero where there was no backward pass.
    pub grad_norm: f64,
    /// The loss scale of the next step and its counters, in mixed precision.
    pub scaler: Option<LossScaler>,
    /// The step changed nothing but the loss scale, for an overflow of f16.
    pub skipped: bool,
}

/// How many numbers are the figures of a batch.
pub(crate) const FIGURES: usize = 9;

/// What stands for no loss scaler: none has a scale of 0.
const NO_SCALER: LossScaler = LossScaler {
    scale: 0.0,
    good_steps: 0,
    skipped: 0,
};

impl Scores {
    /// The figures of a loss, once it is computed.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn of(loss: &Loss) -> Result<Self> {
        let ce = loss.ce.value().item()?;
        Ok(Scores {
            loss: ce,
            ce,
            correct: loss.correct.item()? as usize,
            tokens: loss.tokens as f64,
            ..Scores::default()
        })
    }

    /// The figures of a step that was taken on several batches: means by token, and what the
    /// optimizer left after the last of them. Of one batch they are its own, to the bit.
    pub(crate) fn joined(parts: &[Scores]) -> Option<Self> {
        let last = *parts.last()?;
        if parts.len() == 1 {
            return Some(last);
        }
        let tokens: f64 = parts.iter().map(|s| s.tokens).sum();
        let mean = |of: fn(&Scores) -> f64| {
            let sum: f64 = parts.iter().map(|s| of(s) * s.tokens).sum();
            sum / tokens
        };
        Some(Scores {
            loss: mean(|s| s.loss),
            ce: mean(|s| s.ce),
            correct: parts.iter().map(|s| s.correct).sum(),
            tokens,
            ..last
        })
    }

    /// The same as numbers, as ranks send them to one another.
    pub(crate) fn figures(&self) -> [f64; FIGURES] {
        let scaler = self.scaler.unwrap_or(NO_SCALER);
        [
            self.loss,
            self.ce,
            self.correct as f64,
            self.tokens,
            self.grad_norm,
            f64::from(u8::from(self.skipped)),
            scaler.scale,
            f64::from(scaler.good_steps),
            scaler.skipped as f64,
        ]
    }

    /// The scores of lists of [`Scores::figures`], one after the other.
    pub(crate) fn of_figures(figures: &[f64]) -> impl Iterator<Item = Self> {
        figures.chunks_exact(FIGURES).map(|of| {
            let scaler = LossScaler {
                scale: of[6],
                good_steps: of[7] as u32,
                skipped: of[8] as u64,
            };
            Scores {
                loss: of[0],
                ce: of[1],
                correct: of[2] as usize,
                tokens: of[3],
                grad_norm: of[4],
                skipped: of[5] != 0.0,
                scaler: Some(scaler).filter(|scaler| *scaler != NO_SCALER),
            }
        })
    }

    /// Takes over what the optimizer of a GPU left.
    pub(crate) fn add_optimizer(&mut self, left: GpuAdamStep, mixed: bool) {
        self.grad_norm = left.norm;
        if mixed {
            self.scaler = Some(left.scaler);
            self.skipped = left.skipped;
        }
    }
}

/// Mean figures over many batches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Means {
    /// Cross-entropy in nats a token.
    pub loss: f64,
    /// Share of tokens predicted right.
    pub accuracy: f64,
}

impl Means {
    /// Scores batch after batch, of which each rank takes some; none without a token. The sums are taken
    /// in the order of the batches, so the figures are those of one rank, to the bit.
    ///
    /// # Errors
    /// Those of `score`; [`Error::Interrupted`] between two batches, if any rank is; if one is lost.
    pub fn over<B>(
        ranks: &Ranks,
        batches: impl IntoIterator<Item = B>,
        mut score: impl FnMut(B) -> Result<Scores>,
    ) -> Result<Option<Self>> {
        let (mut own, mut interrupted) = (Vec::new(), false);
        for batch in batches.into_iter().skip(ranks.rank()).step_by(ranks.size()) {
            interrupted = interrupt::asked();
            if interrupted {
                break;
            }
            own.extend(score(batch)?.figures());
        }
        let mut message = Writer::default();
        message.f64s(&[f64::from(u8::from(interrupted))]);
        message.f64s(&own);
        let all = ranks.settle(message.bytes(), |all| merged(&all))?;
        let mut all = Reader::new(&all);
        if all.f64s()? != [0.0] {
            return Err(Error::Interrupted("interrupted while it was scored".into()));
        }
        let (mut loss, mut correct, mut tokens) = (0.0, 0.0, 0.0);
        for scores in Scores::of_figures(&all.f64s()?) {
            loss += scores.ce * scores.tokens;
            correct += scores.correct as f64;
            tokens += scores.tokens;
        }
        Ok((tokens > 0.0).then(|| Means {
            loss: loss / tokens,
            accuracy: correct / tokens,
        }))
    }
}

/// At rank 0: how many ranks were interrupted, and the figures of all batches in their order.
fn merged(all: &[Vec<u8>]) -> Result<Vec<u8>> {
    let (mut interrupted, mut lists) = (0.0, Vec::new());
    for bytes in all {
        let mut message = Reader::new(bytes);
        interrupted += message.f64s()?.iter().sum::<f64>();
        lists.push(message.f64s()?);
    }
    let batches = lists.iter().map(|list| list.len() / FIGURES).max();
    let mut figures = Vec::new();
    for batch in 0..batches.unwrap_or(0) {
        let of = |list: &Vec<f64>| {
            list.get(batch * FIGURES..(batch + 1) * FIGURES)
                .map(<[f64]>::to_vec)
        };
        figures.extend(lists.iter().filter_map(of).flatten());
    }
    let mut message = Writer::default();
    message.f64s(&[interrupted]);
    message.f64s(&figures);
    Ok(message.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_come_back_from_their_figures() {
        let plain = Scores {
            loss: 2.5,
            ce: f64::NAN,
            correct: 3,
            tokens: 7.0,
            grad_norm: f64::INFINITY,
            scaler: None,
            skipped: true,
        };
        let scaled = Scores {
            scaler: Some(LossScaler {
                scale: 1024.0,
                good_steps: 5,
                skipped: 1 << 40,
            }),
            ..Scores::default()
        };
        let list = [plain, scaled].map(|scores| scores.figures()).concat();
        let read: Vec<Scores> = Scores::of_figures(&list).collect();
        assert_eq!(format!("{read:?}"), format!("{:?}", [plain, scaled]));
    }
}
