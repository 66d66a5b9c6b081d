//! The configuration: defaults, then a TOML file, then the environment (`TRIBUTARY_SECTION__KEY`), then flags.

mod eventlog;
mod quotas;
mod redelivery;
mod server;
mod targets;

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

pub(crate) use self::{
    eventlog::EventLogConfig, quotas::Quotas, redelivery::Redelivery, server::Server, targets::Targets,
};

/// What every name of an environment variable of ours begins with.
const ENV_PREFIX: &str = "TRIBUTARY_";

/// Everything that can be configured. Each field has a default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// The HTTP server.
    pub(crate) server: Server,
    /// Where things are kept.
    pub(crate) store: StoreConfig,
    /// How long accepted events are kept for previews.
    pub(crate) eventlog: EventLogConfig,
    /// Who may sign up and how often a sign-in may fail.
    pub(crate) accounts: Accounts,
    /// How deliveries behave.
    pub(crate) delivery: Delivery,
    /// What is kept of failed and skipped deliveries.
    pub(crate) redelivery: Redelivery,
    /// Bounds for callers.
    pub(crate) limits: Limits,
    /// Bounds for owners.
    pub(crate) quotas: Quotas,
    /// Where the services behind the branded kinds are.
    pub(crate) targets: Targets,
    /// What the process says of itself.
    pub(crate) log: Log,
}

/// `[store]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct StoreConfig {
    /// Folder of the two databases and the key file; made when missing.
    pub(crate) data_dir: PathBuf,
    /// File with the key that secrets are encrypted under, 64 hexadecimal digits. Empty: `key` in the data folder,
    /// made at the first start.
    pub(crate) key_file: PathBuf,
}

/// `[accounts]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Accounts {
    /// Who may sign up: `open`, `first` (only while there is no user) or `closed`.
    pub(crate) signup: String,
    /// The plan of an organization that names none: `free`, `basic` or `enterprise`.
    pub(crate) default_plan: String,
    /// Failed sign-ins in a row for one address and username before it has to wait.
    pub(crate) failures_per_user: u32,
    /// Failed sign-ins from one address within `failure_window` before it has to wait.
    pub(crate) failures_per_address: u32,
    /// See `failures_per_address`.
    pub(crate) failure_window: Span,
}

/// `[delivery]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Delivery {
    /// Time for one attempt in all, connecting included.
    pub(crate) timeout: Span,
    /// The wait before each further attempt.
    pub(crate) retry_delays: List<Span>,
    /// Deliver to loopback, private and link-local addresses too.
    pub(crate) allow_private_targets: bool,
    /// Networks that may be delivered to although they are private, e.g. `10.1.0.0/16`.
    pub(crate) allowed_targets: List<String>,
    /// An outbound proxy for all deliveries, e.g. `http://user:password@proxy.example:3128`; empty = none.
    pub(crate) proxy: String,
    /// Hosts that are reached without it: names with all under them, addresses, networks.
    pub(crate) proxy_except: List<String>,
    /// Deliveries at once to one destination.
    pub(crate) lane_concurrency: usize,
    /// Deliveries at once in all.
    pub(crate) total_concurrency: usize,
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limits {
    /// Open streams of one user; its pages in the console have as many besides.
    pub(crate) streams_per_user: usize,
    /// Open streams from one address.
    pub(crate) streams_per_address: usize,
    /// Requests in a minute from one address; 0 = no limit.
    pub(crate) requests_per_minute: u32,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,tributary_pipeline=debug`.
    pub(crate) level: String,
    /// `text` or `json`.
    pub(crate) format: String,
}

impl Default for StoreConfig {
    fn default() -> StoreConfig {
        StoreConfig { data_dir: "./tributary-data".into(), key_file: PathBuf::new() }
    }
}

impl Default for Accounts {
    fn default() -> Accounts {
        Accounts {
            signup: "first".to_owned(),
            default_plan: "basic".to_owned(),
            failures_per_user: 10,
            failures_per_address: 100,
            failure_window: Span(Duration::from_secs(300)),
        }
    }
}

impl Default for Delivery {
    fn default() -> Delivery {
        Delivery {
            timeout: Span(Duration::from_secs(20)),
            retry_delays: List(vec![Span(Duration::from_secs(30)), Span(Duration::from_secs(60))]),
            allow_private_targets: false,
            allowed_targets: List(Vec::new()),
            proxy: String::new(),
            proxy_except: List(Vec::new()),
            lane_concurrency: tributary_domain::limits::LANE_CONCURRENCY,
            total_concurrency: tributary_domain::limits::TOTAL_CONCURRENCY,
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { streams_per_user: 250, streams_per_address: 1_000, requests_per_minute: 0 }
    }
}

impl Default for Log {
    fn default() -> Log {
        Log { level: "info".to_owned(), format: "text".to_owned() }
    }
}

/// A length of time, written as a number and a unit: `500ms`, `30s`, `5m`, `2h`, `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

impl FromStr for Span {
    type Err = String;
    fn from_str(text: &str) -> Result<Span, String> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let ms = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, ms)| ms);
        match (number.parse::<u64>().ok(), ms) {
            (Some(number), Some(ms)) => Ok(Span(Duration::from_millis(number.saturating_mul(*ms)))),
            _ => Err(format!(
                "\"{text}\" is not a length of time; write a number and a unit, e.g. 500ms, 30s, 5m, 2h, 7d"
            )),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        let fits = |unit: &&(&str, u64)| ms.is_multiple_of(u128::from(unit.1)) && ms > 0;
        let (name, size) = UNITS.iter().rev().find(fits).unwrap_or(&UNITS[0]);
        write!(f, "{}{name}", ms / u128::from(*size))
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A list; in the environment its items are separated by commas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct List<T>(pub(crate) Vec<T>);

impl<T: Serialize> Serialize for List<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de> + FromStr<Err: fmt::Display>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<List<T>, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Text(String),
            Items(Vec<String>),
        }
        let items = match Either::deserialize(deserializer)? {
            Either::Text(text) => text.split(',').map(|item| item.trim().to_owned()).collect(),
            Either::Items(items) => items,
        };
        let items =
            items.iter().filter(|item| !item.is_empty()).map(|item| item.parse().map_err(D::Error::custom));
        Ok(List(items.collect::<Result<_, _>>()?))
    }
}

/// A configuration that cannot be used; the text says where and why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ConfigError(String);

impl Config {
    /// Reads the file, if one is given, and lays the environment over it.
    ///
    /// # Errors
    /// An unreadable file, an unknown name or a value of the wrong kind.
    pub(crate) fn load(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Config, ConfigError> {
        let mut table = toml::Table::new();
        if let Some(path) = file {
            let wrong = |error: &dyn fmt::Display| ConfigError(format!("{}: {error}", path.display()));
            let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
            table = text.parse().map_err(|error: toml::de::Error| wrong(&error))?;
            let _: Config = table.clone().try_into().map_err(|error: toml::de::Error| wrong(&error))?;
        }
        for (name, value) in environment {
            let Some(rest) = name.strip_prefix(ENV_PREFIX).filter(|rest| rest.contains("__")) else {
                continue;
            };
            // `TARGETS__GOOGLE_MAPS__ENDPOINT` is `endpoint` in the section `targets.google_maps`.
            let path: Vec<String> = rest.split("__").map(str::to_lowercase).collect();
            let wrong =
                |error: &dyn fmt::Display| ConfigError(format!("environment variable {name}: {error}"));
            let value = typed(&path, value).ok_or_else(|| wrong(&"there is no such setting"))?;
            let mut one = toml::Table::new();
            set(&mut one, &path, value.clone());
            let _: Config = one.try_into().map_err(|error: toml::de::Error| wrong(&error.message()))?;
            set(&mut table, &path, value);
        }
        table.try_into().map_err(|error: toml::de::Error| ConfigError(error.to_string()))
    }

    /// The configuration as TOML, every setting named.
    pub(crate) fn to_toml(&self) -> String {
        // Every field is a table, text, number, flag or list of texts, which TOML has.
        toml::to_string(self).unwrap_or_default()
    }
}

/// Sets what stands at `path`, making the sections on the way.
fn set(table: &mut toml::Table, path: &[String], value: toml::Value) {
    match path {
        [] => {}
        [key] => {
            table.insert(key.clone(), value);
        }
        [section, rest @ ..] => {
            let slot = table.entry(section.clone()).or_insert_with(|| toml::Table::new().into());
            if let Some(inner) = slot.as_table_mut() {
                set(inner, rest, value);
            }
        }
    }
}

/// A text from the environment as the kind of value that the default of that setting has. `None`: no such setting.
fn typed(path: &[String], text: String) -> Option<toml::Value> {
    let defaults = toml::Value::try_from(Config::default()).ok()?;
    let default = path.iter().try_fold(&defaults, |at, key| at.get(key.as_str()))?;
    Some(match default {
        toml::Value::Table(_) => return None,
        toml::Value::Boolean(_) => text.parse().map_or(toml::Value::String(text), toml::Value::Boolean),
        toml::Value::Integer(_) => text.parse().map_or(toml::Value::String(text), toml::Value::Integer),
        _ => toml::Value::String(text),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Result<Config, String> {
        let pairs = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Config::load(None, pairs).map_err(|error| error.to_string())
    }

    #[test]
    fn the_environment_sets_single_settings() {
        let config = env(&[
            ("TRIBUTARY_ACCOUNTS__SIGNUP", "open"),
            ("TRIBUTARY_DELIVERY__ALLOW_PRIVATE_TARGETS", "true"),
            ("TRIBUTARY_DELIVERY__RETRY_DELAYS", "1s, 2s"),
            ("TRIBUTARY_DELIVERY__ALLOWED_TARGETS", "10.1.0.0/16,fd00::/8"),
            ("TRIBUTARY_DELIVERY__LANE_CONCURRENCY", "7"),
            ("TRIBUTARY_BIN", "not a setting: no section"),
            ("PATH", "/bin"),
        ])
        .unwrap();
        assert_eq!(config.accounts.signup, "open");
        assert!(config.delivery.allow_private_targets);
        assert_eq!(
            config.delivery.retry_delays.0,
            [Span(Duration::from_secs(1)), Span(Duration::from_secs(2))]
        );
        assert_eq!(config.delivery.allowed_targets.0, ["10.1.0.0/16", "fd00::/8"]);
        assert_eq!(config.delivery.lane_concurrency, 7);
    }

    #[test]
    fn the_environment_reaches_sections_inside_sections() {
        let config = env(&[
            ("TRIBUTARY_TARGETS__GOOGLE_PUBSUB__ENDPOINT", "localhost:8085"),
            ("TRIBUTARY_TARGETS__AZURE_IOT_HUB__ENDPOINT", "https://hub.example"),
            ("TRIBUTARY_TARGETS__GOOGLE_PUBSUB__CREDENTIALS_FILE", "/etc/google.json"),
        ])
        .unwrap();
        assert_eq!(config.targets.google_pubsub.endpoint, "localhost:8085");
        assert_eq!(config.targets.google_pubsub.credentials_file, PathBuf::from("/etc/google.json"));
        assert_eq!(config.targets.azure_iot_hub.endpoint, "https://hub.example");
        assert_eq!(config.targets.google_maps.endpoint, "");
        for name in [
            "TRIBUTARY_TARGETS__GOOGLE_PUBSUB",
            "TRIBUTARY_TARGETS__GOOGLE_PUBSUB__PORT",
            "TRIBUTARY_TARGETS__GOOGLE_PUBSUB__ENDPOINT__X",
        ] {
            let error = env(&[(name, "x")]).unwrap_err();
            assert!(error.contains(name) && error.contains("no such setting"), "{error}");
        }
    }

    #[test]
    fn a_wrong_setting_is_named() {
        for (name, value, says) in [
            ("TRIBUTARY_ACCOUNTS__SIGNUPS", "open", "there is no such setting"),
            ("TRIBUTARY_DELIVERY__ALLOW_PRIVATE_TARGETS", "maybe", "invalid type"),
            ("TRIBUTARY_DELIVERY__TIMEOUT", "soon", "not a length of time"),
            ("TRIBUTARY_SERVER__LISTEN", "here", "invalid socket address"),
        ] {
            let error = env(&[(name, value)]).unwrap_err();
            assert!(error.contains(name) && error.contains(says), "{error}");
        }
    }

    #[test]
    fn what_is_printed_is_read_back_and_spans_keep_their_unit() {
        let config = Config::default();
        assert_eq!(config.to_toml().parse::<toml::Table>().unwrap().try_into::<Config>().unwrap(), config);
        for text in ["500ms", "30s", "5m", "2h", "7d", "0ms"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
    }
}
