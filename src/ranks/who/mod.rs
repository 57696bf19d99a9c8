//! Which rank this process is, as the program that started it says: torchrun, `mpirun`, `srun`, or
//! whoever sets `RANK` and `WORLD_SIZE`.

#[cfg(test)]
mod tests;

use crate::error::{Error, Result};
use std::collections::BTreeMap;

/// Environment variables and their values.
pub type Variables = BTreeMap<String, String>;

/// A process among those that were started with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// Its number, from 0.
    pub rank: usize,
    /// How many there are.
    pub size: usize,
    /// Its number among those of its machine, from 0.
    pub local_rank: usize,
    /// How many its machine has.
    pub local_size: usize,
    /// CPUs that are its own; none where its launcher does not say.
    pub cpus: Option<usize>,
    /// What started it.
    pub launcher: &'static str,
    /// Where rank 0 waits for the others; what to do where nothing says it.
    pub meeting: Result<Meeting, String>,
    /// What tells its start from others on the same machines.
    pub job: String,
}

/// Where rank 0 waits for the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meeting {
    /// The machine of rank 0.
    pub host: String,
    /// The first port that it tries.
    pub port: u16,
}

/// The variables of a launcher.
struct Launcher {
    name: &'static str,
    /// Whether its processes are MPI's.
    is_mpi: bool,
    rank: &'static str,
    size: &'static str,
    local_rank: &'static str,
    local_size: &'static str,
}

const TORCHRUN: &str = "torchrun";
const OPEN_MPI: &str = "Open MPI";
const MPICH: &str = "MPICH";
const SLURM: &str = "Slurm";

/// The innermost first: torchrun is started by `srun`, and so are the daemons of an `mpirun`, whose
/// processes then have Slurm's variables of these.
const LAUNCHERS: [Launcher; 4] = [
    Launcher {
        name: TORCHRUN,
        is_mpi: false,
        rank: "RANK",
        size: "WORLD_SIZE",
        local_rank: "LOCAL_RANK",
        local_size: "LOCAL_WORLD_SIZE",
    },
    Launcher {
        name: OPEN_MPI,
        is_mpi: true,
        rank: "OMPI_COMM_WORLD_RANK",
        size: "OMPI_COMM_WORLD_SIZE",
        local_rank: "OMPI_COMM_WORLD_LOCAL_RANK",
        local_size: "OMPI_COMM_WORLD_LOCAL_SIZE",
    },
    Launcher {
        name: MPICH,
        is_mpi: true,
        rank: "PMI_RANK",
        size: "PMI_SIZE",
        local_rank: "MPI_LOCALRANKID",
        local_size: "MPI_LOCALNRANKS",
    },
    Launcher {
        name: SLURM,
        is_mpi: false,
        rank: "SLURM_PROCID",
        size: "SLURM_NTASKS",
        local_rank: "SLURM_LOCALID",
        local_size: "",
    },
];

/// Steps of Slurm from this number on are no `srun`: a batch script, an interactive shell.
const SLURM_SPECIAL: u32 = 0xffff_fff0;
/// Ports that are tried where none is given; below those that systems lend to clients.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// What a launcher says.
struct Said {
    launcher: &'static Launcher,
    rank: usize,
    size: usize,
    local_rank: Option<usize>,
    local_size: Option<usize>,
}

impl Who {
    /// A process by itself.
    pub fn alone() -> Self {
        Who {
            rank: 0,
            size: 1,
            local_rank: 0,
            local_size: 1,
            cpus: None,
            launcher: "",
            meeting: Err(String::new()),
            job: String::new(),
        }
    }

    /// Whether an mpirun has started it, so that MPI knows it.
    pub fn is_of_mpi(&self) -> bool {
        let mut launchers = LAUNCHERS.iter();
        launchers.any(|launcher| launcher.is_mpi && launcher.name == self.launcher)
    }

    /// Reads the environment of the process.
    ///
    /// # Errors
    /// As [`Who::of`].
    pub fn of_process() -> Result<Self> {
        let pairs = std::env::vars_os();
        let text = pairs.filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        Self::of(&text.collect())
    }

    /// Who a process with these variables is.
    ///
    /// # Errors
    /// [`Error::Usage`] that names the variables which are missing, no numbers, or contradict one
    /// another.
    pub fn of(vars: &Variables) -> Result<Self> {
        let said = LAUNCHERS.iter().map(|launcher| Said::read(launcher, vars));
        let mut said: Vec<Said> = said.filter_map(Result::transpose).collect::<Result<_>>()?;
        // Slurm speaks PMI to its tasks, too, and says more of them by its own names.
        let of_slurm = said.iter().find(|said| said.launcher.name == SLURM);
        let of_slurm = of_slurm.map(|said| (said.rank, said.size));
        said.retain(|said| said.launcher.name != MPICH || Some((said.rank, said.size)) != of_slurm);
        let Some((first, others)) = said.split_first() else {
            return Ok(Self::alone());
        };
        // Set by hand, with nothing of torchrun's own around it, it has to be what the launcher says.
        let by_hand = first.launcher.name == TORCHRUN && !vars.contains_key("TORCHELASTIC_RUN_ID");
        for other in others {
            if by_hand || first.launcher.is_mpi && other.launcher.is_mpi {
                first.check_same(other)?;
            }
        }
        // Then what it lacks is the launcher's.
        let theirs = others.first().filter(|_| by_hand);
        let local_rank = first.local_rank.or(theirs.and_then(|said| said.local_rank));
        let local_size = first.local_size.or(theirs.and_then(|said| said.local_size));
        let (local_rank, local_size) = match (local_rank, local_size) {
            // Nothing else is said of other machines.
            (None, _) => (first.rank, first.size),
            (Some(rank), size) => (rank, size.unwrap_or(first.size)),
        };
        if local_rank >= local_size {
            let Launcher {
                local_rank: a,
                local_size: b,
                ..
            } = first.launcher;
            return Err(Error::Usage(format!(
                "{a} = {local_rank} is not below {b} = {local_size}: the ranks of a machine are \
                 numbered from 0"
            )));
        }
        let job = job(vars);
        let is_slurm = [Some(first), theirs]
            .iter()
            .flatten()
            .any(|said| said.launcher.name == SLURM);
        Ok(Who {
            rank: first.rank,
            size: first.size,
            local_rank,
            local_size,
            cpus: match is_slurm {
                true => number(vars, "SLURM_CPUS_PER_TASK")?,
                false => None,
            },
            launcher: first.launcher.name,
            meeting: meeting(first, local_size, &job, vars)?,
            // Groups that were given ports beside one another try the same ones.
            job: match vars.get("MASTER_PORT") {
                Some(port) => format!("{job}:{port}"),
                None => job,
            },
        })
    }
}

impl Said {
    /// What a launcher says; none where it has started nothing.
    fn read(launcher: &'static Launcher, vars: &Variables) -> Result<Option<Self>> {
        let Launcher {
            rank: a, size: b, ..
        } = launcher;
        if launcher.name == SLURM {
            // Every process of an allocation has its other variables.
            let step = number::<u32>(vars, "SLURM_STEP_ID")?;
            if step.is_none_or(|step| step >= SLURM_SPECIAL) {
                return Ok(None);
            }
        }
        let (rank, size) = (number(vars, a)?, number(vars, b)?);
        let (rank, size) = match (rank, size) {
            (None, None) => return Ok(None),
            (Some(rank), Some(size)) => (rank, size),
            (rank, _) => {
                let (has, lacks) = if rank.is_some() { (a, b) } else { (b, a) };
                return Err(Error::Usage(format!(
                    "{has} is set and {lacks} is not: a process that others were started with has both; \
                     set {lacks}, or unset {has} to train with one process"
                )));
            }
        };
        if rank >= size {
            return Err(Error::Usage(format!(
                "{a} = {rank} is not below {b} = {size}: ranks are numbered from 0"
            )));
        }
        let local_size = match launcher.name {
            SLURM => slurm_tasks(vars),
            _ => number(vars, launcher.local_size)?,
        };
        Ok(Some(Said {
            launcher,
            rank,
            size,
            local_rank: number(vars, launcher.local_rank)?,
            local_size,
        }))
    }

    fn check_same(&self, other: &Said) -> Result<()> {
        let (a, b) = (self.launcher, other.launcher);
        let pairs = [
            (a.rank, self.rank, b.rank, other.rank),
            (a.size, self.size, b.size, other.size),
        ];
        match pairs.into_iter().find(|(_, x, _, y)| x != y) {
            None => Ok(()),
            Some((a, x, b, y)) => Err(Error::Usage(format!(
                "{a} = {x} contradicts {b} = {y}: each process has one number among as many; unset the \
                 one that is not meant"
            ))),
        }
    }
}

fn number<T: std::str::FromStr>(vars: &Variables, name: &str) -> Result<Option<T>> {
    let Some(word) = vars.get(name) else {
        return Ok(None);
    };
    match word.parse() {
        Ok(n) => Ok(Some(n)),
        Err(_) => Err(Error::Usage(format!(
            "{name} = {word:?} is not a whole number that it can be: it is set by what starts several \
             processes; mend it, or unset it to train with one"
        ))),
    }
}

/// The tasks of this machine: of a list as `4(x2),3` the number of this node.
fn slurm_tasks(vars: &Variables) -> Option<usize> {
    let lists = ["SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE"];
    let list = lists.iter().find_map(|name| vars.get(*name))?;
    let node: usize = vars
        .get("SLURM_NODEID")
        .map_or(Some(0), |n| n.parse().ok())?;
    let mut nodes = list.split(',').flat_map(|part| {
        let (tasks, times) = match part.split_once("(x") {
            Some((tasks, times)) => (tasks, times.trim_end_matches(')').parse().unwrap_or(1)),
            None => (part, 1),
        };
        std::iter::repeat_n(tasks.parse().ok(), times)
    });
    nodes.nth(node)?
}

/// What launchers call a start, the innermost first: also a start again has a name of its own. Slurm's is
/// the last, as ranks of another launcher have several of it: the machine on which `mpirun` was started is
/// no task of a step, and a torchrun a machine may each have a step.
const STARTS: [&[&str]; 3] = [
    &["TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT"],
    &["PMIX_NAMESPACE"],
    &["SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT"],
];

/// What tells this start from others.
fn job(vars: &Variables) -> String {
    let values = |names: &[&str]| {
        let values = names.iter().filter_map(|name| vars.get(*name));
        values.cloned().collect::<Vec<_>>().join(".")
    };
    let mut starts = STARTS.iter().map(|names| values(names));
    starts.find(|start| !start.is_empty()).unwrap_or_default()
}

/// Where the ranks meet.
fn meeting(
    said: &Said,
    local_size: usize,
    job: &str,
    vars: &Variables,
) -> Result<Result<Meeting, String>> {
    let launcher = said.launcher.name;
    let nodes = [
        "SLURM_STEP_NODELIST",
        "SLURM_JOB_NODELIST",
        "SLURM_NODELIST",
    ];
    let nodes = nodes.iter().find_map(|name| vars.get(*name));
    // Rank 0 can be on another machine than the first where tasks are laid out by hand (srun -m arbitrary).
    let node: Option<u32> = match (launcher, said.rank) {
        (SLURM, 0) => number(vars, "SLURM_NODEID")?,
        _ => None,
    };
    let elsewhere = node.filter(|node| *node > 0);
    let host = match vars.get("MASTER_ADDR") {
        Some(host) => Some(host.clone()),
        None if elsewhere.is_some() => None,
        None if launcher == SLURM => nodes.map(|nodes| first_host(nodes)),
        None if launcher != TORCHRUN && local_size == said.size => Some("127.0.0.1".into()),
        None => None,
    };
    let given: Option<u16> = number(vars, "MASTER_PORT")?;
    // torchrun's own store listens on the port that it names.
    let taken = vars
        .get("TORCHELASTIC_USE_AGENT_STORE")
        .is_some_and(|word| word.eq_ignore_ascii_case("true"));
    let port = match given {
        Some(port) => port.checked_add(u16::from(taken)),
        None if job.is_empty() => None,
        None => {
            // FNV-1a: every rank has the same job, and another job has other ports.
            let hash = job.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
            Some(PORTS.start + (hash % PORTS.len() as u64) as u16)
        }
    };
    Ok(match (host, port) {
        (Some(host), Some(port)) => Ok(Meeting { host, port }),
        (host, port) => {
            let why = match elsewhere.filter(|_| host.is_none()) {
                Some(node) => format!(
                    "rank 0 is on node SLURM_NODEID = {node}, not on the first of the list, where the \
                     others look for it"
                ),
                None => "nothing says where they meet".to_owned(),
            };
            let lacks = match (host, port) {
                (None, None) => {
                    "MASTER_ADDR (the machine of rank 0) and MASTER_PORT (a port that is free there)"
                }
                (None, Some(_)) => "MASTER_ADDR, the machine of rank 0",
                (Some(_), _) => "MASTER_PORT, a port that is free on the machine of rank 0",
            };
            let mpi = match said.launcher.is_mpi {
                true => " (mpirun -x NAME=VALUE)",
                false => "",
            };
            Err(format!(
                "{} = {} of {} = {}, and {why}: set {lacks}{mpi}",
                said.launcher.rank, said.rank, said.launcher.size, said.size
            ))
        }
    })
}

/// The first of a list of machines in Slurm's notation, as `gpu03` of `gpu[03-07,9],other`.
fn first_host(nodes: &str) -> String {
    let (mut host, mut letters) = (String::new(), nodes.chars());
    while let Some(letter) = letters.next() {
        match letter {
            ',' => break,
            '[' => {
                let mut is_first = true;
                for letter in letters.by_ref().take_while(|letter| *letter != ']') {
                    is_first &= !['-', ','].contains(&letter);
                    if is_first {
                        host.push(letter);
                    }
                }
            }
            letter => host.push(letter),
        }
    }
    host
}
