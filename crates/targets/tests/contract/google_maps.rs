//! Google Maps against a receiver that checks what the Geolocation API checks.

use serde_json::json;
use tributary_domain::outcome::AttemptClass;
use tributary_targets::Variables;

use crate::{
    LONG, attempt,
    receiver::{Receiver, answer},
    samples::{Sample, clients, event, settings},
};

fn maps() -> &'static Sample {
    Sample::of("GoogleMaps")
}

#[tokio::test]
async fn a_location_is_asked_for_with_the_key_and_published_as_three_numbers() {
    let receiver = Receiver::start(|request| {
        if request.line != "POST /geolocation/v1/geolocate?key=h0sh%26key" {
            return answer(400, &json!({"error": {"code": 400, "message": "API key not valid."}}));
        }
        let network = &request.json()["wifiAccessPoints"][0];
        assert_eq!(
            *network,
            json!({"macAddress": "00:11:22:33:44:55", "signalStrength": -60, "channel": 11})
        );
        answer(200, &json!({"location": {"lat": 51.5, "lng": -0.12}, "accuracy": 1200.4}))
    });
    let receiver = receiver.await;
    let target = maps().compile(&settings(Some(&receiver.url())), "").unwrap();
    let message = maps().render(&*target).unwrap();
    let attempt = target.send(&message, &clients(LONG)).await;
    assert_eq!((attempt.class, &attempt.error), (AttemptClass::Success, &None));
    let (event, secrets) = (event(""), Default::default());
    let variables = Variables::new(&event, None, None, &secrets);
    let events =
        target.response().events(&variables, false, &attempt.reply.unwrap(), &|text, _| text.to_owned());
    assert_eq!(events, [("hook-response/door/front/d 1/0".to_owned(), "51.5,-0.12,1200.4".to_owned())]);
}

#[tokio::test]
async fn an_endpoint_with_a_path_is_taken_as_it_is() {
    let receiver = Receiver::start(|_| answer(200, &json!({}))).await;
    attempt(maps(), &format!("{}/mine/locate", receiver.url()), LONG).await;
    assert_eq!(receiver.lines(), ["POST /mine/locate?key=h0sh%26key"]);
}

#[tokio::test]
async fn a_place_that_is_not_found_is_an_error_event_in_google_s_words() {
    let body = json!({"error": {"code": 404, "message": "Not Found", "errors": [{"reason": "notFound"}]}});
    let receiver = Receiver::start(move |_| answer(404, &body)).await;
    let target = maps().compile(&settings(Some(&receiver.url())), "").unwrap();
    let message = maps().render(&*target).unwrap();
    let attempt = target.send(&message, &clients(LONG)).await;
    assert_eq!(attempt.class, AttemptClass::Final);
    let error = attempt.error.unwrap();
    assert_eq!(error, "error status 404 from 127.0.0.1: Not Found");
    let (event, secrets) = (event(""), Default::default());
    let events = target.response().error_events(&Variables::new(&event, None, None, &secrets), &error);
    assert_eq!(events, [("hook-error/door/front/0".to_owned(), error)]);
}

#[tokio::test]
async fn an_answer_without_a_location_is_an_error() {
    let receiver = Receiver::start(|_| answer(200, &json!({"location": {"lat": 51.5}}))).await;
    let attempt = attempt(maps(), &receiver.url(), LONG).await;
    assert_eq!(attempt.class, AttemptClass::Final);
    assert_eq!(attempt.error.as_deref(), Some("the Geolocation API answered without a location"));
}
