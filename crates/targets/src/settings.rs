//! What the server's configuration says to the kinds: addresses, endpoints, the clock.

use std::{fmt, sync::Arc};

use tributary_domain::Timestamp;
use url::Url;

use crate::{AddressPolicy, aws::AwsKey, google_account::ServiceAccount};

/// What the server's configuration says to all kinds.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Which addresses may be reached.
    pub addresses: Arc<AddressPolicy>,
    /// The time, for tokens that expire.
    pub clock: Clock,
    /// `[targets.aws]`
    pub aws: AwsSettings,
    /// `[targets.azure_iot_hub]`
    pub azure_iot_hub: AzureIotHubSettings,
    /// `[targets.google_maps]`
    pub google_maps: GoogleMapsSettings,
    /// `[targets.google_pubsub]`
    pub google_pubsub: GooglePubSubSettings,
}

/// What gives the present time.
#[derive(Clone, Copy)]
pub struct Clock(pub fn() -> Timestamp);

impl Clock {
    pub(crate) fn now(self) -> Timestamp {
        (self.0)()
    }
}

impl Default for Clock {
    fn default() -> Clock {
        #[expect(clippy::disallowed_methods, reason = "for callers that have no clock of their own to pass")]
        fn system() -> Timestamp {
            let since =
                std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
        }
        Clock(system)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// `[targets.aws]`
#[derive(Clone, Debug, Default)]
pub struct AwsSettings {
    /// Where requests to every service and region go; `None`: to AWS.
    pub endpoint: Option<Endpoint>,
    /// The key that integrations without one are signed with; `None`: each needs its own.
    pub key: Option<Arc<AwsKey>>,
}

/// `[targets.azure_iot_hub]`
#[derive(Clone, Debug, Default)]
pub struct AzureIotHubSettings {
    /// Where requests to every hub go; `None`: to the hub itself.
    pub endpoint: Option<Endpoint>,
}

/// `[targets.google_maps]`
#[derive(Clone, Debug, Default)]
pub struct GoogleMapsSettings {
    /// Where the Geolocation API is; `None`: at Google.
    pub endpoint: Option<Endpoint>,
}

/// `[targets.google_pubsub]`
#[derive(Clone, Debug, Default)]
pub struct GooglePubSubSettings {
    /// Where the API is; `None`: at Google.
    pub endpoint: Option<Endpoint>,
    /// Who publishes; `None`: nobody, which is enough for an emulator.
    pub credentials: Option<Arc<ServiceAccount>>,
}

/// Where a service is reached: a base address without a `/` at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    base: String,
    /// Whether there is a path in it.
    has_path: bool,
    destination: String,
}

impl Endpoint {
    /// Reads an http or https address; `host:port` alone, as emulators announce themselves, is http.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Endpoint, String> {
        const WRONG: &str = "must be an http or https address, or host:port";
        let text = text.trim();
        let given = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let url = Url::parse(&given).map_err(|_| WRONG.to_owned())?;
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
            return Err("must have no credentials and no query in it".to_owned());
        }
        match (url.scheme(), url.host_str(), url.port_or_known_default()) {
            ("http" | "https", Some(host), Some(port)) => Ok(Endpoint {
                base: format!("{}{}", url.origin().ascii_serialization(), url.path().trim_end_matches('/')),
                has_path: url.path().len() > 1,
                destination: format!("{host}:{port}"),
            }),
            _ => Err(WRONG.to_owned()),
        }
    }

    /// The https endpoint of a host whose name is known to be one.
    pub(crate) fn of_host(host: &str) -> Endpoint {
        Endpoint { base: format!("https://{host}"), has_path: false, destination: format!("{host}:443") }
    }

    /// The address of something at the endpoint.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// The endpoint itself if it has a path, else `path` there: for a service that has one address only.
    pub(crate) fn itself_or(&self, path: &str) -> String {
        if self.has_path { self.base.clone() } else { self.at(path) }
    }

    /// `host:port`
    pub(crate) fn destination(&self) -> &str {
        &self.destination
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_endpoint_is_an_address_or_where_an_emulator_listens() {
        let at = |text: &str| {
            let endpoint = Endpoint::parse(text).unwrap();
            (endpoint.at("/a"), endpoint.itself_or("/a"), endpoint.destination().to_owned())
        };
        let row = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(
            at("localhost:8085"),
            row("http://localhost:8085/a", "http://localhost:8085/a", "localhost:8085")
        );
        assert_eq!(
            at("https://x.example/"),
            row("https://x.example/a", "https://x.example/a", "x.example:443")
        );
        assert_eq!(
            at("http://x.example/p/"),
            row("http://x.example/p/a", "http://x.example/p", "x.example:80")
        );
        for wrong in ["", "ftp://x", "http://", "http://u:p@x", "http://x/?a=1"] {
            assert!(Endpoint::parse(wrong).is_err(), "{wrong}");
        }
    }
}
