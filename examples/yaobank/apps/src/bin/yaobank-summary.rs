//! `yaobank-summary`: account summaries on port 80.

use std::process::ExitCode;

use clap::Parser;
use yaobank::http::BaseUrl;
use yaobank::{serve, summary};

/// Yao Bank's summary service: `GET /<account number>` answers with name and balance as JSON.
#[derive(Parser)]
#[command(name = "yaobank-summary", version)]
struct Arguments {
    /// Port to listen on; 0 for any free one.
    #[arg(long, env = "PORT", default_value_t = 80)]
    port: u16,
    /// Where the database, an etcd with its v2 keys API, answers.
    #[arg(long, env = "DATABASE_URL", default_value = "http://database:2379")]
    database: BaseUrl,
}

fn main() -> ExitCode {
    let Arguments { port, database } = Arguments::parse();
    serve::run(async {
        Ok(serve::serve("yaobank-summary", port, summary::router(database)).await?)
    })
}
