//! What applications do with their connections survives the two sidecars between them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code")]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use support::authorizer::FakeAuthorizer;
use support::bank::Bank;
use support::client::{self, App, BANNER};
use support::net::until;
use tortie_mesh::envoy::MutualTls;

const MODES: [MutualTls; 2] = [MutualTls::Strict, MutualTls::Permissive];

/// A connection that goes through the mesh, and, where plaintext is served, one from outside it.
fn connections(bank: &Bank, mtls: MutualTls, port: u16) -> Vec<TcpStream> {
    let to: SocketAddr = bank.database.pod.at(port)[0];
    let mut streams = vec![bank.customer.pod.namespace.connect(to).unwrap()];
    if mtls == MutualTls::Permissive {
        streams.push(bank.attack.namespace.connect(to).unwrap());
    }
    streams
}

/// Runs a test in both modes.
fn in_both_modes(test: impl Fn(&Bank, &FakeAuthorizer, MutualTls)) {
    for mtls in MODES {
        let Some(bank) = Bank::new(mtls) else { return };
        let authorizer = bank.authorizer();
        test(&bank, &authorizer, mtls);
    }
}

/// Serves one connection after another with a function of its request's head.
fn by_hand(listener: TcpListener, serve: fn(&str, &mut TcpStream) -> std::io::Result<()>) {
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = String::new();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap() > 0 {}
            let _ = serve(&head, &mut stream);
        }
    });
}

#[test]
fn old_clients_are_served() {
    in_both_modes(|bank, _, mtls| {
        let _app = App::http(bank.database.pod.namespace.listen(80));
        for mut stream in connections(bank, mtls, 80) {
            let request = "HEAD / HTTP/1.0\r\nhost: database\r\nx: a long enough request\r\n\r\n";
            let answer = client::exchange(&mut stream, request);
            assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
        }
    });
}

#[test]
fn websockets_are_judged_once_and_then_pass() {
    in_both_modes(|bank, authorizer, mtls| {
        by_hand(bank.database.pod.namespace.listen(80), |_, stream| {
            let switching = "HTTP/1.1 101 Switching Protocols\r\n\
                             upgrade: websocket\r\nconnection: upgrade\r\n\r\n";
            stream.write_all(switching.as_bytes())?;
            let mut frame = [0; 5];
            stream.read_exact(&mut frame)?;
            stream.write_all(&frame)
        });
        for mut stream in connections(bank, mtls, 80) {
            let headers = [("upgrade", "websocket"), ("connection", "upgrade")];
            let reply = client::request(&mut stream, "GET", "/chat", &headers).unwrap();
            assert_eq!(reply.status, 101);
            stream.write_all(b"frame").unwrap();
            client::expect(&mut stream, "frame");
            assert_eq!(authorizer.take().len(), 1);
        }
        authorizer.allow(false);
        for mut stream in connections(bank, mtls, 80) {
            let headers = [("upgrade", "websocket"), ("connection", "upgrade")];
            let reply = client::request(&mut stream, "GET", "/chat", &headers).unwrap();
            assert_eq!(reply.status, 403);
        }
    });
}

#[test]
fn a_tunnel_is_no_request() {
    in_both_modes(|bank, _, mtls| {
        let _app = App::http(bank.database.pod.namespace.listen(80));
        for mut stream in connections(bank, mtls, 80) {
            let reply = client::request(&mut stream, "CONNECT", "database:25", &[]).unwrap();
            assert!((400..500).contains(&reply.status), "{reply:?}");
        }
    });
}

#[test]
fn a_reply_arrives_piece_by_piece() {
    in_both_modes(|bank, _, mtls| {
        by_hand(bank.database.pod.namespace.listen(80), |_, stream| {
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n";
            stream.write_all(head.as_bytes())?;
            // The rest comes when the client has what came before.
            stream.read_exact(&mut [0; 6])?;
            stream.write_all(b"4\r\nlast\r\n0\r\n\r\n")
        });
        for mut stream in connections(bank, mtls, 80) {
            stream
                .write_all(
                    b"POST /wait HTTP/1.1\r\nhost: database\r\ntransfer-encoding: chunked\r\n\r\n",
                )
                .unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            until_line(&mut reader, "first");
            stream.write_all(b"1\r\nx\r\n").unwrap();
            until_line(&mut reader, "last");
        }
    });
}

fn until_line(reader: &mut impl BufRead, wanted: &str) {
    let mut line = String::new();
    while line.trim_end() != wanted {
        line.clear();
        assert!(reader.read_line(&mut line).unwrap() > 0, "no {wanted}");
    }
}

#[test]
fn bytes_of_any_number_pass_unchanged() {
    in_both_modes(|bank, _, mtls| {
        let _echo = App::tcp(bank.database.pod.namespace.listen(25));
        // Far more than is held while the authorizer is asked.
        let sent: Vec<u8> = (0_u32..1 << 20).flat_map(u32::to_le_bytes).collect();
        for mut stream in connections(bank, mtls, 25) {
            let mut writer = stream.try_clone().unwrap();
            let copy = sent.clone();
            let writing = thread::spawn(move || {
                writer.write_all(&copy).unwrap();
                writer.shutdown(Shutdown::Write).unwrap();
            });
            let mut received = Vec::new();
            stream.read_to_end(&mut received).unwrap();
            writing.join().unwrap();
            assert!(received.strip_prefix(BANNER.as_bytes()) == Some(&sent), "{}", received.len());
        }
    });
}

#[test]
fn an_authorizer_that_comes_late_or_again_is_found() {
    let Some(bank) = Bank::new(MutualTls::Strict) else { return };
    let _app = App::http(bank.database.pod.namespace.listen(80));
    let mut stream = bank.customer.pod.namespace.connect(bank.database.pod.at(80)[0]).unwrap();
    for _ in 0..2 {
        assert_eq!(client::get(&mut stream, "/").unwrap().status, 403);
        let authorizer = bank.authorizer();
        until("an allowed request", || {
            (client::get(&mut stream, "/").unwrap().status == 200).then_some(())
        });
        drop(authorizer);
        std::fs::remove_file(bank.database.dir.path().join("authz.sock")).unwrap();
        until("a refused request", || {
            (client::get(&mut stream, "/").unwrap().status == 403).then_some(())
        });
    }
}
