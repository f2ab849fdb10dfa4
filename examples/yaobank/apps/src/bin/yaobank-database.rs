//! `yaobank-database`: an etcd filled with Yao Bank's accounts.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use yaobank::{database, serve};

/// Yao Bank's database: starts etcd with its v2 keys API, loads the five accounts, and ends with
/// etcd. All arguments are passed on to etcd.
#[derive(Parser)]
#[command(name = "yaobank-database", disable_help_flag = true, after_help = ENVIRONMENT)]
struct Arguments {
    /// Arguments for etcd.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    etcd_arguments: Vec<OsString>,
}

/// The environment variables are read by hand: flags would be confused with etcd's.
const ENVIRONMENT: &str = "Environment:
  ETCD              the etcd program [default: etcd, found in PATH]
  PORT              the port clients use [default: 2379]
  YAOBANK_DATA_DIR  where the data lives [default: a temporary directory]";

fn main() -> ExitCode {
    let Arguments { etcd_arguments } = Arguments::parse();
    serve::run(async { database::run(&options(etcd_arguments)?).await })
}

fn options(arguments: Vec<OsString>) -> anyhow::Result<database::Options> {
    let port = match std::env::var("PORT") {
        Ok(text) => text.parse().map_err(|_| anyhow::anyhow!("PORT `{text}` is not a port"))?,
        Err(_) => 2379,
    };
    Ok(database::Options {
        etcd: std::env::var_os("ETCD").unwrap_or_else(|| "etcd".into()),
        data_dir: std::env::var_os("YAOBANK_DATA_DIR").map(PathBuf::from),
        port,
        arguments,
    })
}
