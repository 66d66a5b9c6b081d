//! Replies as servers in the field send them: broken off, long, compressed, in other charsets, with odd heads.

use std::{io::Read as _, time::Duration};

use flate2::{Compression, read::GzEncoder};
use serde_json::{Value, json};
use tokio::time::timeout;
use tributary_domain::{Event, EventId, Timestamp, outcome::AttemptClass};
use tributary_targets::{
    Attempt, Secrets, Settings, Variables, kinds,
    net::{Reading, SystemResolver, Via},
};

use crate::{
    PASSING, SHORT, clients, clients_with, error, message, policy,
    server::{Act, Server, reply},
};

/// What became of one event: the attempt, and the hook events that it causes.
async fn deliver(server: &Server, more: Value, limit: Duration) -> (Attempt, Vec<(String, String)>) {
    let mut config = json!({"event": "door", "url": server.url("/"), "responseTopic": "r"});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let settings = Settings { addresses: policy(&["127.0.0.1"]), ..Settings::default() };
    let target = kinds::find("Webhook").unwrap().compile(config.as_object().unwrap(), &settings).unwrap();
    let event = Event {
        id: EventId([1; 16]),
        product: None,
        user: None,
        coreid: "d1".into(),
        name: "door".into(),
        data: Some("x".into()),
        ttl: 60,
        published_at: Timestamp(0),
        version: None,
    };
    let secrets = Secrets::default();
    let variables = Variables::new(&event, None, None, &secrets);
    let message = target.render(&variables).unwrap();
    let attempt = target.send(&message, &clients_with(&["127.0.0.1"], limit, SystemResolver)).await;
    let events = match (&attempt.error, &attempt.reply) {
        (Some(error), _) => target.response().error_events(&variables, error),
        (None, Some(reply)) => target.response().events(&variables, true, reply, &|text, _| text.to_owned()),
        (None, None) => Vec::new(),
    };
    (attempt, events)
}

const LONG: Duration = Duration::from_secs(10);

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    GzEncoder::new(bytes, Compression::best()).read_to_end(&mut out).unwrap();
    out
}

async fn published(bytes: Vec<u8>, more: Value) -> Vec<(String, String)> {
    let server = Server::start(Act::Reply(bytes)).await;
    let (attempt, events) = deliver(&server, more, LONG).await;
    assert_eq!((attempt.class, &attempt.error), (AttemptClass::Success, &None), "{attempt:?}");
    assert_eq!(server.requests.lock().len(), 1);
    events
}

fn one(name: &str, data: &str) -> Vec<(String, String)> {
    vec![(name.to_owned(), data.to_owned())]
}

#[tokio::test]
async fn the_head_of_a_2xx_is_a_success_whatever_becomes_of_its_body() {
    let head = "HTTP/1.1 200 OK\r\n";
    for (act, limit, data, why) in [
        (Act::ReplyAndClose(format!("{head}Content-Length: 10\r\n\r\nok").into()), LONG, "ok", "ECONNRESET"),
        (
            Act::ReplyAndClose(format!("{head}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n").into()),
            LONG,
            "ok",
            "ECONNRESET",
        ),
        (
            Act::ReplyAndHang(format!("{head}Content-Length: 9\r\n\r\nhalf").into()),
            SHORT,
            "half",
            "ESOCKETTIMEDOUT",
        ),
        (
            Act::ReplyAndHang(format!("{head}Content-Type: text/event-stream\r\n\r\n").into()),
            SHORT,
            "",
            "ESOCKETTIMEDOUT",
        ),
        (
            Act::ReplyAndClose(format!("{head}Transfer-Encoding: chunked\r\n\r\nzz\r\n").into()),
            LONG,
            "",
            "Invalid chunk size line",
        ),
    ] {
        let server = Server::start(act).await;
        let (attempt, events) = deliver(&server, json!({}), limit).await;
        assert_eq!((attempt.class, &attempt.error), (AttemptClass::Success, &None), "{data} {why}");
        let reply = attempt.reply.unwrap();
        assert_eq!((reply.status, &reply.body[..]), (200, data.as_bytes()));
        let note = reply.note().unwrap();
        assert!(note.starts_with(&format!("the reply's body broke off: {why}")), "{note}");
        assert_eq!(events, if data.is_empty() { Vec::new() } else { one("r/0", data) });
    }
}

#[tokio::test]
async fn the_status_decides_when_the_body_of_an_error_breaks_off() {
    for (status, class) in [(400, AttemptClass::Final), (503, PASSING)] {
        let bytes = format!("HTTP/1.1 {status} No\r\nContent-Length: 10\r\n\r\nwhy");
        let server = Server::start(Act::ReplyAndClose(bytes.into())).await;
        let (attempt, _) = deliver(&server, json!({}), LONG).await;
        assert_eq!(
            (attempt.class, error(&attempt)),
            (class, &*format!("error status {status} from 127.0.0.1"))
        );
        assert_eq!(&attempt.reply.unwrap().body[..], b"why");
    }
}

#[tokio::test]
async fn a_service_whose_answer_breaks_off_has_not_answered() {
    let server =
        Server::start(Act::ReplyAndClose(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok".to_vec())).await;
    let attempt = clients().send_reading(&message(&server.url("/")), Via::Checked, Reading::Answer).await;
    assert_eq!((error(&attempt), attempt.class), ("ECONNRESET", PASSING));
}

fn json_of(bytes: usize, last: &str) -> Vec<u8> {
    let head = format!("{{\"first\":21.5,\"fill\":\"{}\",\"last\":\"{last}\"}}", "");
    format!("{{\"first\":21.5,\"fill\":\"{}\",\"last\":\"{last}\"}}", "x".repeat(bytes - head.len())).into()
}

#[tokio::test]
async fn a_response_template_sees_all_of_a_long_reply_and_never_publishes_its_beginning() {
    let both = json!({"responseTemplate": "{{first}} {{last}}"});
    for size in [99_000, 102_399, 102_400, 102_401, 150_000, 1_048_575, 1_048_576] {
        let body = json_of(size, "end");
        assert_eq!(body.len(), size);
        assert_eq!(published(reply(200, "", &body), both.clone()).await, one("r/0", "21.5 end"), "{size}");
        let packed = reply(200, "Content-Encoding: gzip\r\n", &gzip(&body));
        assert_eq!(published(packed, both.clone()).await, one("r/0", "21.5 end"), "{size}");
    }
    let too_long = one("hook-error/door/0", "the reply is longer than 1 MiB, too long for responseTemplate");
    let chunked = |body: &[u8]| {
        let head = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n", body.len());
        [head.as_bytes(), body, b"\r\n0\r\n\r\n"].concat()
    };
    for size in [1_048_577, 3_000_000] {
        let body = json_of(size, "end");
        for bytes in
            [reply(200, "", &body), chunked(&body), reply(200, "Content-Encoding: gzip\r\n", &gzip(&body))]
        {
            assert_eq!(published(bytes.clone(), both.clone()).await, too_long);
            let template = json!({"responseTemplate": {"a": "{{last}}"}, "unchunked": true});
            assert_eq!(published(bytes, template).await, too_long);
        }
    }
    let text = reply(200, "", &[b'x'; 150_000]);
    let (name, why) = &published(text.clone(), both).await[0];
    assert_eq!(
        (&**name, &**why),
        ("hook-error/door/0", "responseTemplate: the reply is neither a JSON object nor a list")
    );
    assert_eq!(published(text, json!({})).await.len(), 200, "without a template the first 100 KB");
}

#[tokio::test]
async fn half_a_reply_is_not_published_where_a_template_was_to_pick_something_out_of_it() {
    let template = json!({"responseTemplate": "{{a}}"});
    let cut = |body: &str| {
        Act::ReplyAndClose(format!("HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{body}").into())
    };
    let server = Server::start(cut(r#"{"a":1}"#)).await;
    assert_eq!(
        deliver(&server, template.clone(), LONG).await.1,
        one("r/0", "1"),
        "it was whole but for the count"
    );
    let server = Server::start(cut(r#"{"a":1"#)).await;
    let events = deliver(&server, template, LONG).await.1;
    assert_eq!(events, one("hook-error/door/0", "the reply's body broke off: ECONNRESET"));
}

#[tokio::test]
async fn long_replies_take_turns_and_give_back_their_room() {
    let server = Server::start(Act::Reply(reply(200, "", &json_of(1_000_000, "end")))).await;
    let clients = clients();
    let send = || async {
        let message = message(&server.url("/"));
        clients.send_reading(&message, Via::Checked, Reading::Template).await.reply.unwrap()
    };
    let held = futures_util::future::join_all((0..32).map(|_| send())).await;
    assert!(held.iter().all(|reply| reply.is_long() && reply.body.len() == 102_400));
    assert!(timeout(SHORT, send()).await.is_err(), "no room is left");
    drop(held);
    assert!(timeout(LONG, send()).await.unwrap().is_long());
}

#[tokio::test]
async fn charsets_and_marks_of_a_reply_are_understood() {
    let template = |text: &str| json!({"responseTemplate": text});
    let json_type = "Content-Type: application/json\r\n";
    let latin = "Content-Type: application/json; charset=ISO-8859-1\r\n";
    let body = b"{\"r\":\"x\",\"n\":\"S\xe3o\"}";
    for (head, body, config, expected) in [
        (json_type, &b"\xef\xbb\xbf{\"r\":\"x\"}"[..], template("{{r}}"), "x"),
        (latin, body, template("{{r}} {{n}}"), "x São"),
        (json_type, body, template("{{r}} {{n}}"), "x S\u{fffd}o"),
        ("Content-Type: text/plain; charset=ISO-8859-1\r\n", b"Regi\xe3o", json!({}), "Região"),
        (
            latin,
            body,
            json!({"dataUrlResponseEvent": true}),
            "data:application/json;charset=ISO-8859-1;base64,eyJyIjoieCIsIm4iOiJT428ifQ==",
        ),
        (json_type, br#"{"r":"\ud83d","n":1.50}"#, template("{{r}} {{n}}"), "\u{fffd} 1.5"),
    ] {
        assert_eq!(published(reply(200, head, body), config).await, one("r/0", expected));
    }
}

#[tokio::test]
async fn a_compressed_reply_is_unpacked_and_a_wrong_label_is_ignored() {
    let template = json!({"responseTemplate": "{{r}}"});
    let packed = gzip(br#"{"r":"zipped"}"#);
    let head = "Content-Encoding: gzip\r\n";
    assert_eq!(published(reply(200, head, &packed), template).await, one("r/0", "zipped"));
    assert_eq!(published(reply(200, head, b"plain"), json!({})).await, one("r/0", "plain"));
    let bomb = gzip(&vec![b'0'; 80_000_000]);
    assert_eq!(published(reply(200, head, &bomb), json!({})).await.len(), 200);
    let server = Server::start(Act::Reply(reply(400, head, &packed))).await;
    let (attempt, _) = deliver(&server, json!({}), LONG).await;
    assert_eq!(attempt.reply.unwrap().text(), r#"{"r":"zipped"}"#);
}

#[tokio::test]
async fn sloppy_heads_are_read_and_many_lines_too_but_not_a_wrong_length() {
    let with = |lines: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{lines}\r\nok").into_bytes();
    let many: String = (0..499).map(|n| format!("Link: </{n}>\r\n")).collect();
    for lines in [
        "Server : x\r\n",
        "X-Long: a\r\n b\r\n",
        "X-Long: a\r\n\tb\r\n",
        "garbage\r\n",
        "X[a](b): 1\r\n",
        "X-Bad: a\x01b\r\n",
        ": none\r\n",
        &"Link: </n>\r\n".repeat(100),
        &"A: b\r\n".repeat(300),
        &many,
    ] {
        assert_eq!(published(with(lines), json!({})).await, one("r/0", "ok"), "{lines:?}");
    }
    for lines in
        ["Content-Length: 3\r\n", "Content-Length: x\r\n", "Content-Length : 3\r\n", "Content-Length: -1\r\n"]
    {
        let server = Server::start(Act::Reply(with(lines))).await;
        let (attempt, _) = deliver(&server, json!({}), LONG).await;
        assert!(error(&attempt).starts_with("EPROTO: "), "{lines:?}: {attempt:?}");
    }
}
