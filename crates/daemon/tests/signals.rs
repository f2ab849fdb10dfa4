//! Signals reach the program that catches them. Alone in its process, because a signal is for all.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::time::Duration;

use rustix::process::{Signal as Raw, getpid, kill_process};
use tortie_daemon::shutdown::{Signal, Signals};

#[test]
fn signals_are_told_apart_and_not_lost() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut signals = Signals::catch().unwrap();
        for (raw, expected) in [(Raw::TERM, Signal::Terminate), (Raw::INT, Signal::Interrupt)] {
            // Sent before anybody waits.
            kill_process(getpid(), raw).unwrap();
            let got = tokio::time::timeout(Duration::from_secs(30), signals.next()).await;
            assert_eq!(got.unwrap(), expected);
        }
    });
    assert_eq!(Signal::Terminate.to_string(), "SIGTERM");
    assert_eq!(Signal::Interrupt.to_string(), "SIGINT");
}
