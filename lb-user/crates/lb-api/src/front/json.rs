//! Reads a request body: JSON, and nothing that two readers could understand differently.
//!
//! serde_json takes the last of two equal keys and any nesting up to 128. Here a key that stands twice
//! is refused (which of the two would be meant?), nesting and list lengths have limits that are checked
//! while reading, and U+0000 is refused, which no database text can hold.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// How deep and how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) depth_max: usize,
    pub(crate) items_max: usize,
}

/// The document in `bytes`.
pub(crate) fn parse(bytes: &[u8], limits: Limits) -> Result<Value, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Node { depth: 0, limits }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

#[derive(Clone, Copy)]
struct Node {
    depth: usize,
    limits: Limits,
}

impl Node {
    fn below<E: Error>(self) -> Result<Self, E> {
        let depth = self.depth.saturating_add(1);
        if depth > self.limits.depth_max {
            return Err(E::custom(format_args!(
                "more than {} levels of nesting",
                self.limits.depth_max
            )));
        }
        Ok(Self { depth, ..self })
    }

    fn room_for_one_more<E: Error>(self, items: usize) -> Result<(), E> {
        if items < self.limits.items_max {
            return Ok(());
        }
        Err(E::custom(format_args!(
            "more than {} items in one list or object",
            self.limits.items_max
        )))
    }
}

impl<'de> DeserializeSeed<'de> for Node {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number out of range"))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        self.visit_string(text.to_owned())
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Value, E> {
        if text.contains('\0') {
            return Err(E::custom("a string must not hold U+0000"));
        }
        Ok(Value::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(below)? {
            self.room_for_one_more(list.len())?;
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            self.room_for_one_more(map.len())?;
            if key.contains('\0') {
                return Err(A::Error::custom("a key must not hold U+0000"));
            }
            if map.contains_key(&key) {
                let shown: String = key.chars().take(80).collect();
                return Err(A::Error::custom(format_args!("key {shown:?} stands twice")));
            }
            let value = entries.next_value_seed(below)?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        depth_max: 4,
        items_max: 3,
    };

    fn why(text: &[u8]) -> String {
        parse(text, LIMITS).unwrap_err().to_string()
    }

    #[test]
    fn ordinary_documents_come_through_as_they_are() {
        for text in [
            "null",
            "true",
            "[1,-2,3.5]",
            "\"x\\u00e9\"",
            r#"{"a":{"b":[{}]},"c":18446744073709551615}"#,
        ] {
            let expected: Value = serde_json::from_str(text).unwrap();
            assert_eq!(parse(text.as_bytes(), LIMITS).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        assert!(why(br#"{"a":1,"a":1}"#).contains("\"a\" stands twice"));
        assert!(why(br#"{"x":{"a":1,"b":2,"\u0061":3}}"#).contains("stands twice"));
        assert!(why(br#"{"a":1} {"#).contains("trailing"));
        assert!(why(b"\"\\u0000\"").contains("U+0000"));
        assert!(why(b"{\"\\u0000\":1}").contains("U+0000"));
        for bad in [
            &b"\"\xff\""[..],
            b"{\"\xc3\x28\":1}",
            b"\"\\ud800\"",
            b"1e999",
            b"NaN",
            b"",
            b"\xef\xbb\xbf{}",
        ] {
            parse(bad, LIMITS).unwrap_err();
        }
    }

    #[test]
    fn depth_and_length_have_limits_that_hold_while_reading() {
        parse(b"[[[[]]]]", LIMITS).unwrap();
        assert!(why(b"[[[[[").contains("levels"));
        assert!(why("[".repeat(1_000_000).as_bytes()).contains("levels"));
        assert!(why("{\"a\":".repeat(1_000_000).as_bytes()).contains("levels"));
        parse(b"[1,2,3]", LIMITS).unwrap();
        assert!(why(b"[1,2,3,4]").contains("items"));
        assert!(why(br#"{"a":1,"b":1,"c":1,"d":1}"#).contains("items"));
    }
}
