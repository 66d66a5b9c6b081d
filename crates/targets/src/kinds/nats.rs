//! NATS: each event as a message of a subject, published at most to who listens or stored by a stream (JetStream).
//!
//! Modules in reading order: `protocol` (lines and bytes), `nkey` (keys of users), `connection` (what is said over one).

mod connection;
mod nkey;
mod protocol;

use std::sync::Arc;

use bytes::Bytes;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::Value;
use tributary_domain::{FieldError, integration::Config, limits::RENDERED_BYTES};

use self::{
    connection::{Connection, Login},
    nkey::Nkey,
    protocol::Publish,
};
use super::{check_common, field, flag, webhook::tls};
use crate::{
    Attempt, BoxFuture, Clients, Field, Kind, Message, ResponseSettings, Settings, Shape, Target, Variables,
    broker::{Address, Credential, Place, Scheme, Tls, header, key, shown_host},
    fields::Reader,
    net::{Kept, Reached},
    service::{Secret, final_error},
    text::Text,
};

/// The kind `Nats`.
pub struct NatsKind;

const FIELDS: &[Field] = &[
    Field {
        required: true,
        ..field("url", Shape::Text, "The server: nats://HOST:4222, or tls://HOST:4222 with TLS.")
    },
    Field {
        required: true,
        ..field(
            "subject",
            Shape::Text,
            "The subject of the messages; may hold variables, e.g. sensors.{{{PARTICLE_DEVICE_ID}}}.",
        )
    },
    field("payload", Shape::Text, "The message; the event's data if absent."),
    flag(
        "jetstream",
        "false",
        "Whether a success is what a stream has stored; else what the server has read.",
    ),
    field("username", Shape::Text, "The user name for the server."),
    Field {
        sensitive: true,
        ..field("password", Shape::Text, "The password for the server; it is not shown again.")
    },
    Field {
        sensitive: true,
        ..field("token", Shape::Text, "A token in place of user name and password; it is not shown again.")
    },
    Field {
        sensitive: true,
        ..field("nkey", Shape::Text, "The seed of a user's key (SU…) in their place; it is not shown again.")
    },
    Field {
        sensitive: true,
        ..field("creds", Shape::Text, "The text of a .creds file in their place; it is not shown again.")
    },
    flag("rejectUnauthorized", "true", "Whether the certificate of the server is checked."),
    tls::FIELD,
];

/// Most connections of an integration.
const CONNECTIONS: usize = 16;
const SCHEMES: &[Scheme] =
    &[Scheme { name: "nats", port: 4222, secure: false }, Scheme { name: "tls", port: 4222, secure: true }];
/// Longest subject, in bytes: a server's line has 4 KiB unless it is set otherwise.
const SUBJECT_BYTES: usize = 1024;
/// Longest user name, in bytes.
const USERNAME_BYTES: usize = 1024;
/// Random bytes in the name of an inbox.
const INBOX_RANDOM: usize = 16;

const SUBJECT: &str = "Subject";
const JETSTREAM: &str = "JetStream";
const USERNAME: &str = "Username";
const PASSWORD: &str = "Password";
const TOKEN: &str = "Auth-Token";
/// By which a stream knows a message that comes twice.
const MESSAGE_ID: &str = "Nats-Msg-Id";

impl Kind for NatsKind {
    fn name(&self) -> &'static str {
        "Nats"
    }

    fn fields(&self) -> &'static [Field] {
        FIELDS
    }

    fn default_name(&self, config: &Config) -> String {
        let text = |field| config.get(field).and_then(Value::as_str).unwrap_or_default().trim();
        format!("{} for {}", text("event"), shown_host(text("url")))
    }

    fn compile(&self, config: &Config, settings: &Settings) -> Result<Arc<dyn Target>, Vec<FieldError>> {
        let mut reader = Reader::new(config);
        let mut sensitive = Vec::new();
        check_common(&mut reader);
        let address = Address::read(&mut reader, SCHEMES, &settings.addresses);
        let subject = read_subject(&mut reader);
        let payload = reader.text_template("payload");
        let jetstream = reader.flag("jetstream", false);
        let username = reader.text_template("username");
        let password = Credential::read(&mut reader, "password", &mut sensitive);
        if password.is_given() && username.is_none() {
            reader.error("username", "is required with password");
        }
        let token = Credential::read(&mut reader, "token", &mut sensitive);
        let auth = Auth::read(&mut reader, &mut sensitive);
        let given =
            ["username", "token", "nkey", "creds"].into_iter().filter(|name| reader.given(name).is_some());
        if let [first, second, ..] = given.collect::<Vec<_>>()[..] {
            reader.error(second, format!("cannot be used together with {first}"));
        }
        let tls = Tls::read(&mut reader, &mut sensitive);
        let response = ResponseSettings::read(&mut reader);
        let variables = reader.finish()?;
        let (Some(address), Some(subject)) = (address, subject) else {
            return Err(vec![FieldError::new("url", "is required")]);
        };
        let kept = Kept::new(CONNECTIONS);
        Ok(Arc::new(Nats {
            address,
            subject,
            payload,
            jetstream,
            username,
            password,
            token,
            auth,
            tls,
            response,
            variables,
            sensitive,
            kept,
        }))
    }
}

/// How the server knows this one.
enum Auth {
    /// By user name and password, by a token, or not at all.
    Texts,
    Nkey(Nkey),
    Creds {
        jwt: Secret,
        key: Nkey,
    },
}

impl Auth {
    fn read(reader: &mut Reader<'_>, hidden: &mut Vec<String>) -> Auth {
        let mut auth = Auth::Texts;
        if let Some(seed) = reader.text("nkey") {
            hidden.push(seed.trim().to_owned());
            match Nkey::parse(&seed) {
                Some(key) => auth = Auth::Nkey(key),
                None => reader
                    .error("nkey", "must be the seed of a user's key: SU and 56 more letters and digits"),
            }
        }
        if let Some(creds) = reader.text("creds") {
            let parts = nkey::parts(&creds);
            hidden.push(creds.trim().to_owned());
            hidden.extend(parts.iter().flat_map(|(jwt, seed)| [*jwt, *seed]).map(str::to_owned));
            match parts.and_then(|(jwt, seed)| Some((jwt, Nkey::parse(seed)?))) {
                Some((jwt, key)) => auth = Auth::Creds { jwt: Secret(jwt.to_owned()), key },
                None => reader.error("creds", "must be the text of a .creds file: a user's JWT and its seed"),
            }
        }
        auth
    }
}

fn read_subject(reader: &mut Reader<'_>) -> Option<Text> {
    let source = reader.required_text("subject")?;
    let text = reader.template("subject", &source)?;
    if let Some(Err(error)) = text.literal().map(check_subject) {
        reader.error("subject", error);
    }
    Some(text)
}

fn check_subject(subject: &str) -> Result<(), String> {
    if subject.is_empty() {
        Err("must not be empty".to_owned())
    } else if subject.contains(|c: char| c.is_whitespace() || c.is_control()) {
        Err("must not have spaces, line breaks or other control characters".to_owned())
    } else if subject.split('.').any(str::is_empty) {
        Err("must have something before, between and after its dots".to_owned())
    } else if subject.split('.').any(|token| ["*", ">"].contains(&token)) {
        Err("must not have * or > between its dots: these are for subscribers".to_owned())
    } else if subject.len() > SUBJECT_BYTES {
        Err(format!("must have at most {SUBJECT_BYTES} bytes"))
    } else {
        Ok(())
    }
}

/// Not `Debug`: it holds credentials as they are.
struct Nats {
    address: Address,
    subject: Text,
    payload: Option<Text>,
    jetstream: bool,
    username: Option<Text>,
    password: Credential,
    token: Credential,
    auth: Auth,
    tls: Tls,
    response: ResponseSettings,
    variables: Vec<String>,
    sensitive: Vec<String>,
    kept: Kept<Connection>,
}

impl Target for Nats {
    fn fixed_destination(&self) -> Option<String> {
        self.address.fixed().map(Place::destination)
    }

    fn destination(&self, variables: &Variables<'_>) -> Result<String, String> {
        self.address.render(variables).map(|place| place.destination())
    }

    fn render(&self, variables: &Variables<'_>) -> Result<Message, String> {
        let rendered = |field: &str, text: &Text, limit| {
            text.render(variables, limit).map_err(|error| format!("{field}: {error}"))
        };
        let place = self.address.render(variables)?;
        let subject = rendered("subject", &self.subject, SUBJECT_BYTES)?;
        check_subject(&subject).map_err(|error| format!("subject: {error}"))?;
        let payload = match &self.payload {
            Some(text) => rendered("payload", text, RENDERED_BYTES)?,
            None => variables.data().to_owned(),
        };
        // Not the event's id alone: of two integrations that one event fires, a stream would drop the second message.
        let event = variables.event.id;
        let id = variables.recipient.map_or(event.to_string(), |recipient| format!("{event}_{recipient}"));
        let mut headers = vec![(SUBJECT.to_owned(), subject), (MESSAGE_ID.to_owned(), id)];
        if self.jetstream {
            headers.push((JETSTREAM.to_owned(), "true".to_owned()));
        }
        if let Some(username) = &self.username {
            headers.push((USERNAME.to_owned(), rendered("username", username, USERNAME_BYTES)?));
        }
        headers.extend(self.password.render(PASSWORD, variables)?);
        headers.extend(self.token.render(TOKEN, variables)?);
        Ok(Message {
            destination: place.destination(),
            method: "PUB".to_owned(),
            url: place.url,
            headers,
            body: Bytes::from(payload),
        })
    }

    fn send<'a>(&'a self, message: &'a Message, clients: &'a Clients) -> BoxFuture<'a, Attempt> {
        Box::pin(async move {
            let reached = Reached::default();
            let attempt = async { self.attempt(message, clients, &reached).await.unwrap_or_else(|e| e) };
            clients.in_time_by(&reached, attempt).await
        })
    }

    fn response(&self) -> &ResponseSettings {
        &self.response
    }

    fn variables(&self) -> Vec<String> {
        self.variables.clone()
    }

    fn sensitive_values(&self) -> &[String] {
        &self.sensitive
    }
}

impl Nats {
    async fn attempt(
        &self,
        message: &Message,
        clients: &Clients,
        reached: &Reached,
    ) -> Result<Attempt, Attempt> {
        let place = Place::parse(&message.url, SCHEMES).map_err(final_error)?;
        let login = Login {
            auth: &self.auth,
            username: header(message, USERNAME),
            password: self.password.of(PASSWORD, message),
            token: self.token.of(TOKEN, message),
            host: &place.host,
            secure: place.secure,
            inbox: header(message, JETSTREAM).map(|_| inbox()).transpose()?,
        };
        let key = key(&[Some(&place.url), login.username, login.password, login.token]);
        let _turn = self.kept.turn().await;
        let mut connection = match self.kept.take(&key) {
            Some(connection) => {
                reached.note();
                connection
            }
            None => Connection::open(place.connect(clients, reached, &self.tls).await?, &login).await?,
        };
        let id = header(message, MESSAGE_ID).unwrap_or_default();
        let publish = Publish {
            subject: header(message, SUBJECT).unwrap_or_default(),
            reply: None,
            headers: &[(MESSAGE_ID, id)],
            payload: &message.body,
        };
        let attempt = connection.publish(publish, &login).await?;
        self.kept.put(&key, connection);
        Ok(attempt)
    }
}

/// A subject that nobody else listens to.
fn inbox() -> Result<String, Attempt> {
    let mut random = [0; INBOX_RANDOM];
    SystemRandom::new().fill(&mut random).map_err(|_| final_error("no random numbers"))?;
    Ok(random.iter().fold("_INBOX.".to_owned(), |inbox, byte| inbox + &format!("{byte:02x}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use insta::assert_snapshot;
    use serde_json::json;
    use tributary_domain::MemberId;

    use super::*;
    use crate::{
        Secrets,
        test_support::{event, no_secrets, shown},
    };

    fn compile(mut config: Value) -> Result<Arc<dyn Target>, String> {
        let config = config.as_object_mut().unwrap();
        for (field, value) in [("event", "door"), ("url", "nats://nats.example"), ("subject", "doors")] {
            config.entry(field).or_insert(value.into());
        }
        let compiled = NatsKind.compile(config, &Settings::default());
        compiled.map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }

    fn request(config: Value, data: &str) -> Result<String, String> {
        let event = event(data);
        let rendered = compile(config).unwrap().render(&Variables::new(&event, None, None, no_secrets()));
        rendered.map(|message| shown(&message))
    }

    #[test]
    fn an_event_becomes_a_message_without_the_token_in_it() {
        assert_snapshot!(request(json!({"token": "hush"}), "22.5").unwrap(), @"
        PUB nats://nats.example:4222
        Subject: doors
        Nats-Msg-Id: 07070707-0707-0707-0707-070707070707

        22.5
        ");
    }

    #[test]
    fn subject_and_payload_are_templates() {
        let config = json!({
            "url": "tls://{{{site}}}.example:4443", "subject": "doors.{{{PARTICLE_DEVICE_ID}}}", "payload": "{\"t\": {{t}}}",
            "jetstream": true, "username": "u", "password": "hush"
        });
        assert_snapshot!(request(config, r#"{"t":4,"site":"eu"}"#).unwrap(), @r#"
        PUB tls://eu.example:4443
        Subject: doors.d1
        Nats-Msg-Id: 07070707-0707-0707-0707-070707070707
        JetStream: true
        Username: u

        {"t": 4}
        "#);
    }

    #[test]
    fn a_message_s_id_is_that_of_the_delivery() {
        let event = event("{}");
        let id = |recipient: u8| {
            let variables = Variables::new(&event, None, None, no_secrets());
            let variables = variables.received_by(MemberId([recipient; 12]));
            let message = compile(json!({})).unwrap().render(&variables).unwrap();
            header(&message, MESSAGE_ID).unwrap().to_owned()
        };
        assert_eq!(id(1), id(1));
        assert_ne!(id(1), id(2), "two integrations of one event");
    }

    #[test]
    fn credentials_may_be_cloud_secrets_and_are_then_headers_that_logs_hide() {
        let secrets = Secrets([("NATS_SECRET".into(), "hush".into())].into());
        let event = event("{}");
        for (config, name) in [
            (json!({"username": "u", "password": "{{{NATS_SECRET}}}"}), PASSWORD),
            (json!({"token": "{{{NATS_SECRET}}}"}), TOKEN),
        ] {
            let message =
                compile(config).unwrap().render(&Variables::new(&event, None, None, &secrets)).unwrap();
            assert_eq!(header(&message, name), Some("hush"));
            assert!(tributary_domain::sensitive::is_sensitive_header(name), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_published_is_a_final_error() {
        let error = |config| request(config, r#"{"a":">","b":"x y","c":""}"#).unwrap_err();
        assert_snapshot!(error(json!({"subject": "t.{{{a}}}"})), @"subject: must not have * or > between its dots: these are for subscribers");
        assert_snapshot!(error(json!({"subject": "t.{{{b}}}"})), @"subject: must not have spaces, line breaks or other control characters");
        assert_snapshot!(error(json!({"subject": "t.{{{c}}}"})), @"subject: must have something before, between and after its dots");
        assert_snapshot!(error(json!({"subject": "{{{c}}}"})), @"subject: must not be empty");
        assert_snapshot!(error(json!({"url": "nats://{{{c}}}"})), @"url: must be nats://HOST:4222 or tls://HOST:4222");
    }

    #[test]
    fn every_wrong_field_is_named() {
        assert_snapshot!(compile(json!({
            "url": "http://b", "subject": "a.*", "payload": "{{", "jetstream": "maybe", "password": "p", "token": "t",
            "nkey": "SUAC", "creds": "x", "rejectUnauthorized": 5, "tls": {"ca": "x"}
        })).err().unwrap(), @"
        url: must be nats://HOST:4222 or tls://HOST:4222
        subject: must not have * or > between its dots: these are for subscribers
        payload: line 1, column 1: the tag opened with `{{` is not closed; add `}}` to it
        jetstream: must be true or false
        username: is required with password
        nkey: must be the seed of a user's key: SU and 56 more letters and digits
        creds: must be the text of a .creds file: a user's JWT and its seed
        nkey: cannot be used together with token
        rejectUnauthorized: must be true or false
        tls.ca: must be one or more certificates in PEM form
        ");
        assert_snapshot!(compile(json!({"username": "u", "token": "t"})).err().unwrap(), @"token: cannot be used together with username");
    }

    #[test]
    fn keys_are_sensitive_in_every_part() {
        const SEED: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
        let nkey = compile(json!({"nkey": SEED})).unwrap();
        assert_eq!(nkey.sensitive_values(), [SEED]);
        let file = format!(
            "-----BEGIN NATS USER JWT-----\nj.w.t\n------END NATS USER JWT------\n-----BEGIN USER NKEY SEED-----\n{SEED}\n"
        );
        let creds = compile(json!({"creds": file})).unwrap();
        assert_eq!(creds.sensitive_values(), [file.trim(), "j.w.t", SEED]);
    }

    #[test]
    fn it_is_called_after_its_event_and_server() {
        let config = json!({"event": "door", "url": "tls://n.example:4222"});
        assert_eq!(NatsKind.default_name(config.as_object().unwrap()), "door for n.example");
    }
}
