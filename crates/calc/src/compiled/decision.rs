//! What comes of a piece of traffic.

use tortie_policy::{PolicyId, Step};

/// What decides where a policy that an endpoint names is not there.
pub(super) const NOT_THERE: &str = "a policy that is not there";

/// A decision, and what decided.
#[derive(Debug, Clone, Copy)]
pub struct Decision<'s> {
    /// How it is answered; anything but [`Code::Ok`] denies.
    pub code: Code,
    /// The step that decided.
    pub step: Step<'s>,
    /// The policy that is not there, if that decided.
    pub missing: Option<&'s PolicyId>,
}

/// How a decision is answered, after the codes of gRPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// Allowed.
    Ok,
    /// Denied by policy.
    PermissionDenied,
    /// Denied because of a path that has no safe normal form: with another, a rule might allow.
    InvalidArgument,
    /// Denied because something is missing that would have to be asked.
    Internal,
}

impl<'s> Decision<'s> {
    pub(super) fn new(allowed: bool, step: Step<'s>) -> Decision<'s> {
        let code = if allowed { Code::Ok } else { Code::PermissionDenied };
        Decision { code, step, missing: None }
    }

    pub(super) fn undecidable(policy: &'s PolicyId) -> Decision<'s> {
        let step = Step::Fixed { name: NOT_THERE, allowed: false };
        Decision { code: Code::Internal, step, missing: Some(policy) }
    }

    /// Whether the traffic may pass.
    pub fn allowed(&self) -> bool {
        self.code == Code::Ok
    }
}
