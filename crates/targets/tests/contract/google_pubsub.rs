//! Google Cloud Pub/Sub against a receiver that checks statements (JWT) and tokens as Google does; what becomes of events
//! that go together; and accounts that integrations bring.

use std::sync::Arc;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD},
};
use futures_util::future::join_all;
use percent_encoding::percent_decode_str;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::{Value, json};
use tributary_domain::outcome::AttemptClass;
use tributary_targets::{
    AddressPolicy, Attempt, Message, Secrets, Settings, Target, Variables, google_account::ServiceAccount,
    kinds,
};

use crate::{
    LONG, PASSING, attempt,
    receiver::{Answer, Receiver, Request, answer},
    samples::{Sample, clients, event, settings},
};

const PUBLISH: &str = "POST /v1/projects/p1/topics/doors:publish";
/// Made for these tests alone.
const KEY: &str = include_str!("google.key.pem");
const PUBLIC_KEY: &[u8] = include_bytes!("google.public.der");

fn pubsub() -> &'static Sample {
    Sample::of("GoogleCloudPubSub")
}

/// An account's key file that names the receiver's token endpoint.
fn key_file(receiver: &Receiver) -> Value {
    json!({
        "type": "service_account", "client_email": "robot@p1.iam.gserviceaccount.com", "private_key_id": "k1",
        "private_key": KEY, "token_uri": format!("{}/token", receiver.url()),
    })
}

/// The receiver's settings with an account whose token endpoint is there too.
fn with_account(receiver: &Receiver) -> Settings {
    let mut settings = settings(Some(&receiver.url()));
    let account = ServiceAccount::parse(&key_file(receiver).to_string()).unwrap();
    settings.google_pubsub.credentials = Some(Arc::new(account));
    settings
}

/// A target of the receiver with more in its configuration; or what is wrong with that.
fn compile(receiver: &Receiver, more: &Value) -> Result<Arc<dyn Target>, String> {
    let mut config = pubsub().config("");
    config.extend(more.as_object().unwrap().clone());
    let compiled =
        kinds::find("GoogleCloudPubSub").unwrap().compile(&config, &settings(Some(&receiver.url())));
    compiled.map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

/// The message of an event with this data, of an owner with a secret `ROBOT`.
fn message(target: &dyn Target, data: &str, secret: &str) -> Result<Message, String> {
    let (event, secrets) = (event(data), Secrets([("ROBOT".into(), secret.into())].into()));
    target.render(&Variables::new(&event, None, None, &secrets))
}

async fn send_all(target: &dyn Target, messages: &[Message]) -> Vec<Attempt> {
    let clients = clients(LONG);
    join_all(messages.iter().map(|message| target.send(message, &clients))).await
}

/// Four deliveries that meet: what each came to, and how many messages each request had.
async fn four(receiver: &Receiver, more: Value) -> (Vec<Attempt>, Vec<usize>) {
    let mut config = json!({"batch": {"max_wait_ms": 50}});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let target = compile(receiver, &config).unwrap();
    let messages: Vec<_> =
        (0..4).map(|n| message(&*target, &format!(r#"{{"n":{n},"k":{}}}"#, n % 2), "").unwrap()).collect();
    let attempts = send_all(&*target, &messages).await;
    let publishes = receiver.requests().into_iter().filter(|request| request.line == PUBLISH);
    let sizes = publishes.map(|request| request.json()["messages"].as_array().unwrap().len());
    (attempts, sizes.collect())
}

/// The data of a request's messages.
fn data(request: &Request) -> Vec<String> {
    let messages = request.json()["messages"].as_array().unwrap().clone();
    let data = |message: &Value| BASE64.decode(message["data"].as_str().unwrap()).unwrap();
    messages.iter().map(|message| String::from_utf8(data(message)).unwrap()).collect()
}

/// The header and claims of a statement whose signature is right.
fn verified(statement: &str) -> Option<(Value, Value)> {
    let (signed, signature) = statement.rsplit_once('.')?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, PUBLIC_KEY)
        .verify(signed.as_bytes(), &signature)
        .ok()?;
    let (header, claims) = signed.split_once('.')?;
    let json = |text: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok();
    Some((json(header)?, json(claims)?))
}

/// Google's token endpoint and Pub/Sub in one.
fn google(expires_in_s: i64) -> impl Fn(&Request) -> Answer + Send + Sync + 'static {
    move |request| {
        if request.line == "POST /token" {
            assert_eq!(request.header("content-type"), Some("application/x-www-form-urlencoded"));
            let form = percent_decode_str(&request.body).decode_utf8().unwrap();
            let statement =
                form.strip_prefix("grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion=");
            let Some((header, claims)) = statement.and_then(verified) else {
                let error = "Invalid JWT Signature.";
                return answer(400, &json!({"error": "invalid_grant", "error_description": error}));
            };
            assert_eq!(header, json!({"alg": "RS256", "typ": "JWT", "kid": "k1"}));
            assert_eq!(claims["iss"], "robot@p1.iam.gserviceaccount.com");
            assert_eq!(claims["scope"], "https://www.googleapis.com/auth/pubsub");
            assert!(claims["aud"].as_str().unwrap().ends_with("/token"));
            assert_eq!(claims["iat"], 1_700_000_000);
            assert_eq!(claims["exp"], 1_700_003_600);
            return answer(
                200,
                &json!({"access_token": "t0ken", "expires_in": expires_in_s, "token_type": "Bearer"}),
            );
        }
        match request.header("authorization") {
            Some("Bearer t0ken") if request.line == PUBLISH => answer(200, &json!({"messageIds": ["1"]})),
            _ => {
                answer(401, &json!({"error": {"message": "Request had invalid authentication credentials."}}))
            }
        }
    }
}

async fn send_twice(receiver: &Receiver) -> Vec<Attempt> {
    let target = pubsub().compile(&with_account(receiver), "").unwrap();
    let message = pubsub().render(&*target).unwrap();
    let clients = clients(LONG);
    vec![target.send(&message, &clients).await, target.send(&message, &clients).await]
}

#[tokio::test]
async fn a_signed_statement_becomes_a_token_that_is_used_until_shortly_before_it_expires() {
    let receiver = Receiver::start(google(3_600)).await;
    for attempt in send_twice(&receiver).await {
        assert_eq!((attempt.class, attempt.error), (AttemptClass::Success, None));
    }
    assert_eq!(receiver.lines(), ["POST /token", PUBLISH, PUBLISH]);
    let receiver = Receiver::start(google(200)).await;
    send_twice(&receiver).await;
    assert_eq!(receiver.lines(), ["POST /token", PUBLISH, "POST /token", PUBLISH]);
}

#[tokio::test]
async fn a_message_has_the_event_s_data_and_attributes() {
    let receiver = Receiver::start(|_| answer(200, &json!({"messageIds": ["1"]}))).await;
    attempt(pubsub(), &receiver.url(), LONG).await;
    let request = &receiver.requests()[0];
    assert_eq!(request.line, PUBLISH);
    assert_eq!(request.header("authorization"), None, "an emulator is given no token");
    let message = &request.json()["messages"][0];
    assert_eq!(BASE64.decode(message["data"].as_str().unwrap()).unwrap(), b"22.5");
    let expected = json!({
        "device_id": "d 1", "event": "door/front", "published_at": "2024-01-02T03:04:05.678Z", "product_id": "7"
    });
    assert_eq!(message["attributes"], expected);
}

#[tokio::test]
async fn google_s_words_are_passed_on() {
    for (status, said) in
        [(403, "User not authorized to perform this action."), (404, "Resource not found (resource=doors).")]
    {
        let receiver = Receiver::start(move |_| answer(status, &json!({"error": {"message": said}}))).await;
        let attempt = attempt(pubsub(), &receiver.url(), LONG).await;
        assert_eq!(attempt.class, AttemptClass::Final);
        assert_eq!(attempt.error, Some(format!("error status {status} from 127.0.0.1: {said}")));
    }
}

#[tokio::test]
async fn a_token_that_is_refused_is_not_used_again() {
    let receiver = Receiver::start(|request| match &*request.line {
        "POST /token" => answer(200, &json!({"access_token": "t0ken", "expires_in": 3_600})),
        _ => answer(401, &json!({"error": {"message": "not t0ken"}})),
    });
    let receiver = receiver.await;
    for attempt in send_twice(&receiver).await {
        assert_eq!(attempt.error.as_deref(), Some("error status 401 from 127.0.0.1: not [[SENSITIVE]]"));
    }
    assert_eq!(receiver.lines(), ["POST /token", PUBLISH, "POST /token", PUBLISH]);
}

#[tokio::test]
async fn an_account_that_google_refuses_is_a_clear_error_and_a_busy_token_endpoint_may_pass() {
    for (status, class, body, error) in [
        (
            400,
            AttemptClass::Final,
            json!({"error": "invalid_grant", "error_description": "Invalid JWT Signature."}),
            "error status 400 from 127.0.0.1: invalid_grant: Invalid JWT Signature.",
        ),
        (503, PASSING, json!({}), "error status 503 from 127.0.0.1"),
        (200, AttemptClass::Final, json!({}), "the token endpoint answered without a token"),
    ] {
        let receiver = Receiver::start(move |_| answer(status, &body)).await;
        let attempt = send_twice(&receiver).await.remove(0);
        assert_eq!((attempt.class, attempt.error.as_deref()), (class, Some(error)));
        assert_eq!(attempt.reply, None);
    }
}

#[tokio::test]
async fn events_that_wait_go_together_and_each_hears_its_own_id() {
    let receiver = Receiver::start(|request| {
        let ids: Vec<_> = data(request).iter().map(|data| format!("id of {data}")).collect();
        answer(200, &json!({"messageIds": ids}))
    });
    let receiver = receiver.await;
    let (attempts, sizes) = four(&receiver, json!({})).await;
    assert_eq!(sizes, [4]);
    for (n, attempt) in attempts.iter().enumerate() {
        assert_eq!((attempt.class, &attempt.error), (AttemptClass::Success, &None));
        let reply: Value = serde_json::from_slice(&attempt.reply.as_ref().unwrap().body).unwrap();
        assert_eq!(reply, json!({"messageIds": [format!("id of {{\"n\":{n},\"k\":{}}}", n % 2)]}));
    }
}

#[tokio::test]
async fn an_event_without_an_id_of_its_own_may_be_tried_again() {
    for (ids, known) in
        [(json!(["1", "2", "3"]), 3), (json!([]), 0), (json!(["1", 2, null]), 1), (Value::Null, 0)]
    {
        let receiver = Receiver::start(move |_| answer(200, &json!({"messageIds": ids}))).await;
        let (attempts, sizes) = four(&receiver, json!({})).await;
        assert_eq!(sizes, [4]);
        for (n, attempt) in attempts.iter().enumerate() {
            let expected = match n < known {
                true => (AttemptClass::Success, None),
                false => (PASSING, Some("the answer of 127.0.0.1 does not tell of the event")),
            };
            assert_eq!((attempt.class, attempt.error.as_deref()), expected, "{n}");
        }
    }
}

#[tokio::test]
async fn a_message_that_google_does_not_take_fails_by_itself_and_a_topic_that_it_does_not_know_fails_once() {
    let bad = |request: &Request| data(request).iter().any(|data| data.contains(r#""n":2"#));
    let receiver = Receiver::start(move |request| match bad(request) {
        true => answer(400, &json!({"error": {"message": "Invalid data."}})),
        false => answer(200, &json!({"messageIds": data(request)})),
    });
    let receiver = receiver.await;
    let (attempts, mut sizes) = four(&receiver, json!({})).await;
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 1, 2, 2, 4]);
    let errors: Vec<_> = attempts.into_iter().map(|attempt| attempt.error).collect();
    let invalid = "error status 400 from 127.0.0.1: Invalid data.".to_owned();
    assert_eq!(errors, [None, None, Some(invalid), None]);
    for (status, class) in
        [(404, AttemptClass::Final), (403, AttemptClass::Final), (503, PASSING), (429, PASSING)]
    {
        let receiver = Receiver::start(move |_| answer(status, &json!({}))).await;
        let (attempts, sizes) = four(&receiver, json!({})).await;
        assert_eq!(sizes, [4], "{status}");
        assert!(attempts.iter().all(|attempt| attempt.class == class), "{status}");
    }
}

#[tokio::test]
async fn messages_of_different_ordering_keys_do_not_go_together() {
    let receiver = Receiver::start(|request| answer(200, &json!({"messageIds": data(request)}))).await;
    let (attempts, sizes) = four(&receiver, json!({"ordering_key": "k-{{k}}"})).await;
    assert_eq!(sizes, [2, 2]);
    assert!(attempts.iter().all(|attempt| attempt.class == AttemptClass::Success));
    for request in receiver.requests() {
        let messages = request.json()["messages"].clone();
        assert_eq!(messages[0]["orderingKey"], messages[1]["orderingKey"]);
    }
}

#[tokio::test]
async fn an_integration_s_own_account_publishes_in_each_of_its_forms_and_is_shown_nowhere() {
    for form in ["object", "text", "secret"] {
        let receiver = Receiver::start(google(3_600)).await;
        let file = key_file(&receiver);
        let credentials = match form {
            "object" => file.clone(),
            "text" => serde_json::to_string_pretty(&file).unwrap().into(),
            _ => "{{{ROBOT}}}".into(),
        };
        let target = compile(&receiver, &json!({"credentials": credentials})).unwrap();
        let secret = serde_json::to_string_pretty(&file).unwrap();
        let message = message(&*target, "22.5", &secret).unwrap();
        let clients = clients(LONG);
        for _ in 0..2 {
            let attempt = target.send(&message, &clients).await;
            assert_eq!((attempt.class, attempt.error), (AttemptClass::Success, None), "{form}");
        }
        assert_eq!(receiver.lines(), ["POST /token", PUBLISH, PUBLISH], "{form}");
        for request in receiver.requests() {
            assert!(!format!("{request:?}").contains("PRIVATE KEY"), "{form}: {request:?}");
        }
        let hidden: Vec<_> =
            message.headers.iter().filter(|(_, value)| value.contains("PRIVATE KEY")).collect();
        if form == "secret" {
            assert_eq!(target.variables(), ["ROBOT"]);
            assert!(hidden.iter().all(|(name, _)| tributary_domain::sensitive::is_sensitive_header(name)));
            assert!(tributary_targets::net::added_headers(&message).is_ok(), "it is one line");
        } else {
            assert!(hidden.is_empty());
            assert!(target.sensitive_values().contains(&KEY.to_owned()), "{form}");
            assert_eq!(target.sensitive_values().len(), 2);
        }
    }
}

#[tokio::test]
async fn a_key_that_cannot_be_used_is_refused_at_once_or_is_a_final_error_where_it_is_a_secret() {
    let receiver = Receiver::start(|_| None).await;
    let mut broken = key_file(&receiver);
    broken["private_key"] = "-----BEGIN PRIVATE KEY-----\naDBzaCBrZXk=\n-----END PRIVATE KEY-----".into();
    for (file, error) in [
        (broken, "credentials: private_key: must be an RSA key in PEM (BEGIN PRIVATE KEY)"),
        (
            json!({"private_key": "aDBzaCBrZXk="}),
            "credentials: is not the JSON key of a service account (line 1, column 30)",
        ),
        (json!({"x": "x".repeat(8_192)}), "credentials: must have at most 8192 bytes"),
    ] {
        assert_eq!(compile(&receiver, &json!({"credentials": file})).err().as_deref(), Some(error));
        let target = compile(&receiver, &json!({"credentials": "{{{ROBOT}}}"})).unwrap();
        let rendered = message(&*target, "x", &file.to_string()).unwrap_err();
        assert!(
            rendered == error || error.contains("8192") && rendered.starts_with("credentials: "),
            "{rendered}"
        );
    }
    assert!(receiver.requests().is_empty());
}

#[tokio::test]
async fn where_an_integration_s_tokens_come_from_is_checked_as_any_address_of_a_customer() {
    let receiver = Receiver::start(google(3_600)).await;
    let mut file = key_file(&receiver);
    for (uri, refused) in [
        ("http://10.0.0.1/token", "credentials: token_uri: 10.0.0.1 is in a private range"),
        ("http://[::1]:80/token", "credentials: token_uri: ::1 is a loopback address"),
        ("gopher://x", "credentials: token_uri: must be an http or https address"),
    ] {
        file["token_uri"] = uri.into();
        let error = compile(&receiver, &json!({"credentials": file})).err().unwrap();
        assert!(error.starts_with(refused), "{error}");
    }
    // A name that leads to an address that may not be reached is refused when it is connected to.
    file["token_uri"] = format!("http://localhost:{}/token", receiver.address.port()).into();
    let mut settings = settings(Some(&receiver.url()));
    settings.addresses = Arc::new(AddressPolicy::default());
    let mut config = pubsub().config("");
    config.insert("credentials".to_owned(), file);
    let target = kinds::find("GoogleCloudPubSub").unwrap().compile(&config, &settings).unwrap();
    let strict = tributary_targets::net::ClientSettings {
        timeout: LONG,
        addresses: settings.addresses,
        ..Default::default()
    };
    let clients = tributary_targets::Clients::new(&strict).unwrap();
    let attempt = target.send(&message(&*target, "x", "").unwrap(), &clients).await;
    assert_eq!(attempt.class, AttemptClass::Final);
    assert!(attempt.error.unwrap().starts_with("EADDRNOTALLOWED"));
    assert!(receiver.requests().is_empty());
}

#[tokio::test]
async fn an_account_that_google_refuses_is_asked_about_once_for_all_events_that_wait() {
    let refused = json!({"error": "invalid_grant", "error_description": "Invalid JWT Signature."});
    let receiver = Receiver::start(move |_| answer(400, &refused)).await;
    let (attempts, _) = four(&receiver, json!({"credentials": key_file(&receiver)})).await;
    let expected = "error status 400 from 127.0.0.1: invalid_grant: Invalid JWT Signature.";
    assert!(attempts.iter().all(|attempt| attempt.error.as_deref() == Some(expected)), "{attempts:?}");
    assert_eq!(receiver.lines(), ["POST /token"]);
}
