//! `rnnx selftest`: the op table on a device against the CPU reference, or whole sequences in one kernel against
//! their steps.

use super::args::SelftestArgs;
use super::process::emit;
use crate::log;
use crate::selftest::recurrence::{self, Grid};
use crate::selftest::{self, CaseResult};
use crate::train::device;
use crate::train::device::{DeviceChoice, Precision};
use crate::{Error, Result};
use serde_json::{Value, json};
use std::cmp::Ordering;

/// What to do where a case fails.
const NO_TRAINING: &str = "Do not train on this device before they pass";
const NO_WHOLE: &str = "Train with --recurrence steps before they pass";

/// Runs the table, or the grid of recurrences, and prints it, as text or as one JSON object.
///
/// # Errors
/// [`Error::Device`] for a device that is not there, [`Error::Usage`] for a filter that fits no op, or a grid of
/// recurrences for the CPU; [`Error::Op`] that names the cases which failed, or if the grid has no case that the
/// device takes whole.
pub fn run(args: &SelftestArgs) -> Result<()> {
    let filter = args.filter.as_deref();
    let ops = match args.recurrence {
        true => recurrence::OPS.to_vec(),
        false => selftest::ops(),
    };
    if let Some(filter) = filter.filter(|f| !ops.iter().any(|op| op.contains(f))) {
        return Err(Error::Usage(format!(
            "--filter {filter}: no op has that in its name: give one of {}",
            ops.join(", ")
        )));
    }
    let choice = args.device.unwrap_or(DeviceChoice::Auto);
    // Whatever is wrong with the device is what the table is to show.
    let chosen = device::choose(choice, Precision::Auto, |_| Ok(()))?;
    let name = match &chosen.gpu {
        Some(gpu) => gpu.driver().description(),
        None => "cpu in f32".into(),
    };
    let note = |line: &str| {
        if !args.quiet {
            log::line(line);
        }
    };
    if !args.recurrence {
        note(&format!("testing {name} against the CPU in f64"));
        let results = selftest::run(chosen.gpu.as_ref(), filter);
        print(args.json, report(&name, &results), &results)?;
        return verdict(&results, NO_TRAINING);
    }
    let Some(gpu) = &chosen.gpu else {
        return Err(Error::Usage(
            "--recurrence is for GPUs, which have kernels for whole sequences, and this is the CPU: leave it out"
                .into(),
        ));
    };
    let grid = match choice {
        DeviceChoice::Emulated => &Grid::SMALL,
        _ => &Grid::FULL,
    };
    note(&format!(
        "testing whole sequences on {name} against their steps"
    ));
    let results = recurrence::run(gpu, grid, filter)?;
    let mut json = report(&name, &results);
    let whole = results.iter().filter(|r| r.passed && !r.by_steps).count();
    json["whole"] = json!(whole);
    print(args.json, json, &results)?;
    verdict(&results, NO_WHOLE)?;
    match whole {
        0 => Err(Error::op(
            "selftest",
            format!(
                "the device took none of {} sizes whole: nothing was compared",
                results.len()
            ),
        )),
        _ => Ok(()),
    }
}

fn print(as_json: bool, json: Value, results: &[CaseResult]) -> Result<()> {
    match as_json {
        true => emit(&format!("{json:#}\n")),
        false => emit(&table(results)),
    }
}

/// Ops and data types in the table's order, each with its cases.
fn groups(results: &[CaseResult]) -> Vec<Vec<&CaseResult>> {
    let mut groups: Vec<Vec<&CaseResult>> = Vec::new();
    for r in results {
        let same = |g: &&mut Vec<&CaseResult>| g[0].op == r.op && g[0].dtype == r.dtype;
        match groups.iter_mut().find(same) {
            Some(group) => group.push(r),
            None => groups.push(vec![r]),
        }
    }
    groups
}

/// The worse of two cases: one that failed, then the one that uses more of its bound.
fn by_severity(a: &CaseResult, b: &CaseResult) -> Ordering {
    let share = |r: &CaseResult| {
        if r.error == 0.0 {
            0.0
        } else {
            r.error / r.bound
        }
    };
    b.passed.cmp(&a.passed).then(share(a).total_cmp(&share(b)))
}

/// Cases whose own kernels the device did not run.
fn by_steps<'a>(results: impl IntoIterator<Item = &'a CaseResult>) -> usize {
    results.into_iter().filter(|r| r.by_steps).count()
}

/// Why cases that did not fail went by steps, as far as they say it, and how many.
fn reasons(results: &[CaseResult]) -> Vec<(&str, usize)> {
    let mut reasons: Vec<(&str, usize)> = Vec::new();
    for r in results.iter().filter(|r| r.by_steps && r.passed) {
        match reasons.iter_mut().find(|(why, _)| *why == r.message) {
            Some((_, count)) => *count += 1,
            None => reasons.push((&r.message, 1)),
        }
    }
    reasons
}

fn table(results: &[CaseResult]) -> String {
    let mut lines = "op              type  cases  worst error      bound\n".to_owned();
    for group in groups(results) {
        let worst = group.iter().max_by(|a, b| by_severity(a, b));
        let Some(worst) = worst else { continue };
        let by_steps = by_steps(group.iter().copied());
        let verdict = match worst.passed {
            false => "FAIL".to_owned(),
            true if by_steps == group.len() => "by steps".to_owned(),
            true if by_steps > 0 => format!("ok, {by_steps} by steps"),
            true => "ok".to_owned(),
        };
        lines += &format!(
            "{:16}{:6}{:>5}  {:>11}  {:>9}  {verdict}\n",
            worst.op,
            worst.dtype.to_string(),
            group.len(),
            format!("{:.1e}", worst.error),
            format!("{:.1e}", worst.bound),
        );
    }
    for (why, sizes) in reasons(results) {
        lines += &match why {
            "" => format!(
                "by steps: the device has no clusters of blocks for {sizes} sizes of whole sequences in one \
                 kernel, whose kernels were not checked\n"
            ),
            _ => format!("by steps: {sizes} sizes: {why}\n"),
        };
    }
    for r in results.iter().filter(|r| !r.passed) {
        lines += &format!("FAIL {} {} ({}): {}\n", r.op, r.dtype, r.case, r.message);
    }
    lines
}

/// An infinite error, which is no JSON number, becomes null.
fn report(device: &str, results: &[CaseResult]) -> Value {
    let case = |r: &CaseResult| {
        json!({
            "op": r.op,
            "dtype": r.dtype.to_string(),
            "case": r.case,
            "error": r.error,
            "bound": r.bound,
            "why": r.why,
            "digest": format!("{:016x}", r.digest),
            "passed": r.passed,
            "message": r.message,
            "by_steps": r.by_steps,
        })
    };
    json!({
        "device": device,
        "passed": results.iter().all(|r| r.passed),
        "failed": results.iter().filter(|r| !r.passed).count(),
        "by_steps": by_steps(results),
        "cases": results.iter().map(case).collect::<Vec<_>>(),
    })
}

/// Cases that the error names; the rest it counts.
const NAMED: usize = 8;

fn verdict(results: &[CaseResult], advice: &str) -> Result<()> {
    let failed = results.iter().filter(|r| !r.passed);
    let names: Vec<_> = failed
        .map(|r| format!("{} {} ({})", r.op, r.dtype, r.case))
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    let rest = names.len().saturating_sub(NAMED);
    let more = if rest > 0 {
        format!("; and {rest} more")
    } else {
        String::new()
    };
    let shown = names[..names.len() - rest].join("; ");
    Err(Error::op(
        "selftest",
        format!(
            "{} of {} cases failed: {shown}{more}. {advice}",
            names.len(),
            results.len()
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;

    fn result(case: &str, error: f64) -> CaseResult {
        let passed = error < 1e-6;
        CaseResult {
            op: "tanh",
            dtype: DType::F16,
            case: case.into(),
            error,
            bound: 1e-6,
            why: "one rounding",
            digest: 0xAB,
            passed,
            message: if passed {
                String::new()
            } else {
                "y, element 3".into()
            },
            by_steps: false,
        }
    }

    #[test]
    fn a_failure_is_an_error_that_names_its_case() {
        assert!(verdict(&[result("7", 1e-7)], NO_TRAINING).is_ok());
        let results = [
            result("7", 1e-7),
            result("33", 0.5),
            result("1", f64::INFINITY),
        ];
        let error = verdict(&results, NO_TRAINING).unwrap_err();
        assert_eq!(error.exit_code(), 1);
        let message = error.to_string();
        assert!(message.starts_with("selftest: 2 of 3 cases failed: tanh f16 (33); tanh f16 (1)."));
        let many: Vec<_> = (0..20).map(|n| result(&n.to_string(), 1.0)).collect();
        let message = verdict(&many, NO_TRAINING).unwrap_err().to_string();
        assert!(message.contains("20 of 20") && message.contains("(7); and 12 more."));
    }

    #[test]
    fn the_table_shows_the_worst_case_and_each_failure() {
        let text = table(&[result("7", 1e-7), result("33", 5e-7)]);
        let line = text.lines().nth(1).unwrap();
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!(words, ["tanh", "f16", "2", "5.0e-7", "1.0e-6", "ok"]);
        let text = table(&[result("7", 0.5), result("33", 5e-7)]);
        let line = text.lines().nth(1).unwrap();
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!(words, ["tanh", "f16", "2", "5.0e-1", "1.0e-6", "FAIL"]);
        assert_eq!(text.lines().nth(2), Some("FAIL tanh f16 (7): y, element 3"));
    }

    #[test]
    fn what_went_by_steps_is_told_apart() {
        let of_steps = |case, error| CaseResult {
            by_steps: true,
            ..result(case, error)
        };
        let words = |results: &[CaseResult]| {
            let text = table(results);
            let words: Vec<String> = text
                .lines()
                .nth(1)
                .unwrap()
                .split("  ")
                .map(Into::into)
                .collect();
            (
                words.last().unwrap().trim().to_owned(),
                text.lines().count(),
            )
        };
        let (ran, not) = (result("7", 1e-7), of_steps("33", 1e-7));
        assert_eq!(words(std::slice::from_ref(&ran)), ("ok".into(), 2));
        assert_eq!(
            words(&[ran.clone(), not.clone()]),
            ("ok, 1 by steps".into(), 3)
        );
        assert_eq!(words(std::slice::from_ref(&not)), ("by steps".into(), 3));
        // One that failed says why it did.
        assert_eq!(
            words(&[ran.clone(), of_steps("33", 0.5)]),
            ("FAIL".into(), 3)
        );
        let single = CaseResult {
            message: "a single step".into(),
            ..not.clone()
        };
        let text = table(&[not.clone(), single.clone(), single]);
        let last = text.lines().last();
        assert_eq!(last, Some("by steps: 2 sizes: a single step"));
        let json = report("cpu", &[ran, not]);
        assert_eq!(
            (&json["by_steps"], &json["cases"][1]["by_steps"]),
            (&json!(1), &json!(true))
        );
    }

    #[test]
    fn no_result_is_null_in_json() {
        let json = report("cpu", &[result("7", f64::INFINITY)]);
        assert_eq!(json["failed"], 1);
        let case = &json["cases"][0];
        assert!(case["error"].is_null() && case["digest"] == "00000000000000ab");
    }
}
