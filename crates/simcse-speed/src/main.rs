//! `simcse-speed`: real training steps on real sentences, timed one by one, and embedding; one JSON object on standard
//! output.
//!
//! The steps are those of `simcse_train::Trainer`: batch, forward, loss, health checks, backward, clipping, AdamW.
//! `just bench-peers` runs this and the same work in PyTorch in turns.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod encode;
mod encoders;
mod margin;
mod products;
mod steps;
mod texts;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Time training steps, embedding and matrix products
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Steps of unsupervised SimCSE with a transformer
    Transformer(encoders::TransformerCommand),
    /// Steps of unsupervised SimCSE with a TextCNN over characters
    TextCnn(encoders::TextCnnCommand),
    /// Steps of AM-Softmax over sentence classes with a TextCNN
    MarginSoftmax(margin::MarginCommand),
    /// Embedding of sentences by a trained encoder
    Encode(encode::EncodeCommand),
    /// Rates of large matrix products: what the machine can do
    Products,
}

fn main() -> ExitCode {
    simcse_ops::process::run(run)
}

fn run() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Transformer(command) => command.run(),
        Command::TextCnn(command) => command.run(),
        Command::MarginSoftmax(command) => command.run(),
        Command::Encode(command) => command.run(),
        Command::Products => products::run(),
    };
    let printed = result.and_then(|report| Ok(writeln!(std::io::stdout(), "{report}")?));
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(std::io::stderr(), "error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// The largest resident set of this process so far in MiB; `None` where the system does not tell.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes / 1024)
}
