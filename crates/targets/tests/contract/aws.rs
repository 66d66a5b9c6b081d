//! The kinds of AWS against receivers that answer as the services document it. Signatures are checked by the end-to-end
//! tests' server, and by the vectors beside the signer.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tributary_domain::outcome::AttemptClass;
use tributary_targets::{Attempt, Message, Target};

use crate::{
    LONG, PASSING, attempt,
    receiver::{Answer, Receiver, Request, answer},
    samples::{Sample, clients, settings},
};

const KINDS: [&str; 3] = ["AwsSqs", "AwsKinesis", "AwsEventBridge"];

/// A target that waits a moment for more, and its message as `count` deliveries have it.
fn gathering(kind: &str, receiver: &Receiver, count: usize) -> (Arc<dyn Target>, Vec<Message>) {
    let sample = Sample::of(kind);
    let settings = settings(Some(&receiver.url()));
    let mut config = sample.config("");
    config.insert("batch".to_owned(), json!({"max_wait_ms": 50}));
    let target = tributary_targets::kinds::find(kind).unwrap().compile(&config, &settings).unwrap();
    let message = sample.render(&*target).unwrap();
    let numbered = |n: usize| {
        // Each delivery has an id of its own, which SQS puts into its entry.
        let body = String::from_utf8(message.body.to_vec()).unwrap();
        let body = body.replace("01010101-0101-0101-0101-010101010101", &format!("id-{n}"));
        Message { body: body.into(), ..message.clone() }
    };
    (target, (0..count).map(numbered).collect())
}

async fn send_all(target: &dyn Target, messages: &[Message]) -> Vec<Attempt> {
    let clients = clients(LONG);
    join_all(messages.iter().map(|message| target.send(message, &clients))).await
}

/// Takes the events of a request but the second, which it refuses with this code.
fn but_the_second(
    kind: &'static str,
    code: &'static str,
) -> impl Fn(&Request) -> Answer + Send + Sync + 'static {
    move |request| {
        let request = request.json();
        let entries = |list: &str| request[list].as_array().unwrap().clone();
        let one = |n: usize| match n {
            1 => json!({"ErrorCode": code, "ErrorMessage": "not this one"}),
            _ => json!({"SequenceNumber": n.to_string(), "EventId": n.to_string()}),
        };
        let list = |list: &str| (0..entries(list).len()).map(one).collect::<Vec<Value>>();
        answer(
            200,
            &match kind {
                "AwsSqs" => {
                    let mut entries = entries("Entries");
                    let refused = entries.remove(1);
                    // In another order than they came.
                    let taken: Vec<Value> = entries
                        .iter()
                        .rev()
                        .map(|entry| json!({"Id": entry["Id"], "MessageId": "m"}))
                        .collect();
                    json!({"Successful": taken, "Failed": [{"Id": refused["Id"], "Code": code, "Message": "not this one"}]})
                }
                "AwsKinesis" => json!({"FailedRecordCount": 1, "Records": list("Records")}),
                _ => json!({"FailedEntryCount": 1, "Entries": list("Entries")}),
            },
        )
    }
}

#[tokio::test]
async fn of_a_request_with_several_events_each_has_its_own_outcome() {
    for kind in KINDS {
        for (code, class) in [("InternalFailure", PASSING), ("AccessDeniedException", AttemptClass::Final)] {
            let receiver = Receiver::start(but_the_second(kind, code)).await;
            let (target, messages) = gathering(kind, &receiver, 4);
            let attempts = send_all(&*target, &messages).await;
            assert_eq!(receiver.requests().len(), 1, "{kind}");
            for (n, attempt) in attempts.iter().enumerate() {
                let expected = if n == 1 { class } else { AttemptClass::Success };
                assert_eq!(attempt.class, expected, "{kind} {n}: {attempt:?}");
                assert_eq!(attempt.reply.as_ref().unwrap().status, 200);
            }
            let error = format!("error {code} from 127.0.0.1: not this one");
            assert_eq!(attempts[1].error.as_ref(), Some(&error), "{kind}");
            let own = String::from_utf8_lossy(&attempts[1].reply.as_ref().unwrap().body).into_owned();
            assert!(own.contains(code) && !own.contains("FailedRecordCount"), "{own}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_does_not_tell_of_an_event_is_no_success() {
    for kind in KINDS {
        let receiver =
            Receiver::start(|_| answer(200, &json!({"Successful": [], "Records": [], "Entries": []}))).await;
        let attempt = attempt(Sample::of(kind), &receiver.url(), LONG).await;
        assert_eq!(attempt.class, PASSING, "{kind}");
        assert_eq!(attempt.error.as_deref(), Some("the answer of 127.0.0.1 does not tell of the event"));
    }
}

#[tokio::test]
async fn a_request_that_is_refused_as_a_whole_is_repeated_in_halves_down_to_each_event() {
    for kind in KINDS {
        let requests = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&requests);
        let sample = Sample::of(kind);
        let receiver = Receiver::start(move |request| {
            let list = if kind == "AwsKinesis" { "Records" } else { "Entries" };
            count.fetch_add(1, Ordering::SeqCst);
            match request.json()[list].as_array().unwrap().len() {
                1 => answer(400, &json!({"__type": "com.amazonaws#Spoilt", "message": "one"})),
                _ => answer(400, &json!({"__type": "com.amazonaws#Spoilt", "message": "all"})),
            }
        });
        let (target, messages) = gathering(kind, &receiver.await, 3);
        for attempt in send_all(&*target, &messages).await {
            assert_eq!(attempt.error.as_deref(), Some("error status 400 from 127.0.0.1: Spoilt: one"));
        }
        assert_eq!(requests.load(Ordering::SeqCst), 5, "{}: 3, 1 and 2, 1 and 1", sample.kind);
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_key_or_the_place_is_not_repeated_for_each_event() {
    for kind in KINDS {
        for (status, code) in
            [(400, "AccessDeniedException"), (403, "Forbidden"), (400, "ResourceNotFoundException")]
        {
            let receiver =
                Receiver::start(move |_| answer(status, &json!({"__type": code, "message": "no"}))).await;
            let (target, messages) = gathering(kind, &receiver, 3);
            for attempt in send_all(&*target, &messages).await {
                assert_eq!(attempt.class, AttemptClass::Final, "{kind} {code}");
                let error = format!("error status {status} from 127.0.0.1: {code}: no");
                assert_eq!(attempt.error, Some(error), "{kind}");
            }
            assert_eq!(receiver.requests().len(), 1, "{kind} {code}");
        }
    }
}

#[tokio::test]
async fn throttling_may_pass_whatever_its_status() {
    for kind in KINDS {
        let body = json!({"__type": "com.amazon.coral.availability#ThrottlingException", "message": "Rate exceeded"});
        let receiver = Receiver::start(move |_| answer(400, &body)).await;
        let (target, messages) = gathering(kind, &receiver, 3);
        for attempt in send_all(&*target, &messages).await {
            assert_eq!(attempt.class, PASSING, "{kind}");
            let error = attempt.error.unwrap();
            assert_eq!(error, "error status 400 from 127.0.0.1: ThrottlingException: Rate exceeded");
        }
        assert_eq!(receiver.requests().len(), 1, "{kind}: what may pass is not repeated at once");
    }
}

#[tokio::test]
async fn what_tells_the_sender_who_signs_is_not_sent() {
    // SQS repeats the whole request where a signature is wrong.
    let receiver = Receiver::start(|request| {
        let token = request.header("x-amz-security-token").unwrap();
        answer(
            403,
            &json!({"__type": "SignatureDoesNotMatch", "message": format!("x-amz-security-token:{token}")}),
        )
    });
    let receiver = receiver.await;
    let attempt = attempt(Sample::of("AwsEventBridge"), &receiver.url(), LONG).await;
    assert_eq!(attempt.class, AttemptClass::Final);
    let error = "error status 403 from 127.0.0.1: SignatureDoesNotMatch: x-amz-security-token:[[SENSITIVE]]";
    assert_eq!(attempt.error.as_deref(), Some(error));
    assert!(!format!("{attempt:?}").contains("h0sh-token"));
    let request = &receiver.requests()[0];
    assert_eq!(request.line, "POST /");
    assert_eq!(request.header("x-amz-security-token"), Some("h0sh-token"));
    assert_eq!(request.header("x-amz-date"), Some("20231114T221320Z"));
    let authorization = request.header("authorization").unwrap();
    let begins = "AWS4-HMAC-SHA256 Credential=ASIAX/20231114/eu-west-1/events/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target, Signature=";
    assert!(authorization.starts_with(begins), "{authorization}");
    for name in ["region", "access-key-id", "access-key-secret", "session-token"] {
        assert_eq!(request.header(name), None, "{name}");
    }
}
