//! Reads typed views from JSON values, as serde_json does but for two things. Only a mapping makes a
//! struct: serde would take a list for one too, its entries being the fields in the order in which
//! they happen to be declared, so that `source: []` would pass for a source without criteria. And
//! an entry that is null is absent, as it is for Kubernetes.

use serde::Deserializer;
use serde::de::value::{BorrowedStrDeserializer, MapDeserializer, SeqDeserializer};
use serde::de::{Error as _, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Value};

/// A value to be read.
#[derive(Clone, Copy)]
pub(crate) struct Mapping<'de>(pub(crate) &'de Value);

impl<'de> IntoDeserializer<'de, Error> for Mapping<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Mapping<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(items) => {
                let mut items = SeqDeserializer::new(items.iter().map(Mapping));
                let value = visitor.visit_seq(&mut items)?;
                items.end().map(|()| value)
            }
            Value::Object(entries) => {
                let entries = entries
                    .iter()
                    .filter(|(_, v)| !v.is_null())
                    .map(|(k, v)| (BorrowedStrDeserializer::new(k), Mapping(v)));
                let mut entries = MapDeserializer::new(entries);
                let value = visitor.visit_map(&mut entries)?;
                entries.end().map(|()| value)
            }
            plain => plain.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(_) => Err(Error::invalid_type(Unexpected::Seq, &visitor)),
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(default)]
    struct Outer {
        inner: Vec<Inner>,
        ratio: Option<f64>,
        raw: Value,
    }

    impl Default for Outer {
        fn default() -> Self {
            Outer { inner: Vec::new(), ratio: None, raw: Value::Null }
        }
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Inner {
        name: String,
        count: u32,
    }

    fn read(value: &Value) -> Result<Outer, Error> {
        Outer::deserialize(Mapping(value))
    }

    #[test]
    fn mappings_are_read_as_usual() {
        let value =
            json!({"inner": [{"name": "a", "count": 2}, {}], "ratio": 3, "raw": [{"x": 1}, null]});
        assert_eq!(read(&value).unwrap(), serde_json::from_value(value).unwrap());
        assert!(read(&json!({"inner": {"name": "a"}})).is_err());
        assert!(read(&json!({"inner": [{"count": -1}]})).is_err());
    }

    #[test]
    fn null_is_absent() {
        let value = json!({"inner": null, "ratio": null, "raw": {"x": null, "y": [{"z": null}]}});
        let want = Outer { raw: json!({"y": [{}]}), ..Outer::default() };
        assert_eq!(read(&value).unwrap(), want);
        assert!(read(&json!({"inner": [null]})).is_err(), "an item is never absent");
    }

    #[test]
    fn lists_are_no_structs() {
        for value in [json!([]), json!({"inner": [[]]}), json!({"inner": [["a", 1]]})] {
            let error = read(&value).unwrap_err().to_string();
            assert!(error.starts_with("invalid type: sequence, expected struct"), "{error}");
        }
    }
}
