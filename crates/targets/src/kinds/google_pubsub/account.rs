//! Who publishes: the integration's own service account, the server's, or nobody where an emulator asks for none.
//!
//! An integration's account names where its tokens come from, so that address is checked as any that a customer chose. Its
//! tokens go where the requests go: to Google, or to the operator's endpoint.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use serde_json::{Map, Value};

use crate::{
    AddressPolicy, Message, Settings, Variables, broker::header, fields::Reader,
    google_account::ServiceAccount, text::Text,
};

pub(super) const FIELD: &str = "credentials";
/// A header of a message that tells `send` who publishes, where that is a template; logs hide it, and it is not sent.
pub(super) const HEADER: &str = "Credentials-Secret";
/// Longest text of a key file, in bytes: that of a secret. Google's have 2,400.
const FILE_BYTES: usize = 8 * 1024;
/// Accounts of templates that are remembered. When there are more, it starts afresh.
const ACCOUNTS: usize = 16;
const NO_ACCOUNT: &str = "there is no service account: credentials can hold the key of one, and this server's operator can name one with targets.google_pubsub.credentials_file";

/// Who publishes.
pub(super) enum Account {
    /// The integration's own, or the server's.
    Fixed(Arc<ServiceAccount>),
    /// The integration's own, whose key is a cloud secret.
    Rendered(Box<Rendered>),
    /// An emulator asks for none.
    Unneeded,
    Missing,
}

/// `credentials` as a template.
pub(super) struct Rendered {
    text: Text,
    addresses: Arc<AddressPolicy>,
    /// By the text of their key files.
    known: Mutex<HashMap<Box<str>, Arc<ServiceAccount>>>,
}

impl Account {
    /// Reads the field; what logs must not show goes to `hidden`.
    pub(super) fn read(reader: &mut Reader<'_>, settings: &Settings, hidden: &mut Vec<String>) -> Account {
        let addresses = &settings.addresses;
        let text = match reader.given(FIELD) {
            None => return Account::of_server(settings),
            Some(object @ Value::Object(_)) => object.to_string(),
            Some(Value::String(source)) => match reader.template(FIELD, source) {
                Some(text @ Text::Template(_)) => {
                    let (addresses, known) = (Arc::clone(addresses), Mutex::default());
                    return Account::Rendered(Box::new(Rendered { text, addresses, known }));
                }
                Some(Text::Literal(text)) => text.into(),
                None => return Account::Missing,
            },
            Some(_) => {
                reader.error(FIELD, "must be an object or a text");
                return Account::Missing;
            }
        };
        match account(&text, addresses) {
            Ok((account, private_key)) => {
                hidden.extend([text, private_key]);
                Account::Fixed(Arc::new(account))
            }
            Err(error) => {
                reader.error(FIELD, error);
                Account::Missing
            }
        }
    }

    fn of_server(settings: &Settings) -> Account {
        let settings = &settings.google_pubsub;
        match &settings.credentials {
            Some(account) => Account::Fixed(Arc::clone(account)),
            None if settings.endpoint.is_some() => Account::Unneeded,
            None => Account::Missing,
        }
    }

    /// The header that carries the account, where it is a template; the error is the text of a final error outcome.
    pub(super) fn render(&self, variables: &Variables<'_>) -> Result<Option<(String, String)>, String> {
        let rendered = match self {
            Account::Missing => return Err(NO_ACCOUNT.to_owned()),
            Account::Fixed(_) | Account::Unneeded => return Ok(None),
            Account::Rendered(rendered) => rendered,
        };
        let text =
            rendered.text.render(variables, FILE_BYTES).map_err(|error| format!("{FIELD}: {error}"))?;
        // On one line, as headers are.
        let object: Option<Map<String, Value>> = serde_json::from_str(&text).ok();
        let text = object.map_or(text, |object| Value::Object(object).to_string());
        rendered.account(&text)?;
        Ok(Some((HEADER.to_owned(), text)))
    }

    /// The account that publishes a message, if one is needed.
    pub(super) fn of(&self, message: &Message) -> Result<Option<Arc<ServiceAccount>>, String> {
        match self {
            Account::Fixed(account) => Ok(Some(Arc::clone(account))),
            Account::Rendered(rendered) => {
                rendered.account(header(message, HEADER).unwrap_or_default()).map(Some)
            }
            Account::Unneeded => Ok(None),
            Account::Missing => Err(NO_ACCOUNT.to_owned()),
        }
    }
}

impl Rendered {
    fn account(&self, text: &str) -> Result<Arc<ServiceAccount>, String> {
        if let Some(account) = self.known.lock().get(text) {
            return Ok(Arc::clone(account));
        }
        let (account, _) = account(text, &self.addresses).map_err(|error| format!("{FIELD}: {error}"))?;
        let mut known = self.known.lock();
        if known.len() >= ACCOUNTS {
            known.clear();
        }
        // Another delivery may have read it meanwhile; its token is kept with it.
        Ok(Arc::clone(known.entry(text.into()).or_insert_with(|| Arc::new(account))))
    }
}

fn account(text: &str, addresses: &AddressPolicy) -> Result<(ServiceAccount, String), String> {
    if text.len() > FILE_BYTES {
        return Err(format!("must have at most {FILE_BYTES} bytes"));
    }
    ServiceAccount::of_customer(text, addresses)
}
