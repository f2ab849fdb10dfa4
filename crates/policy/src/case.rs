//! Expectations on flows, checked against what policy says.

use tortie_model::{ExpectedDecision, FieldError, PolicyTestCase};

use crate::{
    Cluster, Compat, Engine, Explanation, PortName, Protocol, Query, QueryError, TraceEntry, Trust,
    Word, explain_by, parse_icmp,
};

/// One expectation on a flow.
#[derive(Debug, Clone)]
pub struct Case {
    /// What it is about.
    pub name: String,
    /// The flow.
    pub query: Query,
    /// Whether staged policies count as enforced.
    pub staged: bool,
    /// The points in which Calico's behaviour is chosen, besides those of the resources.
    pub compat: Compat,
    /// What must come of it.
    pub expect: Word,
    /// What must decide, as far as given.
    pub decided_by: Option<ExpectedDecision>,
}

/// What came of a case.
#[derive(Debug)]
pub enum Outcome {
    /// As expected.
    Passed,
    /// Otherwise.
    Failed {
        /// What is different.
        difference: String,
        /// The whole answer.
        explanation: Box<Explanation>,
    },
    /// The case asks for something that does not exist.
    Impossible(QueryError),
}

impl TryFrom<&PolicyTestCase> for Case {
    type Error = FieldError;

    fn try_from(wire: &PolicyTestCase) -> Result<Case, FieldError> {
        let required = |field: &str, text: &str| match text {
            "" => Err(FieldError::new(field, "is required")),
            text => Ok(text.to_owned()),
        };
        let party = |field: &str, text: &str| {
            let text = required(field, text)?;
            text.parse().map_err(|e: QueryError| FieldError::new(field, e.to_string()))
        };
        let port = wire.port.as_ref().map(|p| p.to_string().parse::<PortName>());
        let port = port.transpose().map_err(|e| FieldError::new("port", e.to_string()))?;
        let from = party("from", &wire.from)?;
        let to = party("to", &wire.to)?;
        let expect = match wire.expect.as_str() {
            "allow" => Word::Allow,
            "deny" => Word::Deny,
            "" => return Err(FieldError::new("expect", "is required")),
            other => {
                let reason = format!("`{other}` is neither `allow` nor `deny`");
                return Err(FieldError::new("expect", reason));
            }
        };
        let query = Query {
            from,
            to,
            protocol: protocol(wire.protocol.as_deref())?,
            port,
            icmp: wire
                .icmp
                .as_deref()
                .map(parse_icmp)
                .transpose()
                .map_err(|e| FieldError::new("icmp", e.to_string()))?,
            http: request_line(wire.method.as_deref(), wire.path.as_deref()),
            from_identity: wire.from_identity.clone(),
        };
        let name = match wire.name.as_str() {
            "" => format!("{} -> {}", query.from, query.to),
            name => name.to_owned(),
        };
        let compat = compat(&wire.compat)?;
        let decided_by = wire.decided_by.clone();
        Ok(Case { name, query, staged: wire.staged, compat, expect, decided_by })
    }
}

fn compat(names: &[String]) -> Result<Compat, FieldError> {
    let names = names.iter().enumerate();
    names
        .map(|(index, name)| {
            Compat::parse([name.as_str()]).map_err(|e| e.field(format!("compat[{index}]")))
        })
        .try_fold(Compat::STRICT, |all, one| Ok(all.union(one?)))
}

fn protocol(text: Option<&str>) -> Result<Protocol, FieldError> {
    let text = text.unwrap_or("TCP");
    Protocol::parse(text)
        .ok_or_else(|| FieldError::new("protocol", format!("`{text}` is not a protocol")))
}

/// Method and path of a request if either is given; the other is `GET` or `/` then.
pub fn request_line(method: Option<&str>, path: Option<&str>) -> Option<(String, String)> {
    let given = method.is_some() || path.is_some();
    given.then(|| (method.unwrap_or("GET").to_owned(), path.unwrap_or("/").to_owned()))
}

impl Case {
    /// Compares what policy says with what is expected.
    pub fn run(&self, cluster: &Cluster, trust: &Trust) -> Outcome {
        self.run_by(cluster, cluster, trust)
    }

    /// As [`Case::run`], by an engine for the cluster.
    pub fn run_by(&self, engine: &dyn Engine, cluster: &Cluster, trust: &Trust) -> Outcome {
        let explanation = match explain_by(engine, cluster, trust, &self.query) {
            Ok(explanation) => explanation,
            Err(error) => return Outcome::Impossible(error),
        };
        match self.difference(&explanation) {
            None => Outcome::Passed,
            Some(difference) => Outcome::Failed { difference, explanation: Box::new(explanation) },
        }
    }

    /// What of an answer is not as expected, if anything.
    pub fn difference(&self, explanation: &Explanation) -> Option<String> {
        if explanation.verdict != self.expect {
            return Some(format!("expected {}, found {}", self.expect, explanation.verdict));
        }
        let expected = self.decided_by.as_ref()?;
        let Some((leg, decided)) = explanation.deciding() else {
            return Some("expected a decision, but nothing is asked between these two".to_owned());
        };
        let last = decided.trace.last()?;
        disagreement(expected, leg, last)
    }
}

/// The first field of an expected decision that is not as found.
fn disagreement(expected: &ExpectedDecision, leg: &str, found: &TraceEntry) -> Option<String> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let rule = |value: &Option<usize>| value.map(|n| n.to_string()).unwrap_or_default();
    let fields = [
        ("leg", &expected.leg, leg.to_owned()),
        ("tier", &expected.tier, text(&found.tier)),
        ("kind", &expected.kind, text(&found.kind)),
        ("namespace", &expected.namespace, text(&found.namespace)),
        ("name", &expected.name, text(&found.name)),
        ("action", &expected.action, found.action.to_owned()),
        ("rule", &expected.rule.map(|n| n.to_string()), rule(&found.rule)),
    ];
    fields.into_iter().find_map(|(field, want, got)| match want {
        Some(want) if *want != got => {
            Some(format!("expected {field} `{want}` to decide, found `{got}`"))
        }
        _ => None,
    })
}
