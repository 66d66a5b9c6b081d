//! Google Cloud Pub/Sub against a receiver that checks statements (JWT) and tokens as Google does.

use std::sync::Arc;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD},
};
use percent_encoding::percent_decode_str;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::{Value, json};
use tributary_domain::outcome::AttemptClass;
use tributary_targets::{Attempt, Settings, google_account::ServiceAccount};

use crate::{
    LONG, PASSING, attempt,
    receiver::{Answer, Receiver, Request, answer},
    samples::{Sample, clients, settings},
};

const PUBLISH: &str = "POST /v1/projects/p1/topics/doors:publish";
/// Made for these tests alone.
const KEY: &str = include_str!("google.key.pem");
const PUBLIC_KEY: &[u8] = include_bytes!("google.public.der");

fn pubsub() -> &'static Sample {
    Sample::of("GoogleCloudPubSub")
}

/// The receiver's settings with an account whose token endpoint is there too.
fn with_account(receiver: &Receiver) -> Settings {
    let file = json!({
        "type": "service_account", "client_email": "robot@p1.iam.gserviceaccount.com", "private_key_id": "k1",
        "private_key": KEY, "token_uri": format!("{}/token", receiver.url()),
    });
    let mut settings = settings(Some(&receiver.url()));
    settings.google_pubsub.credentials = Some(Arc::new(ServiceAccount::parse(&file.to_string()).unwrap()));
    settings
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
