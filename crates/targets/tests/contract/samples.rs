//! A configuration and an event of each kind. Add yours here.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tributary_domain::{Event, EventId, FieldError, ProductId, Timestamp, integration::Config};
use tributary_targets::{
    AddressPolicy, Clients, Endpoint, Message, Secrets, Settings, Target, Variables, kinds,
    net::ClientSettings,
    settings::{AwsSettings, AzureIotHubSettings, Clock, GoogleMapsSettings, GooglePubSubSettings},
};

pub(crate) struct Sample {
    pub(crate) kind: &'static str,
    /// The configuration as JSON; `URL` stands for where the peer is.
    config: &'static str,
    /// The event's data.
    data: &'static str,
    /// What the peer answers when all is well.
    pub(crate) good_answer: &'static str,
    /// Sensitive fields, and the value in them that must not be seen.
    pub(crate) sensitive: &'static [(&'static str, &'static str)],
}

pub(crate) const SAMPLES: &[Sample] = &[
    Sample {
        kind: "Webhook",
        config: r#"{"url": "URL/in", "json": {"a": "{{{PARTICLE_EVENT_VALUE}}}"}, "auth": {"username": "u", "password": "h0sh-pw"}}"#,
        data: "22.5",
        good_answer: "null",
        sensitive: &[("auth", "h0sh-pw")],
    },
    Sample {
        kind: "GoogleMaps",
        config: r#"{"api_key": "h0sh&key"}"#,
        data: r#"{"w":{"a":[{"m":"00:11:22:33:44:55","s":-60,"c":11}]}}"#,
        good_answer: r#"{"location":{"lat":51.5,"lng":-0.12},"accuracy":1200.4}"#,
        sensitive: &[("api_key", "h0sh&key")],
    },
    Sample {
        kind: "AzureIotHub",
        config: r#"{"hub_name": "my-hub", "policy_name": "iothubowner", "policy_key": "aDBzaCBrZXk="}"#,
        data: "22.5",
        good_answer: "null",
        sensitive: &[("policy_key", "aDBzaCBrZXk=")],
    },
    Sample {
        kind: "GoogleCloudPubSub",
        config: r#"{"topic": "projects/p1/topics/doors"}"#,
        data: "22.5",
        good_answer: r#"{"messageIds":["1"]}"#,
        sensitive: &[],
    },
    Sample {
        kind: "AwsSqs",
        config: r#"{"queue_url": "https://sqs.eu-west-1.amazonaws.com/1234/doors", "access_key_id": "AKIAX", "secret_access_key": "h0sh-key"}"#,
        data: "22.5",
        good_answer: r#"{"Successful":[{"Id":"01010101-0101-0101-0101-010101010101","MessageId":"m1"}],"Failed":[]}"#,
        sensitive: &[("secret_access_key", "h0sh-key")],
    },
    Sample {
        kind: "AwsKinesis",
        config: r#"{"stream": "doors", "region": "eu-west-1", "access_key_id": "AKIAX", "secret_access_key": "h0sh-key"}"#,
        data: "22.5",
        good_answer: r#"{"FailedRecordCount":0,"Records":[{"SequenceNumber":"1","ShardId":"s0"}]}"#,
        sensitive: &[("secret_access_key", "h0sh-key")],
    },
    Sample {
        kind: "AwsEventBridge",
        config: r#"{"region": "eu-west-1", "access_key_id": "ASIAX", "secret_access_key": "h0sh-key", "session_token": "h0sh-token"}"#,
        data: "22.5",
        good_answer: r#"{"FailedEntryCount":0,"Entries":[{"EventId":"e1"}]}"#,
        sensitive: &[("secret_access_key", "h0sh-key"), ("session_token", "h0sh-token")],
    },
];

/// Kinds that speak another protocol than HTTP: `ADDRESS` stands for where the peer is.
pub(crate) const BROKERS: &[Sample] = &[
    Sample {
        kind: "Mqtt",
        config: r#"{"url": "mqtt://ADDRESS", "topic": "doors/{{{PARTICLE_DEVICE_ID}}}", "username": "u", "password": "h0sh-pw"}"#,
        data: "22.5",
        good_answer: "",
        sensitive: &[("password", "h0sh-pw")],
    },
    Sample {
        kind: "Nats",
        config: r#"{"url": "nats://ADDRESS", "subject": "doors.front", "token": "h0sh-token"}"#,
        data: "22.5",
        good_answer: "",
        sensitive: &[("token", "h0sh-token")],
    },
    Sample {
        kind: "Postgres",
        config: r#"{"url": "postgres://ADDRESS", "database": "iot", "table": "doors", "columns": {"value": "{{PARTICLE_EVENT_VALUE}}"},
            "username": "u", "password": "h0sh-pw", "ssl": false}"#,
        data: "22.5",
        good_answer: "",
        sensitive: &[("password", "h0sh-pw")],
    },
    Sample {
        kind: "Kafka",
        config: r#"{"brokers": "ADDRESS", "topic": "doors", "sasl": "SCRAM-SHA-256", "username": "u", "password": "h0sh-pw", "ssl": false}"#,
        data: "22.5",
        good_answer: "",
        sensitive: &[("password", "h0sh-pw")],
    },
    Sample {
        kind: "Amqp",
        config: r#"{"url": "amqp://ADDRESS", "exchange": "doors", "username": "u", "password": "h0sh-pw"}"#,
        data: "22.5",
        good_answer: "",
        sensitive: &[("password", "h0sh-pw")],
    },
];

/// Every sample.
pub(crate) fn all() -> impl Iterator<Item = &'static Sample> {
    SAMPLES.iter().chain(BROKERS)
}

impl Sample {
    /// The sample of a kind.
    pub(crate) fn of(kind: &str) -> &'static Sample {
        SAMPLES.iter().find(|sample| sample.kind == kind).unwrap()
    }

    pub(crate) fn config(&self, url: &str) -> Config {
        let mut config: Value =
            serde_json::from_str(&self.config.replace("URL", url).replace("ADDRESS", address(url))).unwrap();
        config["event"] = "door".into();
        config.as_object().unwrap().clone()
    }

    pub(crate) fn compile(&self, settings: &Settings, url: &str) -> Result<Arc<dyn Target>, Vec<FieldError>> {
        kinds::find(self.kind).unwrap().compile(&self.config(url), settings)
    }

    pub(crate) fn render(&self, target: &dyn Target) -> Result<Message, String> {
        let (event, secrets) = (event(self.data), Secrets::default());
        target.render(&Variables::new(&event, Some(ProductId(7)), None, &secrets))
    }
}

/// The `host:port` of a url.
fn address(url: &str) -> &str {
    url.rsplit('/').next().unwrap()
}

/// An event `door/front` of the device `d 1`.
pub(crate) fn event(data: &str) -> Event {
    Event {
        id: EventId([1; 16]),
        product: Some(ProductId(7)),
        user: None,
        coreid: "d 1".into(),
        name: "door/front".into(),
        data: Some(data.into()),
        ttl: 60,
        published_at: Timestamp(1_704_164_645_678),
        version: Some(3),
    }
}

pub(crate) fn addresses() -> Arc<AddressPolicy> {
    Arc::new(AddressPolicy { allow_private: false, allowed: vec!["127.0.0.1".parse().unwrap()] })
}

/// Settings with every service at one endpoint, and a clock that stands still.
pub(crate) fn settings(endpoint: Option<&str>) -> Settings {
    let endpoint = endpoint.map(|text| Endpoint::parse(text).unwrap());
    Settings {
        addresses: addresses(),
        clock: Clock(|| Timestamp(1_700_000_000_000)),
        aws: AwsSettings { endpoint: endpoint.clone(), key: None },
        azure_iot_hub: AzureIotHubSettings { endpoint: endpoint.clone() },
        google_maps: GoogleMapsSettings { endpoint: endpoint.clone() },
        google_pubsub: GooglePubSubSettings { endpoint, credentials: None },
    }
}

pub(crate) fn clients(timeout: Duration) -> Clients {
    Clients::new(&ClientSettings { timeout, addresses: addresses(), ..ClientSettings::default() }).unwrap()
}
