//! `[targets.…]`: the services behind the branded kinds of destinations (contract 5).

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use tributary_targets::{
    AddressPolicy, Endpoint, Settings,
    aws::AwsKey,
    google_account::ServiceAccount,
    settings::{AwsSettings, AzureIotHubSettings, Clock, GoogleMapsSettings, GooglePubSubSettings},
};

/// `[targets]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Targets {
    /// Google Cloud Pub/Sub.
    pub(crate) google_pubsub: GooglePubSub,
    /// Azure IoT Hub.
    pub(crate) azure_iot_hub: AzureIotHub,
    /// Google Maps.
    pub(crate) google_maps: GoogleMaps,
    /// Amazon Web Services.
    pub(crate) aws: Aws,
}

/// `[targets.aws]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Aws {
    /// Where the requests to every service and region go. Empty: to AWS.
    pub(crate) endpoint: String,
    /// Whether integrations without a key are signed with that of the server's environment (`AWS_ACCESS_KEY_ID`,
    /// `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`): everybody who can make an integration may then do what it may.
    pub(crate) use_environment: bool,
}

/// `[targets.google_pubsub]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct GooglePubSub {
    /// Where the API is, e.g. an emulator's `localhost:8085`. Empty: Google's.
    pub(crate) endpoint: String,
    /// The key file (JSON) of the service account that publishes. Empty: none, which only an emulator accepts.
    pub(crate) credentials_file: PathBuf,
}

/// `[targets.azure_iot_hub]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AzureIotHub {
    /// Where the requests to every hub go. Empty: to the hub that the integration names.
    pub(crate) endpoint: String,
}

/// `[targets.google_maps]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct GoogleMaps {
    /// Where the Geolocation API is. Empty: Google's.
    pub(crate) endpoint: String,
}

/// A setting and what is wrong with it.
type Wrong = (&'static str, String);

impl Targets {
    /// What the kinds of destinations are given.
    ///
    /// # Errors
    /// The setting that cannot be used.
    pub(crate) fn settings(&self, addresses: Arc<AddressPolicy>, clock: Clock) -> Result<Settings, Wrong> {
        Ok(Settings {
            addresses,
            clock,
            aws: AwsSettings {
                endpoint: endpoint("targets.aws.endpoint", &self.aws.endpoint)?,
                key: aws_key(self.aws.use_environment, environment)?,
            },
            azure_iot_hub: AzureIotHubSettings {
                endpoint: endpoint("targets.azure_iot_hub.endpoint", &self.azure_iot_hub.endpoint)?,
            },
            google_maps: GoogleMapsSettings {
                endpoint: endpoint("targets.google_maps.endpoint", &self.google_maps.endpoint)?,
            },
            google_pubsub: GooglePubSubSettings {
                endpoint: endpoint("targets.google_pubsub.endpoint", &self.google_pubsub.endpoint)?,
                credentials: credentials(&self.google_pubsub.credentials_file)?,
            },
        })
    }
}

fn endpoint(name: &'static str, text: &str) -> Result<Option<Endpoint>, Wrong> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    Endpoint::parse(text).map(Some).map_err(|error| (name, error))
}

#[expect(clippy::disallowed_methods, reason = "these variables have the names that AWS gave them")]
fn environment(name: &'static str) -> Option<String> {
    std::env::var(name).ok()
}

fn aws_key(
    is_used: bool,
    variable: impl Fn(&'static str) -> Option<String>,
) -> Result<Option<Arc<AwsKey>>, Wrong> {
    if !is_used {
        return Ok(None);
    }
    let given = |name| variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
    let required = |name| {
        let missing = || ("targets.aws.use_environment", format!("the environment has no {name}"));
        given(name).ok_or_else(missing)
    };
    let (id, secret) = (required("AWS_ACCESS_KEY_ID")?, required("AWS_SECRET_ACCESS_KEY")?);
    Ok(Some(Arc::new(AwsKey::new(id, secret, given("AWS_SESSION_TOKEN")))))
}

fn credentials(file: &Path) -> Result<Option<Arc<ServiceAccount>>, Wrong> {
    if file.as_os_str().is_empty() {
        return Ok(None);
    }
    let wrong =
        |error: String| ("targets.google_pubsub.credentials_file", format!("{}: {error}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    ServiceAccount::parse(&text).map(|account| Some(Arc::new(account))).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_from_the_environment_only_where_that_is_said() {
        let all = |name: &'static str| (name != "AWS_SESSION_TOKEN").then(|| format!("{name}-value"));
        assert!(aws_key(false, all).is_ok_and(|key| key.is_none()));
        let key = aws_key(true, all).ok().flatten().map(|key| format!("{key:?}"));
        assert!(key.is_some_and(|shown| !shown.contains("AWS_SECRET_ACCESS_KEY-value")));
        let wrong = aws_key(true, |name| all(name).filter(|_| name == "AWS_ACCESS_KEY_ID")).err();
        let said = "the environment has no AWS_SECRET_ACCESS_KEY".to_owned();
        assert_eq!(wrong, Some(("targets.aws.use_environment", said)));
    }

    #[test]
    fn an_endpoint_that_is_none_is_named() {
        let maps = GoogleMaps { endpoint: "gopher://x".to_owned() };
        let targets = Targets { google_maps: maps, ..Targets::default() };
        let wrong = targets.settings(Arc::default(), Clock::default()).err().map(|(name, _)| name);
        assert_eq!(wrong, Some("targets.google_maps.endpoint"));
        assert!(Targets::default().settings(Arc::default(), Clock::default()).is_ok());
        let google_pubsub =
            GooglePubSub { credentials_file: "/does/not/exist".into(), ..GooglePubSub::default() };
        let targets = Targets { google_pubsub, ..Targets::default() };
        let wrong = targets.settings(Arc::default(), Clock::default()).err().map(|(name, _)| name);
        assert_eq!(wrong, Some("targets.google_pubsub.credentials_file"));
    }
}
