//! Forms in bracket notation: `json[a]=1`, `product_ids[]=1`, `a[0][b]=x`, as the `qs` library of the public clients
//! writes them.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// Most `key=value` pairs of one form.
const PAIRS: usize = 20_000;
/// Deepest nesting of brackets.
const DEPTH: usize = 32;
/// Indices up to this one make a list even with holes, which are closed; larger ones only without holes.
const SPARSE_INDEX: usize = 20;

/// The decoded pairs of a query or form, in order.
pub(crate) fn pairs(
    encoded: &[u8],
) -> impl Iterator<Item = Result<(Cow<'_, str>, Cow<'_, str>), &'static str>> {
    encoded.split(|b| *b == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        let at = pair.iter().position(|b| *b == b'=').unwrap_or(pair.len());
        let (key, value) = pair.split_at(at);
        Ok((decode(key)?, decode(value.strip_prefix(b"=").unwrap_or_default())?))
    })
}

fn decode(text: &[u8]) -> Result<Cow<'_, str>, &'static str> {
    let spaced: Cow<'_, [u8]> = match text.contains(&b'+') {
        true => text.iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect(),
        false => text.into(),
    };
    let decoded: Cow<'_, [u8]> = match spaced {
        Cow::Borrowed(text) => percent_encoding::percent_decode(text).into(),
        Cow::Owned(text) => percent_encoding::percent_decode(&text).collect(),
    };
    let text = match decoded {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
    };
    text.ok_or("the form holds bytes that are not UTF-8")
}

/// A form as a nested object with texts as leaves.
///
/// # Errors
/// A text for the caller, when it is not UTF-8, too deep, too long, or contradicts itself.
pub(crate) fn read(encoded: &[u8]) -> Result<Map<String, Value>, String> {
    let mut root = Map::new();
    for (count, pair) in pairs(encoded).enumerate() {
        if count == PAIRS {
            return Err(format!("the form has more than {PAIRS} fields"));
        }
        let (key, value) = pair?;
        let path = split_key(&key);
        if path.len() > DEPTH {
            return Err(format!("the form is nested deeper than {DEPTH} levels"));
        }
        insert(&mut root, &path, value.into_owned()).map_err(|()| {
            let name = path.first().copied().unwrap_or_default();
            format!("{name}: is given both as a value and as an object")
        })?;
    }
    Ok(root.into_iter().map(|(key, value)| (key, lists(value))).collect())
}

/// `a[b][]` as `a`, `b`, and an empty part. A key whose brackets do not close one by one is one part as it stands.
fn split_key(key: &str) -> Vec<&str> {
    let Some(open) = key.find('[').filter(|_| key.ends_with(']')) else { return vec![key] };
    let (name, brackets) = key.split_at(open);
    let inner = &brackets[1..brackets.len() - 1];
    let parts: Vec<&str> = inner.split("][").collect();
    if parts.iter().any(|part| part.contains(['[', ']'])) {
        return vec![key];
    }
    let name = if name.is_empty() { None } else { Some(name) };
    name.into_iter().chain(parts).collect()
}

/// Puts a value at a path. While the form is read, a list is an object with its indices as keys.
fn insert(object: &mut Map<String, Value>, path: &[&str], value: String) -> Result<(), ()> {
    let Some((part, rest)) = path.split_first() else { return Ok(()) };
    let key = if part.is_empty() { next_index(object) } else { (*part).to_owned() };
    if rest.is_empty() {
        match object.get_mut(&key) {
            None => {
                object.insert(key, Value::String(value));
            }
            // `a=1&a=2` is a list, as `a[]=1&a[]=2` would be.
            Some(Value::Array(list)) => list.push(Value::String(value)),
            Some(first @ Value::String(_)) => *first = Value::Array(vec![first.take(), Value::String(value)]),
            Some(_) => return Err(()),
        }
        return Ok(());
    }
    match object.entry(key).or_insert_with(|| Value::Object(Map::new())) {
        Value::Object(inner) => insert(inner, rest, value),
        _ => Err(()),
    }
}

/// The first index that is not taken, counted on from the number of entries.
fn next_index(object: &Map<String, Value>) -> String {
    let mut index = object.len();
    while object.contains_key(&index.to_string()) {
        index += 1;
    }
    index.to_string()
}

/// Turns objects whose keys are the indices of a list into lists.
fn lists(value: Value) -> Value {
    let Value::Object(object) = value else { return value };
    let mut indices: Vec<usize> = object.keys().map_while(|key| index(key)).collect();
    let all = indices.len() == object.len() && !object.is_empty();
    indices.sort_unstable();
    let last = indices.last().copied().unwrap_or_default();
    if all && (last <= SPARSE_INDEX || last < object.len()) {
        let mut entries: Vec<_> =
            object.into_iter().map(|(key, value)| (index(&key), lists(value))).collect();
        entries.sort_by_key(|(index, _)| *index);
        return Value::Array(entries.into_iter().map(|(_, value)| value).collect());
    }
    Value::Object(object.into_iter().map(|(key, value)| (key, lists(value))).collect())
}

/// An index in its plain form: no sign, no leading zero.
fn index(key: &str) -> Option<usize> {
    let plain = key.bytes().all(|b| b.is_ascii_digit()) && (key == "0" || !key.starts_with('0'));
    if plain { key.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn shape(form: &str) -> Value {
        Value::Object(read(form.as_bytes()).unwrap())
    }

    #[test]
    fn brackets_make_objects_and_lists() {
        for (form, object) in [
            ("a=1&b=x+y%20z", json!({"a": "1", "b": "x y z"})),
            ("a", json!({"a": ""})),
            ("a=1=2", json!({"a": "1=2"})),
            ("&&a=1&", json!({"a": "1"})),
            ("json[a]=1&json[b][c]=2", json!({"json": {"a": "1", "b": {"c": "2"}}})),
            ("auth%5Busername%5D=u", json!({"auth": {"username": "u"}})),
            ("product_ids[]=1&product_ids[]=2", json!({"product_ids": ["1", "2"]})),
            ("product_ids[]=1", json!({"product_ids": ["1"]})),
            ("a[1]=y&a[0]=x", json!({"a": ["x", "y"]})),
            ("a[0][b]=1&a[0][c]=2&a[1][b]=3", json!({"a": [{"b": "1", "c": "2"}, {"b": "3"}]})),
            ("a[2]=x&a[7]=y", json!({"a": ["x", "y"]})),
            ("a[100]=x", json!({"a": {"100": "x"}})),
            ("a[01]=x", json!({"a": {"01": "x"}})),
            ("a=1&a=2&a=3", json!({"a": ["1", "2", "3"]})),
            ("a[b]=1&a[b]=2", json!({"a": {"b": ["1", "2"]}})),
            ("a[b=1", json!({"a[b": "1"})),
            ("a]=1&[b]=2", json!({"a]": "1", "b": "2"})),
            ("a[[b]]=1", json!({"a[[b]]": "1"})),
            ("[]=1", json!({"0": "1"})),
            (
                "__proto__[x]=1&constructor[prototype][y]=2",
                json!({"__proto__": {"x": "1"}, "constructor": {"prototype": {"y": "2"}}}),
            ),
            ("form[{{{key}}}]=v", json!({"form": {"{{{key}}}": "v"}})),
            ("", json!({})),
        ] {
            assert_eq!(shape(form), object, "{form}");
        }
    }

    #[test]
    fn a_list_longer_than_the_sparse_bound_stays_a_list() {
        let form: Vec<String> = (0..200).map(|n| format!("a[{n}]={n}")).collect();
        assert_eq!(shape(&form.join("&"))["a"].as_array().map(Vec::len), Some(200));
        let form = vec!["a[]=x"; 200].join("&");
        assert_eq!(shape(&form)["a"].as_array().map(Vec::len), Some(200));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let deep = format!("a{}=1", "[b]".repeat(100));
        let long = vec!["a[]=1"; PAIRS + 1].join("&");
        for (form, said) in [
            ("a=1&a[b]=2", "a: is given both"),
            ("a[b]=2&a=1", "a: is given both"),
            ("a=%FF", "UTF-8"),
            (&deep, "deeper than 32"),
            (&long, "more than 20000"),
        ] {
            let error = read(form.as_bytes()).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }

        #[test]
        fn no_arrangement_of_brackets_makes_it_panic(form in "[ab0-9=&\\[\\]%+]{0,60}") {
            let _ = read(form.as_bytes());
        }

        #[test]
        fn plain_pairs_are_read_back(pairs in proptest::collection::btree_map("[a-z]{1,8}", "[ -~]{0,20}", 0..10)) {
            let encode = |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
            let form: Vec<String> = pairs.iter().map(|(k, v)| format!("{k}={}", encode(v))).collect();
            let read = read(form.join("&").as_bytes()).unwrap();
            proptest::prop_assert_eq!(read.len(), pairs.len());
            for (key, value) in &pairs {
                proptest::prop_assert_eq!(read[key].as_str(), Some(value.as_str()));
            }
        }
    }
}
