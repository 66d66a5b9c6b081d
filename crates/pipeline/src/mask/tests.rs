#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use super::*;

fn mask(values: &[&str]) -> Masker {
    Masker::new(&values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>())
}

const AWKWARD: &str = "p&s/ß<'\"\\+%41=x😀";

fn percent(text: &str, upper: bool) -> String {
    let byte = |b: u8| if upper { format!("%{b:02X}") } else { format!("%{b:02x}") };
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { byte(b) })
        .collect()
}

fn json(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// As PHP, Go and Python write it.
fn json_of_others(text: &str) -> [String; 3] {
    let units = |chars: &dyn Fn(char) -> bool| -> String {
        let one = |c: char| -> String {
            if !chars(c) {
                return json(&c.to_string());
            }
            c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
        };
        text.chars().map(one).collect()
    };
    [json(text).replace('/', "\\/"), units(&|c| "&<>".contains(c)), units(&|c| !c.is_ascii())]
}

fn html(text: &str, encode: impl Fn(char) -> String) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_string() } else { encode(c) }).collect()
}

fn spellings(value: &str) -> Vec<String> {
    let named =
        value.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;").replace('\'', "&apos;");
    let mut all = vec![
        value.to_owned(),
        json(value),
        json(&json(value)),
        json(&json(&json(value))),
        percent(value, true),
        percent(value, false),
        percent(&json(value), false),
        json(&percent(value, false)),
        percent(&percent(value, true), true),
        named.clone(),
        json(&named),
        percent(&named, true),
        html(value, |c| format!("&#{};", u32::from(c))),
        html(value, |c| format!("&#x{:x};", u32::from(c))),
        html(value, |c| format!("&#X{:04X};", u32::from(c))),
    ];
    all.extend(json_of_others(value));
    all.extend(json_of_others(value).map(|text| json(&text)));
    all
}

#[test]
fn a_value_is_hidden_in_every_spelling() {
    for value in
        [AWKWARD, "hunter2-hunter2", "a/b+c==", "%41%42%43", "&amp;&lt;x", "line1\nline2", "Grüße \\n"]
    {
        let mask = mask(&[value]);
        for text in spellings(value) {
            assert_eq!(mask.text(&format!("a={text};")), format!("a={MASK};"), "{value:?} as {text:?}");
            let twice = format!("<{text}>{text}<");
            assert_eq!(mask.text(&twice), format!("<{MASK}>{MASK}<"), "{twice:?}");
        }
    }
    assert_eq!(mask(&["p&s x y"]).text("q=p%26s+x+y&b"), format!("q={MASK}&b"));
    assert_eq!(mask(&["hunter2"]).text("nothing % here \\ & there"), "nothing % here \\ & there");
    assert_eq!(mask(&["", "abcd"]).text("abcabcdabc"), format!("abc{MASK}abc"));
    assert_eq!(mask(&["Key.Example"]).text("https://key.example/"), format!("https://{MASK}/"));
}

#[test]
fn a_value_that_holds_another_one_is_hidden_whole() {
    for values in [["p&s \"x\"", "p&s "], ["p&s ", "p&s \"x\""]] {
        assert_eq!(mask(&values).text("a=p&s \\\"x\\\";p&s y"), format!("a={MASK};{MASK}y"));
    }
    let mask = mask(&["abcdef", "cdefgh", "abcd", "efgh"]);
    assert!(!mask.text("abcdefgh").contains(['a', 'd', 'h']));
}

#[test]
fn base64_of_a_value_and_of_texts_that_hold_it_is_hidden_at_every_alignment() {
    let value = "S3cret/+~ÿ?>value";
    let mask = mask(&[value]);
    for before in ["", "u", "us", "user:", "{\"a\":\""] {
        for after in ["", ".", "\"}", "and more of it"] {
            let (standard, text) = (BASE64.encode(format!("{before}{value}{after}")), "x: ");
            for encoded in
                [standard.clone(), standard.replace('+', "-").replace('/', "_"), percent(&standard, false)]
            {
                let shown = mask.text(&format!("{text}{encoded} end")).into_owned();
                assert!(shown.contains(MASK) && shown.ends_with(" end"), "{shown}");
                // What is left of it decodes to nothing of the value.
                let rest = shown.replace(MASK, "").replace("x: ", "").replace(" end", "");
                assert!(rest.len() * 3 / 4 <= before.len() + after.len() + 4, "{before}|{after}: {shown}");
            }
        }
    }
}

#[test]
fn a_value_of_fewer_than_four_characters_is_hidden_only_where_it_stands_alone() {
    let mask = mask(&["a", "42", "ßx", "#1"]);
    for (text, shown) in [
        ("a banana", format!("{MASK} banana")),
        ("{\"v\":42,\"w\":142,\"x\":425}", format!("{{\"v\":{MASK},\"w\":142,\"x\":425}}")),
        ("k=a&b=aa", format!("k={MASK}&b=aa")),
        ("x-a_a", "x-a_a".to_owned()),
        ("ßx ßxß", format!("{MASK} ßxß")),
        ("no#1, #12", format!("no{MASK}, #12")),
        ("\\n42\\n", format!("\\n{MASK}\\n")),
        ("q=%34%32", format!("q={MASK}")),
    ] {
        assert_eq!(mask.text(text), shown);
    }
    assert_eq!(super::Masker::new(&["abc".to_owned()]).text("abc abcd"), format!("{MASK} abcd"));
}

#[test]
fn a_secret_that_is_an_address_is_hidden_as_it_is_sent() {
    let mask = |value: &str| mask(&[value]);
    let one = mask("https://u:pass%21word@Host.example:8080/in?key=k#x");
    assert_eq!(one.text("https://host.example:8080/in?key=k&b=1"), format!("https://{MASK}&b=1"));
    assert_eq!(one.text("Basic of pass!word"), format!("Basic of {MASK}"));
    let two = mask("http://10.0.0.1");
    assert_eq!(two.text("10.0.0.1 is in a private range"), format!("{MASK} is in a private range"));
}

#[test]
fn half_a_value_at_the_cut_of_a_long_body_does_not_survive() {
    let value = "hunter2ß/hunter2";
    let mask = mask(&[value, "qrstuvw"]);
    for spelling in spellings(value).into_iter().chain([BASE64.encode(value)]) {
        for half in 1..spelling.len() {
            let Some(half) = spelling.get(..half) else { continue };
            let body = format!("{}{half}", ".".repeat(LOG_BODY_BYTES - half.len()));
            let shown = mask.body(&body, true);
            let left = shown.trim_start_matches('.').replace(MASK, "");
            assert!(!left.contains("h") && left.len() < 8, "{half:?} leaves {left:?}");
        }
    }
    // A body that ends by itself is shown to its end, and one without a beginning at the cut, too.
    assert_eq!(mask.body("...hunter", false), "...hunter");
    let whole = ".".repeat(LOG_BODY_BYTES);
    assert_eq!(mask.body(&whole, true), whole);
    let body = format!("{}{value}", "x".repeat(LOG_BODY_BYTES - 7));
    let shown = mask.body(&body, true);
    assert!(shown.len() <= LOG_BODY_BYTES && !shown.contains("hunter"));
}

#[test]
fn long_values_are_hidden_as_far_as_a_reply_repeats_them() {
    let key: String = (0..4_000_u32).map(|n| char::from_digit(n * n % 36, 36).unwrap_or('.')).collect();
    let mask = mask(&[&key]);
    assert_eq!(mask.text(&format!("a {key} b")), format!("a {MASK} b"));
    assert_eq!(mask.text(&format!("a {} b", &key[..100])), format!("a {MASK} b"));
    assert!(mask.text(&BASE64.encode(&key)).len() < 4_100);
}

#[test]
fn names_of_headers_are_masked_too() {
    let shown = mask(&["hunter2"]).headers(&[
        ("X-Hunter2-hunter2".to_owned(), "1".to_owned()),
        ("X-A".to_owned(), "hunter2!".to_owned()),
        ("Ocp-Apim-Subscription-Key".to_owned(), "k".to_owned()),
    ]);
    assert_eq!(
        shown,
        json!({"X-Hunter2-[[SENSITIVE]]": "1", "X-A": "[[SENSITIVE]]!", "Ocp-Apim-Subscription-Key": MASK})
    );
}

fn time(work: impl Fn()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}

#[test]
fn no_text_and_no_values_make_it_slow() {
    const BYTES: usize = 1 << 18;
    let long = format!("{}b", "a".repeat(8_000));
    let many: Vec<String> = (0..1_000).map(|n| format!("{}{n}", "a".repeat(n % 70))).collect();
    let texts = [
        "a".repeat(BYTES),
        "\\".repeat(BYTES),
        "%25".repeat(BYTES / 3),
        "&amp;".repeat(BYTES / 5),
        "YWFh".repeat(BYTES / 4),
        "ab ".repeat(BYTES / 3),
    ];
    for values in [vec![long.clone()], many, vec!["a".to_owned()]] {
        let mask = Masker::new(&values);
        for text in &texts {
            let took = time(|| drop(mask.hide(text, true)));
            assert!(took < Duration::from_secs(10), "{} values in {}…: {took:?}", values.len(), &text[..8]);
        }
    }
}
