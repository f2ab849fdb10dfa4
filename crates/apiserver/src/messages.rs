//! Kubernetes' own kinds as messages: what their fields are, and of which type. Bodies in protobuf are
//! read by it, bodies in JSON are checked against it, and OpenAPI is made from it.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, FieldDescriptor, MessageDescriptor, Value};

use crate::kinds::group_version;

/// The messages. They are a constant: what `tortie-proto` has of Kubernetes.
pub(crate) static MESSAGES: LazyLock<Messages> = LazyLock::new(Messages::read);

/// The message of the metadata that all objects have.
pub(crate) const METADATA: &str = "k8s.io.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// Options of messages and fields, by the name of the extension.
const KIND: &str = "tortie.kubernetes.kind";
const INLINE: &str = "tortie.kubernetes.inline";
const STRATEGY: &str = "tortie.kubernetes.patch_strategy";
const MERGE_KEY: &str = "tortie.kubernetes.merge_key";

/// What JSON has in place of a message, if not an object of its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// An object with the message's fields.
    Object,
    /// Text: a time in whole seconds.
    Time,
    /// Text: a time in microseconds.
    MicroTime,
    /// Text: a number with a unit.
    Quantity,
    IntOrString,
    /// A list of words.
    Words,
    /// JSON of any kind, in the only field.
    Raw,
    /// A schema, or a list of schemas.
    SchemaOrList,
    /// A schema, or whether anything goes.
    SchemaOrBool,
    /// A schema, or a list of names.
    SchemaOrNames,
}

impl Shape {
    /// The shape of a message.
    pub(crate) fn of(message: &MessageDescriptor) -> Shape {
        match message.name() {
            "Time" => Shape::Time,
            "MicroTime" => Shape::MicroTime,
            "Quantity" => Shape::Quantity,
            "IntOrString" => Shape::IntOrString,
            "ExtraValue" => Shape::Words,
            "RawExtension" | "FieldsV1" | "JSON" => Shape::Raw,
            "JSONSchemaPropsOrArray" => Shape::SchemaOrList,
            "JSONSchemaPropsOrBool" => Shape::SchemaOrBool,
            "JSONSchemaPropsOrStringArray" => Shape::SchemaOrNames,
            _ => Shape::Object,
        }
    }
}

/// How a strategic merge patch treats a field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Merge {
    /// `merge`, `retainKeys`, or both with a comma.
    pub(crate) strategy: String,
    /// The field that tells elements apart, if they are not words.
    pub(crate) key: String,
}

/// All messages, and what is known of them beside their fields.
pub(crate) struct Messages {
    pool: DescriptorPool,
    /// By apiVersion and kind.
    kinds: HashMap<(String, String), MessageDescriptor>,
    /// Fields whose message's fields are those of the parent in JSON, by full name.
    inline: HashSet<String>,
    merges: HashMap<String, Merge>,
}

impl Messages {
    fn read() -> Messages {
        // The descriptor is a constant that tests read: nothing would be known without it.
        let pool = DescriptorPool::decode(tortie_proto::kubernetes::DESCRIPTOR).unwrap_or_default();
        let mut all = Messages {
            kinds: HashMap::new(),
            inline: HashSet::new(),
            merges: HashMap::new(),
            pool: pool.clone(),
        };
        for message in pool.all_messages().filter(|one| one.package_name().starts_with("k8s.io")) {
            for field in message.fields() {
                all.note(&field);
            }
            if let Some(Value::String(version)) = extension(&pool, &message.options(), KIND) {
                all.kinds.insert((version, message.name().to_owned()), message);
            }
        }
        all
    }

    fn note(&mut self, field: &FieldDescriptor) {
        let options = field.options();
        let name = || field.full_name().to_owned();
        if extension(&self.pool, &options, INLINE) == Some(Value::Bool(true)) {
            self.inline.insert(name());
        }
        if let Some(Value::List(strategies)) = extension(&self.pool, &options, STRATEGY) {
            let words: Vec<&str> = strategies.iter().filter_map(Value::as_str).collect();
            let key = extension(&self.pool, &options, MERGE_KEY);
            let key = key.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
            self.merges.insert(name(), Merge { strategy: words.join(","), key });
        }
    }

    /// The message of a kind.
    pub(crate) fn kind(
        &self,
        group: &str,
        version: &str,
        kind: &str,
    ) -> Option<&MessageDescriptor> {
        self.of_object(&group_version(group, version), kind)
    }

    /// The message of what an object says it is.
    pub(crate) fn of_object(&self, api_version: &str, kind: &str) -> Option<&MessageDescriptor> {
        self.kinds.get(&(api_version.to_owned(), kind.to_owned()))
    }

    /// A message by its name.
    pub(crate) fn named(&self, name: &str) -> Option<MessageDescriptor> {
        self.pool.get_message_by_name(name)
    }

    /// Whether JSON has the fields of this field's message among those of its parent.
    pub(crate) fn is_inline(&self, field: &FieldDescriptor) -> bool {
        self.inline.contains(field.full_name())
    }

    /// How patches treat a field, if not as one value.
    pub(crate) fn merge(&self, field: &FieldDescriptor) -> Option<&Merge> {
        self.merges.get(field.full_name())
    }
}

/// The field that JSON has under a name: of a message, or of one that is inline in it.
pub(crate) fn field_of(message: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    let mut inline = message.fields().filter(|field| MESSAGES.is_inline(field));
    let own = message.get_field_by_json_name(name).filter(|field| !MESSAGES.is_inline(field));
    own.or_else(|| inline.find_map(|field| field_of(field.kind().as_message()?, name)))
}

fn extension(
    pool: &DescriptorPool,
    options: &prost_reflect::DynamicMessage,
    name: &str,
) -> Option<Value> {
    let extension = pool.get_extension_by_name(name)?;
    options.has_extension(&extension).then(|| options.get_extension(&extension).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Registry;

    #[test]
    fn kubernetes_kinds_are_known() {
        for kind in Registry::built_in().kinds().iter().filter(|kind| kind.built_in) {
            let message = MESSAGES.kind(&kind.group, &kind.version, &kind.kind);
            let fields: Vec<String> = message
                .unwrap_or_else(|| panic!("{} is not known", kind.qualified()))
                .fields()
                .map(|field| field.json_name().to_owned())
                .collect();
            assert!(fields.contains(&"metadata".to_owned()), "{}", kind.qualified());
        }
        let probe = MESSAGES.named("k8s.io.api.core.v1.Probe").unwrap();
        assert!(MESSAGES.is_inline(&probe.get_field_by_name("handler").unwrap()));
        let pod = MESSAGES.named("k8s.io.api.core.v1.PodSpec").unwrap();
        let containers = pod.get_field_by_name("containers").unwrap();
        let merge = Merge { strategy: "merge".into(), key: "name".into() };
        assert_eq!(MESSAGES.merge(&containers), Some(&merge));
    }
}
