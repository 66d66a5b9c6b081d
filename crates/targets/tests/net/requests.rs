//! Requests of webhooks as the configurations in the field make them.

use serde_json::{Value, json};
use tributary_domain::{Event, EventId, Timestamp};
use tributary_targets::{Message, Secrets, Settings, Variables, kinds};

fn event(data: &str) -> Event {
    Event {
        id: EventId([1; 16]),
        product: None,
        user: None,
        coreid: "d1".into(),
        name: "e".into(),
        data: Some(data.into()),
        ttl: 60,
        published_at: Timestamp(0),
        version: None,
    }
}

#[allow(clippy::needless_pass_by_value, reason = "callers make it where they call")]
fn render(kind: &str, config: Value, data: &str) -> Result<Message, String> {
    let target = kinds::find(kind).unwrap().compile(config.as_object().unwrap(), &Settings::default());
    let target = target.map_err(|errors| errors[0].to_string())?;
    let secrets = Secrets([("KEY".to_owned(), "abc123\n".to_owned())].into());
    target.render(&Variables::new(&event(data), None, None, &secrets))
}

#[allow(clippy::needless_pass_by_value, reason = "callers make it where they call")]
fn webhook(more: Value, data: &str) -> Result<Message, String> {
    let mut config = json!({"event": "e", "url": "https://example.com/", "noDefaults": true});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    render("Webhook", config, data)
}

fn body(more: Value, data: &str) -> String {
    String::from_utf8(webhook(more, data).unwrap().body.to_vec()).unwrap()
}

fn header(message: &Message, name: &str) -> Vec<(String, String)> {
    message.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name)).cloned().collect()
}

#[test]
fn numbers_are_written_as_javascript_writes_them_and_integers_keep_their_digits() {
    let data = r#"{"a":5.000000,"b":1e3,"c":-0.0,"d":21.50,"e":89014103211118510720,"f":[1.0,2.50,1e3],"g":{"x":55.0,"y":18446744073709551616}}"#;
    let text = "{{a}} {{b}} {{c}} {{d}} {{e}} {{{f}}} {{{g}}} {{g.y}} {{f.0}} h={{g.x}}i {{#f}}{{.}};{{/f}}{{#c}}no{{/c}}{{#e}}yes{{/e}}";
    let expected = r#"5 1000 0 21.5 89014103211118510720 [1,2.5,1000] {"x":55,"y":18446744073709551616} 18446744073709551616 1 h=55i 1;2.5;1000;yes"#;
    assert_eq!(body(json!({"body": text}), data), expected);
    assert_eq!(
        body(json!({"json": {"v": "{{a}}", "own": 5.0, "n": [1e3, 2.50]}}), data),
        r#"{"v":"5","own":5,"n":[1000,2.5]}"#
    );
    assert_eq!(
        body(json!({"json": "{\"v\": {{a}}, \"own\": 5.0, \"e\": {{e}}}"}), data),
        r#"{"v": 5, "own": 5.0, "e": 89014103211118510720}"#
    );
    assert_eq!(body(json!({"form": {"v": "{{d}}", "own": 7.0}}), data), "v=21.5&own=7");
    assert_eq!(
        body(json!({"body": "{{{PARTICLE_EVENT_VALUE}}}"}), data),
        data,
        "a text passed on whole stays"
    );
    assert_eq!(
        webhook(json!({"url": "https://example.com/{{a}}", "query": {"q": "{{b}}"}}), data).unwrap().url,
        "https://example.com/5?q=1000"
    );
    for same in ["21.0", "21.00", "2.1e1", "21"] {
        assert_eq!(body(json!({"body": "{{v}}"}), &format!("{{\"v\":{same}}}")), "21");
    }
}

#[test]
fn numbers_go_into_columns_as_they_are_meant() {
    let config = json!({
        "event": "e", "url": "postgres://db.example", "database": "d", "username": "u", "password": "p", "table": "t",
        "columns": {"n": "{{v}}", "big": "{{e}}"}
    });
    let message = render("Postgres", config, r#"{"v":5.000000,"e":89014103211118510720}"#).unwrap();
    let row: Value = serde_json::from_slice(&message.body).unwrap();
    assert_eq!(row, json!({"n": "5", "big": "89014103211118510720"}));
}

#[test]
fn what_extends_a_message_keeps_its_digits() {
    let config = json!({
        "event": "e", "hub_name": "h", "policy_name": "p", "policy_key": "a2V5",
        "json": "{\"v\": {{v}}, \"e\": {{e}}}"
    });
    let message = render("AzureIotHub", config, r#"{"v":5.000000,"e":89014103211118510720}"#).unwrap();
    let text = std::str::from_utf8(&message.body).unwrap();
    assert!(text.ends_with(r#""v":5,"e":89014103211118510720}"#), "{text}");
}

#[test]
fn one_bad_value_does_not_lose_the_others() {
    let text = "{{a}}|{{b}}|{{c}}";
    assert_eq!(body(json!({"body": text}), r#"{"a":"\ud83d","b":2.0,"c":1e999}"#), "\u{fffd}|2|");
}

#[test]
fn the_method_may_be_a_template_and_a_wrong_word_names_the_field() {
    let config = || json!({"url": "https://example.com/{{path}}", "requestType": "{{request}}", "form": {"v": "{{v}}"}});
    for (word, method, url, body) in [
        ("PUT", "PUT", "https://example.com/p", "v=x"),
        (" put ", "PUT", "https://example.com/p", "v=x"),
        ("Post", "POST", "https://example.com/p", "v=x"),
        ("get", "GET", "https://example.com/p?v=x", ""),
        ("DELETE", "DELETE", "https://example.com/p", "v=x"),
    ] {
        let message =
            webhook(config(), &json!({"path": "p", "request": word, "v": "x"}).to_string()).unwrap();
        assert_eq!((&*message.method, &*message.url, &message.body[..]), (method, url, body.as_bytes()));
    }
    for word in ["PATCH", "", "GET /x HTTP/1.1\r\nX: y", "POSTPOST"] {
        let error = webhook(config(), &json!({"request": word}).to_string()).unwrap_err();
        assert!(error.starts_with("requestType: must be GET, POST, PUT or DELETE, not \""), "{error}");
    }
    assert!(webhook(json!({"requestType": "{{#x}}"}), "").unwrap_err().starts_with("requestType: line 1"));
    assert_eq!(
        webhook(json!({"requestType": "PATCH"}), "").unwrap_err(),
        "requestType: must be GET, POST, PUT or DELETE"
    );
}

#[test]
fn line_breaks_at_the_ends_of_a_header_are_dropped_and_inside_they_stay_an_error() {
    let sent = |value: &str, data: &str| webhook(json!({"headers": {"X-Api-Key": value}}), data);
    let value = |message: Message| header(&message, "x-api-key")[0].1.clone();
    assert_eq!(value(sent("{{{KEY}}}", "").unwrap()), "abc123");
    assert_eq!(value(sent("Bearer {{{KEY}}}", "").unwrap()), "Bearer abc123");
    assert_eq!(value(sent("fixed\r\n", "").unwrap()), "fixed");
    assert_eq!(value(sent("{{{v}}}", r#"{"v":"\r\n \ta b\t \n"}"#).unwrap()), "a b");
    let error = "headers.X-Api-Key: must not have line breaks or other control characters";
    for inside in ["{{{KEY}}}x", "a\r\nInjected: 1", "a\u{1}"] {
        assert_eq!(sent(inside, "").unwrap_err(), error, "{inside:?}");
    }
    let auth = webhook(json!({"auth": {"username": "u", "password": "{{{KEY}}}"}}), "").unwrap();
    assert_eq!(header(&auth, "authorization")[0].1, "Basic dTphYmMxMjM=");
}

#[test]
fn a_header_in_two_spellings_is_one_line_with_the_later_value() {
    let config = json!({"headers": {"content-type": "text/plain", "X-A": "1", "Content-Type": "application/json"}, "json": {"a": 1}});
    let message = webhook(config, "").unwrap();
    assert_eq!(
        header(&message, "content-type"),
        [("Content-Type".to_owned(), "application/json".to_owned())]
    );
    let rendered = json!({"headers": {"x-{{n}}": "1", "X-N": "2", "X-n": "3"}});
    let message = webhook(rendered, r#"{"n":"n"}"#).unwrap();
    assert_eq!(header(&message, "x-n"), [("X-n".to_owned(), "3".to_owned())]);
    let alone = webhook(json!({"headers": {"content-type": "a/b"}, "json": {}}), "").unwrap();
    assert_eq!(header(&alone, "content-type").len(), 1);
    for refused in ["Host", "content-length"] {
        assert!(webhook(json!({"headers": {refused: "1"}}), "").is_err());
    }
}
