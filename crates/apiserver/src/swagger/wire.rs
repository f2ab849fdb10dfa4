//! The document in protobuf, as the messages of gnostic's `openapi.v2`: as far as it is used here.

use prost_reflect::prost::encoding;
use serde_json::Value;

/// A message that is being written, by the numbers of its fields.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn string(mut self, field: u32, text: &str) -> Message {
        encoding::string::encode(field, &text.to_owned(), &mut self.0);
        self
    }

    fn message(mut self, field: u32, inner: Message) -> Message {
        encoding::bytes::encode(field, &inner.0, &mut self.0);
        self
    }

    /// The word, or all words.
    fn words(self, field: u32, words: Option<&Value>) -> Message {
        let words = match words {
            Some(Value::Array(words)) => words.as_slice(),
            Some(word) => std::slice::from_ref(word),
            None => &[],
        };
        words.iter().filter_map(Value::as_str).fold(self, |all, word| all.string(field, word))
    }

    /// What is there, written by `write`.
    fn one(self, field: u32, value: Option<&Value>, write: fn(&Value) -> Message) -> Message {
        match value {
            Some(value) => self.message(field, write(value)),
            None => self,
        }
    }

    /// All entries of a map, each with its name.
    fn named(self, field: u32, map: &Value, write: fn(&Value) -> Message) -> Message {
        map.as_object().into_iter().flatten().fold(self, |all, (name, value)| {
            all.message(field, Message::default().string(1, name).message(2, write(value)))
        })
    }

    /// What others have added; it is kept as text.
    fn extensions(self, field: u32, object: &Value) -> Message {
        let all = object.as_object().into_iter().flatten();
        all.filter(|(name, _)| name.starts_with("x-")).fold(self, |all, (name, value)| {
            let any = Message::default().string(2, &value.to_string());
            all.message(field, Message::default().string(1, name).message(2, any))
        })
    }
}

pub(super) fn document(document: &Value) -> Vec<u8> {
    let info =
        |info: &Value| Message::default().words(1, info.get("title")).words(2, info.get("version"));
    let message = Message::default()
        .words(1, document.get("swagger"))
        .one(2, document.get("info"), info)
        .one(8, document.get("paths"), |paths| Message::default().named(2, paths, path))
        .one(9, document.get("definitions"), properties);
    message.0
}

fn path(item: &Value) -> Message {
    let verbs = [("get", 2), ("put", 3), ("post", 4), ("delete", 5), ("patch", 7)];
    verbs
        .iter()
        .fold(Message::default(), |all, (verb, field)| all.one(*field, item.get(verb), operation))
}

fn operation(operation: &Value) -> Message {
    let responses = |all: &Value| Message::default().named(1, all, response);
    let parameters = operation.get("parameters").and_then(Value::as_array).into_iter().flatten();
    let message = Message::default().words(7, operation.get("consumes"));
    let message = parameters.fold(message, |all, one| all.message(8, parameter(one)));
    message.one(9, operation.get("responses"), responses).extensions(13, operation)
}

fn response(response: &Value) -> Message {
    Message::default().message(1, Message::default().words(1, response.get("description")))
}

fn parameter(parameter: &Value) -> Message {
    let (name, place) = (parameter.get("name"), parameter.get("in"));
    let parameter = if place.is_some_and(|place| place == "body") {
        let mut body = Message::default().words(2, name).words(3, place);
        encoding::bool::encode(4, &true, &mut body.0);
        Message::default().message(1, body.one(5, parameter.get("schema"), schema))
    } else {
        let query =
            Message::default().words(2, place).words(4, name).words(6, parameter.get("type"));
        Message::default().message(2, Message::default().message(3, query))
    };
    Message::default().message(1, parameter)
}

fn properties(properties: &Value) -> Message {
    Message::default().named(1, properties, schema)
}

fn schema(schema: &Value) -> Message {
    Message::default()
        .words(1, schema.get("$ref"))
        .words(2, schema.get("format"))
        .words(3, schema.get("title"))
        .words(4, schema.get("description"))
        .words(19, schema.get("required"))
        .one(21, schema.get("additionalProperties"), additional)
        .one(22, schema.get("type"), |kind| Message::default().words(1, Some(kind)))
        .one(23, schema.get("items"), |items| Message::default().message(1, self::schema(items)))
        .one(25, schema.get("properties"), properties)
        .extensions(31, schema)
}

/// A schema, or whether there may be more.
fn additional(additional: &Value) -> Message {
    let Some(may) = additional.as_bool() else {
        return Message::default().message(1, schema(additional));
    };
    let mut message = Message::default();
    encoding::bool::encode(2, &may, &mut message.0);
    message
}
