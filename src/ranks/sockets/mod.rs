//! Ranks that reach each other by TCP: every rank has a connection to rank 0.
//!
//! Rank 0 notices a rank that is gone by the end of its connection, tells the others which one it was,
//! and fails; so all end, whichever was lost. What is sent is not encrypted, and whoever reaches the
//! port can pass for a rank: it is for networks that are trusted, as torchrun's store and MPI are.

mod meet;
#[cfg(test)]
mod tests;
mod wire;

use super::who::Who;
use super::{AGAIN, Collective, LAST_WORDS, patience, silent, unended, unending};
use crate::error::{Error, Result};
use std::net::{Shutdown, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use wire::{DATA, Fault, Holds, LEAST, LOST, look, read, tell, write};

/// The connections of a rank: at rank 0 those to ranks 1, 2, .., at the others the one to rank 0.
#[derive(Debug)]
pub struct Sockets {
    rank: usize,
    size: usize,
    /// The longest wait for what comes by another way, the same for all.
    beside: Duration,
    /// The longest wait for a message.
    limit: Duration,
    peers: Mutex<Vec<TcpStream>>,
}

impl Sockets {
    /// Meets the others.
    ///
    /// # Errors
    /// [`Error::Usage`] where nothing says where, and for ranks that were started as two groups;
    /// [`Error::Ranks`] that names those that are missing when the time is over.
    pub fn meet(who: &Who, limit: Duration) -> Result<Self> {
        let meeting = who.meeting.as_ref();
        let meeting = meeting.map_err(|lacks| Error::Usage(lacks.clone()))?;
        let peers = match who.rank {
            0 => meet::wait_for_all(who, meeting, limit)?,
            _ => vec![meet::find_first(who, meeting, limit)?],
        };
        let beside = limit;
        let limit = patience(who.rank, limit);
        for peer in &peers {
            let set = peer.set_nodelay(true);
            let set = set.and_then(|()| peer.set_read_timeout(Some(limit)));
            let set = set.and_then(|()| peer.set_write_timeout(Some(limit)));
            set.map_err(Error::io("set up", "a connection between ranks"))?;
        }
        Ok(Sockets {
            rank: who.rank,
            size: who.size,
            beside,
            limit,
            peers: Mutex::new(peers),
        })
    }

    fn peers(&self) -> MutexGuard<'_, Vec<TcpStream>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is said of a fault of `rank`.
    fn said(&self, rank: usize, fault: Fault) -> String {
        match fault {
            Fault::Gone => format!(
                "rank {rank} is gone: its process has ended (see what it said last), or its machine \
                 has; {AGAIN}"
            ),
            Fault::Silent => silent(rank, self.limit),
            Fault::Told(text) => text,
        }
    }

    /// At rank 0: tells every other rank that one of them is lost.
    fn lost(&self, peers: &[TcpStream], lost: usize, fault: Fault) -> Error {
        let text = self.said(lost + 1, fault);
        let others = peers.iter().enumerate().filter(|(i, _)| *i != lost);
        tell(others.map(|(_, peer)| peer), &text);
        Error::Ranks(text)
    }

    /// At another rank: what is wrong with rank 0, or what that says.
    fn first_failed(&self, first: &TcpStream, fault: Fault) -> Error {
        let last = || match first.set_read_timeout(Some(LAST_WORDS)) {
            Ok(()) => read(first).err(),
            Err(_) => None,
        };
        // It may have told why it ended before it did.
        let fault = match fault {
            Fault::Gone => match last() {
                Some(Fault::Told(text)) => Fault::Told(text),
                _ => Fault::Gone,
            },
            fault => fault,
        };
        Error::Ranks(self.said(0, fault))
    }

    /// What is wrong where nothing has come by another way and the time is over. Every rank that waits tells
    /// rank 0 so; it names the one that does not, and else the way itself.
    fn overdue(&self, peers: &[TcpStream]) -> Error {
        let has_not_ended = |whose: &str| unended(whose, self.beside);
        let answer = LAST_WORDS.min(self.beside).max(LEAST);
        if self.rank > 0 {
            let first = &peers[0];
            let own = has_not_ended(&format!("rank {} and the others", self.rank));
            // Whether it is heard or not, rank 0 has to answer; it gives the others as long.
            let _ = write(first, LOST, own.as_bytes());
            let _ = first.set_read_timeout(Some(3 * answer));
            let fault = loop {
                if let Err(fault) = read(first) {
                    break fault;
                }
            };
            return Error::Ranks(self.said(0, fault));
        }
        let deadline = Instant::now() + answer;
        for (i, peer) in peers.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            // Without a time limit it would wait for ever.
            let fault = match peer.set_read_timeout(Some(left.max(LEAST))) {
                Ok(()) => read(peer).err(),
                Err(_) => Some(Fault::Gone),
            };
            if let Some(fault @ (Fault::Gone | Fault::Silent)) = fault {
                return self.lost(peers, i, fault);
            }
        }
        let all_wait = has_not_ended("all devices");
        tell(peers.iter(), &all_wait);
        Error::Ranks(all_wait)
    }
}

impl Collective for Sockets {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn carrier(&self) -> &'static str {
        "TCP"
    }

    fn gather(&self, own: Vec<u8>) -> Result<Option<Vec<Vec<u8>>>> {
        let peers = self.peers();
        if self.rank > 0 {
            let written = write(&peers[0], DATA, &own);
            return match written {
                Ok(()) => Ok(None),
                Err(e) => Err(self.first_failed(&peers[0], e.into())),
            };
        }
        let mut all = Vec::with_capacity(self.size);
        all.push(own);
        for (i, peer) in peers.iter().enumerate() {
            all.push(read(peer).map_err(|fault| self.lost(&peers, i, fault))?);
        }
        Ok(Some(all))
    }

    fn broadcast(&self, bytes: Vec<u8>) -> Result<Vec<u8>> {
        let peers = self.peers();
        if self.rank > 0 {
            return read(&peers[0]).map_err(|fault| self.first_failed(&peers[0], fault));
        }
        for (i, peer) in peers.iter().enumerate() {
            let written = write(peer, DATA, &bytes);
            written.map_err(|e| self.lost(&peers, i, e.into()))?;
        }
        Ok(bytes)
    }

    /// Rank 0 may have something to save or to test, and a launcher that sees another end may end it.
    fn close(&self) -> Result<()> {
        if self.rank == 0 {
            return Ok(());
        }
        let first = &self.peers()[0];
        // Should it still wait for this one, then it is to know.
        let _ = first.shutdown(Shutdown::Write);
        match read(first) {
            Err(Fault::Silent) => Err(Error::Ranks(unending(self.limit))),
            // Its end is no message, and its last words are its own.
            _ => Ok(()),
        }
    }

    fn look(&self, began: Instant) -> Result<()> {
        let peers = self.peers();
        for (i, peer) in peers.iter().enumerate() {
            let error = match (look(peer), self.rank) {
                (Holds::NoTrouble, _) => continue,
                (Holds::End, 0) => self.lost(&peers, i, Fault::Gone),
                (Holds::End, _) => self.first_failed(peer, Fault::Gone),
                // Its time is over, and so is this one's at any moment.
                (Holds::LastWords, 0) => self.overdue(&peers),
                (Holds::LastWords, _) => {
                    let fault = read(peer).err().unwrap_or(Fault::Gone);
                    self.first_failed(peer, fault)
                }
            };
            return Err(error);
        }
        match began.elapsed() > self.beside {
            true => Err(self.overdue(&peers)),
            false => Ok(()),
        }
    }
}
