//! The command line.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};

/// Carries device events to other services: webhooks, queues and clouds.
///
/// Devices and programs publish events; integrations deliver them; what happened is counted and shown. Tributary speaks
/// the Particle Cloud API, so the public clients work with it once they are given its address.
#[derive(Debug, Parser)]
#[command(name = "tributary", version, arg_required_else_help = true)]
#[command(
    after_help = "Try it:\n  tributary demo\n\nRun it:\n  tributary serve --data-dir /var/lib/tributary --listen 127.0.0.1:8080\n\n\
    Every setting of `tributary config print` can be given in a TOML file (--config) or in the environment as\n\
    TRIBUTARY_SECTION__KEY, e.g. TRIBUTARY_ACCOUNTS__SIGNUP=open or TRIBUTARY_DELIVERY__RETRY_DELAYS=30s,60s.\n\
    The environment wins over the file, flags win over both."
)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server until it is told to stop (SIGTERM or Ctrl-C).
    Serve(ServeArgs),
    /// Run a server with an example organization, devices that publish, and a receiver to watch.
    Demo(DemoArgs),
    /// Look at the configuration.
    Config {
        /// What to do with it.
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Print the description of the HTTP API (OpenAPI, JSON).
    Openapi,
}

/// Flags of `serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Address and port to listen on [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
    /// Folder of the databases and the key; made when missing [default: ./tributary-data].
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Configuration file (TOML); see `tributary config print`.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Flags of `demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Address and port to listen on; another port is taken when it is in use.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// Keep the data in this folder [default: a temporary one that is removed at the end].
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data_dir: Option<PathBuf>,
}

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print every setting as it is in force, as a file that --config takes.
    Print {
        /// Configuration file (TOML) to start from.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
