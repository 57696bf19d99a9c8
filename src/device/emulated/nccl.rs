//! What stands for NCCL between emulated devices, which are those of processes of one machine.
//!
//! As there, the process that makes a group's id keeps the place that it names: a thread that hears what
//! every device of the group has and tells all of them what comes of it. And as there a device that is lost
//! leaves the others waiting for ever: only their patience ends that.
//!
//! Faults are planted as those of the device: see `defects.rs`.

use super::Emulated;
use super::defects::Nccl;
use crate::device::collectives::{Collectives, Group, Patience, wait};
use crate::device::driver::{DevicePtr, Driver};
use crate::error::{Error, Result};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// The version where none is planted.
const VERSION: &str = "2.27.5";
/// Bytes of an id, as NCCL's.
const ID_BYTES: usize = 128;
/// What a message begins with: what is to be done, and the bytes that follow.
const HEAD: usize = 9;

const JOIN: u8 = 0;
const GATHER: u8 = 1;
const SUM: u8 = 2;

/// Exchanges of this process between several devices.
static EXCHANGES: AtomicU64 = AtomicU64::new(0);

/// A device's place in a group: the connection to the thread that joins it. It does not block.
#[derive(Debug)]
struct Seat {
    stream: Mutex<TcpStream>,
    size: usize,
    planted: Nccl,
}

impl Seat {
    /// Says what this device has, and waits for what comes of it, `expected` bytes.
    fn exchange(
        &self,
        kind: u8,
        own: &[u8],
        expected: usize,
        patience: Patience,
    ) -> Result<Vec<u8>> {
        self.fail_as_planted(kind);
        let mut message = vec![kind];
        message.extend((own.len() as u64).to_le_bytes());
        message.extend(own);
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut sent, mut made, mut got) = (0, vec![0; expected], 0);
        wait(patience, || {
            sent += moved(|| stream.write(&message[sent..]));
            if sent == message.len() {
                got += moved(|| stream.read(&mut made[got..]));
            }
            Ok(sent == message.len() && got == expected)
        })?;
        Ok(made)
    }

    /// Ends the process, or waits for ever, where that is planted at this exchange.
    fn fail_as_planted(&self, kind: u8) {
        if kind == JOIN || self.size == 1 {
            return;
        }
        let number = EXCHANGES.fetch_add(1, Ordering::SeqCst) + 1;
        if self.planted == Nccl::Dies(number) {
            std::process::abort();
        }
        while self.planted == Nccl::Hangs(number) {
            thread::sleep(Duration::from_secs(1));
        }
    }
}

/// The bytes that a connection takes or has now. One that has ended has none, and never will.
fn moved(mut some: impl FnMut() -> io::Result<usize>) -> usize {
    some().unwrap_or(0)
}

/// Joins the devices of a group that come to `listener` with `token`, until one is lost.
fn serve(listener: &TcpListener, token: [u8; 8]) -> io::Result<()> {
    let mut seats: Vec<Option<TcpStream>> = Vec::new();
    while seats.is_empty() || seats.iter().any(Option::is_none) {
        let (mut stream, _) = listener.accept()?;
        let (_, hello) = heard(&mut stream)?;
        let Some((theirs, [rank, size])) = greeting(&hello) else {
            continue;
        };
        if theirs != token || rank >= size {
            continue;
        }
        seats.resize_with(size, || None);
        seats[rank] = Some(stream);
    }
    let mut seats: Vec<TcpStream> = seats.into_iter().flatten().collect();
    for seat in &mut seats {
        seat.write_all(&[JOIN])?;
    }
    loop {
        let all: Vec<(u8, Vec<u8>)> = seats.iter_mut().map(heard).collect::<io::Result<_>>()?;
        let parts: Vec<&[u8]> = all.iter().map(|(_, part)| &part[..]).collect();
        let made = match all.iter().all(|(kind, _)| *kind == GATHER) {
            true => parts.concat(),
            false => sum(&parts),
        };
        for seat in &mut seats {
            seat.write_all(&made)?;
        }
    }
}

fn heard(from: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; HEAD];
    from.read_exact(&mut head)?;
    let [kind, length @ ..] = head;
    let mut bytes = Vec::new();
    let length = u64::from_le_bytes(length);
    from.take(length).read_to_end(&mut bytes)?;
    match bytes.len() as u64 == length {
        true => Ok((kind, bytes)),
        false => Err(ErrorKind::UnexpectedEof.into()),
    }
}

/// The token, and the number of a device and of all, that it joins with.
fn greeting(hello: &[u8]) -> Option<([u8; 8], [usize; 2])> {
    let (token, numbers) = hello.split_first_chunk()?;
    let (rank, size) = numbers.split_first_chunk()?;
    let number = |bytes: &[u8; 4]| u32::from_le_bytes(*bytes) as usize;
    Some((*token, [number(rank), number(size.first_chunk()?)]))
}

/// The sums of f32, from the last device to the first: no order that a caller may go by.
fn sum(parts: &[&[u8]]) -> Vec<u8> {
    let numbers = |part: &&[u8]| -> Vec<f32> {
        let numbers = part.chunks_exact(size_of::<f32>());
        numbers.map(bytemuck::pod_read_unaligned).collect()
    };
    let mut parts = parts.iter().rev().map(numbers);
    let mut sum = parts.next().unwrap_or_default();
    for part in parts {
        for (sum, x) in sum.iter_mut().zip(part) {
            *sum += x;
        }
    }
    bytemuck::cast_slice(&sum).to_vec()
}

fn failed(what: &str) -> impl Fn(io::Error) -> Error {
    let what = what.to_owned();
    move |e| Error::Device(format!("the emulated NCCL cannot {what}: {e}"))
}

impl Emulated {
    fn seat<'a>(&self, group: &'a Group) -> Result<&'a Seat> {
        let seat = group.0.downcast_ref();
        seat.ok_or_else(|| Error::op("nccl", "a group of another driver"))
    }

    /// Does something with so many f32.
    fn floats<R>(
        &self,
        op: &'static str,
        at: DevicePtr,
        count: usize,
        work: impl FnOnce(&[u8]) -> R,
    ) -> Result<R> {
        let state = self.outside_capture(op)?;
        Ok(work(state.memory.bytes(
            op,
            at,
            size_of::<f32>() * count,
        )?))
    }
}

impl Collectives for Emulated {
    fn library(&self) -> Result<String> {
        match &self.defects.nccl {
            Nccl::Missing => {
                let message = "libnccl.so.2 was not found; RNNX_EMULATED says so";
                Err(Error::Device(message.into()))
            }
            Nccl::Version(version) => Ok(format!("emulated NCCL {version}")),
            _ => Ok(format!("emulated NCCL {VERSION}")),
        }
    }

    fn new_id(&self) -> Result<Vec<u8>> {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(failed("listen"))?;
        let port = listener.local_addr().map_err(failed("listen"))?.port();
        // Of this process, and of no id before.
        let token = (u64::from(std::process::id()) << 32 | u64::from(port)).to_le_bytes();
        thread::spawn(move || {
            // It ends where a device is lost, which those that wait hear of by other ways.
            let _ = serve(&listener, token);
        });
        let mut id = vec![0; ID_BYTES];
        id[..2].copy_from_slice(&port.to_le_bytes());
        id[2..10].copy_from_slice(&token);
        Ok(id)
    }

    fn join(&self, id: &[u8], rank: usize, size: usize, patience: Patience) -> Result<Group> {
        let (Some((port, rest)), ID_BYTES) = (id.split_first_chunk(), id.len()) else {
            return Err(Error::op("nccl", "an id of another length"));
        };
        let mut hello = rest[..8].to_vec();
        hello.extend([rank, size].iter().flat_map(|n| (*n as u32).to_le_bytes()));
        let at = ("127.0.0.1", u16::from_le_bytes(*port));
        let stream = TcpStream::connect(at).map_err(failed("join"))?;
        stream.set_nonblocking(true).map_err(failed("join"))?;
        stream.set_nodelay(true).map_err(failed("join"))?;
        let seat = Seat {
            stream: Mutex::new(stream),
            size,
            planted: self.defects.nccl.clone(),
        };
        seat.exchange(JOIN, &hello, 1, patience)?;
        Ok(Group(Box::new(seat)))
    }

    fn all_gather(
        &self,
        group: &Group,
        from: DevicePtr,
        to: DevicePtr,
        count: usize,
        patience: Patience,
    ) -> Result<()> {
        let seat = self.seat(group)?;
        let own = self.floats("all_gather", from, count, <[u8]>::to_vec)?;
        // Room for all, before anything is said.
        self.floats("all_gather", to, seat.size * count, |_| ())?;
        let all = seat.exchange(GATHER, &own, seat.size * own.len(), patience)?;
        self.upload(to, &all)
    }

    fn all_reduce(
        &self,
        group: &Group,
        at: DevicePtr,
        count: usize,
        patience: Patience,
    ) -> Result<()> {
        let seat = self.seat(group)?;
        let own = self.floats("all_reduce", at, count, <[u8]>::to_vec)?;
        let sum = seat.exchange(SUM, &own, own.len(), patience)?;
        self.upload(at, &sum)
    }
}
