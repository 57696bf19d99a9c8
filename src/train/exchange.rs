//! How ranks whose model is on GPUs exchange gradients: from device to device, or through their hosts.

use crate::device::Gpu;
use crate::device::collectives::{Collectives, Group};
use crate::device::driver::Launch;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::gpu::pointers;
use crate::ranks::Ranks;
use crate::ranks::tree::{self, Known};
use crate::tensor::Tensor;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Range;
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

// ---- what the ranks agree on -----------------------------------------------------------------

/// What a rank wishes, and has.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Offer {
    wish: Exchange,
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

/// Settles, with all other ranks, how they exchange, and joins their devices where it is from one to
/// another. The second value is a line for the log.
///
/// # Errors
/// [`Error::Device`] where NCCL is wished for and a rank does not have it, [`Error::Ranks`] for ranks that
/// differ in their wishes or are lost.
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
        wish,
        on_gpu: gpu.is_some(),
        library: match wish {
            Exchange::Host => Err("goes through its host".into()),
            _ => library(ranks, gpu.is_some(), collectives()),
        },
    };
    let settled = ranks.settle(to_json(&offer)?, |all| {
        let offers: Vec<Offer> = all.iter().map(|o| of_json(o)).collect::<Result<_>>()?;
        let mut settled = settle(&offers)?;
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
    let devices = Devices {
        group,
        gpu: gpu.clone(),
        ranks: ranks.clone(),
    };
    Ok((Some(Arc::new(devices)), Some(line)))
}

/// What a rank's device exchanges through, or why it does not.
fn library(
    ranks: &Ranks,
    on_gpu: bool,
    collectives: Option<&dyn Collectives>,
) -> Result<String, String> {
    let Some(collectives) = collectives else {
        return Err(match on_gpu {
            true => "has a device that does not exchange with others".into(),
            false => "computes on the CPU".into(),
        });
    };
    // The places tried fill a screen; doctor lists them.
    let short = |e: Error| {
        let e = e.to_string();
        e.split("; ").next().unwrap_or_default().to_owned()
    };
    let library = collectives.library();
    let library = library.map_err(|e| format!("has no NCCL: {}", short(e)))?;
    // A group of its own tells whether library, driver and device get on, before others wait for it.
    let alone = ranks.beside(0, |patience| {
        let id = collectives.new_id()?;
        collectives.join(&id, 0, 1, patience)
    });
    match alone {
        Ok(_) => Ok(library),
        Err(e) => Err(format!("cannot use {library}: {}", short(e))),
    }
}

/// At rank 0: what comes of the offers of all ranks, but for the group's id.
fn settle(offers: &[Offer]) -> Result<Settled> {
    let Some(first) = offers.first() else {
        return Ok(Settled::Hosts(None));
    };
    let wish = first.wish;
    if let Some(rank) = offers.iter().position(|offer| offer.wish != wish) {
        return Err(Error::Ranks(format!(
            "rank {rank} has exchange = {}, and rank 0 has exchange = {wish}: start every rank with the \
             same command",
            offers[rank].wish
        )));
    }
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

// ---- sums ------------------------------------------------------------------------------------

/// Most f32 of an exchange that are in a device's memory at a time, besides the gradient.
const AT_ONCE: usize = 16 << 20;

/// The devices of all ranks, as one of them sees them.
#[derive(Debug)]
pub struct Devices {
    // First, so that it goes before the device.
    group: Group,
    gpu: Arc<Gpu>,
    ranks: Arc<Ranks>,
}

/// A node of the tree of shards whose sum a rank has made.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Given {
    pub(super) rank: usize,
    /// Its number among the nodes of that rank.
    pub(super) slot: usize,
    pub(super) node: Range<usize>,
    /// Whether its shards have rows.
    pub(super) has_rows: bool,
}

impl Devices {
    /// The sum over all `shards`: every rank gets the nodes that the others have added up, and adds them in
    /// the order of the tree. None where no shard has rows.
    ///
    /// `own` are the sums of this rank's nodes `[length]`, `given` the nodes of all ranks in order.
    pub(super) fn sum(
        &self,
        (shards, given): (usize, &[Given]),
        own: &[Option<Tensor>],
        length: usize,
    ) -> Result<Option<Tensor>> {
        let with_rows = || given.iter().filter(|given| given.has_rows);
        if with_rows().next().is_none() {
            return Ok(None);
        }
        let mut slots: Vec<usize> = with_rows().map(|given| given.slot).collect();
        slots.sort_unstable();
        slots.dedup();
        let size = self.ranks.size();
        let piece = length.min(AT_ONCE / (size * slots.len())).max(1);
        let on_gpu = |n: usize| Tensor::on_gpu(&self.gpu, DType::F32, [n]);
        let (sum, gathered) = (on_gpu(length)?, on_gpu(slots.len() * size * piece)?);
        for start in (0..length).step_by(piece) {
            let n = piece.min(length - start);
            // Of slot i and rank r.
            let place = |i: usize, r: usize| (i * size + r) * n;
            for (i, &slot) in slots.iter().enumerate() {
                // A rank without such a node gives what nobody reads.
                let from = own.get(slot).and_then(Option::as_ref).unwrap_or(&sum);
                let to = gathered.part(place(i, 0), [size * n]);
                self.gather(&from.part(start, [n]), &to)?;
            }
            let mut next = given.iter().peekable();
            let known = &mut |node: &Range<usize>| {
                let given = next.next_if(|given| given.node == *node);
                Ok(given.map_or(Known::Parts, |given| {
                    let slot = slots.iter().position(|&slot| slot == given.slot);
                    let part = |i| gathered.part(place(i, given.rank), [n]);
                    Known::Sum(slot.filter(|_| given.has_rows).map(part))
                }))
            };
            if let Some(all) = tree::sum(0..shards, known, &added)? {
                let to = sum.part(start, [n]).ptr()?;
                let bytes = n * DType::F32.size();
                self.gpu.driver().copy(to, all.ptr()?, bytes)?;
            }
        }
        Ok(Some(sum))
    }

    /// The sum of what the ranks have, `[length]` each, in an order that the library chooses.
    pub(super) fn reduced(&self, own: Option<Tensor>, length: usize) -> Result<Tensor> {
        let own = match own {
            Some(own) => own,
            None => {
                let zeros = Tensor::on_gpu(&self.gpu, DType::F32, [length])?;
                let bytes = length * DType::F32.size();
                self.gpu.driver().fill(zeros.ptr()?, 0, bytes)?;
                zeros
            }
        };
        let collectives = self.collectives()?;
        let (at, bytes) = (own.ptr()?, 2 * length * DType::F32.size());
        self.ranks.beside(bytes as u64, |patience| {
            collectives.all_reduce(&self.group, at, length, patience)
        })?;
        Ok(own)
    }

    fn gather(&self, from: &Tensor, to: &Tensor) -> Result<()> {
        let collectives = self.collectives()?;
        let bytes = to.numel() * DType::F32.size();
        self.ranks.beside(bytes as u64, |patience| {
            let (from, to, n) = (from.ptr()?, to.ptr()?, from.numel());
            collectives.all_gather(&self.group, from, to, n, patience)
        })
    }

    fn collectives(&self) -> Result<&dyn Collectives> {
        let collectives = self.gpu.driver().collectives();
        collectives.ok_or_else(|| Error::op("exchange", "no device to exchange from"))
    }
}

/// The sum of two gradients, in the memory of the first.
pub(super) fn added(mut sum: Tensor, more: Tensor) -> Result<Tensor> {
    let Some(gpu) = sum.gpu() else {
        let more = more.data::<f32>()?;
        let sums = sum.data_mut::<f32>()?;
        sums.iter_mut().zip(more).for_each(|(sum, x)| *sum += x);
        return Ok(sum);
    };
    let n = sum.numel() as u64;
    let mut args = pointers(&[&sum, &more, &sum])?;
    args.push(n.into());
    gpu.launch(&Launch::per_element("add_f32", n), &args)?;
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(wish: Exchange, library: Result<&str, &str>) -> Offer {
        Offer {
            wish,
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
        let ours = || offer(Exchange::Auto, Ok("NCCL 2.27.5"));
        let settled = settle(&[ours(), ours()]).unwrap();
        assert!(matches!(&settled, Settled::Devices(..)));
        assert_eq!(
            line(settled),
            "exchange: NCCL 2.27.5, from device to device"
        );

        let older = offer(Exchange::Auto, Ok("NCCL 2.18.5"));
        let settled = settle(&[ours(), ours(), older]).unwrap();
        assert!(matches!(&settled, Settled::Hosts(_)));
        let line = line(settled);
        assert!(
            line.contains("rank 2 has NCCL 2.18.5, and rank 0 has NCCL 2.27.5"),
            "{line}"
        );
    }

    #[test]
    fn what_is_lacking_is_a_note_or_an_error_as_it_is_wished() {
        let offers = |wish| {
            let none = offer(wish, Err("has no NCCL: libnccl.so.2 was not found"));
            [offer(wish, Ok("NCCL 2.27.5")), none]
        };
        let note = line(settle(&offers(Exchange::Auto)).unwrap());
        assert!(
            note.contains("hosts' memory (auto: rank 1 has no NCCL"),
            "{note}"
        );
        let error = settle(&offers(Exchange::Nccl)).unwrap_err();
        assert_eq!(error.exit_code(), 4);
        for part in ["exchange = nccl", "rank 1 has no NCCL", "exchange = host"] {
            assert!(error.to_string().contains(part), "{error} lacks {part}");
        }
        let chosen = line(settle(&offers(Exchange::Host)).unwrap());
        assert_eq!(chosen, "exchange: through the hosts' memory");
    }

    #[test]
    fn ranks_on_cpus_say_nothing_and_wishes_have_to_agree() {
        let cpu = |wish| offer(wish, Err("computes on the CPU"));
        for wish in [Exchange::Auto, Exchange::Host] {
            assert_eq!(
                settle(&[cpu(wish), cpu(wish)]).unwrap(),
                Settled::Hosts(None)
            );
        }
        let error = settle(&[cpu(Exchange::Nccl), cpu(Exchange::Nccl)]).unwrap_err();
        assert!(
            error.to_string().contains("rank 0 computes on the CPU"),
            "{error}"
        );
        let error = settle(&[cpu(Exchange::Auto), cpu(Exchange::Host)]).unwrap_err();
        let words = "rank 1 has exchange = host, and rank 0 has exchange = auto";
        assert!(error.to_string().starts_with(words), "{error}");
    }
}
