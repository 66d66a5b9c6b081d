//! `[server]`

use std::{fmt::Display, net::SocketAddr, str::FromStr, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tributary_control::addressed::Addressing;

use super::{List, Span};
use crate::{
    connections::{self, Bounds, Settings, Times},
    serve::StartError,
};

/// `[server]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Server {
    /// Address and port to listen on.
    pub(crate) listen: SocketAddr,
    /// The address under which callers reach the server, e.g. `https://fleet.example`: in links, for cookies and forms.
    /// Empty: as each request addressed it.
    pub(crate) public_url: String,
    /// Proxies in front, e.g. `127.0.0.1/32`: what they say in `X-Forwarded-For`, `-Proto` and `-Host` is believed.
    pub(crate) trusted_proxies: List<String>,
    /// Who may read `/metrics`. Nobody may through a proxy that is not in `trusted_proxies`.
    pub(crate) metrics_from: List<String>,
    /// Open connections in all; fewer where the system allows too few open files for them and deliveries.
    pub(crate) connections: usize,
    /// Open connections from one address that is no trusted proxy.
    pub(crate) connections_per_address: usize,
    /// Time for the head of a request.
    pub(crate) head_timeout: Span,
    /// Time for the body of a request, besides what it may take at `slowest_bytes_per_second`.
    pub(crate) body_timeout: Span,
    /// Time between two requests of a connection.
    pub(crate) idle_timeout: Span,
    /// Time for a reader to take what is sent, besides what it may take at `slowest_bytes_per_second`.
    pub(crate) write_timeout: Span,
    /// See `body_timeout` and `write_timeout`.
    pub(crate) slowest_bytes_per_second: u64,
}

impl Default for Server {
    fn default() -> Server {
        let seconds = |seconds| Span(Duration::from_secs(seconds));
        Server {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            public_url: String::new(),
            trusted_proxies: List(Vec::new()),
            metrics_from: List(vec!["127.0.0.0/8".to_owned(), "::1".to_owned()]),
            connections: 10_000,
            connections_per_address: 2_000,
            head_timeout: seconds(10),
            body_timeout: seconds(10),
            idle_timeout: seconds(75),
            write_timeout: seconds(30),
            slowest_bytes_per_second: 1_024,
        }
    }
}

fn all<T: FromStr<Err: Display>>(name: &'static str, texts: &List<String>) -> Result<Vec<T>, StartError> {
    let parse = |text: &String| text.parse().map_err(|e: T::Err| StartError::Setting(name, e.to_string()));
    texts.0.iter().map(parse).collect()
}

impl Server {
    /// How connections are dealt with while so many deliveries may run at once. Raises the limit of open files.
    ///
    /// # Errors
    /// When a setting is wrong.
    pub(crate) fn connections(&self, deliveries: usize) -> Result<Settings, StartError> {
        let public_url = match self.public_url.as_str() {
            "" => None,
            url => Some(url.parse().map_err(|e: tributary_control::addressed::NotAPublicUrl| {
                StartError::Setting("server.public_url", e.to_string())
            })?),
        };
        let addressing = Addressing {
            trusted_proxies: all("server.trusted_proxies", &self.trusted_proxies)?,
            public_url,
            metrics_from: all("server.metrics_from", &self.metrics_from)?,
        };
        let files = connections::raise_limit();
        let most = connections::connections(self.connections, files, deliveries);
        if most < self.connections {
            tracing::info!(
                connections = most,
                files,
                "fewer connections than set: the limit of open files is low"
            );
        }
        // One address never has them all.
        let per_address = self.connections_per_address.min(most - most / 4).max(1);
        Ok(Settings {
            bounds: Bounds { all: most, per_address },
            times: Times {
                head: self.head_timeout.0,
                body: self.body_timeout.0,
                idle: self.idle_timeout.0,
                write: self.write_timeout.0,
                bytes_per_second: self.slowest_bytes_per_second,
            },
            addressing: Arc::new(addressing),
        })
    }
}
