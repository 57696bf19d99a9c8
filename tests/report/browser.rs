//! The page in a headless Chromium, as somebody sees it who watches a run.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use rnnx::files::{EpochEvent, StepEvent};
use rnnx::programs::render;
use rnnx::report::RunData;
use serde_json::{Value, json};

use super::chromium::Browser;

const STEPS: u64 = 200;
const READY: &str = "document.readyState === 'complete' && !!document.querySelector('.controls')";
const SPOKEN: &str = "document.querySelector('.spoken').textContent";
/// The outline of the steps' line of the first chart.
const LINE: &str = "document.querySelector('figure > svg path.line.thin').getAttribute('d')";

/// Cross-entropy of a step: it falls, and is noisy.
fn ce(step: u64) -> f64 {
    4.0 / (1.0 + step as f64 * 0.05) + 0.2 * ((step * 7919 % 13) as f64 / 13.0)
}

fn run(epochs: u64) -> RunData {
    let step = |step| StepEvent {
        step,
        epoch: 1 + (step - 1) / 50,
        loss: ce(step) + 0.01,
        ce: ce(step),
        accuracy: 1.0 / (1.0 + ce(step)),
        grad_norm: 0.7 / step as f64,
        lr: 2e-3,
        loss_scale: None,
        tokens_per_s: 45_000.0 + step as f64,
    };
    let epoch = |epoch| EpochEvent {
        epoch,
        step: Some(epoch * 50),
        train_loss: ce(epoch * 50) + 0.1,
        train_accuracy: 0.55,
        valid_loss: Some(ce(epoch * 50) + 0.05),
        valid_accuracy: Some(0.5421),
        seconds: 61.0,
    };
    let sample = |n| (format!("epoch-{n}"), format!("def f{n}(x):\n").repeat(40));
    RunData {
        name: "a run".into(),
        config: vec![("hidden-size".into(), "256".into())],
        steps: (1..=STEPS).map(step).collect(),
        epochs: (1..=epochs).map(epoch).collect(),
        samples: (1..=epochs).map(sample).collect(),
        ..RunData::default()
    }
}

fn page(epochs: u64) -> String {
    render(&[run(epochs)])
}

/// The page of a run under way.
fn live_page(epochs: u64) -> String {
    let run = RunData {
        live: true,
        ..run(epochs)
    };
    render(&[run])
}

/// Lets the page look for a newer one every tenth of a second from now on.
const HASTE: &str =
    "Object.assign(live.dataset, { every: 0.1, drawn: Date.now() / 1000 }); follow()";

impl Browser {
    #[track_caller]
    fn text(&mut self, expression: &str) -> String {
        self.value(expression).as_str().unwrap().to_owned()
    }

    /// Goes on with Tab to the first chart.
    fn focus_chart(&mut self) {
        for _ in 0..20 {
            self.key("Tab");
            if self.value("document.activeElement.matches('figure > svg')") == true {
                return;
            }
        }
        panic!("no chart takes the focus");
    }

    /// Waits until an expression is true of a page that may be read again meanwhile.
    #[track_caller]
    fn until(&mut self, expression: &str) {
        let began = Instant::now();
        let parameters = json!({"expression": expression, "returnByValue": true});
        loop {
            let answer = self.try_call("Runtime.evaluate", parameters.clone());
            if answer.is_ok_and(|answer| answer["result"]["value"] == true) {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "{expression}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn it_fits_a_desk_and_a_phone_in_light_and_dark() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let mut papers = Vec::new();
    for phone in [false, true] {
        if phone {
            browser.be_a_phone(375);
        }
        for scheme in ["light", "dark"] {
            browser.scheme(scheme);
            browser.open(&page(4), READY);
            papers.push(browser.text("getComputedStyle(document.body).backgroundColor"));
            let over = "document.documentElement.scrollWidth - innerWidth";
            assert!(browser.value(over).as_f64().unwrap() <= 0.0);
            // Each chart is drawn as wide as it is shown, so its text keeps its size.
            let charts = browser.value(
                "Array.from(document.querySelectorAll('figure > svg'), (svg) => { \
                 const box = svg.getBoundingClientRect(); const lines = svg.querySelectorAll('.line'); \
                 return [box.left, box.right, box.width, svg.viewBox.baseVal.width, lines.length]; })",
            );
            let charts = charts.as_array().unwrap();
            assert_eq!(charts.len(), 5);
            for chart in charts {
                let [left, right, width, drawn, lines] =
                    [0, 1, 2, 3, 4].map(|i| chart[i].as_f64().unwrap());
                let screen = if phone { 375.0 } else { 10_000.0 };
                assert!(left >= 0.0 && right <= screen && lines > 0.0, "{chart}");
                assert!(width > 250.0 && (width - drawn).abs() < 1.0, "{chart}");
            }
        }
    }
    assert_eq!(papers[..2], papers[2..]);
    assert_ne!(papers[0], papers[1]);
    assert_eq!(browser.complaints, Vec::<String>::new());
}

#[test]
fn values_are_read_with_the_keyboard() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    browser.open(&page(3), READY);
    browser.focus_chart();
    let steps = |step: u64| format!("step {step}; training step: {:.4}", ce(step));
    // A line without a value there says which is the nearest.
    let epoch = |loss: f64| format!("validation: {loss:.4} (step 150)");
    for (key, step) in [
        ("End", STEPS),
        ("ArrowLeft", STEPS - 1),
        ("PageDown", STEPS - 21),
        ("Home", 1),
        ("ArrowRight", 2),
    ] {
        browser.key(key);
        let spoken = browser.text(SPOKEN);
        assert!(spoken.starts_with(&steps(step)), "{key}: {spoken}");
        if step > 150 {
            assert!(spoken.ends_with(&epoch(ce(150) + 0.05)), "{spoken}");
        }
        let shown = browser.text("document.querySelector('.tip:not([hidden])').innerText");
        assert!(shown.contains(&format!("{:.4}", ce(step))), "{shown}");
    }
    let live = "document.querySelector('.spoken').getAttribute('role')";
    assert_eq!(browser.value(live), "status");
    browser.key("Escape");
    assert_eq!(
        browser.value("document.querySelectorAll('.tip:not([hidden]), .cursor').length"),
        0
    );
    // The pointer reads the same.
    browser.mouse("figure > svg", false);
    let shown = browser.text("document.querySelector('.tip:not([hidden])').innerText");
    assert!(shown.contains("training step: "), "{shown}");
    assert_eq!(browser.complaints, Vec::<String>::new());
}

#[test]
fn scale_and_smoothing_change_the_curves() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    browser.open(&page(3), READY);
    let linear = browser.text(LINE);
    let [a, b, c] = [1, 100, 200];
    assert!((ratio(&linear, [a, b, c]) - share([a, b, c], ce)).abs() < 1e-2);
    browser.mouse("[name=log]", true);
    let log = browser.text(LINE);
    let is_log = share([a, b, c], |step| ce(step).ln());
    assert!(
        (ratio(&log, [a, b, c]) - is_log).abs() < 1e-2,
        "{linear} {log}"
    );
    browser.mouse("[name=log]", true);
    assert_eq!(browser.text(LINE), linear);

    // A third of the slider's hundred places.
    browser.value("document.querySelector('[name=weight]').focus()");
    for _ in 0..33 {
        browser.key("ArrowRight");
    }
    assert_eq!(
        browser.value("document.querySelector('.controls output').value"),
        "0.33"
    );
    assert_eq!(
        browser
            .value("document.querySelectorAll('figure > svg')[0].querySelectorAll('.line').length"),
        4
    );
    browser.focus_chart();
    browser.key("End");
    let (mut sum, mut all) = (0.0, 0.0);
    for step in 1..=STEPS {
        (sum, all) = (0.33 * sum + 0.67 * ce(step), 0.33 * all + 0.67);
    }
    let spoken = browser.text(SPOKEN);
    let smoothed = format!("training step, smoothed: {:.4};", sum / all);
    assert!(spoken.contains(&smoothed), "{spoken}: {smoothed}");
    // A reload by hand keeps it.
    browser.call("Page.reload", json!({}));
    browser.until("document.querySelector('.controls output')?.value === '0.33'");
    assert_eq!(browser.complaints, Vec::<String>::new());
}

/// (y(a) - y(b)) / (y(a) - y(c)) of a line that has a point at each step from 1 on.
fn ratio(line: &str, steps: [u64; 3]) -> f64 {
    let ys: Vec<f64> = line[1..]
        .split('L')
        .map(|point| point.split_once(' ').unwrap().1.parse().unwrap())
        .collect();
    assert_eq!(ys.len() as u64, STEPS);
    share(steps, |step| ys[step as usize - 1])
}

fn share([a, b, c]: [u64; 3], y: impl Fn(u64) -> f64) -> f64 {
    (y(a) - y(b)) / (y(a) - y(c))
}

#[test]
fn a_page_follows_its_run_to_the_end_and_keeps_what_one_has_set() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    browser.open(&live_page(2), READY);
    let live = browser.text("document.querySelector('.live').textContent");
    assert!(live.contains("Drawn at "), "{live}");
    browser.mouse("[name=log]", true);
    browser.value(
        "(() => { for (const d of document.querySelectorAll('details')) d.open = true; scrollTo(0, 321); })()",
    );
    // Nothing changes under the eyes of who reads a value.
    browser.focus_chart();
    browser.value("scrollTo(0, 321)");
    browser.key("End");
    fs::write(browser.path(), live_page(3)).unwrap();
    browser.value("window.old = true");
    browser.value(HASTE);
    thread::sleep(Duration::from_millis(400));
    assert_eq!(browser.value("window.old"), true);
    browser.key("Escape");
    let is_third = "document.querySelector('footer')?.textContent.includes('3 epoch records')";
    browser.until(&format!("{is_third} && {READY}"));
    let state = "[document.querySelector('[name=log]').checked, Math.round(scrollY), \
                 document.activeElement.matches('figure > svg'), \
                 [...document.querySelectorAll('details')].filter((d) => d.open).length]";
    // The sample that is new is open, the one that was is among the earlier ones, as it was.
    assert_eq!(browser.value(state), json!([true, 321, true, 5]));

    // The last page says no longer that it follows, and stays.
    fs::write(browser.path(), page(4)).unwrap();
    browser.value(HASTE);
    browser.until(&format!(
        "document.querySelector('footer')?.textContent.includes('4 epoch records') && {READY}"
    ));
    assert_eq!(
        browser.value("[document.querySelector('.live'), document.querySelector('[name=follow]')]"),
        json!([null, null])
    );
    browser.value("window.old = true");
    thread::sleep(Duration::from_millis(400));
    assert_eq!(browser.value("window.old"), true);
    browser.check_requests();
    assert_eq!(browser.complaints, Vec::<String>::new());
}

#[test]
fn a_page_drawn_long_ago_is_not_read_again_and_again() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    browser.open(&live_page(2), READY);
    browser.value("window.old = true");
    // A tenth of the time since 1970 is more than the 32 bits of a delay.
    browser.value("Object.assign(live.dataset, { every: 0.1, drawn: 0 }); follow()");
    thread::sleep(Duration::from_millis(400));
    assert_eq!(browser.value("window.old"), true);
    assert_eq!(browser.complaints, Vec::<String>::new());
}

#[test]
fn without_scripts_the_curves_stand_there() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let off = json!({"value": true});
    browser.call("Emulation.setScriptExecutionDisabled", off);
    browser.open(&live_page(3), "document.readyState === 'complete'");
    let seen = browser.value(
        "[document.querySelectorAll('figure > svg').length, \
          document.querySelectorAll('figure > svg .line').length, \
          document.querySelector('.controls'), \
          document.querySelector('noscript > meta[http-equiv=refresh]') !== null]",
    );
    assert_eq!(seen, json!([5, 9, Value::Null, true]));
    assert_eq!(browser.complaints, Vec::<String>::new());
}
