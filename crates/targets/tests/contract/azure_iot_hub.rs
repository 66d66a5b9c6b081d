//! Azure IoT Hub against a receiver that checks signatures as Microsoft documents them, and keeps a registry.

use std::{collections::HashSet, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use ring::hmac;
use serde_json::json;
use tributary_domain::outcome::AttemptClass;

use crate::{
    LONG, PASSING, SHORT, attempt,
    receiver::{Answer, Receiver, Request, answer},
    samples::{Sample, clients, settings},
};

const CREATE: &str = "PUT /devices/d%201?api-version=2020-03-13";
const SEND: &str = "POST /devices/d%201/messages/events?api-version=2020-03-13";
/// The clock of the samples, in seconds.
const NOW_S: i64 = 1_700_000_000;

fn hub() -> &'static Sample {
    Sample::of("AzureIotHub")
}

/// Checks `SharedAccessSignature sr={resource}&sig={signature}&se={expiry}&skn={policy}`: the signature is the base64
/// of HMAC-SHA256, with the decoded key, over the encoded resource, a line break and the expiry.
fn is_signed(request: &Request, key: &str) -> bool {
    let Some(token) = request.header("authorization").and_then(|v| v.strip_prefix("SharedAccessSignature "))
    else {
        return false;
    };
    let part = |name: &str| {
        token.split('&').filter_map(|part| part.split_once('=')).find(|(key, _)| *key == name).unwrap().1
    };
    let key = hmac::Key::new(hmac::HMAC_SHA256, &BASE64.decode(key).unwrap());
    let signature = percent_decode_str(part("sig")).decode_utf8().unwrap();
    let signed = format!("{}\n{}", part("sr"), part("se"));
    let valid = hmac::verify(&key, signed.as_bytes(), &BASE64.decode(&*signature).unwrap()).is_ok();
    let expires_s: i64 = part("se").parse().unwrap();
    valid
        && part("sr") == "my-hub.azure-devices.net"
        && part("skn") == "iothubowner"
        && (NOW_S + 60..=NOW_S + 86_400).contains(&expires_s)
}

/// A hub with a registry.
fn hub_with(devices: &Arc<Mutex<HashSet<String>>>) -> impl Fn(&Request) -> Answer + Send + Sync + 'static {
    let devices = devices.clone();
    move |request| {
        if !is_signed(request, "aDBzaCBrZXk=") {
            return answer(401, &json!({"Message": "ErrorCode:IotHubUnauthorizedAccess;Unauthorized"}));
        }
        let mut devices = devices.lock();
        match &*request.line {
            CREATE if devices.insert(request.json()["deviceId"].as_str().unwrap().to_owned()) => {
                answer(200, &json!({"deviceId": "d 1", "authentication": {"type": "sas"}}))
            }
            CREATE => answer(409, &json!({"Message": "ErrorCode:DeviceAlreadyExists"})),
            SEND if devices.contains("d 1") => Some((204, String::new())),
            SEND => answer(404, &json!({"Message": "ErrorCode:DeviceNotFound;d 1"})),
            _ => answer(400, &json!({"Message": "ErrorCode:ArgumentInvalid"})),
        }
    }
}

#[tokio::test]
async fn a_device_is_created_on_first_use_within_the_same_attempt_and_not_again() {
    let devices = Arc::default();
    let receiver = Receiver::start(hub_with(&devices)).await;
    let target = hub().compile(&settings(Some(&receiver.url())), "").unwrap();
    let message = hub().render(&*target).unwrap();
    for _ in 0..2 {
        let attempt = target.send(&message, &clients(LONG)).await;
        assert_eq!((attempt.class, attempt.error), (AttemptClass::Success, None));
    }
    assert_eq!(receiver.lines(), [SEND, CREATE, SEND, SEND]);
    let expected = json!({
        "data": "22.5", "device_id": "d 1", "event": "door/front",
        "published_at": "2024-01-02T03:04:05.678Z", "fw_version": 3
    });
    assert_eq!(receiver.requests()[3].json(), expected);
    let tokens: HashSet<_> = receiver
        .requests()
        .iter()
        .map(|request| request.header("authorization").unwrap().to_owned())
        .collect();
    assert_eq!(tokens.len(), 1, "a token is used again");
}

#[tokio::test]
async fn a_device_that_was_taken_out_of_the_hub_is_created_again() {
    let devices: Arc<Mutex<HashSet<String>>> = Arc::default();
    let receiver = Receiver::start(hub_with(&devices)).await;
    let target = hub().compile(&settings(Some(&receiver.url())), "").unwrap();
    let message = hub().render(&*target).unwrap();
    let mut errors = Vec::new();
    for _ in 0..3 {
        errors.push(target.send(&message, &clients(LONG)).await.error);
        if errors.len() == 1 {
            devices.lock().clear();
        }
    }
    let not_found = "error status 404 from 127.0.0.1: ErrorCode:DeviceNotFound;d 1".to_owned();
    assert_eq!(errors, [None, Some(not_found), None]);
}

#[tokio::test]
async fn a_device_that_another_creates_meanwhile_is_no_error() {
    let sent = Mutex::new(0);
    let receiver = Receiver::start(move |request| match &*request.line {
        CREATE => answer(409, &json!({"Message": "ErrorCode:DeviceAlreadyExists"})),
        _ => {
            *sent.lock() += 1;
            if *sent.lock() == 1 { answer(404, &json!({})) } else { Some((204, String::new())) }
        }
    });
    let receiver = receiver.await;
    let attempt = attempt(hub(), &receiver.url(), LONG).await;
    assert_eq!((attempt.class, attempt.error), (AttemptClass::Success, None));
}

#[tokio::test]
async fn what_the_hub_refuses_is_said_in_its_words() {
    let receiver = Receiver::start(|request| match &*request.line {
        CREATE => answer(403, &json!({"Message": "ErrorCode:IotHubForbidden"})),
        _ => answer(404, &json!({"Message": "ErrorCode:DeviceNotFound"})),
    });
    let attempt = attempt(hub(), &receiver.await.url(), LONG).await;
    assert_eq!(attempt.class, AttemptClass::Final);
    let expected =
        "error status 403 from 127.0.0.1: ErrorCode:IotHubForbidden (while creating the device in the hub)";
    assert_eq!(attempt.error.as_deref(), Some(expected));
}

#[tokio::test]
async fn the_time_of_a_delivery_holds_for_all_its_requests_together() {
    let receiver = Receiver::start(|request| match &*request.line {
        CREATE => None,
        _ => answer(404, &json!({})),
    });
    let attempt = attempt(hub(), &receiver.await.url(), SHORT).await;
    assert_eq!((attempt.class, attempt.error.as_deref()), (PASSING, Some("ESOCKETTIMEDOUT")));
}
