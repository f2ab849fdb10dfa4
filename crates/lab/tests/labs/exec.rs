//! `lab exec`: what a command gets of the streams of whoever runs it.

use crate::cluster::give;
use crate::harness::{Place, outsider};
use crate::terminal::Terminal;

/// Says of each stream whether it is a terminal.
const STREAMS: &str = "for fd in 0 1 2; do test -t $fd && echo yes || echo no; done; exit 7";

#[test]
fn input_and_terminal_are_for_whom_they_are_asked_for() {
    let Some(mut place) = Place::new() else { return };
    place.up("x", &outsider("p"), &[]);
    let mut exec = |flags: &[&str], command: &[&str]| {
        place.command("x", &[&["exec"], flags, &["p", "--"], command].concat())
    };
    let nothing = (0, Vec::new(), String::new());
    assert_eq!(give(exec(&[], &["cat"]), b"in"), nothing);
    assert_eq!(give(exec(&["-t"], &["cat"]), b"in"), nothing);
    assert_eq!(give(exec(&["-i"], &["cat"]), b"in"), (0, b"in".to_vec(), String::new()));
    let (status, out, err) = give(exec(&["-ti"], &["cat"]), b"in");
    assert_eq!((status, &*out), (0, &b"in"[..]));
    assert_eq!(err, "note: the input is no terminal, so the command gets none\n");

    for (flags, answer) in [
        (&[][..], "no\r\n"),
        (&["-i"], "no\r\n"),
        (&["-t"], "no\r\n"),
        (&["-ti"], "yes\r\n"),
        (&["--stdin", "--tty"], "yes\r\n"),
    ] {
        let command = exec(flags, &["sh", "-c", STREAMS]);
        let said = Terminal::start(&command, 80, 24).end();
        assert_eq!(said, (7, answer.repeat(3)), "{flags:?}");
    }

    let mut terminal = Terminal::start(&exec(&["-i"], &["head", "-n", "1"]), 80, 24);
    terminal.type_in("word\r");
    assert_eq!(terminal.end(), (0, "word\r\n".repeat(2)), "what is typed, and what comes back");
}
