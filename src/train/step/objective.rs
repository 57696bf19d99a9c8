//! What a model's step minimises.

use crate::autograd::{Tape, Var};
use crate::error::Result;
use crate::nn::Bound;
use crate::ops;
use crate::train::model::{Draws, Loss, Model};
use crate::train::scores::Scores;

/// What training minimises, on the tape: the loss, and the L2 term.
///
/// # Errors
/// If the batch does not fit the model, or the device fails.
pub fn objective<M: Model>(
    model: &M,
    tape: &mut Tape,
    params: &Bound,
    batch: &M::Batch,
    draws: &Draws,
) -> Result<Var> {
    let loss = model.loss(tape, params, batch, Some(draws))?;
    with_l2(model, tape, params, &loss)
}

/// Scores one batch with a model, without changing anything.
///
/// # Errors
/// If the batch does not fit the model, or the device fails.
pub fn score<M: Model>(model: &M, batch: &M::Batch) -> Result<Scores> {
    let mut tape = Tape::inference();
    let params = model.params().bind(&mut tape);
    Scores::of(&model.loss(&mut tape, &params, batch, None)?)
}

/// The loss and the L2 term, on the tape.
pub(super) fn with_l2<M: Model>(
    model: &M,
    tape: &mut Tape,
    params: &Bound,
    loss: &Loss,
) -> Result<Var> {
    match l2_term(model, tape, params)? {
        None => Ok(loss.minimised().clone()),
        Some(penalty) => ops::add(tape, loss.minimised(), &penalty),
    }
}

/// What the whole loss has besides the cross-entropy, a scalar; none where that is all.
pub(super) fn besides<M: Model>(
    model: &M,
    tape: &mut Tape,
    params: &Bound,
    loss: &Loss,
) -> Result<Option<Var>> {
    let penalty = l2_term(model, tape, params)?;
    let Some(smoothed) = &loss.smoothed else {
        return Ok(penalty);
    };
    let constant = |v: &Var| Var::constant(v.value().clone());
    let more = ops::sub(tape, &constant(smoothed), &constant(&loss.ce))?;
    Ok(Some(match penalty {
        None => more,
        Some(penalty) => ops::add(tape, &more, &penalty)?,
    }))
}

/// The sum of factor * sum of squares over the parameters that a model names, a scalar; none without
/// any.
fn l2_term<M: Model>(model: &M, tape: &mut Tape, params: &Bound) -> Result<Option<Var>> {
    let mut sum: Option<Var> = None;
    for (id, factor) in model.l2() {
        let weight = match tape.is_recording() {
            true => params.master(id).clone(),
            false => Var::constant(params.master(id).value().clone()),
        };
        let term = ops::sum_squares(tape, &weight, factor)?;
        sum = Some(match sum {
            None => term,
            Some(sum) => ops::add(tape, &sum, &term)?,
        });
    }
    Ok(sum)
}
