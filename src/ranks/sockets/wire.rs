//! Messages on a connection between two ranks: a kind, a length, bytes.

use crate::ranks::LAST_WORDS;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// Least time that a connection is given, as none is no limit.
pub(super) const LEAST: Duration = Duration::from_millis(10);

/// The kinds of a message.
pub(super) const DATA: u8 = 0;
pub(super) const LOST: u8 = 1;

/// Why nothing came from a rank, or went there.
pub(super) enum Fault {
    /// Its connection has ended.
    Gone,
    /// It was silent for the time limit.
    Silent,
    /// Rank 0 says what is wrong.
    Told(String),
}

impl From<io::Error> for Fault {
    fn from(e: io::Error) -> Self {
        match e.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Fault::Silent,
            _ => Fault::Gone,
        }
    }
}

pub(super) fn write(mut to: &TcpStream, kind: u8, bytes: &[u8]) -> io::Result<()> {
    let mut head = [kind; 9];
    head[1..].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
    to.write_all(&head)?;
    to.write_all(bytes)
}

pub(super) fn read(mut from: &TcpStream) -> Result<Vec<u8>, Fault> {
    let (mut kind, mut length) = ([0], [0; 8]);
    from.read_exact(&mut kind)?;
    from.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    // Memory for what comes, not for what is said to come.
    let mut bytes = Vec::new();
    from.take(length).read_to_end(&mut bytes)?;
    match kind {
        _ if bytes.len() as u64 != length => Err(Fault::Gone),
        [DATA] => Ok(bytes),
        _ => Err(Fault::Told(String::from_utf8_lossy(&bytes).into_owned())),
    }
}

/// What a connection holds.
pub(super) enum Holds {
    /// Nothing yet, or a message for later: that rank is ahead of this one.
    NoTrouble,
    /// Last words, which are still to be read.
    LastWords,
    /// Its end.
    End,
}

/// Looks at a connection without waiting.
pub(super) fn look(from: &TcpStream) -> Holds {
    let mut kind = [DATA];
    let peeked = from.set_nonblocking(true).and_then(|()| {
        let peeked = from.peek(&mut kind);
        from.set_nonblocking(false).and(peeked)
    });
    match peeked {
        Ok(0) => Holds::End,
        Ok(_) if kind == [LOST] => Holds::LastWords,
        Ok(_) => Holds::NoTrouble,
        Err(e) => match e.kind() {
            ErrorKind::WouldBlock | ErrorKind::Interrupted => Holds::NoTrouble,
            _ => Holds::End,
        },
    }
}

/// The last words of rank 0.
pub(super) fn tell<'a>(peers: impl Iterator<Item = &'a TcpStream> + Clone, text: &str) {
    for peer in peers.clone() {
        // One that is lost, too, is not told.
        let _ = peer.set_write_timeout(Some(LAST_WORDS));
        let _ = write(peer, LOST, text.as_bytes());
        let _ = peer.shutdown(Shutdown::Write);
    }
    // Until they have heard it: what is not read when this process ends would break the connection.
    let began = Instant::now();
    for mut peer in peers {
        let left = LAST_WORDS.saturating_sub(began.elapsed());
        if peer.set_read_timeout(Some(left.max(LEAST))).is_ok() {
            let _ = io::copy(&mut peer, &mut io::sink());
        }
    }
}
