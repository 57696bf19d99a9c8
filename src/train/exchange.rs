//! How ranks whose model is on GPUs exchange gradients: from device to device, or through their hosts.

mod devices;

pub use devices::Devices;
pub(super) use devices::{Given, added};

use crate::device::Gpu;
use crate::device::collectives::Collectives;
use crate::error::{Error, Result};
use crate::ranks::Ranks;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// How ranks on GPUs are to exchange gradients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exchange {
    /// By NCCL where every rank has it, else through the hosts.
    #[default]
    Auto,
    /// From device to device.
    Nccl,
    /// Through the hosts' memory, as ranks on CPUs.
    Host,
}

impl Exchange {
    /// The words of the setting.
    pub const NAMES: [&'static str; 3] = ["auto", "nccl", "host"];
}

impl fmt::Display for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAMES[*self as usize])
    }
}

/// What a rank has.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Offer {
    on_gpu: bool,
    /// The library that its device exchanges through, or what the rank has instead.
    library: Result<String, String>,
}

/// What comes of the offers, with a line for the log.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Settled {
    /// From device to device, in the group of this id.
    Devices(Vec<u8>, String),
    Hosts(Option<String>),
}

/// Settles, with all other ranks, which have the same `wish`, how they exchange, and joins their devices
/// where it is from one to another. The second value is a line for the log.
///
/// # Errors
/// [`Error::Device`] where NCCL is wished for and a rank does not have it, [`Error::Ranks`] for ranks that
/// are lost.
pub fn choose(
    ranks: &Arc<Ranks>,
    gpu: Option<&Arc<Gpu>>,
    wish: Exchange,
) -> Result<(Option<Arc<Devices>>, Option<String>)> {
    if ranks.is_alone() {
        return Ok((None, None));
    }
    let collectives = || gpu.and_then(|gpu| gpu.driver().collectives());
    let offer = Offer {
        on_gpu: gpu.is_some(),
        library: match wish {
            Exchange::Host => Err("goes through its host".into()),
            _ => library(ranks, gpu.is_some(), collectives())?,
        },
    };
    let settled = ranks.settle(to_json(&offer)?, |all| {
        let offers: Vec<Offer> = all.iter().map(|o| of_json(o)).collect::<Result<_>>()?;
        let mut settled = settle(&offers, wish)?;
        if let (Settled::Devices(id, _), Some(collectives)) = (&mut settled, collectives()) {
            *id = collectives.new_id()?;
        }
        to_json(&settled)
    })?;
    let (id, line) = match of_json(&settled)? {
        Settled::Hosts(line) => return Ok((None, line)),
        Settled::Devices(id, line) => (id, line),
    };
    let (Some(gpu), Some(collectives)) = (gpu, collectives()) else {
        return Err(Error::op("exchange", "no device to exchange from"));
    };
    let group = ranks.beside(0, |patience| {
        collectives.join(&id, ranks.rank(), ranks.size(), patience)
    })?;
    let devices = Devices::new(group, gpu, ranks);
    Ok((Some(Arc::new(devices)), Some(line)))
}

/// What a rank's device exchanges through, or why it does not.
///
/// # Errors
/// [`Error::Ranks`] where another rank is lost meanwhile, which says nothing of the library.
fn library(
    ranks: &Ranks,
    on_gpu: bool,
    collectives: Option<&dyn Collectives>,
) -> Result<Result<String, String>> {
    let Some(collectives) = collectives else {
        return Ok(Err(match on_gpu {
            true => "has a device that does not exchange with others".into(),
            false => "computes on the CPU".into(),
        }));
    };
    // The places tried fill a screen; doctor lists them.
    let short = |e: Error| {
        let e = e.to_string();
        e.split("; ").next().unwrap_or_default().to_owned()
    };
    let library = match collectives.library() {
        Ok(library) => library,
        Err(e) => return Ok(Err(format!("has no NCCL: {}", short(e)))),
    };
    // A group of its own tells whether library, driver and device get on, before others wait for it.
    let alone = ranks.beside(0, |patience| {
        let id = collectives.new_id()?;
        collectives.join(&id, 0, 1, patience)
    });
    match alone {
        Ok(_) => Ok(Ok(library)),
        Err(e @ Error::Ranks(_)) => Err(e),
        Err(e) => Ok(Err(format!("cannot use {library}: {}", short(e)))),
    }
}

/// At rank 0: what comes of the offers of all ranks and of their `wish`, but for the group's id.
fn settle(offers: &[Offer], wish: Exchange) -> Result<Settled> {
    let Some(first) = offers.first() else {
        return Ok(Settled::Hosts(None));
    };
    let lacks = offers.iter().enumerate().find_map(|(rank, offer)| {
        match (&offer.library, &first.library) {
            (Err(has), _) => Some(format!("rank {rank} {has}")),
            (Ok(own), Ok(first)) if own != first => {
                Some(format!("rank {rank} has {own}, and rank 0 has {first}"))
            }
            _ => None,
        }
    });
    let through_hosts = "exchange: through the hosts' memory";
    match (lacks, wish) {
        // Ranks on CPUs have no other way.
        (Some(_), Exchange::Auto | Exchange::Host) if !offers.iter().any(|o| o.on_gpu) => {
            Ok(Settled::Hosts(None))
        }
        (_, Exchange::Host) => Ok(Settled::Hosts(Some(through_hosts.into()))),
        (Some(lacks), Exchange::Auto) => {
            let line = format!("{through_hosts} (auto: {lacks}; see rnnx doctor)");
            Ok(Settled::Hosts(Some(line)))
        }
        (Some(lacks), Exchange::Nccl) => Err(Error::Device(format!(
            "exchange = nccl: {lacks}; see rnnx doctor there. exchange = host goes through the hosts' memory"
        ))),
        (None, _) => {
            let library = first.library.as_deref().unwrap_or_default();
            let line = format!("exchange: {library}, from device to device");
            Ok(Settled::Devices(Vec::new(), line))
        }
    }
}

fn to_json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(unreadable)
}

fn of_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(unreadable)
}

fn unreadable(e: serde_json::Error) -> Error {
    Error::Ranks(format!(
        "a rank says of its device what this one cannot read ({e}): start all ranks with the same version of \
         rnnx"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::collectives::{Group, Patience};
    use crate::device::driver::DevicePtr;
    use crate::ranks::Collective;
    use std::time::Instant;

    fn offer(library: Result<&str, &str>) -> Offer {
        Offer {
            on_gpu: library != Err("computes on the CPU"),
            library: library.map(str::to_owned).map_err(str::to_owned),
        }
    }

    fn line(settled: Settled) -> String {
        match settled {
            Settled::Hosts(line) => line.unwrap_or_default(),
            Settled::Devices(_, line) => line,
        }
    }

    #[test]
    fn nccl_is_taken_where_all_have_the_same() {
        let ours = || offer(Ok("NCCL 2.27.5"));
        let settled = settle(&[ours(), ours()], Exchange::Auto).unwrap();
        assert!(matches!(&settled, Settled::Devices(..)));
        assert_eq!(
            line(settled),
            "exchange: NCCL 2.27.5, from device to device"
        );

        let older = offer(Ok("NCCL 2.18.5"));
        let settled = settle(&[ours(), ours(), older], Exchange::Auto).unwrap();
        assert!(matches!(&settled, Settled::Hosts(_)));
        let line = line(settled);
        assert!(
            line.contains("rank 2 has NCCL 2.18.5, and rank 0 has NCCL 2.27.5"),
            "{line}"
        );
    }

    #[test]
    fn what_is_lacking_is_a_note_or_an_error_as_it_is_wished() {
        let none = offer(Err("has no NCCL: libnccl.so.2 was not found"));
        let offers = [offer(Ok("NCCL 2.27.5")), none];
        let note = line(settle(&offers, Exchange::Auto).unwrap());
        assert!(
            note.contains("hosts' memory (auto: rank 1 has no NCCL"),
            "{note}"
        );
        let error = settle(&offers, Exchange::Nccl).unwrap_err();
        assert_eq!(error.exit_code(), 4);
        for part in ["exchange = nccl", "rank 1 has no NCCL", "exchange = host"] {
            assert!(error.to_string().contains(part), "{error} lacks {part}");
        }
        let chosen = line(settle(&offers, Exchange::Host).unwrap());
        assert_eq!(chosen, "exchange: through the hosts' memory");
    }

    #[test]
    fn ranks_on_cpus_say_nothing() {
        let cpus = [(); 2].map(|()| offer(Err("computes on the CPU")));
        for wish in [Exchange::Auto, Exchange::Host] {
            assert_eq!(settle(&cpus, wish).unwrap(), Settled::Hosts(None));
        }
        let error = settle(&cpus, Exchange::Nccl).unwrap_err();
        assert!(
            error.to_string().contains("rank 0 computes on the CPU"),
            "{error}"
        );
    }

    /// Ranks of which the other one is gone.
    #[derive(Debug)]
    struct Lost;

    impl Collective for Lost {
        fn rank(&self) -> usize {
            0
        }

        fn size(&self) -> usize {
            2
        }

        fn carrier(&self) -> &'static str {
            "TCP"
        }

        fn gather(&self, _: Vec<u8>) -> Result<Option<Vec<Vec<u8>>>> {
            self.look(Instant::now()).map(|()| None)
        }

        fn broadcast(&self, bytes: Vec<u8>) -> Result<Vec<u8>> {
            self.look(Instant::now()).map(|()| bytes)
        }

        fn look(&self, _: Instant) -> Result<()> {
            Err(Error::Ranks("rank 1 is gone".into()))
        }
    }

    /// A library that waits in a join, or fails there by itself.
    struct Library {
        waits: bool,
    }

    impl Collectives for Library {
        fn library(&self) -> Result<String> {
            Ok("NCCL 2.27.5".into())
        }

        fn new_id(&self) -> Result<Vec<u8>> {
            Ok(Vec::new())
        }

        fn join(&self, _: &[u8], _: usize, _: usize, patience: Patience) -> Result<Group> {
            if self.waits {
                patience()?;
            }
            Err(Error::Device("no network; and more".into()))
        }

        fn all_gather(
            &self,
            _: &Group,
            _: DevicePtr,
            _: DevicePtr,
            _: usize,
            _: Patience,
        ) -> Result<()> {
            Err(Error::op("exchange", "nothing to exchange"))
        }

        fn all_reduce(&self, _: &Group, _: DevicePtr, _: usize, _: Patience) -> Result<()> {
            Err(Error::op("exchange", "nothing to exchange"))
        }
    }

    #[test]
    fn a_rank_that_is_lost_says_nothing_of_the_library() {
        let ranks = Ranks::over(Box::new(Lost), (0, 1));
        let of = |waits| library(&ranks, true, Some(&Library { waits }));
        let lost = of(true).unwrap_err();
        assert!(matches!(&lost, Error::Ranks(_)), "{lost}");
        let unusable = of(false).unwrap().unwrap_err();
        assert!(
            unusable.starts_with("cannot use NCCL 2.27.5: "),
            "{unusable}"
        );
        assert!(!unusable.contains("and more"), "{unusable}");
    }
}
