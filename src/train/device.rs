//! Which device a command computes on, and in which precision.

use crate::device::Gpu;
use crate::device::cuda::Cuda;
use crate::device::measured::Measured;
use crate::error::{Error, Result};
use crate::log::counted;
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

/// Looks at a GPU before its first use: an error says what is wrong with it.
pub type Check = fn(&Arc<Gpu>) -> Result<()>;

/// Settles device and precision. A GPU that does not pass the check is not used: `auto` takes the CPU
/// then, and says why.
///
/// # Errors
/// [`Error::Device`] for a device that is not there or does not pass, [`Error::Usage`] for a
/// precision that it does not have.
pub fn choose(device: DeviceChoice, precision: Precision, check: Check) -> Result<Chosen> {
    choose_from(device, precision, check, 0)
}

/// The same as [`Cuda::open_from`] counts the GPUs: each rank of a machine has one.
///
/// # Errors
/// As [`choose`].
pub fn choose_from(
    device: DeviceChoice,
    precision: Precision,
    check: Check,
    first: u32,
) -> Result<Chosen> {
    let open = |number: u32| Ok(Gpu::new(Cuda::open_from(number, first)?));
    choose_with(device, precision, &open, check)
}

fn choose_with(
    device: DeviceChoice,
    precision: Precision,
    open: &dyn Fn(u32) -> Result<Arc<Gpu>>,
    check: Check,
) -> Result<Chosen> {
    let gpu = match device {
        DeviceChoice::Cpu => return cpu(precision, ""),
        DeviceChoice::Auto => match open(0) {
            Ok(gpu) => match check(&gpu) {
                Ok(()) => gpu,
                Err(e) => {
                    let name = gpu.driver().description();
                    let why = format!(" (auto: {name} is not used: {e}; see rnnx selftest)");
                    return cpu(precision, &why);
                }
            },
            Err(e) => {
                // The places tried fill a screen; doctor lists them.
                let e = e.to_string();
                let why = e.split("; ").next().unwrap_or_default();
                return cpu(precision, &format!(" (auto: {why}; see rnnx doctor)"));
            }
        },
        DeviceChoice::Cuda(number) => {
            let asked = |e| Error::Device(format!("device {device}: {e}"));
            let gpu = open(number).map_err(asked)?;
            check(&gpu).map_err(|e| {
                Error::Device(format!(
                    "device {device}: {e}. `rnnx selftest --device {device}` tells more; `device \
                     cpu` runs without a GPU"
                ))
            })?;
            gpu
        }
        DeviceChoice::Emulated => emulated()?,
    };
    gpu.set_measured(Measured::kept(&gpu.driver().description()));
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
        name: format!("cpu, {}", counted(threads, "thread")),
        why: why.into(),
        gpu: None,
        mixed: false,
    })
}

#[cfg(feature = "emulator")]
fn emulated() -> Result<Arc<Gpu>> {
    Ok(Gpu::new(
        crate::device::emulated::Emulated::of_environment()?
    ))
}

#[cfg(not(feature = "emulator"))]
fn emulated() -> Result<Arc<Gpu>> {
    Err(Error::Device(
        "device emulated: this build has no emulated device, which is a test instrument: build \
         with --features emulator (needs a C++ compiler), or use device cpu"
            .into(),
    ))
}

#[cfg(all(test, feature = "emulator"))]
mod tests {
    use super::*;

    fn opened(_: u32) -> Result<Arc<Gpu>> {
        emulated()
    }

    fn choose(device: DeviceChoice, check: Check) -> Result<Chosen> {
        choose_with(device, Precision::Auto, &opened, check)
    }

    fn fails(_: &Arc<Gpu>) -> Result<()> {
        Err(Error::op("start-up check", "tanh f16 (7) is wrong"))
    }

    #[test]
    fn a_gpu_that_passes_is_used() {
        for device in [DeviceChoice::Auto, DeviceChoice::Cuda(0)] {
            let chosen = choose(device, |_| Ok(())).unwrap();
            assert!(chosen.gpu.is_some() && chosen.mixed);
        }
    }

    #[test]
    fn auto_goes_on_on_the_cpu_where_the_check_fails() {
        let chosen = choose(DeviceChoice::Auto, fails).unwrap();
        assert!(chosen.gpu.is_none() && !chosen.mixed);
        let line = chosen.line();
        for part in ["cpu", "tanh f16 (7) is wrong", "rnnx selftest"] {
            assert!(line.contains(part), "{line} lacks {part}");
        }
        assert_eq!(line.lines().count(), 1);
    }

    #[test]
    fn a_gpu_that_was_asked_for_and_fails_is_an_error() {
        let error = choose(DeviceChoice::Cuda(2), fails).unwrap_err();
        assert_eq!(error.exit_code(), 4);
        let message = error.to_string();
        for part in [
            "device cuda:2",
            "tanh f16 (7) is wrong",
            "rnnx selftest",
            "device cpu",
        ] {
            assert!(message.contains(part), "{message} lacks {part}");
        }
    }
}
