//! The binary: command line, configuration, and the wiring of all parts.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program speaks to its user")]

mod cli;
mod config;
mod connections;
mod demo;
mod key;
mod serve;
mod site;

use std::{path::Path, process::ExitCode};

use clap::Parser as _;
use cli::{Cli, Command, ConfigCommand, ServeArgs};
use config::{Config, Log};

/// Every event is a handful of small allocations that other threads free, where the system's allocator is slow.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tributary: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    // Events, hashes of passwords and the audit are in the files that are made from here on: for this user alone.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match cli.command {
        Command::Serve(args) => runtime()?.block_on(serve(args)),
        Command::Demo(args) => runtime()?.block_on(demo::run(args)),
        Command::Config { command: ConfigCommand::Print { config } } => {
            print!("{}", load(config.as_deref())?.to_toml());
            Ok(())
        }
        Command::Openapi => {
            println!("{}", tributary_api::openapi::json());
            Ok(())
        }
    }
}

fn load(file: Option<&Path>) -> Result<Config> {
    #[expect(clippy::disallowed_methods, reason = "the configuration is read here, once")]
    // A name or value that is not UTF-8 cannot be one of ours.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Ok(Config::load(file, environment)?)
}

fn start_logging(log: &Log) -> Result<()> {
    let filter =
        tracing_subscriber::EnvFilter::try_new(&log.level).map_err(|e| format!("setting log.level: {e}"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log.format.as_str() {
        "text" => builder.init(),
        "json" => builder.json().init(),
        other => return Err(format!("setting log.format: \"{other}\" is not text or json").into()),
    }
    Ok(())
}

async fn serve(args: ServeArgs) -> Result<()> {
    let mut config = load(args.config.as_deref())?;
    if let Some(listen) = args.listen {
        config.server.listen = listen;
    }
    if let Some(data_dir) = args.data_dir {
        config.store.data_dir = data_dir;
    }
    start_logging(&config.log)?;
    let server = serve::Server::start(&config).await?;
    println!("tributary {} listens on http://{}", env!("CARGO_PKG_VERSION"), server.address);
    println!("data in {}; stop with Ctrl-C", config.store.data_dir.display());
    let signal = serve::stop_signal().await?;
    tracing::info!(signal, "stopping");
    server.stop().await;
    Ok(())
}
