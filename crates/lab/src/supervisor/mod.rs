//! The supervisor: builds the lab from its plan, keeps it running and says how it is.
//!
//! It lives in the node's namespaces as the only child of pid 1, and starts everything else.

use crate::Error;
use crate::control::{self, Message};
use crate::error::{At, Reported};
use crate::state::LabDir;

/// Runs until the lab ends. Standard output is the control channel.
pub(crate) fn run(dir: LabDir) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.at("start", "supervisor")?.block_on(supervise(dir))
}

async fn supervise(dir: LabDir) -> Result<(), Error> {
    let (mut report, lifeline) = control::from_stdout()?;
    let work = async {
        report.send(&Message::Step("node".to_owned())).await;
        match bring_up(&dir).await {
            Ok(()) => report.send(&Message::Ready).await,
            Err(error) => report.send(&Message::Failed(Reported::from(&error))).await,
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = work => {}
        () = lifeline.broken() => dir.remove()?,
    }
    Ok(())
}

async fn bring_up(_dir: &LabDir) -> Result<(), Error> {
    Ok(())
}
