//! The records of runs as CSV (RFC 4180), for spreadsheets and data frames.

use csv::{Error, WriterBuilder};
use serde::Serialize;

use super::run::RunData;

/// A record, whose columns are named as the fields of `metrics.jsonl` are. What it does not have is an
/// empty cell.
#[derive(Default, Serialize)]
struct Row<'a> {
    run: &'a str,
    event: &'static str,
    epoch: u64,
    step: Option<u64>,
    loss: Option<f64>,
    ce: Option<f64>,
    accuracy: Option<f64>,
    grad_norm: Option<f64>,
    lr: Option<f64>,
    loss_scale: Option<f64>,
    tokens_per_s: Option<f64>,
    train_loss: Option<f64>,
    train_accuracy: Option<f64>,
    valid_loss: Option<f64>,
    valid_accuracy: Option<f64>,
    averaged: Option<u64>,
    seconds: Option<f64>,
}

/// A table with a row for each step, validation inside of an epoch or of an average, and epoch, run
/// after run in the order of training. Numbers have as many digits as give back the same bits; one that is not finite is
/// an empty cell.
///
/// # Errors
/// What the writer of the table says.
pub fn to_csv(runs: &[RunData]) -> Result<Vec<u8>, Error> {
    let mut out = WriterBuilder::new()
        .has_headers(false)
        .from_writer(header()?);
    for run in runs {
        for row in rows(run) {
            out.serialize(row)?;
        }
    }
    out.into_inner().map_err(|e| e.into_error().into())
}

/// The line of the columns, which a table without rows has, too.
fn header() -> Result<Vec<u8>, Error> {
    let mut out = WriterBuilder::new().from_writer(Vec::new());
    out.serialize(Row::default())?;
    let mut table = out.into_inner().map_err(|e| e.into_error())?;
    let end = table.iter().position(|&byte| byte == b'\n');
    table.truncate(end.map_or(0, |end| end + 1));
    Ok(table)
}

fn rows(run: &RunData) -> Vec<Row<'_>> {
    let finite = |x: f64| x.is_finite().then_some(x);
    let row = |event, epoch, step| Row {
        run: &run.name,
        event,
        epoch,
        step,
        ..Row::default()
    };
    let steps = run.steps.iter().map(|e| Row {
        loss: finite(e.loss),
        ce: finite(e.ce),
        accuracy: finite(e.accuracy),
        grad_norm: finite(e.grad_norm),
        lr: finite(e.lr),
        loss_scale: e.loss_scale.and_then(finite),
        tokens_per_s: finite(e.tokens_per_s),
        ..row("step", e.epoch, Some(e.step))
    });
    let valids = run.valids.iter().chain(&run.average).map(|e| Row {
        valid_loss: finite(e.valid_loss),
        valid_accuracy: finite(e.valid_accuracy),
        averaged: e.averaged,
        ..row("valid", e.epoch, Some(e.step))
    });
    let epochs = run.epochs.iter().map(|e| Row {
        train_loss: finite(e.train_loss),
        train_accuracy: finite(e.train_accuracy),
        valid_loss: e.valid_loss.and_then(finite),
        valid_accuracy: e.valid_accuracy.and_then(finite),
        seconds: finite(e.seconds),
        ..row("epoch", e.epoch, e.step)
    });
    let mut rows: Vec<Row> = steps.chain(valids).chain(epochs).collect();
    // An epoch's record is its last, whether or not it says its step; of a step the validation follows.
    // An average is made when all has ended.
    rows.sort_by_key(|row| (row.averaged, row.epoch, row.event == "epoch", row.step));
    rows
}
