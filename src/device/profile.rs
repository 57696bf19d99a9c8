//! Where a GPU's time goes: each kernel and each product between two events of its own.
//!
//! The events keep neighbours from overlapping and cost a little themselves, so that the sum is an
//! upper bound; a captured graph has shorter gaps.

use super::driver::{Driver, Event, Gemm, Launch};
use crate::error::Result;
use serde::Serialize;
use std::collections::HashMap;

/// What one name was issued for, all calls together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// The kernel, or `gemm` with rows, columns and length of the sums, and the data type.
    pub what: String,
    /// Calls.
    pub count: usize,
    /// Milliseconds of all calls.
    pub ms: f64,
    /// 10^9 multiplications and additions a second; products only.
    pub gflops: Option<f64>,
    /// 10^9 bytes a second that have to be read and written; products only.
    pub gb_per_s: Option<f64>,
}

/// Where the time of some work went.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Profile {
    /// Milliseconds from the first call to the end of the last.
    pub total_ms: f64,
    /// Milliseconds of all calls; the rest is gaps between them, and copies.
    pub busy_ms: f64,
    /// What was called, the longest first.
    pub lines: Vec<Line>,
}

/// A call that is watched.
#[derive(Debug)]
pub(super) struct Call {
    what: String,
    flop: f64,
    bytes: f64,
}

impl Call {
    pub(super) fn kernel(launch: &Launch) -> Self {
        Call {
            what: launch.kernel.to_owned(),
            flop: 0.0,
            bytes: 0.0,
        }
    }

    /// Row-major, as the ops see it: cuBLAS's m are its columns.
    pub(super) fn gemm(gemm: &Gemm) -> Self {
        let Gemm {
            batch,
            m,
            n,
            k,
            a,
            c,
            ..
        } = *gemm;
        let passes = if gemm.beta == 0.0 { 1 } else { 2 };
        let bytes = (m * k + k * n) * a.dtype.size() + passes * m * n * c.dtype.size();
        let times = match batch {
            1 => String::new(),
            n => format!("{n} x "),
        };
        let batch = batch as f64;
        Call {
            what: format!("gemm {times}{n}x{m}x{k} {}", a.dtype),
            flop: 2.0 * batch * m as f64 * n as f64 * k as f64,
            bytes: batch * bytes as f64,
        }
    }
}

/// The calls of a stretch of work, each with the points before and after it.
#[derive(Debug, Default)]
pub(super) struct Watch(Vec<(Call, Event, Event)>);

impl Watch {
    pub(super) fn add(&mut self, call: Call, from: Event, to: Event) {
        self.0.push((call, from, to));
    }

    /// Waits for the device and sums up.
    pub(super) fn conclude(self, driver: &dyn Driver) -> Result<Profile> {
        let total_ms = match (self.0.first(), self.0.last()) {
            (Some((_, first, _)), Some((.., last))) => driver.elapsed_ms(first, last)?.into(),
            _ => 0.0,
        };
        let mut sums: HashMap<String, (usize, f64, f64, f64)> = HashMap::new();
        for (call, from, to) in self.0 {
            let ms = f64::from(driver.elapsed_ms(&from, &to)?);
            let sum = sums.entry(call.what).or_default();
            *sum = (sum.0 + 1, sum.1 + ms, sum.2 + call.flop, sum.3 + call.bytes);
        }
        let rate = |amount: f64, ms: f64| (amount > 0.0 && ms > 0.0).then(|| amount / ms / 1e6);
        let lines = sums
            .into_iter()
            .map(|(what, (count, ms, flop, bytes))| Line {
                what,
                count,
                ms,
                gflops: rate(flop, ms),
                gb_per_s: rate(bytes, ms),
            });
        let mut lines: Vec<Line> = lines.collect();
        lines.sort_by(|a, b| b.ms.total_cmp(&a.ms).then_with(|| a.what.cmp(&b.what)));
        Ok(Profile {
            total_ms,
            busy_ms: lines.iter().map(|line| line.ms).sum(),
            lines,
        })
    }
}

impl Profile {
    /// Lines for people.
    pub fn text(&self) -> Vec<String> {
        let share = |ms: f64| 100.0 * ms / self.total_ms;
        let head = format!(
            "one step, call by call: {:.3} ms, of which {:.3} ms in calls",
            self.total_ms, self.busy_ms
        );
        let lines = self.lines.iter().map(|line| {
            let rates = match (line.gflops, line.gb_per_s) {
                (Some(flop), Some(bytes)) => format!(", {flop:.0} GFLOP/s, {bytes:.0} GB/s"),
                _ => String::new(),
            };
            format!(
                "{:5.1} %  {:9.4} ms  {:6} x {:8.2} us  {}{rates}",
                share(line.ms),
                line.ms,
                line.count,
                1e3 * line.ms / line.count as f64,
                line.what
            )
        });
        [head].into_iter().chain(lines).collect()
    }
}
