//! Events: what a device or a caller may publish, and the form in which they lie in the log (contract 4.1).

use std::fmt;

use crate::{
    ids::{ProductId, UserId},
    integration::FieldError,
    limits,
    time::Timestamp,
};

/// `coreid` of an event that was published through the API rather than by a device.
pub const API_COREID: &str = "api";
/// Lifetime of an event that names none, in seconds.
pub const DEFAULT_TTL_SECONDS: u32 = 60;

/// An event's identifier, shown as a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(pub [u8; 16]);

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// An event as it was accepted. It never changes afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Made when the event is accepted.
    pub id: EventId,
    /// The product in which it happened, if any.
    pub product: Option<ProductId>,
    /// Whose sandbox hears it: the device's owner, or the caller of a sandbox publish.
    pub user: Option<UserId>,
    /// The device's id, or `api`.
    pub coreid: Box<str>,
    /// 1 to 64 bytes of printable ASCII.
    pub name: Box<str>,
    /// At most 16,384 bytes.
    pub data: Option<Box<str>>,
    /// Lifetime in seconds.
    pub ttl: u32,
    /// When it was accepted.
    pub published_at: Timestamp,
    /// Product firmware version of the device, when known.
    pub version: Option<u32>,
}

/// Checks an event's name: 1–64 bytes of printable ASCII, not starting with `particle` or `spark` in any case.
///
/// # Errors
/// A [`FieldError`] on `name` that says which rule it breaks.
pub fn check_name(name: &str) -> Result<(), FieldError> {
    let refuse = |why: &str| Err(FieldError::new("name", why));
    let starts = |word: &str| name.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word));
    if name.is_empty() {
        return refuse("must not be empty");
    }
    if name.len() > limits::EVENT_NAME_BYTES {
        return refuse("must be at most 64 bytes long");
    }
    if !name.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return refuse("must be printable ASCII");
    }
    if starts("particle") || starts("spark") {
        return refuse("must not start with \"particle\" or \"spark\", which are reserved");
    }
    Ok(())
}

/// Checks an event's data: at most 16,384 bytes.
///
/// # Errors
/// A [`FieldError`] on `data`.
pub fn check_data(data: &str) -> Result<(), FieldError> {
    if data.len() > limits::EVENT_DATA_BYTES {
        return Err(FieldError::new("data", "must be at most 16384 bytes long"));
    }
    Ok(())
}

/// First byte of an encoded event: the version of the form.
const FORM: u8 = 1;

/// A record of the log that is no event of a form that this version knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an event in a form that this version reads")]
pub struct Undecodable;

impl Event {
    /// The event in the form in which the log and the pending table keep it.
    pub fn encode(&self) -> Vec<u8> {
        let data = self.data.as_deref();
        let mut out = Vec::with_capacity(80 + self.name.len() + self.coreid.len() + data.map_or(0, str::len));
        let has = |bit: u8, yes: bool| if yes { bit } else { 0 };
        out.push(FORM);
        out.push(
            has(1, self.product.is_some())
                | has(2, self.user.is_some())
                | has(4, data.is_some())
                | has(8, self.version.is_some()),
        );
        out.extend_from_slice(&self.id.0);
        out.extend_from_slice(&self.published_at.0.to_le_bytes());
        out.extend_from_slice(&self.ttl.to_le_bytes());
        if let Some(ProductId(id)) = self.product {
            out.extend_from_slice(&id.to_le_bytes());
        }
        if let Some(UserId(id)) = self.user {
            out.extend_from_slice(&id);
        }
        if let Some(version) = self.version {
            out.extend_from_slice(&version.to_le_bytes());
        }
        for text in [Some(&*self.coreid), Some(&*self.name), data].into_iter().flatten() {
            // Lengths are bounded by the limits above, far below 4 GiB.
            out.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        out
    }

    /// The product and the person of an encoded event, and when it was accepted, without reading the rest; `None` for
    /// what is no event.
    pub fn peek(record: &[u8]) -> Option<(Option<ProductId>, Option<UserId>, Timestamp)> {
        let mut rest = record;
        let [form, has] = take::<2>(&mut rest).ok()?;
        let _id: [u8; 16] = take(&mut rest).ok()?;
        let published_at = Timestamp(i64::from_le_bytes(take(&mut rest).ok()?));
        let _ttl: [u8; 4] = take(&mut rest).ok()?;
        let product =
            if has & 1 > 0 { Some(ProductId(i64::from_le_bytes(take(&mut rest).ok()?))) } else { None };
        let user = if has & 2 > 0 { Some(UserId(take(&mut rest).ok()?)) } else { None };
        (form == FORM).then_some((product, user, published_at))
    }

    /// Reads what [`Event::encode`] wrote.
    ///
    /// # Errors
    /// [`Undecodable`] for anything else, also for a cut or lengthened record.
    pub fn decode(record: &[u8]) -> Result<Event, Undecodable> {
        let mut rest = record;
        let [form, has] = take::<2>(&mut rest)?;
        if form != FORM {
            return Err(Undecodable);
        }
        let id = EventId(take(&mut rest)?);
        let published_at = Timestamp(i64::from_le_bytes(take(&mut rest)?));
        let ttl = u32::from_le_bytes(take(&mut rest)?);
        let product = if has & 1 > 0 { Some(ProductId(i64::from_le_bytes(take(&mut rest)?))) } else { None };
        let user = if has & 2 > 0 { Some(UserId(take(&mut rest)?)) } else { None };
        let version = if has & 8 > 0 { Some(u32::from_le_bytes(take(&mut rest)?)) } else { None };
        let coreid = take_text(&mut rest)?;
        let name = take_text(&mut rest)?;
        let data = if has & 4 > 0 { Some(take_text(&mut rest)?) } else { None };
        if !rest.is_empty() {
            return Err(Undecodable);
        }
        Ok(Event { id, product, user, coreid, name, data, ttl, published_at, version })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Undecodable> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(Undecodable)?;
    *rest = tail;
    Ok(*head)
}

fn take_text(rest: &mut &[u8]) -> Result<Box<str>, Undecodable> {
    let length = usize::try_from(u32::from_le_bytes(take(rest)?)).map_err(|_| Undecodable)?;
    let (head, tail) = rest.split_at_checked(length).ok_or(Undecodable)?;
    *rest = tail;
    std::str::from_utf8(head).map(Box::from).map_err(|_| Undecodable)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_bounded_printable_and_not_reserved() {
        for good in ["a", "temp/1", "has space", "Sparrow", &"a".repeat(64)] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", "spark", "Sparkle", "PARTICLE/x", "particle", "a\nb", "grün", &"a".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn data_is_bounded() {
        assert!(check_data(&"x".repeat(16_384)).is_ok());
        assert!(check_data(&"x".repeat(16_385)).is_err());
    }

    prop_compose! {
        fn any_event()(
            id: [u8; 16], product: Option<i64>, user: Option<[u8; 12]>, coreid in "[a-f0-9]{3,24}", name in "[ -~]{1,64}",
            data: Option<String>, ttl: u32, at: i64, version: Option<u32>,
        ) -> Event {
            Event {
                id: EventId(id), product: product.map(ProductId), user: user.map(UserId), coreid: coreid.into(),
                name: name.into(), data: data.map(Into::into), ttl, published_at: Timestamp(at), version,
            }
        }
    }

    proptest! {
        #[test]
        fn an_event_is_read_back_as_it_was_written(event in any_event()) {
            prop_assert_eq!(Event::decode(&event.encode()), Ok(event));
        }

        #[test]
        fn a_damaged_record_is_refused_or_another_event_but_never_a_panic(bytes: Vec<u8>, event in any_event(), cut in 0_usize..400) {
            let _ = Event::decode(&bytes);
            let record = event.encode();
            if cut < record.len() {
                prop_assert_eq!(Event::decode(&record[..cut]), Err(Undecodable));
            }
        }
    }
}
