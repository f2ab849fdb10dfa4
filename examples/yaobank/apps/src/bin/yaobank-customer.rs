//! `yaobank-customer`: the bank's web page on port 80.

use std::process::ExitCode;

use clap::Parser;
use yaobank::account::AccountId;
use yaobank::http::BaseUrl;
use yaobank::{customer, serve};

/// Yao Bank's customer page: `GET /` shows one account, as told by the summary service.
#[derive(Parser)]
#[command(name = "yaobank-customer", version)]
struct Arguments {
    /// Port to listen on; 0 for any free one.
    #[arg(long, env = "PORT", default_value_t = 80)]
    port: u16,
    /// Where the summary service answers.
    #[arg(long, env = "SUMMARY_URL", default_value = "http://summary")]
    summary: BaseUrl,
    /// The account to show.
    #[arg(long, env = "ACCOUNT", default_value = "519940")]
    account: AccountId,
}

fn main() -> ExitCode {
    let Arguments { port, summary, account } = Arguments::parse();
    serve::run(async {
        Ok(serve::serve("yaobank-customer", port, customer::router(summary, account)).await?)
    })
}
