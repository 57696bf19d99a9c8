//! Ranks that reach each other by MPI, for networks that it knows better than TCP: cargo's feature `mpi`.
//!
//! No call of MPI ends before it is done, and what is sent cannot be taken back. So a thread of its own
//! makes all of them, and a rank that waits for it too long fails without it. The process then ends
//! without MPI's consent, at which what started the ranks ends the others, as it does when one dies: so
//! which one was lost is said by rank 0, or by mpirun. An error within MPI ends the process with MPI's
//! own words.

use super::who::Who;
use super::{AGAIN, Collective, patience, silent, unended};
use crate::error::{Error, Result};
use mpi::Threading;
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, Destination, Root, Source};
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of one call, which counts in 31 bits.
const PART: usize = 1 << 30;
/// Where it cannot be told which rank is waited for.
const ANY: i32 = -1;

/// The processes of `MPI_COMM_WORLD`.
#[derive(Debug)]
pub struct Mpi {
    rank: usize,
    size: usize,
    limit: Duration,
    /// The rank that MPI waits for.
    awaited: Arc<AtomicI32>,
    /// None once it has failed, and when it has ended: an answer would be that of another call.
    thread: Mutex<Option<Link>>,
}

/// The thread that calls MPI.
#[derive(Debug)]
struct Link {
    calls: Sender<Call>,
    answers: Receiver<Vec<Vec<u8>>>,
}

#[derive(Debug)]
enum Call {
    /// At rank 0 the answer is what all have, elsewhere nothing.
    Gather(Vec<u8>),
    /// The answer is what rank 0 has.
    Broadcast(Vec<u8>),
    /// No answer comes before all have ended.
    End,
}

impl Mpi {
    /// Joins the processes that were started with this one. No rank waits longer than `limit` for
    /// another, now and later, but for the end of all in [`Collective::close`].
    ///
    /// # Errors
    /// [`Error::Ranks`] if MPI does not start, [`Error::Usage`] if it counts otherwise than `who`.
    pub fn join(who: &Who, limit: Duration) -> Result<Self> {
        let awaited = Arc::new(AtomicI32::new(ANY));
        let (calls, taken) = channel();
        let (done, answers) = channel();
        let (started, starts) = channel();
        let noted = awaited.clone();
        let work = move || {
            let universe = mpi::initialize_with_threading(Threading::Funneled);
            let world = universe.as_ref().map(|(universe, _)| universe.world());
            let counted = world.map(|world| (world.rank() as usize, world.size() as usize));
            // Where nobody waits any more there is nothing to serve.
            if let (Ok(()), Some((universe, _))) = (started.send(counted), universe) {
                serve(universe, &noted, &taken, &done);
            }
        };
        let thread = thread::Builder::new().name("mpi".into()).spawn(work);
        thread.map_err(Error::io("start", "the thread of MPI"))?;
        let counted = starts.recv_timeout(limit).map_err(|_| {
            Error::Ranks(format!(
                "MPI did not start within {} s: see whether all processes were started; {AGAIN}",
                limit.as_secs()
            ))
        })?;
        let Some((rank, size)) = counted else {
            let twice = "MPI has been started in this process already: its ranks meet once";
            return Err(Error::Ranks(twice.into()));
        };
        if (rank, size) != (who.rank, who.size) {
            return Err(Error::Usage(format!(
                "MPI says rank {rank} of {size}, and the environment of {} rank {} of {}: use the mpirun of \
                 the MPI that rnnx was built with",
                who.launcher, who.rank, who.size
            )));
        }
        Ok(Mpi {
            rank,
            size,
            limit: patience(rank, limit),
            awaited,
            thread: Mutex::new(Some(Link { calls, answers })),
        })
    }

    fn link(&self) -> Option<Link> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        thread.take()
    }

    /// What MPI makes of a call.
    fn call(&self, call: Call) -> Result<Vec<Vec<u8>>> {
        let ended = || Error::Ranks(format!("the exchange over MPI has ended; {AGAIN}"));
        let link = self.link().ok_or_else(ended)?;
        link.calls.send(call).map_err(|_| ended())?;
        let answer = link.answers.recv_timeout(self.limit);
        let answer = answer.map_err(|e| match e {
            RecvTimeoutError::Disconnected => ended(),
            RecvTimeoutError::Timeout => self.silent(),
        })?;
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(link);
        Ok(answer)
    }

    fn silent(&self) -> Error {
        Error::Ranks(match self.awaited.load(Ordering::SeqCst) {
            ANY => format!(
                "another rank has not taken what this one sent for {} s: it hangs; {AGAIN}",
                self.limit.as_secs()
            ),
            rank => silent(rank as usize, self.limit),
        })
    }
}

impl Collective for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn carrier(&self) -> &'static str {
        "MPI"
    }

    fn gather(&self, own: Vec<u8>) -> Result<Option<Vec<Vec<u8>>>> {
        let all = self.call(Call::Gather(own))?;
        Ok((self.rank == 0).then_some(all))
    }

    fn broadcast(&self, bytes: Vec<u8>) -> Result<Vec<u8>> {
        Ok(self.call(Call::Broadcast(bytes))?.pop().unwrap_or_default())
    }

    fn look(&self, began: Instant) -> Result<()> {
        match began.elapsed() > self.limit {
            true => Err(Error::Ranks(unended("the devices", self.limit))),
            false => Ok(()),
        }
    }

    fn close(&self) -> Result<()> {
        if let Some(link) = self.link() {
            // One that has ended already has nothing to end.
            let _ = link.calls.send(Call::End);
            let _ = link.answers.recv();
        }
        Ok(())
    }
}

/// Makes the calls that come. A process that stops making them without [`Call::End`] has failed: MPI is
/// not told that it ends well.
fn serve(
    universe: Universe,
    awaited: &AtomicI32,
    calls: &Receiver<Call>,
    answers: &Sender<Vec<Vec<u8>>>,
) {
    let universe = ManuallyDrop::new(universe);
    let world = universe.world();
    for call in calls {
        let answer = match call {
            Call::Gather(own) => gather(&world, awaited, own),
            Call::Broadcast(bytes) => vec![broadcast(&world, awaited, bytes)],
            Call::End => {
                drop(ManuallyDrop::into_inner(universe));
                // Who asked waits for it, or has gone.
                let _ = answers.send(Vec::new());
                return;
            }
        };
        awaited.store(ANY, Ordering::SeqCst);
        if answers.send(answer).is_err() {
            return;
        }
    }
}

fn gather(world: &SimpleCommunicator, awaited: &AtomicI32, own: Vec<u8>) -> Vec<Vec<u8>> {
    if world.rank() > 0 {
        awaited.store(0, Ordering::SeqCst);
        let first = world.process_at_rank(0);
        first.send(&(own.len() as u64));
        own.chunks(PART).for_each(|part| first.send(part));
        return Vec::new();
    }
    let mut all = vec![own];
    for rank in 1..world.size() {
        awaited.store(rank, Ordering::SeqCst);
        let other = world.process_at_rank(rank);
        let (length, _) = other.receive::<u64>();
        let mut bytes = vec![0; length as usize];
        for part in bytes.chunks_mut(PART) {
            other.receive_into(part);
        }
        all.push(bytes);
    }
    all
}

fn broadcast(world: &SimpleCommunicator, awaited: &AtomicI32, mut bytes: Vec<u8>) -> Vec<u8> {
    if world.rank() > 0 {
        awaited.store(0, Ordering::SeqCst);
    }
    let first = world.process_at_rank(0);
    let mut length = bytes.len() as u64;
    first.broadcast_into(&mut length);
    bytes.resize(length as usize, 0);
    for part in bytes.chunks_mut(PART) {
        first.broadcast_into(part);
    }
    bytes
}
