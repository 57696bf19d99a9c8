//! Devices that exchange what is in their memory, without their hosts: the border to NCCL.
//!
//! As in MPI, every device of a group calls the same functions in the same order, and each call ends when
//! all have made it. Where one never does, the others wait until their [`Patience`] ends.

use super::driver::DevicePtr;
use crate::error::Result;
use std::any::Any;
use std::fmt;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What whoever waits for other devices calls meanwhile: an error ends the wait.
pub type Patience<'a> = &'a mut dyn FnMut() -> Result<()>;

/// A device's place in a group of devices. Belongs to the driver that made it.
pub struct Group(pub Box<dyn Any + Send + Sync>);

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Group")
    }
}

/// A device that can be one of a group.
///
/// # Errors
/// Every method returns [`Error::Device`](crate::Error::Device) for a library that is missing or fails,
/// [`Error::Op`](crate::Error::Op) for arguments that cannot be, and where it waits what its patience
/// returns. After an error from a wait the group is of no more use.
pub trait Collectives {
    /// The library that it goes through and its version, which all of a group have to share.
    fn library(&self) -> Result<String>;

    /// Says where a new group meets: one of its devices makes it, and all join with it.
    fn new_id(&self) -> Result<Vec<u8>>;

    /// Joins the group of this id as number `rank` of `size`, from 0.
    fn join(&self, id: &[u8], rank: usize, size: usize, patience: Patience) -> Result<Group>;

    /// Brings the `count` f32 at `from` of every device to every device, to `to` (`[size, count]`), in the
    /// order of their numbers. Work that was issued before is done first.
    fn all_gather(
        &self,
        group: &Group,
        from: DevicePtr,
        to: DevicePtr,
        count: usize,
        patience: Patience,
    ) -> Result<()>;

    /// Replaces the `count` f32 at `at` by their sums over all devices, in an order that the library chooses.
    fn all_reduce(
        &self,
        group: &Group,
        at: DevicePtr,
        count: usize,
        patience: Patience,
    ) -> Result<()>;
}

/// How long a wait asks again and again. By the bytes and the links' rates an exchange of gradients should take
/// less; it was not measured.
const SPIN: Duration = Duration::from_millis(1);
/// Time between two looks after that, not measured either.
const PAUSE: Duration = Duration::from_micros(200);

/// Waits until `is_over` says so.
///
/// # Errors
/// Those of `is_over` and of `patience`.
pub(super) fn wait(patience: Patience, mut is_over: impl FnMut() -> Result<bool>) -> Result<()> {
    let began = Instant::now();
    while !is_over()? {
        if began.elapsed() < SPIN {
            std::hint::spin_loop();
            continue;
        }
        patience()?;
        sleep(PAUSE);
    }
    Ok(())
}
