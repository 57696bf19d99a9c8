//! How a GPU takes the steps of a recurrence: what is wished, what has come of it, and whether a kernel
//! that takes whole sequences has given up.

use super::driver::{DevicePtr, Driver, Launch};
use super::measured::Measured;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::fmt;

/// How the steps of a recurrence are to be taken on a GPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recurrence {
    /// The faster way where that has been [measured](super::measured); else whole sequences in one kernel
    /// where all of a batch runs at once, or attention's in up to four rounds, else step by step.
    #[default]
    Auto,
    /// Whole sequences in one kernel wherever that is possible.
    Whole,
    /// A product and a kernel for each step.
    Steps,
}

impl Recurrence {
    /// The names.
    pub const NAMES: [&str; 3] = ["auto", "whole", "steps"];
}

impl fmt::Display for Recurrence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAMES[*self as usize])
    }
}

/// What the kernels of attention's decoder add to their number: `KERNEL_NUMBER` in `kernels/attention_whole.cuh`.
const ATTENTION: u32 = 1 << 16;

/// Words of a fault: see `give_up` in `kernels/lstm_whole.cuh`.
const WORDS: usize = 4;

/// Where a kernel gave up waiting for another block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The time step.
    pub step: u32,
    /// The cluster of blocks.
    pub cluster: u32,
    kernel: u32,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = ["fwd", "bwd"][self.kernel as usize % 2];
        let word = ["lstm", "attention"][usize::from(self.kernel >= ATTENTION)];
        let (units, Fault { step, cluster, .. }) = (self.kernel % ATTENTION / 2, self);
        write!(
            f,
            "the kernel {word}_whole_{way}_{units} gave up waiting at step {step} in cluster {cluster}"
        )
    }
}

/// What a GPU knows of its recurrences.
#[derive(Debug, Default)]
pub(super) struct Recurrences {
    pub(super) wish: Recurrence,
    /// What `auto` goes by.
    pub(super) measured: Option<Measured>,
    /// A kernel has given up: none is tried again.
    pub(super) failed: bool,
    /// Passes over whole sequences in one kernel.
    pub(super) whole: u64,
    /// [`WORDS`] in device memory, zero as long as no kernel gives up.
    words: Option<DevicePtr>,
    /// Clusters of a launch that run at once, as far as the driver was asked.
    at_once: HashMap<Shape, u32>,
    told: HashSet<String>,
    news: Vec<String>,
}

/// Of a launch: kernel, blocks a cluster, threads a block, bytes of dynamic shared memory.
type Shape = (String, u32, u32, u32);

impl Recurrences {
    /// How many clusters of such a launch run at once.
    pub(super) fn clusters(&mut self, driver: &dyn Driver, launch: &Launch) -> Result<u32> {
        let kernel = launch.kernel.to_owned();
        let shape = (kernel, launch.cluster, launch.block, launch.shared_bytes);
        if let Some(&known) = self.at_once.get(&shape) {
            return Ok(known);
        }
        let at_once = driver.clusters(launch)?;
        self.at_once.insert(shape, at_once);
        Ok(at_once)
    }

    /// The words that a kernel that gives up writes to.
    pub(super) fn words(&mut self, driver: &dyn Driver) -> Result<DevicePtr> {
        if let Some(words) = self.words {
            return Ok(words);
        }
        let words = driver.alloc(4 * WORDS)?;
        driver.upload(words, &[0; 4 * WORDS])?;
        self.words = Some(words);
        Ok(words)
    }

    /// Waits for the device where a kernel may have given up, and says whether one has.
    pub(super) fn fault(&mut self, driver: &dyn Driver) -> Result<Option<Fault>> {
        let Some(at) = self.words else {
            return Ok(None);
        };
        let mut bytes = [0; 4 * WORDS];
        driver.download(&mut bytes, at)?;
        let words: [u32; WORDS] = bytemuck::cast(bytes);
        if words[0] == 0 {
            return Ok(None);
        }
        driver.upload(at, &[0; 4 * WORDS])?;
        self.failed = true;
        Ok(Some(Fault {
            step: words[1],
            cluster: words[2],
            kernel: words[3],
        }))
    }

    /// Keeps a line for the log, unless it was kept before.
    pub(super) fn tell(&mut self, line: String) {
        if self.told.insert(line.clone()) {
            self.news.push(line);
        }
    }

    /// From here on steps are taken one by one.
    pub(super) fn refuse(&mut self, why: &str) {
        self.failed = true;
        self.tell(format!("recurrence: step by step from here on: {why}"));
    }

    pub(super) fn forget(&mut self) {
        self.told.clear();
        self.news.clear();
    }

    /// The lines since the last call.
    pub(super) fn news(&mut self) -> Vec<String> {
        std::mem::take(&mut self.news)
    }
}

impl Fault {
    /// What ends a training run: nothing of the step was used.
    pub(super) fn error(self) -> Error {
        Error::Device(format!(
            "{self}; what it computed was not used. Go on from the last checkpoint with --resume \
             --recurrence steps"
        ))
    }
}
