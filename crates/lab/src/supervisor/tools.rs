//! Running the machine's programs for namespaces and packet rules.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::Error;
use crate::error::At;

/// Runs a program with text as its input; what it says on failure becomes the error.
pub(crate) async fn feed(words: &[&str], input: &str) -> Result<(), Error> {
    let (program, arguments) = words.split_first().unwrap_or((&"true", &[]));
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .at("run", program)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends before it has read everything says why itself.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let output = child.wait_with_output().await.at("run", program)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().take(3).collect::<Vec<_>>().join("; ");
    Err(Error::program(words.join(" "), said))
}
