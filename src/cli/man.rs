//! `rnnx man`: a manual page a command.

use std::fs;
use std::path::PathBuf;

use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;

use super::Cli;
use super::process::emit;
use crate::files::atomic::write_atomic;
use crate::{Error, Result, log};

/// Arguments of `rnnx man`.
#[derive(Args, Clone, Debug)]
pub struct ManArgs {
    /// Write a page for each command there [default: print rnnx.1]
    #[arg(long, short, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// No notes on standard error
    #[arg(long, short)]
    pub quiet: bool,
}

/// Prints the program's page, or writes it and those of all commands into a folder and prints their
/// paths.
///
/// # Errors
/// [`Error::Io`] if a page or stdout cannot be written.
pub fn run(args: &ManArgs) -> Result<()> {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let Some(folder) = &args.out else {
        return emit(&page(program)?.1);
    };
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let mut written = String::new();
    for command in with_subcommands(&program) {
        let (name, text) = page(command)?;
        let path = folder.join(name);
        write_atomic(&path, |w| w.write_all(text.as_bytes()))?;
        written += &format!("{}\n", path.display());
    }
    if !args.quiet {
        let name = folder.display();
        log::line(&format!("man -l {name}/rnnx.1 shows the first"));
    }
    emit(&written)
}

/// A command and all below it.
fn with_subcommands(command: &Command) -> Vec<Command> {
    let below = command.get_subcommands().flat_map(with_subcommands);
    std::iter::once(command.clone()).chain(below).collect()
}

/// The name and the text of a command's page.
fn page(command: Command) -> Result<(String, String)> {
    let source = concat!("rnnx ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command).source(source).manual("rnnx");
    let (name, mut text) = (man.get_filename(), Vec::new());
    man.render(&mut text).map_err(Error::io("write", &name))?;
    Ok((name, String::from_utf8_lossy(&text).into_owned()))
}
