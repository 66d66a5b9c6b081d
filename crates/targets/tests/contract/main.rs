//! What every kind of destination keeps to (docs/targets.md), and what is each kind's own, against sockets.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod amqp;
mod aws;
mod azure_iot_hub;
mod brokers;
mod google_maps;
mod google_pubsub;
mod kafka;
mod kafka_peer;
mod receiver;
mod reference;
mod samples;

use std::time::Duration;

use receiver::{Receiver, answer};
use samples::{SAMPLES, Sample, all, clients, settings};
use serde_json::{Value, json};
use tributary_domain::outcome::AttemptClass;
use tributary_targets::{Attempt, kinds};

/// Time for an attempt that is meant to run out.
const SHORT: Duration = Duration::from_millis(200);
/// Time for one that is not.
const LONG: Duration = Duration::from_secs(10);

const PASSING: AttemptClass = AttemptClass::Passing { retry_after_ms: None };

async fn attempt(sample: &Sample, endpoint: &str, time: Duration) -> Attempt {
    let target = sample.compile(&settings(Some(endpoint)), endpoint).unwrap();
    let message = sample.render(&*target).unwrap();
    target.send(&message, &clients(time)).await
}

#[test]
fn every_kind_has_a_sample_here() {
    let sampled: Vec<_> = all().map(|sample| sample.kind).collect();
    for kind in kinds::known_names() {
        assert!(sampled.contains(&kind), "add {kind} to SAMPLES in samples.rs");
    }
}

#[test]
fn every_required_field_is_named_when_it_is_missing_and_all_of_them_at_once() {
    for sample in all() {
        let kind = kinds::find(sample.kind).unwrap();
        let errors = kind.compile(json!({}).as_object().unwrap(), &settings(None)).err().unwrap();
        let named: Vec<_> = errors.iter().map(|error| &*error.field).collect();
        for field in kinds::fields(kind).filter(|field| field.required) {
            assert!(named.contains(&field.name), "{}: {} in {named:?}", sample.kind, field.name);
        }
    }
}

#[test]
fn a_field_of_the_wrong_shape_is_named() {
    for sample in all() {
        let kind = kinds::find(sample.kind).unwrap();
        for field in
            kinds::fields(kind).filter(|field| !["integration_type", "template"].contains(&field.name))
        {
            let mut config = sample.config("http://127.0.0.1:9");
            config.insert(field.name.to_owned(), json!([1]));
            let errors = kind.compile(&config, &settings(None)).err().unwrap_or_default();
            let named = errors.iter().any(|error| error.field == field.name);
            assert!(named, "{}: {}: {errors:?}", sample.kind, field.name);
        }
    }
}

#[tokio::test]
async fn sensitive_fields_are_known_to_the_log_and_are_in_no_message_text_or_error() {
    for sample in SAMPLES.iter().filter(|sample| !sample.sensitive.is_empty()) {
        // The peer repeats what it got, as some do in their errors.
        let receiver = Receiver::start(|request| {
            let text = format!("no: {} {}", request.line, request.header("authorization").unwrap_or(""));
            answer(400, &json!({"error": {"message": text}, "Message": text}))
        });
        let receiver = receiver.await;
        let target = sample.compile(&settings(Some(&receiver.url())), &receiver.url()).unwrap();
        let message = sample.render(&*target).unwrap();
        let attempt = target.send(&message, &clients(LONG)).await;
        assert_eq!(receiver.requests().len(), 1, "{}", sample.kind);
        for (_, value) in sample.sensitive {
            assert!(target.sensitive_values().iter().any(|known| known == value), "{}: {value}", sample.kind);
            if sample.kind != "Webhook" {
                // A webhook's credentials are headers that its owner wrote, and the log masks them.
                assert!(!format!("{message:?}").contains(value), "{}: {message:?}", sample.kind);
            }
            let error = attempt.error.clone().unwrap();
            for spelling in [(*value).to_owned(), value.replace('&', "%26")] {
                assert!(!error.contains(&spelling), "{}: {error}", sample.kind);
            }
        }
        if sample.kind != "Webhook" {
            let request = &receiver.requests()[0];
            let credential = request.header("authorization").or(request.line.split("key=").nth(1)).unwrap();
            assert!(!format!("{attempt:?}").contains(credential), "{}: {attempt:?}", sample.kind);
        }
        for (field, _) in sample.sensitive {
            let kind = kinds::find(sample.kind).unwrap();
            let described = kinds::fields(kind).find(|known| known.name == *field).unwrap();
            assert!(described.sensitive, "{}: {field}", sample.kind);
        }
    }
}

#[tokio::test]
async fn a_peer_that_hangs_times_out_and_may_be_tried_again() {
    for sample in SAMPLES {
        let receiver = Receiver::start(|_| None).await;
        let attempt = attempt(sample, &receiver.url(), SHORT).await;
        assert_eq!(attempt.class, PASSING, "{}", sample.kind);
        assert_eq!(attempt.error.as_deref(), Some("ESOCKETTIMEDOUT"), "{}", sample.kind);
    }
}

#[tokio::test]
async fn a_refused_connection_may_be_tried_again() {
    for sample in SAMPLES {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let attempt = attempt(sample, &url, LONG).await;
        assert_eq!(attempt.class, PASSING, "{}", sample.kind);
        assert_eq!(attempt.error.as_deref(), Some("ECONNREFUSED"), "{}", sample.kind);
    }
}

#[tokio::test]
async fn refusals_are_final_and_what_may_pass_is_tried_again() {
    for sample in SAMPLES {
        for (status, class) in [
            (400, AttemptClass::Final),
            (401, AttemptClass::Final),
            (403, AttemptClass::Final),
            (404, AttemptClass::Final),
            (302, AttemptClass::Final),
            (408, PASSING),
            (429, PASSING),
            (500, PASSING),
            (503, PASSING),
        ] {
            let receiver = Receiver::start(move |_| answer(status, &Value::Null)).await;
            let attempt = attempt(sample, &receiver.url(), LONG).await;
            assert_eq!(attempt.class, class, "{} {status}", sample.kind);
            let error = attempt.error.unwrap();
            let begins = format!("error status {status} from 127.0.0.1");
            assert!(error.starts_with(&begins), "{}: {error}", sample.kind);
        }
    }
}

#[tokio::test]
async fn an_answer_of_2xx_is_a_success_and_connections_are_used_again() {
    for sample in SAMPLES {
        let good: Value = serde_json::from_str(sample.good_answer).unwrap();
        let receiver = Receiver::start(move |_| answer(200, &good)).await;
        let target = sample.compile(&settings(Some(&receiver.url())), &receiver.url()).unwrap();
        let message = sample.render(&*target).unwrap();
        assert_eq!(message.destination, receiver.address.to_string(), "{}", sample.kind);
        let clients = clients(LONG);
        for _ in 0..3 {
            let attempt = target.send(&message, &clients).await;
            assert_eq!((attempt.class, attempt.error), (AttemptClass::Success, None), "{}", sample.kind);
        }
        assert_eq!((receiver.requests().len(), receiver.connections()), (3, 1), "{}", sample.kind);
    }
}

#[tokio::test]
async fn every_request_says_who_sends_it_and_what_it_is() {
    for sample in SAMPLES {
        let receiver = Receiver::start(|_| answer(200, &Value::Null)).await;
        attempt(sample, &receiver.url(), LONG).await;
        let request = &receiver.requests()[0];
        assert!(request.header("user-agent").unwrap().starts_with("tributary/"), "{}", sample.kind);
        let expected = match sample.kind {
            // The protocols of AWS are told apart by it.
            "AwsSqs" => "application/x-amz-json-1.0",
            "AwsKinesis" | "AwsEventBridge" => "application/x-amz-json-1.1",
            _ => "application/json",
        };
        assert_eq!(request.header("content-type"), Some(expected), "{}", sample.kind);
        request.json();
    }
}
