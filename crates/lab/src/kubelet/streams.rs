//! The messages of `v5.channel.k8s.io`: the first byte says which stream the rest is of.

use serde_json::{Value, json};

/// Standard output.
pub(super) const STDOUT: u8 = 1;
/// Standard error.
pub(super) const STDERR: u8 = 2;
/// How it ended.
const STATUS: u8 = 3;

/// What a client says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said<'a> {
    /// Input.
    Input(&'a [u8]),
    /// There will be no more input.
    InputEnds,
    /// The terminal has these columns and rows.
    Size(u16, u16),
    /// Nothing that counts.
    Nothing,
}

/// Reads a client's message.
pub(super) fn read(message: &[u8]) -> Said<'_> {
    match message.split_first() {
        Some((0, input)) => Said::Input(input),
        Some((4, size)) => match serde_json::from_slice::<Value>(size) {
            Ok(size) => {
                let of = |name: &str| u16::try_from(size.get(name)?.as_u64()?).ok();
                of("Width").zip(of("Height")).map_or(Said::Nothing, |(w, h)| Said::Size(w, h))
            }
            Err(_) => Said::Nothing,
        },
        Some((255, [0])) => Said::InputEnds,
        _ => Said::Nothing,
    }
}

/// A piece of a stream.
pub(super) fn piece(stream: u8, content: &[u8]) -> Vec<u8> {
    let mut message = vec![stream];
    message.extend_from_slice(content);
    message
}

/// How a command ended.
pub(super) fn ended(code: u8) -> Vec<u8> {
    let status = match code {
        0 => json!({"metadata": {}, "status": "Success"}),
        code => json!({
            "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": format!("command terminated with exit code {code}"),
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        }),
    };
    piece(STATUS, status.to_string().as_bytes())
}

/// Why a command could not be run.
pub(super) fn failed(why: &str) -> Vec<u8> {
    let status = json!({
        "metadata": {}, "status": "Failure", "reason": "InternalError", "message": why, "code": 500,
    });
    piece(STATUS, status.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages() {
        for (message, want) in [
            (&b"\0in"[..], Said::Input(b"in")),
            (b"\xff\0", Said::InputEnds),
            (b"\x04{\"Width\":80,\"Height\":24}", Said::Size(80, 24)),
            (b"\x04{\"Width\":80}", Said::Nothing),
            (b"\x04nonsense", Said::Nothing),
            (b"\xff\x01", Said::Nothing),
            (b"", Said::Nothing),
        ] {
            assert_eq!(read(message), want, "{message:?}");
        }
        assert_eq!(piece(STDOUT, b"x"), b"\x01x");
        assert!(String::from_utf8(ended(7).split_off(1)).unwrap().contains("\"message\":\"7\""));
    }
}
