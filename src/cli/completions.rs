//! `rnnx completions SHELL`: a completion script on stdout.

use clap::CommandFactory;

use super::Cli;
use super::args::CompletionsArgs;
use super::process::emit;
use crate::Result;

/// Writes the script for the shell that was asked for.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) if stdout cannot be written.
pub fn run(args: &CompletionsArgs) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "rnnx", &mut script);
    emit(&String::from_utf8_lossy(&script))
}
