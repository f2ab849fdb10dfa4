//! The bank's two pages: the account, and the apology.

use std::fmt::Write as _;

use crate::account::{Account, AccountId};

/// The page that shows an account.
pub fn account(id: &AccountId, account: &Account) -> String {
    let body = format!(
        "<dl>\n\
         <dt>Account holder</dt><dd id=\"name\">{}</dd>\n\
         <dt>Account number</dt><dd id=\"account\">{id}</dd>\n\
         <dt>Balance</dt><dd id=\"balance\">${}</dd>\n\
         </dl>",
        escape(&account.name),
        escape(&account.balance),
    );
    layout("Account summary", &body)
}

/// The page that says why there is no account to show.
pub fn unavailable(reason: &str) -> String {
    let body = format!(
        "<p>Your account cannot be shown at the moment.</p>\n\
         <p id=\"reason\">The account summary service failed: {}.</p>",
        escape(reason),
    );
    layout("Service unavailable", &body)
}

fn layout(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n\
         <html lang=\"en\">\n\
         <head>\n\
         <meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>YAO Bank: {title}</title>\n\
         <style>{STYLE}</style>\n\
         </head>\n\
         <body>\n\
         <main>\n\
         <h1>YAO Bank</h1>\n\
         <p class=\"tagline\">Yet another online bank</p>\n\
         <h2>{title}</h2>\n\
         {body}\n\
         </main>\n\
         </body>\n\
         </html>\n"
    )
}

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{margin:0;min-height:100vh;display:grid;place-items:center;font:16px/1.5 system-ui,sans-serif;\
background:#eef1f4;color:#1c2733}\
main{background:#fff;padding:2rem 2.5rem;border-top:4px solid #1f6f5c;border-radius:4px;\
min-width:min(20rem,80vw);box-shadow:0 1px 4px #0003}\
h1{margin:0;color:#1f6f5c}h2{font-size:1.1rem;margin:1.5rem 0 .5rem}\
.tagline{margin:0;color:#5b6875}\
dl{margin:0}dt{color:#5b6875;font-size:.85rem}dd{margin:0 0 .75rem;font-size:1.1rem}\
#balance{font-size:1.8rem;font-variant-numeric:tabular-nums}\
@media(prefers-color-scheme:dark){body{background:#12171c;color:#e4e9ee}main{background:#1b232b}\
h1{color:#58c3a5}dt,.tagline{color:#9aa7b4}}";

/// Makes text safe between tags and within quoted attributes.
fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => drop(write!(out, "&#{};", '\u{fffd}' as u32)),
            c => out.push(c),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_holder_number_and_balance() {
        let shown = Account { name: "Sally Yates".into(), balance: "3597.89".into() };
        let page = account(&"036273".parse().unwrap(), &shown);
        for part in [">Sally Yates<", ">036273<", ">$3597.89<"] {
            assert!(page.contains(part), "{part} not in {page}");
        }
    }

    #[test]
    fn stored_text_cannot_become_markup() {
        let stored = Account { name: "<script>\"&'".into(), balance: "1\u{0}".into() };
        let page = account(&"1".parse().unwrap(), &stored);
        assert!(page.contains(">&lt;script&gt;&quot;&amp;&#39;<"), "{page}");
        assert!(page.contains(">$1&#65533;<"), "{page}");
        assert!(!unavailable("<b>").contains("<b>"));
    }
}
