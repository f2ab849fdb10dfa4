//! Accounts: their numbers, what is known of them, and those the database starts with.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest account number accepted, in digits.
const MAX_DIGITS: usize = 20;

/// An account number: one to twenty ASCII digits, leading zeros significant.
///
/// It becomes part of a URL path, so nothing but digits gets through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountId(String);

/// Why a text is not an account number.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("account number must be 1 to {MAX_DIGITS} digits")]
pub struct InvalidAccountId;

impl FromStr for AccountId {
    type Err = InvalidAccountId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if digits && text.len() <= MAX_DIGITS {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidAccountId)
        }
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What `summary` answers: the holder and the balance.
///
/// The balance is the text stored in the database: money is never put through a float, and a
/// tampered value is shown as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The account holder's name.
    pub name: String,
    /// The balance in dollars, as decimal text.
    pub balance: String,
}

/// One of the accounts that a new database holds.
#[derive(Debug, Clone, Copy)]
pub struct Seed {
    /// Account number.
    pub id: &'static str,
    /// Account holder.
    pub name: &'static str,
    /// Balance in dollars.
    pub balance: &'static str,
}

/// The five accounts of the tutorial.
pub const SEEDS: [Seed; 5] = [
    Seed { id: "519940", name: "Spike Curtis", balance: "2389.45" },
    Seed { id: "407221", name: "Simon Gideon", balance: "95780.11" },
    Seed { id: "387747", name: "Harry Norman Kynes", balance: "39082.11" },
    Seed { id: "436839", name: "George Ball", balance: "543.34" },
    Seed { id: "036273", name: "Sally Yates", balance: "3597.89" },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_numbers_are_digits_only() {
        let long = "1".repeat(MAX_DIGITS);
        for good in ["519940", "036273", "0", long.as_str()] {
            assert_eq!(good.parse::<AccountId>().unwrap().to_string(), good);
        }
        let too_long = "1".repeat(MAX_DIGITS + 1);
        for bad in ["", " 1", "1/2", "..", "1?x=1", "１２", "-1", "0x1", too_long.as_str()] {
            assert_eq!(bad.parse::<AccountId>(), Err(InvalidAccountId), "{bad:?}");
        }
    }

    #[test]
    fn seeds_have_valid_numbers() {
        assert!(SEEDS.iter().all(|seed| seed.id.parse::<AccountId>().is_ok()));
    }
}
