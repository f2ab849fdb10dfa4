//! Names of chains and sets: readable, stable, and such that `nft` takes them unquoted.

use sha2::{Digest, Sha256};
use smol_str::{SmolStr, ToSmolStr, format_smolstr};

/// Most bytes of a name; the kernel takes 255, but who reads it does not.
const MAX: usize = 100;

/// A name of some words. Words that have letters a name cannot have, or that are too long together,
/// are followed by a hash of what they were.
pub(super) fn name(words: &[&str]) -> SmolStr {
    let joined = words.join("/");
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '/');
    if joined.len() <= MAX && joined.chars().all(fits) {
        return joined.into();
    }
    let kept = joined.chars().map(|c| if fits(c) { c } else { '_' }).take(MAX - 25);
    format_smolstr!("{}_{}", kept.collect::<String>(), hash(&joined))
}

/// Ninety-six bits of a hash that no author of policy can make collide, in hexadecimal.
pub(super) fn hash(text: &str) -> SmolStr {
    let digest = Sha256::digest(text.as_bytes());
    let digits = digest.iter().take(12).map(|byte| format!("{byte:02x}"));
    digits.collect::<String>().to_smolstr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unquoted_words() {
        assert_eq!(name(&["policy-in", "gnp", "a.b-c"]), "policy-in/gnp/a.b-c");
        let long = "x".repeat(253);
        let odd = [name(&["tier-in", "(unreadable)"]), name(&["tier-in", "_unreadable_"])];
        assert!(odd[0].starts_with("tier-in/_unreadable__") && odd[0] != odd[1], "{odd:?}");
        for name in [&odd[0], &name(&["policy-in", "np", &long, &long])] {
            assert!(name.len() <= MAX, "{name}");
            assert!(!name.contains(|c: char| !(c.is_ascii_alphanumeric() || "/._-".contains(c))));
        }
    }
}
