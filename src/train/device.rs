//! Which device a command computes on, and in which precision.

use crate::device::Gpu;
use crate::device::cuda::Cuda;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Number format of a run's arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// fp16 on a GPU, fp32 on the CPU.
    Auto,
    /// 32-bit floats.
    Fp32,
    /// 16-bit storage with 32-bit arithmetic and master weights.
    Fp16,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Precision::Auto => "auto",
            Precision::Fp32 => "fp32",
            Precision::Fp16 => "fp16",
        })
    }
}

/// The device a user asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceChoice {
    /// The fastest one found.
    Auto,
    /// The CPU.
    Cpu,
    /// The CUDA device with this number; `cuda` alone is number 0.
    Cuda(u32),
    /// The test instrument that runs GPU kernels on the CPU.
    Emulated,
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceChoice::Auto => f.write_str("auto"),
            DeviceChoice::Cpu => f.write_str("cpu"),
            DeviceChoice::Cuda(0) => f.write_str("cuda"),
            DeviceChoice::Cuda(n) => write!(f, "cuda:{n}"),
            DeviceChoice::Emulated => f.write_str("emulated"),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let number = |n: &str| n.parse().ok().map(DeviceChoice::Cuda);
        match s {
            "auto" => Some(DeviceChoice::Auto),
            "cpu" => Some(DeviceChoice::Cpu),
            "cuda" => Some(DeviceChoice::Cuda(0)),
            "emulated" => Some(DeviceChoice::Emulated),
            _ => s.strip_prefix("cuda:").and_then(number),
        }
        .ok_or_else(|| "give auto, cpu, cuda, cuda:N or emulated".to_owned())
    }
}

impl TryFrom<String> for DeviceChoice {
    type Error = String;
    fn try_from(s: String) -> Result<Self, String> {
        s.parse()
    }
}

impl From<DeviceChoice> for String {
    fn from(d: DeviceChoice) -> String {
        d.to_string()
    }
}

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
            let asked = |e| Error::Device(format!("device {device}: {e}"));
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
            "precision fp16 is for GPUs: the CPU computes in fp32, leave it out".into(),
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
        "device emulated: this build has no emulated device, which is a test instrument: build \
         with --features emulator (needs a C++ compiler), or use device cpu"
            .into(),
    ))
}
