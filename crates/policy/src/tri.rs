//! Three-valued logic (Kleene's): a criterion is true, false or unknown.

use std::ops::{BitAnd, BitOr, Not};

/// Whether a criterion holds, as far as the facts tell.
///
/// A sure part decides: `False & Unknown` is `False`, `True | Unknown` is `True`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tri {
    /// It does not hold.
    False,
    /// The facts do not tell.
    Unknown,
    /// It holds.
    True,
}

impl Tri {
    /// True if any is true, false if all are false (so of none, too), else unknown.
    pub fn any(values: impl IntoIterator<Item = Tri>) -> Tri {
        let mut result = Tri::False;
        for value in values {
            result = result | value;
            if result == Tri::True {
                break;
            }
        }
        result
    }

    /// The common answer of several witnesses; unknown where they differ or where there is none.
    pub fn unanimous(values: impl IntoIterator<Item = bool>) -> Tri {
        let mut values = values.into_iter();
        match values.next() {
            Some(first) if values.all(|v| v == first) => first.into(),
            _ => Tri::Unknown,
        }
    }
}

impl From<bool> for Tri {
    fn from(value: bool) -> Tri {
        if value { Tri::True } else { Tri::False }
    }
}

impl From<Option<bool>> for Tri {
    fn from(value: Option<bool>) -> Tri {
        value.map_or(Tri::Unknown, Tri::from)
    }
}

impl BitAnd for Tri {
    type Output = Tri;
    fn bitand(self, other: Tri) -> Tri {
        self.min(other)
    }
}

impl BitOr for Tri {
    type Output = Tri;
    fn bitor(self, other: Tri) -> Tri {
        self.max(other)
    }
}

impl Not for Tri {
    type Output = Tri;
    fn not(self) -> Tri {
        match self {
            Tri::False => Tri::True,
            Tri::Unknown => Tri::Unknown,
            Tri::True => Tri::False,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Tri::{self, False, True, Unknown};

    #[test]
    fn kleene_tables() {
        for (a, b, and, or) in [
            (False, Unknown, False, Unknown),
            (True, Unknown, Unknown, True),
            (Unknown, Unknown, Unknown, Unknown),
            (True, False, False, True),
        ] {
            assert_eq!((a & b, b & a, a | b, b | a), (and, and, or, or));
        }
        assert_eq!((!True, !Unknown, !False), (False, Unknown, True));
    }

    #[test]
    fn witnesses() {
        assert_eq!(Tri::unanimous([true, true]), True);
        assert_eq!(Tri::unanimous([false]), False);
        assert_eq!(Tri::unanimous([true, false]), Unknown);
        assert_eq!(Tri::unanimous([]), Unknown);
        assert_eq!(Tri::any([]), False);
        assert_eq!(Tri::any([False, Unknown]), Unknown);
        assert_eq!(Tri::any([Unknown, True]), True);
    }
}
