//! Defects that a test plants in the emulated device.

use crate::device::driver::CONTEXT_GONE;
use crate::error::{Error, Result};
use std::sync::atomic::{AtomicU64, Ordering};

/// The environment variable that names them for `--device emulated`.
const VARIABLE: &str = "RNNX_EMULATED";

/// What is wrong with a device.
#[derive(Debug)]
pub(super) struct Defects {
    /// The number of the asynchronous store of each launch that never arrives, from 1; 0 for none.
    pub(super) lost_store: u64,
    /// It runs no clusters.
    pub(super) no_clusters: bool,
    /// What is wrong with what stands for NCCL.
    pub(super) nccl: Nccl,
    /// Work that is left before it is lost.
    left: AtomicU64,
}

/// What is wrong with what stands for NCCL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Nccl {
    #[default]
    Sound,
    /// There is none.
    Missing,
    /// It has this version.
    Version(String),
    /// The process ends where its exchange of this number begins, from 1.
    Dies(u64),
    /// It stays there.
    Hangs(u64),
}

impl Nccl {
    /// A word after `nccl=`: `none`, or a version of numbers and points.
    fn of(word: &str) -> Option<Self> {
        let number = |part: &str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit());
        match word {
            "none" => Some(Nccl::Missing),
            _ if word.split('.').all(number) => Some(Nccl::Version(word.into())),
            _ => None,
        }
    }
}

impl Default for Defects {
    fn default() -> Self {
        Defects {
            lost_store: 0,
            no_clusters: false,
            nccl: Nccl::Sound,
            left: AtomicU64::new(u64::MAX),
        }
    }
}

impl Defects {
    /// Those that the environment names.
    pub(super) fn of_environment() -> Result<Self> {
        match std::env::var_os(VARIABLE) {
            None => Ok(Defects::default()),
            Some(words) => Self::of(&words.to_string_lossy()),
        }
    }

    fn of(words: &str) -> Result<Self> {
        let mut defects = Defects::default();
        for word in words.split(',') {
            let number = |after| word.strip_prefix(after).and_then(|n| n.parse::<u64>().ok());
            let counted = |after| number(after).filter(|&n| n > 0);
            let nccl = defects.nccl == Nccl::Sound;
            if word == "no-clusters" {
                defects.no_clusters = true;
            } else if let Some(n) = number("losing=") {
                defects.lost_store = n;
            } else if let Some(n) = number("lost-after=") {
                defects.lost_after(n);
            } else if let (Some(n), true) = (counted("nccl-dies="), nccl) {
                defects.nccl = Nccl::Dies(n);
            } else if let (Some(n), true) = (counted("nccl-hangs="), nccl) {
                defects.nccl = Nccl::Hangs(n);
            } else if let (Some(defect), true) =
                (word.strip_prefix("nccl=").and_then(Nccl::of), nccl)
            {
                defects.nccl = defect;
            } else {
                return Err(Error::Usage(format!(
                    "{VARIABLE}={words}: give no-clusters, losing=N, lost-after=N, nccl=none, nccl=VERSION, \
                     nccl-dies=N or nccl-hangs=N, separated by commas and at most one of nccl, or unset it"
                )));
            }
        }
        Ok(defects)
    }

    pub(super) fn lost_after(&mut self, work: u64) {
        *self.left.get_mut() = work;
    }

    /// Fails where the device is lost.
    pub(super) fn check(&self) -> Result<()> {
        match self.left.load(Ordering::Relaxed) {
            0 => Err(Error::Device(format!(
                "the emulated device is lost, and {CONTEXT_GONE}"
            ))),
            _ => Ok(()),
        }
    }

    /// One piece of work, or the loss of the device.
    pub(super) fn count_work(&self) -> Result<()> {
        self.check()?;
        self.left.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_environment() {
        let found = Defects::of("losing=7,no-clusters,lost-after=1").unwrap();
        assert!(found.no_clusters && found.lost_store == 7);
        found.count_work().unwrap();
        assert_eq!(found.check().unwrap_err().exit_code(), 4);
        let sound = Defects::of("losing=0").unwrap();
        assert!(!sound.no_clusters && sound.lost_store == 0);
        let nccl = |words| Defects::of(words).unwrap().nccl;
        assert_eq!(nccl("losing=7"), Nccl::Sound);
        assert_eq!(nccl("nccl=none"), Nccl::Missing);
        assert_eq!(nccl("nccl=2.18.5"), Nccl::Version("2.18.5".into()));
        assert_eq!(nccl("losing=7,nccl-dies=3"), Nccl::Dies(3));
        assert_eq!(nccl("nccl-hangs=4"), Nccl::Hangs(4));
        for wrong in [
            "",
            "nccl",
            "nccl=",
            "nccl=sound",
            "nccl=2.",
            "nccl-dies=x",
            "nccl-dies=0",
            "nccl=none,nccl-hangs=4",
            "losing",
            "losing=x",
            "lost-after=-1",
            "no-clusters,tanh",
        ] {
            let error = Defects::of(wrong).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(
                error.to_string().contains("no-clusters, losing=N"),
                "{error}"
            );
        }
    }
}
