//! A headless Chromium that does what a test says: the DevTools protocol over a pipe.

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

const NAMES: [&str; 5] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
];
/// No answer for so long is a failure.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Browser {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    session: String,
    last: u64,
    /// Requests of the page that is being opened.
    requests: Vec<String>,
    /// The page, once it is open.
    page: String,
    /// What the console said since the browser was started, and requests of a page once it was open.
    pub complaints: Vec<String>,
    folder: TempDir,
}

impl Browser {
    /// A browser, or a word that there is none here.
    pub fn start() -> Option<Self> {
        let Some(program) = find() else {
            // Not eprintln, which a test that passes is not heard with.
            let word =
                "skipped: no browser here; install chromium, or name one with RNNX_BROWSER\n";
            io::stderr().write_all(word.as_bytes()).unwrap();
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        // The pipe is on the descriptors 3 and 4 of the browser.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null"])
            .arg(&program)
            .args(["--headless=new", "--no-sandbox", "--disable-gpu"])
            .args(["--no-first-run", "--disable-background-networking"])
            .arg("--remote-debugging-pipe")
            .arg(format!(
                "--user-data-dir={}",
                folder.path().join("profile").display()
            ))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (to, out) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (send, from) = channel();
        thread::spawn(move || {
            for message in BufReader::new(out).split(0) {
                let Ok(message) = message else { return };
                if send
                    .send(serde_json::from_slice(&message).unwrap())
                    .is_err()
                {
                    return;
                }
            }
        });
        let mut browser = Browser {
            child,
            to,
            from,
            session: String::new(),
            last: 0,
            requests: Vec::new(),
            page: String::new(),
            complaints: Vec::new(),
            folder,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let target = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", target);
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Network", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// Sends a command and waits for its result.
    #[track_caller]
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        let answer = self.try_call(method, parameters);
        answer.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// Sends a command and waits for its result, or for what the browser has against it.
    pub fn try_call(&mut self, method: &str, parameters: Value) -> Result<Value, Value> {
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": parameters});
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).unwrap();
        loop {
            let answer = self.from.recv_timeout(PATIENCE);
            let mut answer = answer.unwrap_or_else(|_| panic!("{method}: no answer"));
            if answer["id"] != self.last {
                self.note(&answer);
                continue;
            }
            return match answer["error"].take() {
                Value::Null => Ok(answer["result"].take()),
                error => Err(error),
            };
        }
    }

    fn note(&mut self, event: &Value) {
        let parameters = &event["params"];
        match event["method"].as_str().unwrap_or_default() {
            "Network.requestWillBeSent" => {
                let url = parameters["request"]["url"].as_str().unwrap();
                self.requests.push(url.to_owned());
                // A page may load itself again.
                if !self.page.is_empty() && url != self.page {
                    self.complaints.push(format!("a request of {url}"));
                }
            }
            "Runtime.exceptionThrown" | "Runtime.consoleAPICalled" | "Log.entryAdded" => {
                self.complaints.push(parameters.to_string());
            }
            _ => {}
        }
    }

    /// Where the page is.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("page.html")
    }

    /// Opens a page from a file, and waits until `is_ready` is true.
    pub fn open(&mut self, page: &str, is_ready: &str) {
        std::fs::write(self.path(), page).unwrap();
        let url = format!("file://{}", self.path().display());
        self.requests.clear();
        self.page.clear();
        self.call("Page.navigate", json!({"url": url}));
        let begun = Instant::now();
        while self.value(is_ready) != true {
            assert!(begun.elapsed() < PATIENCE, "the page is not ready");
            thread::sleep(Duration::from_millis(20));
        }
        self.check_requests();
        self.page = url;
    }

    /// The page itself, perhaps several times, is all that was ever asked for.
    #[track_caller]
    pub fn check_requests(&self) {
        let url = format!("file://{}", self.path().display());
        assert!(!self.requests.is_empty() && self.requests.iter().all(|r| *r == url));
    }

    /// What an expression gives; a promise's value once it is there.
    #[track_caller]
    pub fn value(&mut self, expression: &str) -> Value {
        let parameters =
            json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let mut done = self.call("Runtime.evaluate", parameters);
        let thrown = &done["exceptionDetails"];
        assert!(thrown.is_null(), "{expression}: {thrown}");
        done["result"]["value"].take()
    }

    /// The numbers of an array.
    #[track_caller]
    pub fn numbers(&mut self, expression: &str) -> Vec<f64> {
        let list = self.value(&format!("Array.from({expression})"));
        let numbers = list.as_array().unwrap().iter();
        numbers.map(|n| n.as_f64().unwrap()).collect()
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub fn wait(&mut self, expression: &str) {
        let condition = format!(
            "new Promise((done, fail) => {{ const end = Date.now() + 20000; (function look() {{ \
             if ({expression}) done(true); else if (Date.now() > end) fail(Error('in vain')); \
             else setTimeout(look, 20); }})(); }})"
        );
        self.value(&condition);
    }

    /// A key on the keyboard, by its name.
    pub fn key(&mut self, key: &str) {
        for kind in ["keyDown", "keyUp"] {
            let code = match key {
                "ArrowLeft" => 37,
                "ArrowRight" => 39,
                "ArrowDown" => 40,
                "PageDown" => 34,
                "End" => 35,
                "Home" => 36,
                "Escape" => 27,
                "Tab" => 9,
                "Enter" => 13,
                _ => panic!("{key}"),
            };
            let event =
                json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code});
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// The middle of the first element that matches.
    #[track_caller]
    pub fn middle(&mut self, selector: &str) -> [f64; 2] {
        let selector = json!(selector);
        let place = self.numbers(&format!(
            "(() => {{ const e = document.querySelector({selector}); \
             e.scrollIntoView({{ block: 'center' }}); const b = e.getBoundingClientRect(); \
             return [b.x + b.width / 2, b.y + b.height / 2]; }})()"
        ));
        [place[0], place[1]]
    }

    /// The mouse at the middle of an element, pressed and let go where `click` says so.
    #[track_caller]
    pub fn mouse(&mut self, selector: &str, click: bool) {
        let [x, y] = self.middle(selector);
        let mut kinds = vec!["mouseMoved"];
        if click {
            kinds.extend(["mousePressed", "mouseReleased"]);
        }
        for kind in kinds {
            let button = if kind == "mouseMoved" { "none" } else { "left" };
            let event = json!({"type": kind, "x": x, "y": y, "button": button, "clickCount": 1});
            self.call("Input.dispatchMouseEvent", event);
        }
    }

    /// A finger on the middle of an element.
    #[track_caller]
    pub fn tap(&mut self, selector: &str) {
        let [x, y] = self.middle(selector);
        let touch = json!({"type": "touchStart", "touchPoints": [{"x": x, "y": y}]});
        self.call("Input.dispatchTouchEvent", touch);
        let none = json!({"type": "touchEnd", "touchPoints": []});
        self.call("Input.dispatchTouchEvent", none);
    }

    /// From now on a phone of this width.
    pub fn be_a_phone(&mut self, width: u32) {
        let size = json!({"width": width, "height": 667, "deviceScaleFactor": 2, "mobile": true});
        self.call("Emulation.setDeviceMetricsOverride", size);
        self.call(
            "Emulation.setTouchEmulationEnabled",
            json!({"enabled": true}),
        );
    }

    /// Light or dark.
    pub fn scheme(&mut self, scheme: &str) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", features);
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn find() -> Option<PathBuf> {
    if let Some(named) = env::var_os("RNNX_BROWSER") {
        return Some(named.into());
    }
    let folders: Vec<PathBuf> = env::split_paths(&env::var_os("PATH")?).collect();
    let places = NAMES
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    places
        .into_iter()
        .find(|path: &PathBuf| Path::is_file(path))
}
