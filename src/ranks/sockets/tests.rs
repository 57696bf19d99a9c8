//! Ranks as threads of one process.

use super::*;
use crate::ranks::Ranks;
use crate::ranks::who::Meeting;
use std::io::Write;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

fn who(rank: usize, size: usize, port: u16, job: &str) -> Who {
    who_at("127.0.0.1", rank, size, port, job)
}

fn who_at(host: &str, rank: usize, size: usize, port: u16, job: &str) -> Who {
    Who {
        rank,
        size,
        meeting: Ok(Meeting {
            host: host.into(),
            port,
        }),
        job: job.into(),
        ..Who::alone()
    }
}

/// A port that nobody listens on, though another test may take it, too.
fn port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap().port().min(60_000)
}

/// The same at each of these names.
fn port_at(names: &[&str]) -> u16 {
    loop {
        let port = port();
        let is_free = |name: &&str| TcpListener::bind((*name, port)).is_ok();
        if names.iter().all(is_free) {
            return port;
        }
    }
}

/// Runs `work` on so many ranks, each a thread.
fn together<T: Send>(size: usize, job: &str, work: impl Fn(Arc<Ranks>) -> T + Sync) -> Vec<T> {
    let (port, work) = (port(), &work);
    thread::scope(|scope| {
        let start = |rank| {
            let who = who(rank, size, port, job);
            scope.spawn(move || work(Ranks::join(&who, Duration::from_secs(20)).unwrap()))
        };
        let threads: Vec<_> = (0..size).map(start).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    })
}

#[test]
fn all_have_what_rank_0_makes_of_all() {
    let made = together(3, "made", |ranks| {
        let own = vec![ranks.rank() as u8; 1 + 100_000 * ranks.rank()];
        let made = ranks.settle(own, |all| Ok(all.iter().map(|b| b[0]).collect()));
        ranks.barrier().unwrap();
        (made.unwrap(), ranks.spent().exchanges)
    });
    assert_eq!(
        made,
        [(vec![0, 1, 2], 2), (vec![0, 1, 2], 2), (vec![0, 1, 2], 2)]
    );
}

#[test]
fn what_fails_at_rank_0_fails_at_all() {
    let failed = together(2, "fails", |ranks| {
        let made = ranks.settle(Vec::new(), |_| Err(Error::Data("no such text".into())));
        made.unwrap_err().to_string()
    });
    assert_eq!(failed, ["no such text"; 2]);
}

#[test]
fn the_one_that_is_gone_is_named_by_all_others() {
    let said = together(4, "gone", |ranks| match ranks.rank() {
        2 => None,
        _ => Some(ranks.barrier().unwrap_err().to_string()),
    });
    for (rank, said) in said.into_iter().enumerate().filter(|(rank, _)| *rank != 2) {
        assert!(said.unwrap().starts_with("rank 2 is gone"), "rank {rank}");
    }
}

/// Waits for what never comes by another way.
fn beside(ranks: &Ranks) -> String {
    let waited = ranks.beside(0, |look| {
        loop {
            look()?;
            thread::sleep(Duration::from_millis(1));
        }
    });
    Result::<()>::unwrap_err(waited).to_string()
}

#[test]
fn one_that_is_gone_is_named_while_the_others_wait_for_another_way() {
    let said = together(3, "beside", |ranks| {
        ranks.barrier().unwrap();
        (ranks.rank() != 1).then(|| beside(&ranks))
    });
    for said in [&said[0], &said[2]] {
        let said = said.as_ref().unwrap();
        assert!(said.starts_with("rank 1 is gone"), "{said}");
    }
}

#[test]
fn a_message_for_later_is_no_trouble() {
    let made = together(2, "later", |ranks| {
        if ranks.is_first() {
            // Until the other's message is here.
            let looked = ranks.beside(3, |look| {
                (0..100).try_for_each(|_| {
                    thread::sleep(Duration::from_millis(1));
                    look()
                })
            });
            looked.unwrap();
        }
        let made = ranks.settle(vec![7], |all| Ok(all.concat())).unwrap();
        (made, ranks.spent().exchanges)
    });
    assert_eq!(made, [(vec![7, 7], 2), (vec![7, 7], 1)]);
}

#[test]
fn one_that_hangs_is_named_when_the_time_is_over() {
    let cases = [
        (Some(1), "rank 1 has said nothing"),
        (Some(0), "rank 0 has said nothing"),
        (
            None,
            "the exchange between all devices has not ended for 0 s",
        ),
    ];
    for (hangs, words) in cases {
        let (port, ended) = (port(), Barrier::new(3));
        let wait = |rank| {
            let who = who(rank, 3, port, words);
            let mut sockets = Sockets::meet(&who, Duration::from_secs(20)).unwrap();
            sockets.beside = Duration::from_millis(300);
            let ranks = Ranks::over(Box::new(sockets), (0, 1));
            ranks.barrier().unwrap();
            match Some(rank) == hangs {
                true => {
                    ended.wait();
                    None
                }
                false => {
                    let said = beside(&ranks);
                    drop(ranks);
                    ended.wait();
                    Some(said)
                }
            }
        };
        let wait = &wait;
        let said = thread::scope(|scope| {
            let threads = [0, 1, 2].map(|rank| scope.spawn(move || wait(rank)));
            threads.map(|t| t.join().unwrap())
        });
        assert_eq!(said.iter().flatten().count(), 3 - hangs.iter().len());
        for said in said.iter().flatten() {
            assert!(said.starts_with(words), "{said}");
        }
    }
}

/// What rank 0 has left to do would be lost where a launcher ends all ranks when one ends.
#[test]
fn another_rank_ends_after_rank_0() {
    let ended = AtomicBool::new(false);
    together(2, "ends", |ranks| {
        ranks.barrier().unwrap();
        if ranks.is_first() {
            thread::sleep(Duration::from_millis(200));
            assert!(!ended.load(Ordering::SeqCst));
        }
        ranks.close().unwrap();
        ended.store(true, Ordering::SeqCst);
    });
    // But rank 0 does not wait for one that is through.
    together(2, "ends alone", |ranks| match ranks.rank() {
        0 => {
            let error = ranks.barrier().unwrap_err().to_string();
            assert!(error.starts_with("rank 1 is gone"), "{error}");
        }
        _ => ranks.close().unwrap(),
    });
}

#[test]
fn rank_0_is_not_waited_for_for_ever() {
    let (port, waited) = (port(), Barrier::new(2));
    let wait = |rank| {
        let sockets = Sockets::meet(&who(rank, 2, port, "endless"), Duration::from_secs(20));
        let sockets = sockets.unwrap();
        for peer in &*sockets.peers() {
            let limit = Some(Duration::from_millis(50));
            peer.set_read_timeout(limit).unwrap();
        }
        let closed = (rank > 0).then(|| sockets.close());
        waited.wait();
        closed
    };
    let wait = &wait;
    let closed = thread::scope(|scope| {
        let threads = [0, 1].map(|rank| scope.spawn(move || wait(rank)));
        threads.map(|t| t.join().unwrap())
    });
    let [None, Some(Err(error))] = &closed else {
        panic!("{closed:?}");
    };
    let error = error.to_string();
    // The limit that it was told, and what it gives rank 0 on top.
    assert!(
        error.starts_with("rank 0 has not ended for 27 s"),
        "{error}"
    );
    assert!(error.contains("--rank-timeout"), "{error}");
}

#[test]
fn strangers_and_other_jobs_are_not_let_in() {
    let port = port();
    let limit = Duration::from_secs(20);
    thread::scope(|scope| {
        let first = scope.spawn(move || Ranks::join(&who(0, 2, port, "mine"), limit).unwrap());
        let stranger = loop {
            if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
                stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
                break stream;
            }
        };
        // One of another job finds its own rank 0, on a port after that.
        let theirs = [0, 1].map(|rank| {
            scope.spawn(move || Ranks::join(&who(rank, 2, port, "theirs"), limit).unwrap())
        });
        let second = Ranks::join(&who(1, 2, port, "mine"), limit).unwrap();
        let settle = |ranks: Arc<Ranks>| ranks.settle(vec![1], |all| Ok(all.concat()));
        let theirs = theirs.map(|t| t.join().unwrap());
        let first = first.join().unwrap();
        for pair in [[first, second], theirs] {
            let made = pair.map(|ranks| scope.spawn(move || settle(ranks).unwrap()));
            assert_eq!(made.map(|t| t.join().unwrap()), [[1, 1], [1, 1]]);
        }
        drop(stranger);
    });
}

#[test]
fn a_host_that_begins_as_an_own_address_is_another_machine() {
    for host in ["127.0.0.1", "127.3.2.1", "::1", "localhost", "LocalHost"] {
        assert!(meet::is_here(host), "{host}");
    }
    for host in [
        "127.cluster.example",
        "localhost.example",
        "10.0.0.1",
        "::",
        "node1",
    ] {
        assert!(!meet::is_here(host), "{host}");
    }
}

/// A rank that calls this machine by that address would find a stranger.
#[test]
fn a_port_is_not_free_where_one_of_the_own_addresses_has_it() {
    let has = |name: &str| TcpListener::bind((name, 0)).is_ok();
    let cases = [("127.0.0.1", "::1"), ("127.0.0.2", "127.0.0.1")];
    let cases: Vec<_> = cases.iter().filter(|(a, b)| has(a) && has(b)).collect();
    assert!(!cases.is_empty());
    for (given, taken) in cases {
        let port = port_at(&[given, taken]);
        let stranger = TcpListener::bind((*taken, port)).unwrap();
        let host = (*given).to_owned();
        let listeners = meet::listen(&Meeting { host, port }).unwrap();
        let at: Vec<_> = listeners.iter().map(|l| l.local_addr().unwrap()).collect();
        assert!(at.len() > 1, "{at:?}");
        assert!(
            at.iter()
                .all(|a| a.port() > port && a.port() == at[0].port()),
            "{at:?}"
        );
        drop(stranger);
    }
}

/// Each of the machine's own names leads to rank 0, whichever that was given itself: where it has no IPv6,
/// those are localhost and 127.0.0.1.
#[test]
fn ranks_of_one_machine_meet_by_any_of_its_names() {
    let names = ["127.0.0.1", "localhost", "::1"];
    let has = |name: &&&str| TcpListener::bind((**name, 0)).is_ok();
    let names: Vec<&str> = names.iter().filter(has).copied().collect();
    assert!(names.len() > 1, "{names:?}");
    for first in &names {
        let (size, limit) = (1 + names.len(), Duration::from_secs(20));
        let port = port_at(&names);
        thread::scope(|scope| {
            let hosts = [first].into_iter().chain(&names).enumerate();
            let join = |(rank, host): (usize, &&str)| {
                let who = who_at(host, rank, size, port, first);
                scope.spawn(move || Ranks::join(&who, limit).unwrap().barrier())
            };
            let joined: Vec<_> = hosts.map(join).collect();
            for rank in joined {
                rank.join().unwrap().unwrap();
            }
        });
    }
}

#[test]
fn those_that_are_missing_are_named_to_those_that_are_there() {
    let (port, limit) = (port(), Duration::from_secs(2));
    let said = thread::scope(|scope| {
        let joined =
            [0, 2].map(|rank| scope.spawn(move || Ranks::join(&who(rank, 4, port, "some"), limit)));
        joined.map(|t| match t.join().unwrap() {
            Err(e) => e.to_string(),
            Ok(ranks) => ranks.barrier().unwrap_err().to_string(),
        })
    });
    for said in said {
        assert!(said.starts_with("ranks 1, 3 of 4 are missing"), "{said}");
    }
}
