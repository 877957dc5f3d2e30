//! Tokenward at the prompt: sign in, switch, call, watch tokens renew, break things, and see them
//! come back. `cargo run --example repl` runs at once, with simulated providers on this machine.
//!
//!     printf 'sign-in openai\ncall\n' | cargo run --example repl
//!
//! prints
//!
//!     > sign-in openai
//!     ada is signed in to openai by api-key: valid, generation 1
//!     > call
//!     200 OK openai GET /v1/models
//!       {"data":[…
//!       authorization  Bearer [redacted]
//!       user-agent     tokenward/0.1.0
//!       accept         */*
//!
//! From a pipe, or with `--script`, it reads commands from there, prints plain lines, and ends with
//! status 1 at the first command that fails. Status 2 is for arguments and settings that can not be
//! used: then nothing was started.

mod account;
mod browser;
mod commands;
mod completion;
mod events;
mod grammar;
mod host;
mod leaving;
mod pending;
mod problem;
mod repl;
mod screen;
mod script;
mod simulations;
mod table;
mod terminal;
mod words;

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::host::Host;
use crate::problem::Problem;

/// Sign in, switch, call, watch tokens renew, break things, and see them come back.
#[derive(Debug, Parser)]
#[command(name = "repl", version)]
struct Arguments {
    /// Keep the vault at PATH between runs; its master key is in PATH.key
    #[arg(long, value_name = "PATH")]
    vault: Option<PathBuf>,

    /// Use the real providers, as the environment configures them
    #[arg(long)]
    real: bool,

    /// Use the providers, and all else, that the TOML file PATH and the environment configure
    #[arg(long, value_name = "PATH")]
    config: Option<PathBuf>,

    /// With --real: sign in to openai in a browser as the client that openai publishes
    #[arg(long, requires = "real")]
    openai_public_client: bool,

    /// How long access tokens of simulated providers live
    #[arg(long, value_name = "TIME", default_value = "1m", conflicts_with_all = ["real", "config"])]
    token_lifetime: humantime::Duration,

    /// Run the commands in FILE, and leave
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    if std::env::var_os("RUST_LOG").is_some() {
        let filter = EnvFilter::from_default_env();
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
    }
    match run(&Arguments::parse()).await {
        Ok(status) => status,
        Err(problem) => {
            eprintln!("error: {problem}");
            problem.status()
        }
    }
}

impl Arguments {
    /// Whether the providers are simulated.
    fn simulated(&self) -> bool {
        !self.real && self.config.is_none()
    }
}

async fn run(arguments: &Arguments) -> Result<ExitCode, Problem> {
    let script = script(arguments)?;
    let host = Host::start(arguments).await?;
    match script {
        Some(lines) => script::run(host, lines).await,
        None => terminal::run(host).await,
    }
}

/// What is run without a person: a file, or what comes through a pipe.
fn script(arguments: &Arguments) -> Result<Option<Box<dyn BufRead + Send>>, Problem> {
    if let Some(path) = &arguments.script {
        let file = File::open(path).map_err(|error| {
            Problem::new(format!("the script {} can not be read: {error}", path.display()))
        })?;
        return Ok(Some(Box::new(BufReader::new(file))));
    }
    if io::stdin().is_terminal() {
        return Ok(None);
    }
    Ok(Some(Box::new(BufReader::new(io::stdin()))))
}
