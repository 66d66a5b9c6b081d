#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::{
    Secrets,
    test_support::{event, no_secrets},
};

fn settings(config: Value) -> ResponseSettings {
    let Value::Object(config) = config else { unreachable!() };
    let mut reader = Reader::new(&config);
    let settings = ResponseSettings::read(&mut reader);
    reader.finish().unwrap();
    settings
}

fn shown(text: &str, _cut: bool) -> String {
    text.to_owned()
}

fn reply(body: impl Into<Bytes>) -> Reply {
    Reply {
        status: 200,
        headers: vec![("Content-Type".into(), "text/plain".into())],
        body: body.into(),
        ..Reply::default()
    }
}

fn events(config: Value, reply: &Reply) -> Vec<(String, String)> {
    let event = event(r#"{"t":21,"only_event":"x"}"#);
    let secrets = Secrets([("KEY".into(), "hush".into())].into());
    settings(config).events(&Variables::new(&event, None, None, &secrets), false, reply, &shown)
}

fn one(config: Value, body: &str) -> String {
    let mut all = events(config, &reply(body.to_owned()));
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0).1
}

#[test]
fn topics_are_the_defaults_or_rendered_on_one_line_and_always_end_with_a_number() {
    let event = event(r#"{"room":"a\nevent: b","long":"äääääääääääääääääääääääääää"}"#);
    let variables = Variables::new(&event, None, None, no_secrets());
    let name = |config: Value, sandbox| {
        settings(config).events(&variables, sandbox, &reply("x"), &shown)[0].0.clone()
    };
    assert_eq!(name(json!({}), true), "hook-response/door/front/0");
    assert_eq!(name(json!({}), false), "d1/hook-response/door/front/0");
    assert_eq!(
        name(json!({"responseTopic": "{{PARTICLE_DEVICE_ID}}/is-{{room}}"}), false),
        "d1/is-a event: b/0"
    );
    assert_eq!(name(json!({"responseTopic": "{{missing}}"}), true), "hook-response/door/front/0");
    assert!(name(json!({"responseTopic": "{{long}}".repeat(20)}), true).len() <= TOPIC_BYTES + 2);
    let error = |config: Value| settings(config).error_events(&variables, "ETIMEDOUT");
    assert_eq!(error(json!({})), [("hook-error/door/front/0".to_owned(), "ETIMEDOUT".to_owned())]);
    assert_eq!(error(json!({"errorResponseTopic": "failed_{{PARTICLE_DEVICE_ID}}"}))[0].0, "failed_d1/0");
}

#[test]
fn a_reply_is_cut_into_chunks_or_stays_whole_and_an_empty_one_is_no_event() {
    let names = |config, body: String| {
        events(config, &reply(body)).into_iter().map(|(name, data)| (name, data.len())).collect::<Vec<_>>()
    };
    let topic = |unchunked| json!({"responseTopic": "answer", "unchunked": unchunked});
    let pair = |name: &str, length| (name.to_owned(), length);
    assert_eq!(
        names(topic(false), "ä".repeat(600)),
        [pair("answer/0", 512), pair("answer/1", 512), pair("answer/2", 176)]
    );
    assert_eq!(names(topic(true), "z".repeat(2_000)), [pair("answer/0", 2_000)]);
    assert_eq!(names(topic(true), format!("z{}", "ä".repeat(60_000))), [pair("answer/0", 102_399)]);
    assert_eq!(names(topic(false), String::new()), []);
    assert_eq!(names(topic(true), String::new()), []);
}

#[test]
fn a_response_template_sees_the_reply_the_event_s_names_and_secrets_but_not_the_event_s_data() {
    let template = |text: &str| json!({"responseTemplate": text});
    assert_eq!(one(template("v={{list.0.v}}"), r#"{"list":[{"v":3}]}"#), "v=3");
    assert_eq!(one(template("{{1.a}}"), r#"[{}, {"a":"<"}]"#), "&lt;");
    let forged = r#"{"PARTICLE_DEVICE_ID":"other","KEY":"other","t":5}"#;
    assert_eq!(one(template("{{PARTICLE_DEVICE_ID}} {{KEY}} {{t}} {{only_event}}"), forged), "d1 hush 5 ");
    let object = json!({"responseTemplate": {"lat": "{{{l.lat}}}", "n": [1, "{{q}}"]}});
    assert_eq!(one(object, r#"{"l":{"lat":39.5},"q":"\""}"#), r#"{"lat":"39.5","n":[1,"&quot;"]}"#);
}

#[test]
fn a_reply_that_is_no_object_or_list_is_published_as_it_is() {
    for body in ["plain", "<p>", "42", "\"text\"", "{\"cut\":"] {
        assert_eq!(one(json!({"responseTemplate": "v={{v}}"}), body), body);
    }
    assert_eq!(events(json!({"responseTemplate": "{{v}}"}), &reply("{}")), [], "nothing is left of it");
}

#[test]
fn bytes_that_are_no_text_are_replaced_or_sent_as_a_data_url() {
    let bytes = Bytes::from_static(&[b'a', 0xff, b'b']);
    assert_eq!(events(json!({}), &reply(bytes.clone()))[0].1, "a\u{fffd}b");
    let as_url = |reply: &Reply| events(json!({"dataUrlResponseEvent": "true", "unchunked": true}), reply);
    assert_eq!(as_url(&reply(bytes.clone()))[0].1, "data:text/plain;base64,Yf9i");
    let untyped = Reply { status: 200, headers: Vec::new(), body: bytes, ..Reply::default() };
    assert_eq!(as_url(&untyped)[0].1, "data:application/octet-stream;base64,Yf9i");
    let long = as_url(&reply(vec![7; 102_400]));
    let (head, data) = long[0].1.split_once(',').unwrap();
    assert_eq!(head, "data:text/plain;base64");
    assert!(long[0].1.len() <= 102_400);
    assert!(BASE64.decode(data).unwrap().iter().all(|byte| *byte == 7));
}

#[test]
fn what_a_template_makes_is_cut_at_100_kb() {
    let body = json!({"x": "ä".repeat(1_000)}).to_string();
    let config = json!({"responseTemplate": "{{x}}".repeat(60), "unchunked": true});
    assert_eq!(one(config, &body).len(), 102_400);
}
