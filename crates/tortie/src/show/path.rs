//! Paths of JSONPath: steps from a value to the values that they find.

use std::cmp::Ordering;

use serde_json::Value;

use super::jsonpath::{Problem, problem};

/// A path, from the root (`$`) or from the value at hand (`@`, or neither).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Path {
    from_root: bool,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Fields(Vec<String>),
    /// Every value below that has this name.
    Below(String),
    All,
    Positions(Vec<i64>),
    Slice {
        from: Option<i64>,
        to: Option<i64>,
        step: usize,
    },
    Filter(Box<Filter>),
}

/// What an element has to be.
#[derive(Debug, Clone, PartialEq)]
struct Filter {
    left: Operand,
    /// An operator and what to compare with; without, that there is something.
    test: Option<(Operator, Operand)>,
}

#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Path(Path),
    Literal(Value),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// In the order in which they are looked for: none begins with one that comes before it.
const OPERATORS: [(&str, Operator); 6] = [
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

// === reading ===

impl Path {
    /// Reads a path such as `.items[*].metadata.name`.
    pub(crate) fn parse(text: &str) -> Result<Path, Problem> {
        let from_root = text.starts_with('$');
        let mut rest = text.strip_prefix(['$', '@']).unwrap_or(text);
        if !rest.is_empty() && !rest.starts_with(['.', '[']) {
            return problem(format!("`{text}` is no path: it begins with neither `.` nor `[`"));
        }
        let mut steps = Vec::new();
        while !rest.is_empty() {
            rest = match rest.strip_prefix('[') {
                Some(inside) => {
                    let Some(length) = end_of(inside, &[']']) else {
                        return problem(format!("`[{inside}` is not closed"));
                    };
                    let (what, after) = inside.split_at(length);
                    steps.push(bracket(what.trim())?);
                    after.strip_prefix(']').unwrap_or(after)
                }
                None => dotted(rest, &mut steps),
            };
        }
        Ok(Path { from_root, steps })
    }
}

/// One step that begins with a dot, or two dots; gives what is left. A dot alone is the value itself.
fn dotted<'a>(text: &'a str, steps: &mut Vec<Step>) -> &'a str {
    let (below, text) = match text.strip_prefix("..") {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('.').unwrap_or(text)),
    };
    let (name, rest) = name(text);
    match name.as_str() {
        "" => {}
        "*" => steps.push(Step::All),
        _ if below => steps.push(Step::Below(name)),
        _ => steps.push(Step::Fields(vec![name])),
    }
    rest
}

/// The name of a field up to the next step; a backslash takes what follows as it is.
fn name(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            '.' | '[' => return (name, text.get(at..).unwrap_or_default()),
            c => name.push(c),
        }
    }
    (name, "")
}

/// What stands in square brackets.
fn bracket(what: &str) -> Result<Step, Problem> {
    if what == "*" {
        return Ok(Step::All);
    }
    if let Some(condition) = what.strip_prefix("?(").and_then(|rest| rest.strip_suffix(')')) {
        return filter(condition.trim()).map(|filter| Step::Filter(Box::new(filter)));
    }
    let parts: Vec<&str> = what.split(',').map(str::trim).collect();
    if let Some(names) = parts.iter().map(|part| unquoted(part)).collect() {
        return Ok(Step::Fields(names));
    }
    if what.contains(':') {
        return slice(what);
    }
    let positions = parts.iter().map(|part| part.parse().ok()).collect::<Option<Vec<i64>>>();
    positions.map_or_else(
        || problem(format!("`{what}` is neither a position, nor a name in quotes, nor a filter")),
        |positions| Ok(Step::Positions(positions)),
    )
}

fn slice(what: &str) -> Result<Step, Problem> {
    let mut bounds = what.split(':').map(|bound| match bound.trim() {
        "" => Ok(None),
        number => number.parse::<i64>().map(Some),
    });
    let mut next = || match bounds.next() {
        None => Ok(None),
        Some(Ok(bound)) => Ok(bound),
        Some(Err(_)) => problem(format!("`{what}` is no slice")),
    };
    let (from, to, step) = (next()?, next()?, next()?);
    match usize::try_from(step.unwrap_or(1)) {
        Ok(step) if step > 0 => Ok(Step::Slice { from, to, step }),
        _ => problem(format!("`{what}`: the step of a slice must be positive")),
    }
}

fn filter(text: &str) -> Result<Filter, Problem> {
    let outside = |operator: &str| {
        let mut from = 0;
        // What is in quotes is no operator.
        while let Some(found) = text.get(from..).and_then(|rest| rest.find(operator)) {
            let quotes = text.get(..from + found).unwrap_or_default().matches(['\'', '"']).count();
            if quotes % 2 == 0 {
                return Some(from + found);
            }
            from += found + operator.len();
        }
        None
    };
    for (sign, operator) in OPERATORS {
        if let Some((left, right)) = outside(sign).and_then(|at| text.split_at_checked(at)) {
            let right = right.strip_prefix(sign).unwrap_or(right);
            let test = Some((operator, operand(right.trim(), text)?));
            return Ok(Filter { left: operand(left.trim(), text)?, test });
        }
    }
    Ok(Filter { left: operand(text, text)?, test: None })
}

fn operand(text: &str, filter: &str) -> Result<Operand, Problem> {
    if text.starts_with(['@', '$', '.']) && !text.contains(' ') {
        return Path::parse(text).map(Operand::Path);
    }
    if let Some(text) = unquoted(text) {
        return Ok(Operand::Literal(text.into()));
    }
    match serde_json::from_str(text) {
        Ok(value) => Ok(Operand::Literal(value)),
        Err(_) => problem(format!("`{filter}` is no condition")),
    }
}

/// Where a character stands outside of quotes and brackets, after which nothing belongs to the text.
pub(super) fn end_of(text: &str, wanted: &[char]) -> Option<usize> {
    let mut quote = None;
    let mut depth = 0_usize;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            _ if std::mem::take(&mut escaped) => {}
            (_, '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, c) if depth == 0 && wanted.contains(&c) => return Some(at),
            (None, '[' | '(') => depth += 1,
            (None, ']' | ')') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// Text in quotes, with its escapes taken for what they mean.
pub(super) fn unquoted(text: &str) -> Option<String> {
    let inside = ['"', '\''].into_iter().find_map(|quote| {
        text.strip_prefix(quote)?.strip_suffix(quote).filter(|inside| !inside.contains(quote))
    })?;
    let mut plain = String::new();
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => plain.extend(chars.next().map(|c| match c {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                other => other,
            })),
            c => plain.push(c),
        }
    }
    Some(plain)
}

// === finding ===

impl Path {
    /// The values that the path leads to.
    pub(crate) fn find<'v>(&self, root: &'v Value, current: &'v Value) -> Vec<&'v Value> {
        let mut values = vec![if self.from_root { root } else { current }];
        for step in &self.steps {
            values = values.into_iter().flat_map(|value| step.find(root, value)).collect();
        }
        values
    }
}

impl Step {
    fn find<'v>(&self, root: &'v Value, value: &'v Value) -> Vec<&'v Value> {
        let list = || value.as_array().map(Vec::as_slice).unwrap_or_default();
        match self {
            Step::Fields(names) => names.iter().filter_map(|name| value.get(name)).collect(),
            Step::All => children(value).collect(),
            Step::Below(name) => {
                let mut found = Vec::new();
                below(value, name, &mut found);
                found
            }
            Step::Positions(positions) => {
                let length = list().len();
                let at = |position: &i64| list().get(place(*position, length)?);
                positions.iter().filter_map(at).collect()
            }
            Step::Slice { from, to, step } => {
                let length = list().len();
                let bound = |bound: &Option<i64>, open| match bound {
                    None => open,
                    Some(bound) => place(*bound, length).unwrap_or(0).min(length),
                };
                let (from, to) = (bound(from, 0), bound(to, length));
                let slice = list().get(from..to).unwrap_or_default();
                slice.iter().step_by(*step).collect()
            }
            Step::Filter(filter) => {
                children(value).filter(|child| filter.holds(root, child)).collect()
            }
        }
    }
}

/// A position from the beginning, if it is not before it.
fn place(position: i64, length: usize) -> Option<usize> {
    match usize::try_from(position) {
        Ok(position) => Some(position),
        Err(_) => length.checked_sub(usize::try_from(position.unsigned_abs()).ok()?),
    }
}

fn children(value: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match value {
        Value::Array(list) => Box::new(list.iter()),
        Value::Object(map) => Box::new(map.values()),
        _ => Box::new(std::iter::empty()),
    }
}

fn below<'v>(value: &'v Value, name: &str, found: &mut Vec<&'v Value>) {
    found.extend(value.get(name));
    for child in children(value) {
        below(child, name, found);
    }
}

impl Filter {
    fn holds(&self, root: &Value, value: &Value) -> bool {
        let left = self.left.of(root, value);
        match &self.test {
            None => left.is_some(),
            Some((operator, right)) => match (left, right.of(root, value)) {
                (Some(left), Some(right)) => operator.holds(left, right),
                _ => false,
            },
        }
    }
}

impl Operand {
    fn of<'v>(&'v self, root: &'v Value, value: &'v Value) -> Option<&'v Value> {
        match self {
            Operand::Literal(literal) => Some(literal),
            Operand::Path(path) => path.find(root, value).first().copied(),
        }
    }
}

impl Operator {
    fn holds(self, left: &Value, right: &Value) -> bool {
        let order = match (left, right) {
            (Value::Number(left), Value::Number(right)) => {
                left.as_f64().partial_cmp(&right.as_f64())
            }
            (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
            (left, right) if left == right => Some(Ordering::Equal),
            _ => None,
        };
        match self {
            Operator::Equal => order == Some(Ordering::Equal),
            Operator::NotEqual => order != Some(Ordering::Equal),
            Operator::Less => order == Some(Ordering::Less),
            Operator::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Operator::Greater => order == Some(Ordering::Greater),
            Operator::GreaterOrEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        }
    }
}
