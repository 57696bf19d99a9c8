//! Processes that train one model together, its ranks: who this one is, how they meet, and what they
//! say to one another.
//!
//! Rank 0 hears what the others have ([`Collective::gather`]) and tells them what comes of it
//! ([`Collective::broadcast`]). As one rank makes each sum, in an order that no network decides, the
//! sum has the same bits for any number of ranks.

pub mod message;
#[cfg(feature = "mpi")]
pub mod mpi;
pub mod sockets;
pub mod tree;
pub mod who;

use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
pub use who::Who;

/// How ranks reach each other. Every rank calls the same functions in the same order.
pub trait Collective: Send + Sync + fmt::Debug {
    /// This rank, from 0.
    fn rank(&self) -> usize;

    /// How many ranks there are.
    fn size(&self) -> usize;

    /// What it is called in the log.
    fn carrier(&self) -> &'static str;

    /// Brings the bytes of every rank to rank 0, which has them in the order of ranks; the others get
    /// nothing.
    ///
    /// # Errors
    /// [`Error::Ranks`] that names a rank which is gone or says nothing for longer than the time limit.
    fn gather(&self, own: Vec<u8>) -> Result<Option<Vec<Vec<u8>>>>;

    /// Brings the bytes of rank 0 to every rank. What others give is not looked at.
    ///
    /// # Errors
    /// As [`Collective::gather`].
    fn broadcast(&self, bytes: Vec<u8>) -> Result<Vec<u8>>;

    /// Looks whether the others are still there while this rank waits, since `began`, for what comes from
    /// them by another way, as between devices. It does not wait itself, unless the time limit is over.
    ///
    /// # Errors
    /// As [`Collective::gather`], where this way notices ranks that are gone or hang.
    fn look(&self, began: Instant) -> Result<()>;

    /// Ends the exchange where the ranks end together. The others wait for the end of rank 0.
    ///
    /// # Errors
    /// [`Error::Ranks`] if that does not end within the time limit.
    fn close(&self) -> Result<()> {
        Ok(())
    }
}

/// A process that has no others.
#[derive(Debug)]
struct Alone;

impl Collective for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn carrier(&self) -> &'static str {
        "no network"
    }

    fn gather(&self, own: Vec<u8>) -> Result<Option<Vec<Vec<u8>>>> {
        Ok(Some(vec![own]))
    }

    fn look(&self, _: Instant) -> Result<()> {
        Ok(())
    }

    fn broadcast(&self, bytes: Vec<u8>) -> Result<Vec<u8>> {
        Ok(bytes)
    }
}

/// What ranks have spent on one another.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spent {
    /// Exchanges.
    pub exchanges: u64,
    /// Bytes that this rank gave and got.
    pub bytes: u64,
    /// Time, that of waiting for slower ranks included.
    pub time: Duration,
}

/// The ranks of a run, as one of them sees them.
#[derive(Debug)]
pub struct Ranks {
    collective: Box<dyn Collective>,
    local: (usize, usize),
    spent: Mutex<Spent>,
}

/// What ends a message of rank 0 that all went well.
const WELL: u8 = 0;
/// What ends one that holds an error's text.
const WRONG: u8 = 1;

impl Ranks {
    /// This process by itself.
    pub fn alone() -> Arc<Self> {
        Self::over(Box::new(Alone), (0, 1))
    }

    /// The ranks that `collective` joins; `local` is the number among those of this machine, and how
    /// many these are.
    pub fn over(collective: Box<dyn Collective>, local: (usize, usize)) -> Arc<Self> {
        Arc::new(Ranks {
            collective,
            local,
            spent: Mutex::default(),
        })
    }

    /// Meets the others that were started together with this process: by MPI where an mpirun did it and
    /// rnnx was built with the feature `mpi`, else by TCP. No rank waits longer than `limit` for another,
    /// now and later.
    ///
    /// # Errors
    /// [`Error::Ranks`] that names ranks which do not come, [`Error::Usage`] for ranks that were started
    /// as two different groups.
    pub fn join(who: &Who, limit: Duration) -> Result<Arc<Self>> {
        if who.size == 1 {
            return Ok(Self::alone());
        }
        let local = (who.local_rank, who.local_size);
        #[cfg(feature = "mpi")]
        if who.is_of_mpi() {
            let mpi = self::mpi::Mpi::join(who, limit)?;
            return Ok(Self::over(Box::new(mpi), local));
        }
        let sockets = sockets::Sockets::meet(who, limit)?;
        Ok(Self::over(Box::new(sockets), local))
    }

    /// What carries the exchange: TCP, or MPI.
    pub fn carrier(&self) -> &'static str {
        self.collective.carrier()
    }

    /// This rank, from 0.
    pub fn rank(&self) -> usize {
        self.collective.rank()
    }

    /// How many ranks there are.
    pub fn size(&self) -> usize {
        self.collective.size()
    }

    /// Whether there are no others.
    pub fn is_alone(&self) -> bool {
        self.size() == 1
    }

    /// Whether this is rank 0, which writes what a run leaves.
    pub fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// This rank's number among those of its machine, from 0.
    pub fn local_rank(&self) -> usize {
        self.local.0
    }

    /// How many ranks this machine has.
    pub fn local_size(&self) -> usize {
        self.local.1
    }

    /// What has been spent so far.
    pub fn spent(&self) -> Spent {
        *self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What rank 0 makes of the bytes of all ranks, on every rank. If that fails, it fails on all.
    ///
    /// # Errors
    /// That of `make`, at the others as [`Error::Ranks`], and as [`Collective::gather`].
    pub fn settle(
        &self,
        own: Vec<u8>,
        make: impl FnOnce(Vec<Vec<u8>>) -> Result<Vec<u8>>,
    ) -> Result<Vec<u8>> {
        let began = Instant::now();
        let mut bytes = own.len();
        let all = self.collective.gather(own)?;
        let (mine, failed) = match all.map(make) {
            None => (Vec::new(), None),
            Some(Ok(mut made)) => {
                made.push(WELL);
                (made, None)
            }
            Some(Err(e)) => {
                let mut text = e.to_string().into_bytes();
                text.push(WRONG);
                (text, Some(e))
            }
        };
        let mut made = self.collective.broadcast(mine)?;
        bytes += made.len();
        self.spend(bytes as u64, began);
        match (failed, made.pop()) {
            (Some(e), _) => Err(e),
            (None, Some(WELL)) => Ok(made),
            (None, _) => Err(Error::Ranks(String::from_utf8_lossy(&made).into_owned())),
        }
    }

    /// Exchanges by another way, as between devices, so many bytes that this rank gives and gets. While it
    /// waits, `exchange` calls what it is given, which fails where the wait has to end: see
    /// [`Collective::look`].
    ///
    /// # Errors
    /// That of `exchange`.
    pub fn beside<T>(
        &self,
        bytes: u64,
        exchange: impl FnOnce(&mut dyn FnMut() -> Result<()>) -> Result<T>,
    ) -> Result<T> {
        let began = Instant::now();
        let made = exchange(&mut || self.collective.look(began))?;
        self.spend(bytes, began);
        Ok(made)
    }

    fn spend(&self, bytes: u64, began: Instant) {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        spent.exchanges += 1;
        spent.bytes += bytes;
        spent.time += began.elapsed();
    }

    /// Waits until every rank is here.
    ///
    /// # Errors
    /// As [`Collective::gather`].
    pub fn barrier(&self) -> Result<()> {
        self.settle(Vec::new(), |_| Ok(Vec::new())).map(|_| ())
    }

    /// Ends the exchange where the ranks end together: nothing can be exchanged any more. Another rank than 0 waits
    /// until that has ended, as what it has left to do would be lost where a launcher ends all when one
    /// ends; MPI wants it before a process ends, and then waits for all.
    ///
    /// # Errors
    /// As [`Collective::close`].
    pub fn close(&self) -> Result<()> {
        self.collective.close()
    }

    /// Fails on every rank where one has another fact than rank 0.
    ///
    /// # Errors
    /// [`Error::Ranks`] that names the rank, the fact and both values, and as [`Collective::gather`].
    pub fn agree(&self, facts: &BTreeMap<String, String>) -> Result<()> {
        if self.is_alone() {
            return Ok(());
        }
        let text = |facts: &BTreeMap<String, String>| serde_json::to_vec(facts).map_err(foreign);
        let compare = |all: Vec<Vec<u8>>| {
            for (rank, theirs) in all.iter().enumerate().skip(1) {
                let theirs = serde_json::from_slice(theirs).map_err(foreign)?;
                if let Some(contradiction) = contradiction(facts, &theirs, rank) {
                    return Err(Error::Ranks(contradiction));
                }
            }
            Ok(Vec::new())
        };
        self.settle(text(facts)?, compare).map(|_| ())
    }
}

/// What can be done where a rank is lost.
const AGAIN: &str = "start all ranks again, with --resume where a checkpoint was saved";

/// What is said of a rank that has been waited for too long.
fn silent(rank: usize, limit: Duration) -> String {
    format!(
        "rank {rank} has said nothing for {} s: it hangs, or one step takes longer (then raise \
         --rank-timeout); {AGAIN}",
        limit.as_secs()
    )
}

/// What is said of rank 0 where the others wait for its end too long.
fn unending(limit: Duration) -> String {
    format!(
        "rank 0 has not ended for {} s, and is no longer waited for: what it has left to do, as a test, is \
         lost where its launcher now ends it (then raise --rank-timeout)",
        limit.as_secs()
    )
}

/// What is said of an exchange by another way that is waited for too long.
fn unended(between: &str, limit: Duration) -> String {
    format!(
        "the exchange between {between} has not ended for {} s, though no rank is known to be gone: a device \
         hangs, or what joins them, or one exchange takes longer (then raise --rank-timeout); --exchange \
         host does without; {AGAIN}",
        limit.as_secs()
    )
}

/// How long a rank waits for another: rank 0 may itself wait for a third one before it speaks.
fn patience(rank: usize, limit: Duration) -> Duration {
    match rank {
        0 => limit,
        _ => limit + limit / 4 + LAST_WORDS,
    }
}

/// How long the last words of a rank may take.
const LAST_WORDS: Duration = Duration::from_secs(2);

fn foreign(e: serde_json::Error) -> Error {
    Error::Ranks(format!(
        "a rank sent what this one cannot read ({e}): start all ranks with the same version of rnnx"
    ))
}

/// The first fact that `theirs` has otherwise.
fn contradiction(
    facts: &BTreeMap<String, String>,
    theirs: &BTreeMap<String, String>,
    rank: usize,
) -> Option<String> {
    let names = facts.keys().chain(theirs.keys());
    let value = |facts: &BTreeMap<String, String>, name: &String| match facts.get(name) {
        Some(value) => format!("{name} = {value}"),
        None => format!("no {name}"),
    };
    names.into_iter().find_map(|name| {
        let differs = facts.get(name) != theirs.get(name);
        differs.then(|| {
            format!(
                "rank {rank} has {}, and rank 0 has {}: start every rank with the same command, on the \
                 same data, the same kind of device and the same version of rnnx",
                value(theirs, name),
                value(facts, name)
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_by_itself_settles_with_itself() {
        let ranks = Ranks::alone();
        assert!(ranks.is_first() && ranks.is_alone());
        let made = ranks.settle(vec![7], |all| Ok(all.concat()));
        assert_eq!(made.unwrap(), [7]);
        let failed = ranks.settle(Vec::new(), |_| Err(Error::Data("wrong".into())));
        assert_eq!(failed.unwrap_err().exit_code(), 3);
    }

    #[test]
    fn another_fact_is_named_with_both_values() {
        let facts = |batch: &str| BTreeMap::from([("batch-size".into(), batch.to_owned())]);
        assert_eq!(contradiction(&facts("8"), &facts("8"), 1), None);
        let message = contradiction(&facts("8"), &facts("4"), 3).unwrap();
        assert!(message.starts_with("rank 3 has batch-size = 4, and rank 0 has batch-size = 8"));
        let message = contradiction(&facts("8"), &BTreeMap::new(), 1).unwrap();
        assert!(message.starts_with("rank 1 has no batch-size, and rank 0 has"));
    }
}
