//! How ranks meet: rank 0 listens, the others come, and each says who it is.

use super::wire::tell;
use crate::error::{Error, Result};
use crate::ranks::who::{Meeting, Who};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What a rank says first, and rank 0 answers.
const MAGIC: [u8; 8] = *b"rnnxrnk1";
/// Ports from the first one on that rank 0 tries, and the others look for it at.
const TRIED: u16 = 16;
/// How long a connection may take to say who it is.
const GREETING: Duration = Duration::from_secs(5);
/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(10);
/// Longest text that a stranger can make this process read.
const LONGEST: u32 = 1 << 16;

/// Rank 0's answers to a greeting.
const WELCOME: u8 = 0;
const ELSEWHERE: u8 = 1;
const REFUSED: u8 = 2;

/// At rank 0: waits for all others. Those that are there are told if one is not, or is wrong.
pub(super) fn wait_for_all(
    who: &Who,
    meeting: &Meeting,
    limit: Duration,
) -> Result<Vec<TcpStream>> {
    let mut peers: Vec<Option<TcpStream>> = (1..who.size).map(|_| None).collect();
    let met = meet_all(who, meeting, limit, &mut peers);
    let peers = peers.into_iter().flatten();
    match met {
        Ok(()) => Ok(peers.collect()),
        Err(e) => {
            tell(peers.collect::<Vec<_>>().iter(), &e.to_string());
            Err(e)
        }
    }
}

fn meet_all(
    who: &Who,
    meeting: &Meeting,
    limit: Duration,
    peers: &mut [Option<TcpStream>],
) -> Result<()> {
    let deadline = Instant::now() + limit;
    let listeners = listen(meeting)?;
    while peers.iter().any(Option::is_none) {
        if Instant::now() >= deadline {
            return Err(Error::Ranks(missing(who, meeting, peers, limit)));
        }
        let mut came = listeners
            .iter()
            .filter_map(|listener| listener.accept().ok());
        let Some((stream, _)) = came.next() else {
            sleep(PAUSE);
            continue;
        };
        // Strangers, and connections that break before they are one, are none.
        if let Some((rank, stream)) = greeted(stream, who, peers)? {
            peers[rank - 1] = Some(stream);
        }
    }
    Ok(())
}

fn missing(who: &Who, meeting: &Meeting, peers: &[Option<TcpStream>], limit: Duration) -> String {
    let numbers = (1..).zip(peers).filter(|(_, peer)| peer.is_none());
    let numbers: Vec<String> = numbers.map(|(rank, _)| format!("{rank}")).collect();
    let (are, plural) = match numbers.len() {
        1 => ("is", ""),
        _ => ("are", "s"),
    };
    format!(
        "rank{plural} {} of {} {are} missing: nobody came to {}:{} in their name within {} s. See whether \
         they were started, with the same MASTER_ADDR and MASTER_PORT, and whether they reach this \
         machine",
        numbers.join(", "),
        who.size,
        meeting.host,
        meeting.port,
        limit.as_secs()
    )
}

/// Listens on the first port that is free: on this machine alone if that is where the ranks meet, by
/// whichever of its names (127.0.0.1, ::1) another rank may call it, and else on all of its addresses.
pub(super) fn listen(meeting: &Meeting) -> Result<Vec<TcpListener>> {
    let host = &meeting.host[..];
    let here = is_here(host).then(|| own_addresses(host));
    let every = [Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()];
    let addresses = here.as_deref().unwrap_or(&every);
    let mut failed = None;
    for port in ports(meeting) {
        let listener = |address: &IpAddr| {
            let listener = TcpListener::bind((*address, port))?;
            listener.set_nonblocking(true).map(|()| listener)
        };
        let bound = addresses.iter().map(listener);
        let (listeners, mut lacks): (Vec<_>, Vec<_>) = bound.partition(Result::is_ok);
        // A stranger at one of a machine's own addresses would be met there. All addresses are one listener
        // where that of IPv6 takes IPv4, too.
        if !listeners.is_empty() && (here.is_none() || lacks.is_empty()) {
            return Ok(listeners.into_iter().flatten().collect());
        }
        failed = lacks.pop().and_then(Result::err);
    }
    let e = failed.unwrap_or_else(|| ErrorKind::AddrNotAvailable.into());
    Err(Error::Ranks(format!(
        "rank 0 cannot listen on port {} of {host}, nor on the {} after it: {e}; give another MASTER_PORT",
        meeting.port,
        TRIED - 1
    )))
}

/// Whether a host is the machine that it is named on.
pub(super) fn is_here(host: &str) -> bool {
    let is_loopback = |address: IpAddr| address.is_loopback();
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(is_loopback)
}

/// The addresses by which a machine calls itself, of those that it has: that of `host`, which is one of its
/// names, and the usual ones.
fn own_addresses(host: &str) -> Vec<IpAddr> {
    let given: Option<IpAddr> = host.parse().ok();
    // A name that leads nowhere still means this machine.
    let named = (host, 0).to_socket_addrs().into_iter().flatten();
    let usual = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let mut addresses = Vec::new();
    for address in named.map(|named| named.ip()).chain(usual) {
        let is_lacking = || TcpListener::bind((address, 0)).is_err();
        if !addresses.contains(&address) && (given == Some(address) || !is_lacking()) {
            addresses.push(address);
        }
    }
    addresses
}

fn ports(meeting: &Meeting) -> impl Iterator<Item = u16> {
    (0..TRIED).filter_map(|n| meeting.port.checked_add(n))
}

/// At rank 0: a connection that says which rank it is, and its rank.
fn greeted(
    stream: TcpStream,
    who: &Who,
    peers: &[Option<TcpStream>],
) -> Result<Option<(usize, TcpStream)>> {
    let Ok((rank, size, job)) = greeting(&stream) else {
        return Ok(None);
    };
    let refuse = |text: String| {
        // It fails here whether it is heard there or not.
        let _ = answer(&stream, REFUSED, &text);
        Err(Error::Usage(text))
    };
    if job != who.job {
        let _ = answer(&stream, ELSEWHERE, "");
        return Ok(None);
    }
    if size != who.size || rank == 0 || rank >= size {
        return refuse(format!(
            "rank {rank} was started as one of {size} and rank 0 as one of {}: start all with the same \
             number",
            who.size
        ));
    }
    if peers[rank - 1].is_some() {
        return refuse(format!(
            "two processes say that they are rank {rank} of {size}: give each a RANK of its own"
        ));
    }
    let welcomed = answer(&stream, WELCOME, "");
    Ok(welcomed.is_ok().then_some((rank, stream)))
}

fn greeting(mut stream: &TcpStream) -> io::Result<(usize, usize, String)> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(GREETING))?;
    stream.set_write_timeout(Some(GREETING))?;
    let mut magic = [0; 8];
    stream.read_exact(&mut magic)?;
    if magic != MAGIC {
        return Err(ErrorKind::InvalidData.into());
    }
    let (rank, size) = (read_u32(stream)?, read_u32(stream)?);
    Ok((rank as usize, size as usize, read_text(stream)?))
}

/// Answers a greeting; a welcome has to be confirmed, as its reader may have given up.
fn answer(mut stream: &TcpStream, status: u8, text: &str) -> io::Result<()> {
    let mut bytes = MAGIC.to_vec();
    bytes.push(status);
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text.as_bytes());
    stream.write_all(&bytes)?;
    match status {
        WELCOME => stream.read_exact(&mut [0]),
        _ => Ok(()),
    }
}

fn read_u32(mut stream: &TcpStream) -> io::Result<u32> {
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

fn read_text(mut stream: &TcpStream) -> io::Result<String> {
    let length = read_u32(stream)?.min(LONGEST);
    let mut bytes = vec![0; length as usize];
    stream.read_exact(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// At another rank: looks for rank 0 until it is there.
pub(super) fn find_first(who: &Who, meeting: &Meeting, limit: Duration) -> Result<TcpStream> {
    let deadline = Instant::now() + limit;
    let mut problem = "nothing listens there".to_owned();
    while Instant::now() < deadline {
        for port in ports(meeting) {
            match greet(who, &meeting.host, port) {
                Ok(Some(stream)) => return Ok(stream),
                Ok(None) => {}
                Err(Greeted::Refused(text)) => return Err(Error::Usage(text)),
                Err(Greeted::Failed(e)) if e.kind() == ErrorKind::ConnectionRefused => {}
                Err(Greeted::Failed(e)) => problem = e.to_string(),
            }
        }
        sleep(PAUSE);
    }
    Err(Error::Ranks(format!(
        "rank 0 is missing: rank {} did not find it at {}:{} or the {} ports after that within {} s \
         ({problem}). See whether it was started, and whether this machine reaches that one",
        who.rank,
        meeting.host,
        meeting.port,
        TRIED - 1,
        limit.as_secs()
    )))
}

enum Greeted {
    Refused(String),
    Failed(io::Error),
}

impl From<io::Error> for Greeted {
    fn from(e: io::Error) -> Self {
        Greeted::Failed(e)
    }
}

/// The connection to rank 0, if it is that which listens on this port of one of the host's addresses.
fn greet(who: &Who, host: &str, port: u16) -> Result<Option<TcpStream>, Greeted> {
    let mut greeted = Err(io::Error::from(ErrorKind::NotFound).into());
    for address in (host, port).to_socket_addrs()? {
        greeted = greet_at(who, address);
        if matches!(greeted, Ok(Some(_)) | Err(Greeted::Refused(_))) {
            break;
        }
    }
    greeted
}

fn greet_at(who: &Who, address: SocketAddr) -> Result<Option<TcpStream>, Greeted> {
    let mut stream = TcpStream::connect_timeout(&address, GREETING)?;
    stream.set_read_timeout(Some(GREETING))?;
    stream.set_write_timeout(Some(GREETING))?;
    let mut hello = MAGIC.to_vec();
    let numbers = [who.rank, who.size, who.job.len()];
    hello.extend(numbers.iter().flat_map(|n| (*n as u32).to_le_bytes()));
    hello.extend(who.job.as_bytes());
    stream.write_all(&hello)?;
    let mut head = [0; 9];
    stream.read_exact(&mut head)?;
    let (magic, status) = head.split_at(MAGIC.len());
    if magic != MAGIC {
        return Ok(None);
    }
    let text = read_text(&stream)?;
    match status {
        [WELCOME] => {
            stream.write_all(&[0])?;
            Ok(Some(stream))
        }
        [REFUSED] => Err(Greeted::Refused(text)),
        _ => Ok(None),
    }
}
