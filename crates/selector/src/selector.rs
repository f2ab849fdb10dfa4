//! [`Selector`]: a checked tree with its canonical text and id.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use crate::{BuildError, Labels, Node, ParseError, Restrictions, build, canonical, parse};

/// A label selector.
///
/// Cloning shares the tree. Equality, order and hash are those of the canonical text.
#[derive(Clone)]
pub struct Selector(Arc<Inner>);

struct Inner {
    node: Node,
    canonical: String,
    id: OnceLock<String>,
}

impl Selector {
    /// Parses a selector; blank text is `all()`.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place in the text.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        parse::parse(text).map(Self::checked)
    }

    /// `all()`.
    pub fn all() -> Self {
        Self::checked(Node::All)
    }

    /// `label == "value"`.
    ///
    /// # Errors
    /// If the label or the value cannot be written in the language.
    pub fn equals(label: &str, value: &str) -> Result<Self, BuildError> {
        Self::from_node(Node::Eq(label.to_owned(), value.to_owned()))
    }

    /// `label in {"value", …}`.
    ///
    /// # Errors
    /// If the label or a value cannot be written in the language.
    pub fn is_in<V: Into<String>>(
        label: &str,
        values: impl IntoIterator<Item = V>,
    ) -> Result<Self, BuildError> {
        let values = values.into_iter().map(Into::into).collect();
        Self::from_node(Node::In(label.to_owned(), values))
    }

    /// `has(label)`.
    ///
    /// # Errors
    /// If the label cannot be written in the language.
    pub fn has(label: &str) -> Result<Self, BuildError> {
        Self::from_node(Node::Has(label.to_owned()))
    }

    /// `part && …` over the parts; `all()` without parts, and a single part as it is.
    ///
    /// # Errors
    /// If the result is nested too deep.
    pub fn and(parts: impl IntoIterator<Item = Self>) -> Result<Self, BuildError> {
        let mut parts: Vec<Self> = parts.into_iter().collect();
        match parts.len() {
            // Building would give the same, but not share the part's tree.
            1 => Ok(parts.remove(0)),
            _ => Self::from_node(Node::And(parts.into_iter().map(Self::into_node).collect())),
        }
    }

    /// The negation. Negating twice gives the selector back.
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "`Selector::not` reads as `and` does")]
    pub fn not(self) -> Self {
        Self::checked(self.into_node().negated())
    }

    /// A selector from its tree, normalised: `!!x` becomes `x`, and a group of one operand that
    /// operand.
    ///
    /// # Errors
    /// If the tree cannot be written in the language.
    pub fn from_node(node: Node) -> Result<Self, BuildError> {
        build::build(node).map(Self::checked)
    }

    /// The same selector over other labels: each one is renamed by `rename`.
    ///
    /// # Errors
    /// If a new label cannot be written in the language.
    pub fn map_labels(&self, mut rename: impl FnMut(&str) -> String) -> Result<Self, BuildError> {
        self.rewrite(|leaf| {
            let mut leaf = leaf.clone();
            if let Some(label) = leaf.label_mut() {
                *label = rename(label);
            }
            Some(leaf)
        })
    }

    /// The same selector with `prefix` in front of every label.
    ///
    /// # Errors
    /// If a new label cannot be written in the language: it is too long, say.
    pub fn with_prefix(&self, prefix: &str) -> Result<Self, BuildError> {
        self.map_labels(|label| format!("{prefix}{label}"))
    }

    /// The selector with leaves replaced: `replace` sees each leaf from left to right and returns
    /// what stands in its place, or `None` to keep it.
    ///
    /// # Errors
    /// If the result cannot be written in the language.
    pub fn rewrite(
        &self,
        mut replace: impl FnMut(&Node) -> Option<Node>,
    ) -> Result<Self, BuildError> {
        let mut replace = |leaf: &Node| replace(leaf).unwrap_or_else(|| leaf.clone());
        Self::from_node(self.node().map_leaves(&mut replace))
    }

    /// The syntax tree.
    pub fn node(&self) -> &Node {
        &self.0.node
    }

    /// The canonical text: the same for all spellings of a selector. It parses to the selector.
    pub fn canonical(&self) -> &str {
        &self.0.canonical
    }

    /// `s:` and a hash of the canonical text, as Calico makes it. Computed at the first call.
    pub fn id(&self) -> &str {
        self.0.id.get_or_init(|| canonical::id(&self.0.canonical))
    }

    /// Whether the labels satisfy the selector. Allocates nothing.
    pub fn matches<L: Labels + ?Sized>(&self, labels: &L) -> bool {
        self.node().matches(labels)
    }

    /// What the selector implies about single labels.
    pub fn restrictions(&self) -> Restrictions<'_> {
        Restrictions::of(self.node(), false)
    }

    /// Whether the selector is `all()` itself.
    pub fn is_all(&self) -> bool {
        matches!(self.node(), Node::All)
    }

    /// Whether `global()` occurs in it.
    pub fn uses_global(&self) -> bool {
        let mut found = false;
        self.node().for_each_leaf(&mut |leaf| found |= matches!(leaf, Node::Global));
        found
    }

    /// Wraps a tree known to be normal and within the limits.
    fn checked(node: Node) -> Self {
        let canonical = canonical::text(&node);
        Self(Arc::new(Inner { node, canonical, id: OnceLock::new() }))
    }

    fn into_node(self) -> Node {
        Arc::try_unwrap(self.0).map_or_else(|shared| shared.node.clone(), |inner| inner.node)
    }
}

impl FromStr for Selector {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::parse(text)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.canonical())
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Selector").field(&self.canonical()).finish()
    }
}

impl PartialEq for Selector {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.canonical() == other.canonical()
    }
}

impl Eq for Selector {}

impl Hash for Selector {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.canonical().hash(state);
    }
}

impl PartialOrd for Selector {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Selector {
    fn cmp(&self, other: &Self) -> Ordering {
        self.canonical().cmp(other.canonical())
    }
}
