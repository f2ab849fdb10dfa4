//! HTTP criteria.

use smol_str::SmolStr;
use tortie_model as model;

use super::RuleReader;
use crate::convert::{MAX_TEXT, is_long};
use crate::{HttpMatch, NormalPath, PathMatch, Protocol};

/// Most HTTP methods, and most HTTP paths, of a rule.
const MAX_HTTP: usize = 20;

const PATH_HINT: &str = "write `exact: /path` or `prefix: /path`, without query and fragment";

impl RuleReader<'_> {
    pub(super) fn http(
        &mut self,
        field: &str,
        rule: &model::Rule,
        wire: &model::HttpMatch,
    ) -> HttpMatch {
        if !self.ingress {
            let hint = "guard the receivers: write the rule into an ingress policy of theirs";
            self.report.hint(field, "HTTP criteria are possible in ingress rules only", hint);
        }
        if rule.action != "Allow" {
            let hint = "allow what may pass: requests that no rule allows are denied";
            self.report.hint(field, "HTTP criteria are possible in Allow rules only", hint);
        }
        let protocol = rule.protocol.as_ref();
        if protocol.is_some_and(|p| Protocol::from_wire(p) != Some(Protocol::TCP)) {
            let hint = "write `protocol: TCP`";
            self.report.hint(field, "HTTP criteria need protocol TCP, or none", hint);
        }
        HttpMatch { methods: self.methods(field, wire), paths: self.paths(field, wire) }
    }

    fn methods(&mut self, field: &str, wire: &model::HttpMatch) -> Vec<SmolStr> {
        let wire = wire.methods.as_deref().unwrap_or_default();
        let field = format!("{field}.methods");
        self.report.too_many(&field, wire.len(), MAX_HTTP);
        let mut methods: Vec<SmolStr> = Vec::new();
        for (index, method) in wire.iter().enumerate() {
            if methods.contains(&method.into()) {
                let reason = format!("`{method}` is given twice");
                self.report.hint(format!("{field}[{index}]"), reason, "remove one of them");
            }
            methods.push(method.into());
        }
        methods
    }

    fn paths(&mut self, field: &str, wire: &model::HttpMatch) -> Vec<PathMatch> {
        let wire = wire.paths.as_deref().unwrap_or_default();
        let field = format!("{field}.paths");
        self.report.too_many(&field, wire.len(), MAX_HTTP);
        let mut paths = Vec::new();
        for (index, path) in wire.iter().enumerate() {
            let field = format!("{field}[{index}]");
            paths.extend(self.report.keep_or(&field, path_match(path), PATH_HINT));
        }
        paths
    }
}

fn path_match(wire: &model::HttpPath) -> Result<PathMatch, String> {
    let (text, wrap): (&str, fn(NormalPath<'static>) -> PathMatch) =
        match (wire.exact.as_deref(), wire.prefix.as_deref()) {
            (Some(exact), None) => (exact, PathMatch::Exact),
            (None, Some(prefix)) => (prefix, PathMatch::Prefix),
            (Some(_), Some(_)) => return Err("give either `exact` or `prefix`, not both".into()),
            (None, None) => return Err("give `exact` or `prefix`".into()),
        };
    if is_long(text) {
        return Err(format!("is longer than {MAX_TEXT} characters"));
    }
    if !text.starts_with('/') {
        return Err(format!("`{text}` does not start with `/`"));
    }
    if let Some(c) = text.chars().find(|c| matches!(c, '?' | '#' | ' ' | '\t' | '\n' | '\r')) {
        return Err(format!("`{text}` has {c:?}, which no path may have"));
    }
    let path = NormalPath::parse(text).map_err(|e| format!("`{text}` cannot be matched: {e}"))?;
    Ok(wrap(path.into_owned()))
}
