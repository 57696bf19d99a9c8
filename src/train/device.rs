//! Which device a command computes on, and in which precision.

use super::settings::{DeviceChoice, Precision};
use crate::device::Gpu;
use crate::device::cuda::Cuda;
use crate::error::{Error, Result};
use std::sync::Arc;

/// A settled choice.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// What was chosen.
    pub name: String,
    /// Why, where that needs to be said.
    pub why: String,
    /// The GPU; none is the CPU.
    pub gpu: Option<Arc<Gpu>>,
    /// Products and activations in f16.
    pub mixed: bool,
}

impl Chosen {
    /// One line for the log.
    pub fn line(&self) -> String {
        let format = if self.mixed { "fp16" } else { "fp32" };
        format!("device: {}, {format}{}", self.name, self.why)
    }
}

/// Settles device and precision.
///
/// # Errors
/// [`Error::Device`] for a device that is not there, [`Error::Usage`] for a precision that it
/// does not have.
pub fn choose(device: DeviceChoice, precision: Precision) -> Result<Chosen> {
    let gpu = match device {
        DeviceChoice::Cpu => return cpu(precision, ""),
        DeviceChoice::Auto => match Cuda::open(0) {
            Ok(cuda) => Gpu::new(cuda),
            Err(e) => {
                // The places tried fill a screen; doctor lists them.
                let e = e.to_string();
                let why = e.split("; ").next().unwrap_or_default();
                return cpu(precision, &format!(" (auto: {why}; see rnnx doctor)"));
            }
        },
        DeviceChoice::Cuda(number) => {
            let asked = |e| Error::Device(format!("--device {device}: {e}"));
            Gpu::new(Cuda::open(number).map_err(asked)?)
        }
        DeviceChoice::Emulated => emulated()?,
    };
    let mixed = precision != Precision::Fp32;
    Ok(Chosen {
        name: gpu.driver().description(),
        why: String::new(),
        gpu: Some(gpu),
        mixed,
    })
}

fn cpu(precision: Precision, why: &str) -> Result<Chosen> {
    if precision == Precision::Fp16 {
        return Err(Error::Usage(
            "--precision fp16 is for GPUs: the CPU computes in fp32, leave the flag out".into(),
        ));
    }
    let threads = rayon::current_num_threads();
    Ok(Chosen {
        name: format!("cpu, {threads} threads"),
        why: why.into(),
        gpu: None,
        mixed: false,
    })
}

#[cfg(feature = "emulator")]
fn emulated() -> Result<Arc<Gpu>> {
    Ok(Gpu::new(crate::device::emulated::Emulated::new(0)))
}

#[cfg(not(feature = "emulator"))]
fn emulated() -> Result<Arc<Gpu>> {
    Err(Error::Device(
        "--device emulated: this build has no emulated device, which is a test instrument: build \
         with --features emulator (needs a C++ compiler), or use --device cpu"
            .into(),
    ))
}
