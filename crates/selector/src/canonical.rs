//! The canonical text of a tree, and the id made from it.

use sha2::{Digest, Sha224};

use crate::Node;

/// The canonical text: groups always in parentheses, sets sorted, double quotes where possible.
pub(crate) fn text(node: &Node) -> String {
    let mut out = String::new();
    write_node(&mut out, node);
    out
}

/// `s:` and the hash of the canonical text, in Calico's encoding: unpadded URL-safe base64 of the
/// SHA-224 of `s:` and the text.
pub(crate) fn id(canonical: &str) -> String {
    let digest = Sha224::new().chain_update("s:").chain_update(canonical).finalize();
    let mut out = String::from("s:");
    write_base64(&mut out, &digest);
    out
}

fn write_node(out: &mut String, node: &Node) {
    match node {
        Node::All => out.push_str("all()"),
        Node::Global => out.push_str("global()"),
        Node::Has(label) => write_all(out, &["has(", label, ")"]),
        Node::Eq(label, value) => write_comparison(out, label, " == ", value),
        Node::Ne(label, value) => write_comparison(out, label, " != ", value),
        Node::Contains(label, value) => write_comparison(out, label, " contains ", value),
        Node::StartsWith(label, value) => write_comparison(out, label, " starts with ", value),
        Node::EndsWith(label, value) => write_comparison(out, label, " ends with ", value),
        Node::In(label, values) => write_membership(out, label, " in ", values),
        Node::NotIn(label, values) => write_membership(out, label, " not in ", values),
        Node::Not(operand) => {
            out.push('!');
            write_node(out, operand);
        }
        Node::And(operands) => write_group(out, operands, " && "),
        Node::Or(operands) => write_group(out, operands, " || "),
    }
}

fn write_group(out: &mut String, operands: &[Node], operator: &str) {
    out.push('(');
    write_separated(out, operands, operator, write_node);
    out.push(')');
}

fn write_comparison(out: &mut String, label: &str, operator: &str, value: &str) {
    write_all(out, &[label, operator]);
    write_value(out, value);
}

fn write_membership<'a>(
    out: &mut String,
    label: &str,
    operator: &str,
    values: impl IntoIterator<Item = &'a String>,
) {
    write_all(out, &[label, operator, "{"]);
    write_separated(out, values, ", ", |out, value| write_value(out, value));
    out.push('}');
}

fn write_value(out: &mut String, value: &str) {
    let quote = if value.contains('"') { "'" } else { "\"" };
    write_all(out, &[quote, value, quote]);
}

fn write_separated<T>(
    out: &mut String,
    items: impl IntoIterator<Item = T>,
    separator: &str,
    write: impl Fn(&mut String, T),
) {
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push_str(separator);
        }
        write(out, item);
    }
}

fn write_all(out: &mut String, parts: &[&str]) {
    parts.iter().for_each(|part| out.push_str(part));
}

/// Base64 with the URL-safe alphabet and without padding (RFC 4648, section 5).
fn write_base64(out: &mut String, bytes: &[u8]) {
    for chunk in bytes.chunks(3) {
        let (word, _) = chunk
            .iter()
            .fold((0_u32, 16), |(word, shift), &byte| (word | u32::from(byte) << shift, shift - 8));
        // n bytes make n + 1 digits of six bits each, from the top.
        let digits = [word >> 18, word >> 12, word >> 6, word];
        out.extend(digits.iter().take(chunk.len() + 1).map(|&digit| base64_digit(digit & 63)));
    }
}

fn base64_digit(value: u32) -> char {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digit = usize::try_from(value).ok().and_then(|index| ALPHABET.get(index));
    digit.copied().map_or('-', char::from)
}
