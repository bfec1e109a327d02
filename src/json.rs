//! JSON whose objects have each key once.
//!
//! RFC 8259 leaves open which of two equal keys counts. Where a value decides about trust, two readers of one document must not
//! see two values.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// A value in which no object has a key twice, at any depth. Deserializing anything else is an error that names the key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Unique(pub(crate) Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor).map(Self)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Unique(value)) = sequence.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if members.contains_key(&key) {
                return Err(Error::custom(format!("the key '{key}' is there twice")));
            }
            let Unique(value) = map.next_value()?;
            members.insert(key, value);
        }
        Ok(Value::Object(members))
    }
}

/// Most keys of one object, and most keys and elements of a whole document, of what is read as [`UniqueKeys`].
const MAX_KEYS: usize = 4096;
const MAX_NODES: usize = 2 << 20;

/// A document in which no object has a key twice, and that has no more parts than such have. Nothing of it is kept: what is
/// read into a type afterwards takes memory in proportion to the bytes, and not many times that.
#[derive(Debug)]
pub(crate) struct UniqueKeys;

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut left = MAX_NODES;
        KeysVisitor(&mut left).deserialize(deserializer).map(|()| Self)
    }
}

struct KeysVisitor<'b>(&'b mut usize);

impl KeysVisitor<'_> {
    fn count<E: Error>(&mut self) -> Result<(), E> {
        let left = self.0.checked_sub(1);
        *self.0 = left.ok_or_else(|| E::custom(format!("more than {MAX_NODES} members and elements")))?;
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for KeysVisitor<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for KeysVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut sequence: A) -> Result<(), A::Error> {
        while sequence.next_element_seed(KeysVisitor(self.0))?.is_some() {
            self.count()?;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut keys = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            self.count()?;
            if keys.len() >= MAX_KEYS {
                return Err(Error::custom(format!("an object has more than {MAX_KEYS} keys")));
            }
            map.next_value_seed(KeysVisitor(self.0))?;
            if let Some(key) = keys.replace(key) {
                return Err(Error::custom(format!("the key '{key}' is there twice")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_each_key_once_is_read_as_it_is() {
        let text = r#"{"a": [1, -2, 3.5, "x\n", null, true, {}], "b": {"a": {"c": "d"}}, "e": 18446744073709551615}"#;
        let Unique(value) = serde_json::from_str(text).expect("each key once");
        assert_eq!(value, serde_json::from_str::<Value>(text).expect("JSON"));
    }

    #[test]
    fn a_key_that_is_there_twice_is_named() {
        for text in [r#"{"a": 1, "a": 1}"#, r#"[{"b": {"a": 1, "x": 2, "\u0061": 3}}]"#] {
            let error = serde_json::from_str::<Unique>(text).expect_err("twice").to_string();
            assert!(error.starts_with("the key 'a' is there twice"), "{error}");
            let error = serde_json::from_str::<UniqueKeys>(text).expect_err("twice").to_string();
            assert!(error.starts_with("the key 'a' is there twice"), "{error}");
        }
    }

    #[test]
    fn documents_of_countless_parts_are_refused() {
        let text = format!("[{}0]", "0,".repeat(MAX_NODES));
        let error = serde_json::from_str::<UniqueKeys>(&text).expect_err("too many").to_string();
        assert!(error.starts_with("more than 2097152 members"), "{error}");
        let keys: Vec<String> =
            (0..=MAX_KEYS).map(|number| format!("\"{number}\":[[],{{}},\"x\"]")).collect();
        serde_json::from_str::<UniqueKeys>(&format!("{{{}}}", keys[1..].join(",")))
            .expect("as many as may be");
        let error =
            serde_json::from_str::<UniqueKeys>(&format!("{{{}}}", keys.join(","))).expect_err("one more");
        assert!(error.to_string().starts_with("an object has more than 4096 keys"), "{error}");
    }
}
