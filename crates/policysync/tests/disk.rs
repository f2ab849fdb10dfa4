//! The last good state on disk.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, UNIX_EPOCH};

use common::{account, endpoint_id, labels, nets, set_id, settings, start};
use tortie_calc::{State, Update};
use tortie_policy::Compat;
use tortie_policysync::disk::{DiskError, load, save};

const HOUR: Duration = Duration::from_secs(3600);

fn state() -> State {
    let mut state = State::default();
    let more = [
        Update::IpSetIncomplete(set_id("s:1"), true),
        Update::Address("10.0.0.2".parse().unwrap(), vec![account("b")]),
        Update::ServiceAccount(account("b"), labels(&[("x", "y")])),
        settings(true),
    ];
    start().into_iter().chain(more).for_each(|update| state.apply(update).unwrap());
    state
}

#[test]
fn what_was_saved_comes_back_while_it_is_young() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("private");
    let at = UNIX_EPOCH + HOUR * 1000;
    assert!(load(&folder, at, HOUR, Compat::STRICT).unwrap().is_none());
    save(&folder, &state(), at).unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&folder.join("last-good"))), (0o700, 0o600));
    let saved = load(&folder, at + HOUR, HOUR, Compat::STRICT).unwrap().unwrap();
    assert_eq!(saved.at, at);
    assert!(saved.state.in_sync && saved.state.sets[&set_id("s:1")].incomplete);
    assert_eq!(saved.state.sets[&set_id("s:1")].members, nets(1..5).into_iter().collect());
    assert_eq!(saved.state.endpoints[&endpoint_id("a")], state().endpoints[&endpoint_id("a")]);
    assert_eq!(saved.state.accounts, state().accounts);
    assert_eq!(saved.state.settings, state().settings);
    for (now, what) in [(at + HOUR * 2, "too old"), (at - HOUR, "from the future")] {
        assert!(load(&folder, now, HOUR, Compat::STRICT).unwrap().is_none(), "{what}");
    }
}

#[test]
fn damage_is_noticed() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("private");
    save(&folder, &state(), UNIX_EPOCH + HOUR).unwrap();
    let path = folder.join("last-good");
    let good = fs::read(&path).unwrap();
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let older = String::from_utf8_lossy(&good).replacen("3600", "3601", 1);
    let short = good[..good.len() - 1].to_vec();
    let cases = [
        flipped,
        short,
        b"".to_vec(),
        b"tortie-policy 1".to_vec(),
        b"x\n".to_vec(),
        older.into_bytes(),
    ];
    for content in cases {
        fs::write(&path, &content).unwrap();
        let error = load(&folder, UNIX_EPOCH + HOUR, HOUR, Compat::STRICT).unwrap_err();
        assert!(matches!(error, DiskError::Damaged { .. }), "{error}");
    }
}

#[test]
fn folders_that_others_can_enter_are_not_trusted() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("open");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o750)).unwrap();
    let error = save(&folder, &state(), UNIX_EPOCH).unwrap_err().to_string();
    assert!(error.contains("open to others"), "{error}");
    let load = load(&folder, UNIX_EPOCH, HOUR, Compat::STRICT);
    assert!(matches!(load, Err(DiskError::NotPrivate { .. })));
    let link = parent.path().join("link");
    std::os::unix::fs::symlink(parent.path(), &link).unwrap();
    assert!(save(&link, &state(), UNIX_EPOCH).is_err());
}
