//! A real Chromium, driven by its DevTools protocol over pipes.

#![allow(unreachable_pub, reason = "as in other modules of tests")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Ten times longer than a browser should take on a slow machine.
const DEADLINE: Duration = Duration::from_secs(180);

/// The protocol is spoken on descriptors 3 and 4; what the browser says besides goes to standard error.
const SCRIPT: &str = "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >&2";

const FLAGS: [&str; 10] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--remote-debugging-pipe",
];

/// The browser: `$CHROMIUM`, or the one on the PATH.
fn program() -> String {
    std::env::var("CHROMIUM").unwrap_or_else(|_| "chromium".to_owned())
}

/// Whether there is no browser and that is all right: never in CI.
pub fn missing() -> bool {
    let asked = Command::new(program()).arg("--version").stdout(Stdio::null()).status();
    if asked.is_ok_and(|status| status.success()) {
        return false;
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "there is no chromium");
    eprintln!("skipped: there is no chromium; set CHROMIUM or run scripts/ensure.sh chromium");
    true
}

/// A page in a browser of its own; it ends with this.
pub struct Page {
    browser: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    asked: u64,
    session: Option<String>,
    complaints: Vec<String>,
}

impl Page {
    /// An empty page, by a browser that keeps its files in a folder.
    pub fn open(folder: &Path) -> Page {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT]).arg(program()).args(FLAGS);
        command.arg(format!("--user-data-dir={}", folder.display()));
        command.env("HOME", folder).env_remove("DBUS_SESSION_BUS_ADDRESS");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut browser = command.spawn().unwrap();
        let to = browser.stdin.take().unwrap();
        let said = BufReader::new(browser.stdout.take().unwrap()).split(0);
        let (sender, from) = mpsc::channel();
        std::thread::spawn(move || {
            let messages = said.map_while(Result::ok);
            let messages = messages.map(|bytes| serde_json::from_slice(&bytes).unwrap());
            messages.map_while(|message| sender.send(message).ok()).for_each(drop);
        });
        let mut page = Page { browser, to, from, asked: 0, session: None, complaints: Vec::new() };
        let target = page.ask("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = page.ask("Target.attachToTarget", attach);
        page.session = Some(session["sessionId"].as_str().unwrap().to_owned());
        for part in ["Page", "Runtime", "Log"] {
            page.ask(&format!("{part}.enable"), json!({}));
        }
        page
    }

    /// Asks the browser to do something: what came of it, or the error.
    fn try_ask(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        self.asked += 1;
        let mut message = json!({"id": self.asked, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        write!(self.to, "{message}\0").unwrap();
        self.to.flush().unwrap();
        loop {
            let mut said = self.from.recv_timeout(DEADLINE).expect("the browser answers");
            if said["id"] == self.asked {
                return if said["error"].is_null() { Ok(said["result"].take()) } else { Err(said) };
            }
            let wrong = match said["method"].as_str() {
                Some("Runtime.exceptionThrown") => true,
                Some("Log.entryAdded") => said["params"]["entry"]["level"] == "error",
                _ => false,
            };
            if wrong {
                self.complaints.push(said["params"].to_string());
            }
        }
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.try_ask(method, params).unwrap()
    }

    /// Leads the page to an address, as somebody who types it.
    pub fn go(&mut self, url: &str) {
        self.ask("Page.navigate", json!({"url": url, "transitionType": "typed"}));
    }

    /// Presses a key.
    pub fn press(&mut self, key: &str) {
        for kind in ["keyDown", "keyUp"] {
            self.ask("Input.dispatchKeyEvent", json!({"type": kind, "key": key}));
        }
    }

    /// The text that an expression gives, as soon as it is as wanted.
    pub fn until(&mut self, expression: &str, is_wanted: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            // In between, the page may be another one.
            let asked = self.try_ask("Runtime.evaluate", json!({"expression": expression}));
            let value = asked.map(|mut answer| answer["result"]["value"].take());
            let text = value.as_ref().ok().and_then(Value::as_str).map(str::to_owned);
            if let Some(text) = text.filter(|text| is_wanted(text)) {
                return text;
            }
            assert!(begun.elapsed() < DEADLINE, "{expression}: {value:?} {:?}", self.complaints);
            #[expect(clippy::disallowed_methods, reason = "nothing tells when a page has changed")]
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What the browser complained of.
    pub fn complaints(&mut self) -> Vec<String> {
        std::mem::take(&mut self.complaints)
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let _ = self.browser.kill();
        let _ = self.browser.wait();
    }
}
