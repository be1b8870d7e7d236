//! The `simcse` command: use and judge sentence encoders.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod baselines;
mod compare;
mod cosines;
mod data;
mod encode;
mod evaluate;
mod npy;
mod raw;
mod report;
mod reproduce;
mod verify;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Sentence encoders trained with SimCSE: embed text, score encoders, rebuild the tables of results
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Compare(compare::CompareCommand),
    Report(report::ReportCommand),
    Evaluate(evaluate::EvaluateCommand),
    Encode(encode::EncodeCommand),
    Baselines(baselines::BaselinesCommand),
    /// Run experiment files: single configurations, or sweeps of variants, grids and seeds
    Sweep(simcse_bench::experiment::ExperimentCli),
    Reproduce(reproduce::ReproduceCommand),
    Verify(verify::VerifyCommand),
    Cosines(cosines::CosinesCommand),
}

fn main() -> ExitCode {
    simcse_ops::process::run(run)
}

fn run() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Compare(command) => command.run(),
        Command::Report(command) => command.run(),
        Command::Evaluate(command) => command.run(),
        Command::Encode(command) => command.run(),
        Command::Baselines(command) => command.run(),
        Command::Sweep(command) => command.run().map(|()| ExitCode::SUCCESS),
        Command::Reproduce(command) => command.run(),
        Command::Verify(command) => command.run(),
        Command::Cosines(command) => command.run(),
    };
    match result {
        Ok(code) => code,
        // `simcse … | head` is no error.
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {}", format!("{error:#}").replace('\n', " ")));
            ExitCode::FAILURE
        }
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// A line on standard error.
fn say(line: &str) {
    // A closed standard error is no reason to stop.
    drop(writeln!(io::stderr(), "{line}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
