//! The parser: one pass from left to right, with its own stack of open groups.

use std::collections::BTreeSet;
use std::mem;
use std::ops::{ControlFlow, Range};

use crate::build::check_nesting;
use crate::cursor::{Cursor, is_legal};
use crate::{Expected, MAX_LABEL, MAX_NESTING, Node, ParseError, ParseErrorKind};

type Result<T> = std::result::Result<T, ParseError>;

/// Parses a whole selector. Blank text is `all()`.
pub(crate) fn parse(text: &str) -> Result<Node> {
    let mut parser = Parser {
        cursor: Cursor::new(text),
        group: Group::default(),
        outer: Vec::new(),
        deepest: (0, 0),
    };
    parser.selector()
}

/// A group being read: the whole selector, or what follows a `(`.
#[derive(Default)]
struct Group {
    /// Where its `(` stands.
    open: usize,
    negated: bool,
    /// Finished operands of `||`.
    alternatives: Vec<Node>,
    /// Operands of the `&&` chain being read.
    chain: Vec<Node>,
}

impl Group {
    fn end_chain(&mut self) {
        self.alternatives.push(Node::conjunction(mem::take(&mut self.chain)));
    }

    fn close(mut self) -> Node {
        self.end_chain();
        negate_if(self.negated, Node::disjunction(self.alternatives))
    }
}

/// What a label is compared with: one value, or a set of them.
enum Operator {
    Value(fn(String, String) -> Node),
    Set(fn(String, BTreeSet<String>) -> Node),
}

struct Parser<'a> {
    cursor: Cursor<'a>,
    group: Group,
    /// The groups around `group`, outermost first.
    outer: Vec<Group>,
    /// The greatest number of open parentheses so far, and where the last of them stands.
    deepest: (usize, usize),
}

impl Parser<'_> {
    fn selector(&mut self) -> Result<Node> {
        self.cursor.skip_blanks();
        if self.cursor.at_end() {
            return Ok(Node::All);
        }
        while self.operand()?.is_continue() {}
        let node = mem::take(&mut self.group).close();
        let (_, innermost) = self.deepest;
        check_nesting(&node)
            .map_err(|_| self.error(ParseErrorKind::TooDeep, innermost..innermost + 1))?;
        Ok(node)
    }

    /// Reads an operand and what follows it, or only the `(` in front of one.
    fn operand(&mut self) -> Result<ControlFlow<()>> {
        let negated = self.bangs();
        if self.cursor.is_next(b'(') {
            return self.enter(negated).map(ControlFlow::Continue);
        }
        let operand = negate_if(negated, self.primary()?);
        self.group.chain.push(operand);
        self.after_operand()
    }

    /// Reads bangs and says whether their number is odd.
    fn bangs(&mut self) -> bool {
        let mut negated = false;
        self.cursor.skip_blanks();
        while self.cursor.eat("!") {
            negated = !negated;
            self.cursor.skip_blanks();
        }
        negated
    }

    /// Reads closing parentheses up to an operator or the end.
    fn after_operand(&mut self) -> Result<ControlFlow<()>> {
        loop {
            self.cursor.skip_blanks();
            if self.cursor.at_end() {
                return self.end().map(ControlFlow::Break);
            }
            if self.cursor.eat("&&") {
                return Ok(ControlFlow::Continue(()));
            }
            if self.cursor.eat("||") {
                self.group.end_chain();
                return Ok(ControlFlow::Continue(()));
            }
            self.leave()?;
        }
    }

    fn enter(&mut self, negated: bool) -> Result<()> {
        let open = self.cursor.at();
        self.cursor.eat("(");
        let group = Group { open, negated, ..Group::default() };
        self.outer.push(mem::replace(&mut self.group, group));
        self.deepest = self.deepest.max((self.outer.len(), open));
        if self.outer.len() > MAX_NESTING {
            return Err(self.error(ParseErrorKind::TooDeep, open..open + 1));
        }
        Ok(())
    }

    fn leave(&mut self) -> Result<()> {
        let close = self.cursor.at();
        if !self.cursor.eat(")") {
            let top = self.outer.is_empty();
            let expected = if top { Expected::Connective } else { Expected::ConnectiveOrClose };
            return Err(self.expected(expected));
        }
        let Some(outer) = self.outer.pop() else {
            return Err(self.error(ParseErrorKind::UnmatchedClose, close..close + 1));
        };
        let operand = mem::replace(&mut self.group, outer).close();
        self.group.chain.push(operand);
        Ok(())
    }

    fn end(&self) -> Result<()> {
        if self.outer.is_empty() {
            return Ok(());
        }
        Err(self.error(ParseErrorKind::UnclosedGroup, self.group.open..self.group.open + 1))
    }

    /// Reads a function call or a comparison.
    fn primary(&mut self) -> Result<Node> {
        let before = self.cursor.clone();
        let word = self.cursor.word();
        if self.cursor.is_next(b'(') && matches!(word, "all" | "global" | "has") {
            self.cursor.eat("(");
            return self.call(word);
        }
        self.cursor = before;
        let label = self.label(Expected::Operand)?;
        self.comparison(label)
    }

    /// Reads a function's argument and its closing parenthesis.
    fn call(&mut self, function: &str) -> Result<Node> {
        self.cursor.skip_blanks();
        let node = match function {
            "all" => Node::All,
            "global" => Node::Global,
            _ => Node::Has(self.label(Expected::Label)?),
        };
        self.require(")", Expected::CallClose)?;
        Ok(node)
    }

    fn comparison(&mut self, label: String) -> Result<Node> {
        match self.operator()? {
            Operator::Value(node) => Ok(node(label, self.value(Expected::Value)?)),
            Operator::Set(node) => Ok(node(label, self.set()?)),
        }
    }

    fn operator(&mut self) -> Result<Operator> {
        self.cursor.skip_blanks();
        if self.cursor.eat("==") {
            return Ok(Operator::Value(Node::Eq));
        }
        if self.cursor.eat("!=") {
            return Ok(Operator::Value(Node::Ne));
        }
        self.word_operator()
    }

    fn word_operator(&mut self) -> Result<Operator> {
        let before = self.cursor.clone();
        match self.cursor.word() {
            "contains" => Ok(Operator::Value(Node::Contains)),
            "startswith" => Ok(Operator::Value(Node::StartsWith)),
            "endswith" => Ok(Operator::Value(Node::EndsWith)),
            "in" => Ok(Operator::Set(Node::In)),
            "notin" => Ok(Operator::Set(Node::NotIn)),
            "starts" => self.second_word("with", Operator::Value(Node::StartsWith)),
            "ends" => self.second_word("with", Operator::Value(Node::EndsWith)),
            "not" => self.second_word("in", Operator::Set(Node::NotIn)),
            _ => {
                self.cursor = before;
                Err(self.expected(Expected::Operator))
            }
        }
    }

    fn second_word(&mut self, word: &'static str, operator: Operator) -> Result<Operator> {
        self.cursor.skip_blanks();
        let before = self.cursor.clone();
        if self.cursor.word() == word {
            return Ok(operator);
        }
        self.cursor = before;
        Err(self.expected(Expected::Word(word)))
    }

    fn set(&mut self) -> Result<BTreeSet<String>> {
        self.require("{", Expected::SetOpen)?;
        let mut members = BTreeSet::new();
        loop {
            self.cursor.skip_blanks();
            if self.cursor.eat("}") {
                return Ok(members);
            }
            members.insert(self.value(Expected::SetMember)?);
            self.cursor.skip_blanks();
            if !self.cursor.is_next(b'}') {
                self.require(",", Expected::SetSeparator)?;
            }
        }
    }

    fn label(&mut self, expected: Expected) -> Result<String> {
        let start = self.cursor.at();
        let word = self.cursor.word();
        if word.is_empty() {
            return Err(self.expected(expected));
        }
        if word.len() > MAX_LABEL {
            return Err(self.error(ParseErrorKind::LabelTooLong, start..self.cursor.at()));
        }
        Ok(word.to_owned())
    }

    fn value(&mut self, expected: Expected) -> Result<String> {
        self.cursor.skip_blanks();
        match self.cursor.string() {
            Ok(Some(value)) => Ok(value.to_owned()),
            Ok(None) => Err(self.expected(expected)),
            Err(span) => Err(self.error(ParseErrorKind::UnterminatedString, span)),
        }
    }

    fn require(&mut self, token: &str, expected: Expected) -> Result<()> {
        self.cursor.skip_blanks();
        if self.cursor.eat(token) { Ok(()) } else { Err(self.expected(expected)) }
    }

    /// The error for finding something else than `expected` at the cursor.
    fn expected(&self, expected: Expected) -> ParseError {
        let kind = match self.cursor.rest().chars().next() {
            Some(character) if !is_legal(character) => ParseErrorKind::IllegalCharacter(character),
            _ => ParseErrorKind::Expected(expected),
        };
        self.error(kind, self.cursor.next_span())
    }

    fn error(&self, kind: ParseErrorKind, span: Range<usize>) -> ParseError {
        ParseError::new(kind, span, self.cursor.text())
    }
}

fn negate_if(negated: bool, node: Node) -> Node {
    if negated { node.negated() } else { node }
}
