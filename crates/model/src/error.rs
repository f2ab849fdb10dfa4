//! Errors that point at one field of one document.

use std::fmt;

/// What is wrong with one field of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Path of the field from the document's root, as in `spec.ingress[0].source.nets[1]`; empty
    /// for the document as a whole.
    pub field: String,
    /// The reason in plain words: lower case, no full stop, user input in backticks.
    pub reason: String,
    /// What to try next, where there is something useful to say.
    pub hint: Option<String>,
}

impl FieldError {
    /// An error without a hint.
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        FieldError { field: field.into(), reason: reason.into(), hint: None }
    }

    /// The same error with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => f.write_str(&self.reason),
            field => write!(f, "{field}: {}", self.reason),
        }
    }
}
