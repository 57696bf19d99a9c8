//! Which device a command computes on.

use super::config::{DeviceChoice, Precision};
use crate::error::{Error, Result};

/// Settles device and precision; the answer is one line for the log.
///
/// # Errors
/// [`Error::Device`] for a device that is not there, [`Error::Usage`] for a precision that it
/// does not have.
pub fn choose(device: DeviceChoice, precision: Precision) -> Result<String> {
    let threads = rayon::current_num_threads();
    let line = match device {
        DeviceChoice::Auto => format!(
            "device: cpu, {threads} threads, fp32 (auto: this version of rnnx has no GPU engine)"
        ),
        DeviceChoice::Cpu => format!("device: cpu, {threads} threads, fp32"),
        DeviceChoice::Cuda(_) | DeviceChoice::Emulated => {
            return Err(Error::Device(format!(
                "--device {device}: this version of rnnx has no GPU engine: use --device cpu"
            )));
        }
    };
    if precision == Precision::Fp16 {
        return Err(Error::Usage(
            "--precision fp16 is for GPUs: the CPU computes in fp32, leave the flag out".into(),
        ));
    }
    Ok(line)
}
