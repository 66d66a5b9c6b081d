//! Signature Version 4 of a POST request without a query ("Create a signed AWS API request", AWS Identity and Access
//! Management User Guide).

use std::fmt::Write as _;

use ring::{digest, hmac};
use tributary_domain::Timestamp;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What is signed.
pub(super) struct Signed<'a> {
    /// The host as the request names it, with a port that is not the scheme's.
    pub(super) host: &'a str,
    pub(super) path: &'a str,
    /// The headers that are signed beside `Host` and `X-Amz-Date`.
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) body: &'a [u8],
    pub(super) region: &'a str,
    pub(super) service: &'a str,
    pub(super) now: Timestamp,
}

/// The values of `X-Amz-Date` and `Authorization`.
pub(super) fn sign(signed: &Signed<'_>, access_key_id: &str, secret: &str) -> (String, String) {
    let time = basic_time(signed.now);
    let date = &time[..8];
    let mut headers: Vec<(String, &str)> =
        signed.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), *value)).collect();
    headers.push(("host".to_owned(), signed.host));
    headers.push(("x-amz-date".to_owned(), &time));
    headers.sort_unstable();
    let names: Vec<&str> = headers.iter().map(|(name, _)| &**name).collect();
    let names = names.join(";");
    let mut canonical = format!("POST\n{}\n\n", signed.path);
    for (name, value) in &headers {
        canonical.extend([name, ":", value.trim(), "\n"]);
    }
    canonical.extend(["\n", &names, "\n", &sha256(signed.body)]);
    let scope = format!("{date}/{}/{}/aws4_request", signed.region, signed.service);
    let text = format!("{ALGORITHM}\n{time}\n{scope}\n{}", sha256(canonical.as_bytes()));
    let first = hmac::Key::new(hmac::HMAC_SHA256, format!("AWS4{secret}").as_bytes());
    let key = [date, signed.region, signed.service, "aws4_request"].iter().fold(first, |key, part| {
        hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref())
    });
    let signature = hex(hmac::sign(&key, text.as_bytes()).as_ref());
    let authorization = format!(
        "{ALGORITHM} Credential={access_key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    );
    (time, authorization)
}

/// `20240102T030405Z`
fn basic_time(time: Timestamp) -> String {
    let shown = time.to_string();
    let seconds = shown.split_once('.').map_or(&*shown, |(seconds, _)| seconds);
    seconds.chars().filter(char::is_ascii_alphanumeric).chain(['Z']).collect()
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut hex, byte| {
        // Writing into a text cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2015-08-30T12:36:00Z, the time of AWS's published test suite.
    const THEN: Timestamp = Timestamp(1_440_938_160_000);
    const ID: &str = "AKIDEXAMPLE";
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    /// `post-vanilla` of AWS's test suite.
    #[test]
    fn the_published_example_is_signed_as_published() {
        let signed = Signed {
            host: "example.amazonaws.com",
            path: "/",
            headers: &[],
            body: b"",
            region: "us-east-1",
            service: "service",
            now: THEN,
        };
        let (time, authorization) = sign(&signed, ID, SECRET);
        assert_eq!(time, "20150830T123600Z");
        assert_eq!(
            authorization,
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
        );
    }

    /// What botocore, Amazon's own library, makes of the same requests.
    #[test]
    fn requests_of_the_kinds_are_signed_as_amazon_s_library_signs_them() {
        let signed = Signed {
            host: "sqs.eu-west-1.amazonaws.com",
            path: "/",
            headers: &[
                ("X-Amz-Target", "AmazonSQS.SendMessageBatch"),
                ("Content-Type", "application/x-amz-json-1.0"),
                ("X-Amz-Security-Token", "the/token+of=="),
            ],
            body: r#"{"a":"é"}"#.as_bytes(),
            region: "eu-west-1",
            service: "sqs",
            now: THEN,
        };
        let (_, authorization) = sign(&signed, ID, SECRET);
        assert!(authorization.contains(
            "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target, Signature=d5bd04a21f4ebe6da18017fef2758b1cd7f05bba084643002e38d0d17e652954"
        ), "{authorization}");
        let signed = Signed {
            host: "127.0.0.1:5000",
            path: "/aws/",
            headers: &[
                ("Content-Type", "application/x-amz-json-1.1"),
                ("X-Amz-Target", "AWSEvents.PutEvents"),
            ],
            body: b"{}",
            region: "cn-north-1",
            service: "events",
            now: THEN,
        };
        let (_, authorization) = sign(&signed, ID, SECRET);
        assert!(
            authorization.ends_with("6e5feab11d4e5a276fe464cde17e153f7a2954e29c98d1aba02e64c522f60c9e"),
            "{authorization}"
        );
    }
}
