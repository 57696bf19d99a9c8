//! Flags of `rnnx bench`.

use clap::builder::PossibleValuesParser;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use toml::Table;

use super::args::DeviceArgs;
use super::flags::{self, real_in};
use crate::programs;
use crate::train::keys::{ALL, Allowed, Key};

/// Arguments of `rnnx bench`.
#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    /// What to time
    #[arg(value_parser = PossibleValuesParser::new(kinds()), default_values = [ALL])]
    pub kinds: Vec<String>,
    /// Seconds that each measurement lasts
    #[arg(long, value_name = "X", default_value_t = 5.0, value_parser = real_in(Allowed::Real(0.01, 3600.0)), allow_hyphen_values = true)]
    pub seconds: f64,
    /// Of `recurrence`: keep the table, by which --recurrence auto chooses from then on
    #[arg(long)]
    pub keep: bool,
    /// On a GPU: also time each kernel and each product of one step, issued one by one
    #[arg(long)]
    pub profile: bool,
    /// No notes on standard error
    #[arg(long, short)]
    pub quiet: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub sizes: Sizes,
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// What is timed of a GPU alone, and only where it is named: its micro-benchmarks, and both ways of taking
/// the steps of a recurrence.
pub const OF_GPUS: [&str; 2] = ["hardware", "recurrence"];

/// Everything that can be timed.
fn kinds() -> Vec<&'static str> {
    let own = programs::ALL.iter().flat_map(|p| p.benches());
    let own = own.map(|bench| bench.name);
    let first = ["gemm"].into_iter().chain(own);
    first.chain(OF_GPUS).chain([ALL]).collect()
}

/// Settings of the programs that decide the size of what is timed.
#[derive(Clone, Debug)]
pub struct Sizes(pub Table);

impl Sizes {
    const HEADING: &str = "Sizes, where they are not the program's defaults";

    fn decides(key: &Key) -> bool {
        let names = [
            "batch-size",
            "seq-length",
            "train",
            "valid",
            "test",
            "max-target",
            "min-frequency",
            "source-tokens",
            "target-tokens",
            "grammar",
            "recurrence",
        ];
        key.group == "Model" || names.contains(&key.name)
    }
}

impl Args for Sizes {
    fn augment_args(mut command: Command) -> Command {
        for program in programs::ALL {
            for flag in flags::of(program.settings(), Sizes::decides) {
                let id = flag.get_id().as_str().to_owned();
                // A setting of several programs is one flag.
                if command.get_arguments().all(|known| *known.get_id() != id) {
                    let help = flag.get_help().map(ToString::to_string);
                    let help = help.unwrap_or_default();
                    let about = help.split(" [default").next().unwrap_or_default();
                    let flag = flag.help(about.to_owned());
                    command = command.arg(flag.help_heading(Sizes::HEADING));
                }
            }
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Sizes::augment_args(command)
    }
}

impl FromArgMatches for Sizes {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut table = Table::new();
        for program in programs::ALL {
            table.extend(flags::given(program.settings(), Sizes::decides, matches));
        }
        // All of a setting's words are what is timed where none is named.
        table.retain(|_, value| value.as_str() != Some(ALL));
        Ok(Sizes(table))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
