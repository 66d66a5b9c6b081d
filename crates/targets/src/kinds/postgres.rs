//! PostgreSQL: each event as a row of a table.
//!
//! Module: `connection` (what is said over one).

mod connection;

use std::sync::Arc;

use serde_json::{Map, Value};
use tributary_domain::{FieldError, integration::Config, limits::RENDERED_BYTES};
use tributary_template::RenderError;

use self::connection::{Connection, Login};
use super::{check_common, field, flag, webhook::tls};
use crate::{
    Attempt, BoxFuture, Clients, Field, Kind, Message, ResponseSettings, Settings, Shape, Target, Variables,
    broker::{Address, Credential, Place, Scheme, Tls, header, key, shown_host},
    fields::{Reader, scalar},
    gather::{self, Answer, Gather, Most, Together},
    net::{Kept, Reached},
    service::final_error,
    text::Text,
};

/// The kind `Postgres`.
pub struct PostgresKind;

const FIELDS: &[Field] = &[
    Field { required: true, ..field("url", Shape::Text, "The server: postgres://HOST:5432.") },
    Field { required: true, ..field("database", Shape::Text, "The name of the database.") },
    Field { required: true, ..field("table", Shape::Text, "The table, or SCHEMA.TABLE; case counts.") },
    Field {
        required: true,
        ..field(
            "columns",
            Shape::Object,
            "Columns and their values, e.g. {\"device\": \"{{{PARTICLE_DEVICE_ID}}}\"}; an empty value is NULL.",
        )
    },
    Field {
        default: Some("\"ignore\""),
        ..field(
            "on_conflict",
            Shape::Text,
            "ignore: a row that is there already counts as stored. error: it is an error.",
        )
    },
    Field { required: true, ..field("username", Shape::Text, "The user name for the server.") },
    Field {
        sensitive: true,
        ..field("password", Shape::Text, "The password for the server; it is not shown again.")
    },
    flag("ssl", "true", "Whether connections are encrypted; a server that cannot is not spoken to."),
    flag("rejectUnauthorized", "true", "Whether the certificate of the server is checked."),
    tls::FIELD,
    gather::FIELD,
];

/// What a transaction can have.
const MOST: Most = Most { events: 500, bytes: 4 * 1024 * 1024 };

/// Most connections of an integration: a server has 100 for everybody unless it is set otherwise.
const CONNECTIONS: usize = 8;
const SCHEMES: &[Scheme] = &[
    Scheme { name: "postgres", port: 5432, secure: false },
    Scheme { name: "postgresql", port: 5432, secure: false },
];
/// Most columns of a row.
const COLUMNS: usize = 200;
/// Longest name of a table or column, in bytes: PostgreSQL cuts longer ones.
const NAME_BYTES: usize = 63;
/// Longest name of a user or database, in bytes.
const LOGIN_BYTES: usize = 1024;

const DATABASE: &str = "Database";
const TABLE: &str = "Table";
const USERNAME: &str = "Username";
const PASSWORD: &str = "Password";

impl Kind for PostgresKind {
    fn name(&self) -> &'static str {
        "Postgres"
    }

    fn fields(&self) -> &'static [Field] {
        FIELDS
    }

    fn default_name(&self, config: &Config) -> String {
        let text = |field| config.get(field).and_then(Value::as_str).unwrap_or_default().trim();
        format!("{} for {} on {}", text("event"), text("table"), shown_host(text("url")))
    }

    fn compile(&self, config: &Config, settings: &Settings) -> Result<Arc<dyn Target>, Vec<FieldError>> {
        let mut reader = Reader::new(config);
        let mut sensitive = Vec::new();
        check_common(&mut reader);
        let address = Address::read(&mut reader, SCHEMES, &settings.addresses);
        let database = required_template(&mut reader, "database");
        let table = reader.required_text("table").unwrap_or_default().trim().to_owned();
        let quoted_table =
            quoted_table(&table).map_err(|error| reader.error("table", error)).unwrap_or_default();
        let columns = read_columns(&mut reader);
        let ignore = match reader.text("on_conflict").as_deref().map(str::trim) {
            None | Some("ignore") => true,
            Some("error") => false,
            Some(_) => {
                reader.error("on_conflict", "must be ignore or error");
                true
            }
        };
        let username = required_template(&mut reader, "username");
        let password = Credential::read(&mut reader, "password", &mut sensitive);
        let ssl = reader.flag("ssl", true);
        let tls = Tls::read(&mut reader, &mut sensitive);
        let gather = Gather::read(&mut reader, MOST);
        let response = ResponseSettings::read(&mut reader);
        let variables = reader.finish()?;
        let (Some(address), Some(database), Some(username)) = (address, database, username) else {
            return Err(vec![FieldError::new("url", "is required")]);
        };
        let statement = statement(&quoted_table, &columns, ignore);
        let kept = Kept::new(CONNECTIONS);
        Ok(Arc::new(Postgres {
            address,
            database,
            table,
            columns,
            statement,
            username,
            password,
            ssl,
            tls,
            response,
            variables,
            sensitive,
            gather,
            kept,
        }))
    }
}

fn required_template(reader: &mut Reader<'_>, field: &str) -> Option<Text> {
    let source = reader.required_text(field)?;
    reader.template(field, source.trim())
}

/// A name as SQL takes it whatever is in it.
fn quoted(name: &str) -> Result<String, String> {
    if name.is_empty() || name.len() > NAME_BYTES || name.contains('\0') {
        return Err(format!("must have names of 1 to {NAME_BYTES} bytes"));
    }
    Ok(format!("\"{}\"", name.replace('"', "\"\"")))
}

/// `TABLE` or `SCHEMA.TABLE`
fn quoted_table(table: &str) -> Result<String, String> {
    if table.is_empty() {
        // That it is required is said already.
        return Ok(String::new());
    }
    match table.split_once('.') {
        None => quoted(table),
        Some((_, table)) if table.contains('.') => Err("must be TABLE or SCHEMA.TABLE".to_owned()),
        Some((schema, table)) => Ok(format!("{}.{}", quoted(schema)?, quoted(table)?)),
    }
}

/// The names of the columns, and the templates of their values.
fn read_columns(reader: &mut Reader<'_>) -> Vec<(String, Text)> {
    const FIELD: &str = "columns";
    let Some(object) = reader.object(FIELD) else {
        if reader.given(FIELD).is_none() {
            reader.error(FIELD, "is required");
        }
        return Vec::new();
    };
    if object.is_empty() || object.len() > COLUMNS {
        reader.error(FIELD, format!("must have 1 to {COLUMNS} columns"));
    }
    let mut columns = Vec::new();
    for (name, value) in object {
        let path = format!("{FIELD}.{name}");
        if let Err(error) = quoted(name) {
            reader.error(&*path, error);
        }
        let source = if value.is_null() { Some("".into()) } else { scalar(value) };
        match source {
            None => reader.error(path, "must be a text"),
            Some(source) => columns.extend(reader.template(&path, &source).map(|text| (name.clone(), text))),
        }
    }
    columns
}

/// The statement for all rows: values stand in it by their number alone.
fn statement(table: &str, columns: &[(String, Text)], ignore: bool) -> String {
    let names: Vec<_> = columns.iter().filter_map(|(name, _)| quoted(name).ok()).collect();
    let values: Vec<_> = (1..=names.len()).map(|number| format!("${number}")).collect();
    let conflict = if ignore { " ON CONFLICT DO NOTHING" } else { "" };
    format!("INSERT INTO {table} ({}) VALUES ({}){conflict}", names.join(", "), values.join(", "))
}

/// Not `Debug`: it holds a credential as it is.
struct Postgres {
    address: Address,
    database: Text,
    table: String,
    columns: Vec<(String, Text)>,
    statement: String,
    username: Text,
    password: Credential,
    ssl: bool,
    tls: Tls,
    response: ResponseSettings,
    variables: Vec<String>,
    sensitive: Vec<String>,
    gather: Gather,
    kept: Kept<Connection>,
}

impl Target for Postgres {
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
        let mut headers = Vec::new();
        for (name, field, text) in
            [(DATABASE, "database", &self.database), (USERNAME, "username", &self.username)]
        {
            let value = rendered(field, text, LOGIN_BYTES)?;
            if value.is_empty() || value.contains('\0') {
                return Err(format!("{field}: must not be empty"));
            }
            headers.push((name.to_owned(), value));
        }
        headers.push((TABLE.to_owned(), self.table.clone()));
        headers.extend(self.password.render(PASSWORD, variables)?);
        let too_long = RenderError::TooLong { limit: RENDERED_BYTES };
        let (mut row, mut left) = (Map::new(), RENDERED_BYTES);
        for (name, text) in &self.columns {
            let value = text.render(variables, left).map_err(|error| match error {
                RenderError::TooLong { .. } => format!("columns.{name}: {too_long}"),
                other => format!("columns.{name}: {other}"),
            })?;
            left -= value.len();
            row.insert(name.clone(), if value.is_empty() { Value::Null } else { value.into() });
        }
        let body = Value::Object(row).to_string();
        if body.len() > RENDERED_BYTES {
            return Err(format!("columns: {too_long}"));
        }
        Ok(Message {
            destination: place.destination(),
            method: "INSERT".to_owned(),
            url: place.url,
            headers,
            body: body.into(),
        })
    }

    fn send<'a>(&'a self, message: &'a Message, clients: &'a Clients) -> BoxFuture<'a, Attempt> {
        Box::pin(async move {
            let reached = Arc::new(Reached::default());
            let inserter = Inserter { postgres: self, reached: &reached };
            let of = |name| header(message, name);
            let password = self.password.of(PASSWORD, message);
            let key = key(&[Some(&message.url), of(DATABASE), of(USERNAME), password]);
            self.gather.send_by(&inserter, &key, message, clients, &reached).await
        })
    }

    fn together(&self) -> usize {
        self.gather.most_events()
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

/// Stores rows, and notes that it has a connection.
struct Inserter<'a> {
    postgres: &'a Postgres,
    reached: &'a Reached,
}

impl Together for Inserter<'_> {
    fn send_together<'a>(&'a self, messages: &'a [Message], clients: &'a Clients) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            let inserted = self.postgres.insert(messages, clients, self.reached).await;
            // What ended the connection would be no different for each by itself.
            inserted.unwrap_or_else(|attempt| Answer::Each(vec![attempt; messages.len()]))
        })
    }
}

impl Postgres {
    /// Stores a row for each message; all of them are for one place, with the same credentials.
    async fn insert(
        &self,
        messages: &[Message],
        clients: &Clients,
        reached: &Reached,
    ) -> Result<Answer, Attempt> {
        let Some(first) = messages.first() else { return Ok(Answer::Each(Vec::new())) };
        let place = Place::parse(&first.url, SCHEMES).map_err(final_error)?;
        let login = Login {
            database: header(first, DATABASE).unwrap_or_default(),
            username: header(first, USERNAME).unwrap_or_default(),
            password: self.password.of(PASSWORD, first).unwrap_or_default(),
            host: &place.host,
            encrypted: self.ssl,
        };
        let rows = messages.iter().map(|message| serde_json::from_slice(&message.body));
        let rows: Vec<Map<String, Value>> =
            rows.collect::<Result<_, _>>().map_err(|error| final_error(format!("columns: {error}")))?;
        let rows: Vec<_> = rows.iter().map(|row| self.values(row)).collect();
        let key = key(&[Some(&place.url), Some(login.database), Some(login.username), Some(login.password)]);
        let _turn = self.kept.turn().await;
        let mut connection = match self.kept.take(&key) {
            Some(connection) => {
                reached.note();
                connection
            }
            None => Connection::open(place.connect(clients, reached, &self.tls).await?, &login).await?,
        };
        let answer = connection.insert(&self.statement, &rows, &login).await?;
        self.kept.put(&key, connection);
        Ok(answer)
    }

    /// The values of a row in the order of the statement, which is that of the configuration.
    fn values<'a>(&self, row: &'a Map<String, Value>) -> Vec<Option<&'a str>> {
        self.columns.iter().map(|(name, _)| row.get(name).and_then(Value::as_str)).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use insta::assert_snapshot;
    use serde_json::json;

    use super::*;
    use crate::test_support::{event, no_secrets, shown};

    fn compile(mut config: Value) -> Result<Arc<dyn Target>, String> {
        let config = config.as_object_mut().unwrap();
        for (field, value) in [
            ("event", json!("door")),
            ("url", json!("postgres://db.example")),
            ("database", json!("iot")),
            ("table", json!("readings")),
            ("columns", json!({"id": "{{PARTICLE_EVENT_ID}}", "t": "{{t}}", "note": null})),
            ("username", json!("u")),
        ] {
            config.entry(field).or_insert(value);
        }
        let compiled = PostgresKind.compile(config, &Settings::default());
        compiled.map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }

    fn request(config: Value, data: &str) -> Result<String, String> {
        let event = event(data);
        let rendered = compile(config).unwrap().render(&Variables::new(&event, None, None, no_secrets()));
        rendered.map(|message| shown(&message))
    }

    #[test]
    fn an_event_becomes_a_row_without_the_password_in_it() {
        assert_snapshot!(request(json!({"password": "hush"}), r#"{"t":4.5}"#).unwrap(), @r#"
        INSERT postgres://db.example:5432
        Database: iot
        Username: u
        Table: readings

        {"id":"07070707-0707-0707-0707-070707070707","t":"4.5","note":null}
        "#);
    }

    #[test]
    fn names_cannot_leave_their_place_in_the_statement() {
        let columns =
            [r#"a"b"#, "c); DROP TABLE x; --"].map(|name| (name.to_owned(), Text::parse("1").unwrap()));
        let table = quoted_table("my schema.t\"").unwrap();
        assert_snapshot!(statement(&table, &columns, true), @r#"INSERT INTO "my schema"."t""" ("a""b", "c); DROP TABLE x; --") VALUES ($1, $2) ON CONFLICT DO NOTHING"#);
        assert_snapshot!(statement("\"t\"", &columns[..1], false), @r#"INSERT INTO "t" ("a""b") VALUES ($1)"#);
    }

    #[test]
    fn what_cannot_be_stored_is_a_final_error() {
        let long = json!({"x": "x".repeat(16_000)}).to_string();
        let columns = json!({"a": "{{x}}".repeat(40), "b": "{{x}}".repeat(40)});
        assert_snapshot!(request(json!({"columns": columns}), &long).unwrap_err(), @"columns.b: the rendered text is longer than 1048576 bytes");
        let quotes = json!({"x": "\"".repeat(8_000)}).to_string();
        let columns = json!({"a": "{{{x}}}".repeat(100)});
        assert_snapshot!(request(json!({"columns": columns}), &quotes).unwrap_err(), @"columns: the rendered text is longer than 1048576 bytes");
        assert_snapshot!(request(json!({"database": "{{none}}"}), "").unwrap_err(), @"database: must not be empty");
    }

    #[test]
    fn every_wrong_field_is_named() {
        assert_snapshot!(compile(json!({
            "url": "mysql://b", "database": "{{", "table": "a.b.c", "columns": {"": "x", "a": "{{", "b": []},
            "on_conflict": "update", "ssl": "maybe", "rejectUnauthorized": 5, "tls": {"ca": "x"}
        })).err().unwrap(), @"
        url: must be postgres://HOST:5432 or postgresql://HOST:5432
        database: line 1, column 1: the tag opened with `{{` is not closed; add `}}` to it
        table: must be TABLE or SCHEMA.TABLE
        columns.: must have names of 1 to 63 bytes
        columns.a: line 1, column 1: the tag opened with `{{` is not closed; add `}}` to it
        columns.b: must be a text
        on_conflict: must be ignore or error
        ssl: must be true or false
        rejectUnauthorized: must be true or false
        tls.ca: must be one or more certificates in PEM form
        ");
        assert_snapshot!(compile(json!({"columns": {}})).err().unwrap(), @"columns: must have 1 to 200 columns");
    }

    #[test]
    fn it_is_called_after_its_event_table_and_server() {
        let config = json!({"event": "door", "url": "postgres://db.example:5432", "table": "readings"});
        assert_eq!(PostgresKind.default_name(config.as_object().unwrap()), "door for readings on db.example");
    }
}
