//! Flags that say which server, before the command: `tortie --server URL get pods`.

use std::ffi::{OsStr, OsString};

/// Flags of [`Whereabouts`](crate::remote::Whereabouts), each with a value.
const LONG: [&str; 4] = ["--server", "--kubeconfig", "--context", "--namespace"];

/// Moves them from before the command to right behind it. There each command knows whether they mean
/// anything to it, and what they exclude.
pub(crate) fn behind_the_command(words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = words.into_iter().collect();
    let mut command = 1;
    while let Some(taken) = words.get(command).and_then(|word| taken(word)) {
        command += taken;
    }
    // Nothing but flags, another flag, or `help`, which has none: as it is, it is said what is wrong.
    let is_command = |word: &OsString| !word.as_encoded_bytes().starts_with(b"-") && word != "help";
    if words.get(command).is_some_and(is_command)
        && let Some(moved) = words.get_mut(1..=command)
    {
        moved.rotate_right(1);
    }
    words
}

/// How many words a flag takes with its value, if it is one of these.
fn taken(word: &OsStr) -> Option<usize> {
    let word = word.as_encoded_bytes();
    if let Some(value) = word.strip_prefix(b"-n") {
        return Some(if value.is_empty() { 2 } else { 1 });
    }
    LONG.iter().find_map(|flag| match word.strip_prefix(flag.as_bytes())? {
        [] => Some(2),
        [b'=', ..] => Some(1),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_put_behind_the_command() {
        for (typed, read) in [
            ("tortie get pods", "tortie get pods"),
            ("tortie --server u get pods", "tortie get --server u pods"),
            ("tortie --server=u -n shop get -A", "tortie get --server=u -n shop -A"),
            ("tortie -nshop --context c get", "tortie get -nshop --context c"),
            ("tortie --namespace get get", "tortie get --namespace get"),
            ("tortie --kubeconfig f validate -f x", "tortie validate --kubeconfig f -f x"),
            // Not a command, or none.
            ("tortie", "tortie"),
            ("tortie --server", "tortie --server"),
            ("tortie --server u", "tortie --server u"),
            ("tortie --server u --help", "tortie --server u --help"),
            ("tortie --server u help get", "tortie --server u help get"),
            ("tortie --servers u get", "tortie --servers u get"),
            ("tortie --version", "tortie --version"),
        ] {
            let words = typed.split(' ').map(OsString::from);
            assert_eq!(behind_the_command(words).join(OsStr::new(" ")), read, "{typed}");
        }
    }
}
