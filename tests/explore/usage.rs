//! What somebody who uses the page does, and sees.

use rnnx::data::chars::{CharVocab, Token};
use rnnx::nn::CellKind;
use rnnx::programs::charlm::generate::generator::Generator;
use rnnx::programs::charlm::generate::weights::CharLmWeights;
use rnnx::programs::charlm::study::lexer::lex;
use rnnx::programs::charlm::study::source::Mark;

use super::browser::Browser;
use super::support::{model, page, python, vocab_of};

const CLASSES: &str = "Array.from(document.querySelectorAll('#back span'), s => s.className)";

/// Opens the page of an LSTM of two layers over Python of a length, and returns what it is of.
fn open_python(browser: &mut Browser, length: usize) -> (String, CharVocab, CharLmWeights) {
    let text = python(length);
    let vocab = vocab_of(&text);
    let weights = model(CellKind::Lstm, vocab.len(), 8, 32, 2);
    browser.explore(&page(&weights, &vocab, &text));
    (text, vocab, weights)
}

#[test]
fn text_is_typed_coloured_pointed_at_and_edited() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let vocab = vocab_of(&python(3000));
    let weights = model(CellKind::Lstm, vocab.len(), 8, 32, 2);
    browser.explore(&page(&weights, &vocab, "import os\n"));
    assert!(
        browser
            .value("document.title")
            .as_str()
            .unwrap()
            .starts_with("a run")
    );

    // Typing: the characters stand there coloured, the last one is the one looked at.
    browser.value("explorer.text.focus(); explorer.text.setSelectionRange(10, 10)");
    browser.call("Input.insertText", serde_json::json!({"text": "x = f(["}));
    browser.value("explorer.work()");
    assert_eq!(
        browser.value("document.querySelectorAll('#back span').length"),
        17
    );
    let detail = "document.getElementById('detail').innerText";
    let shown = browser.value(detail).as_str().unwrap().to_owned();
    assert!(
        shown.contains("character 17 of 17") && shown.contains("line 2, column 7"),
        "{shown}"
    );
    let items = "document.querySelectorAll('#detail li').length";
    assert_eq!(browser.value(items), 5);

    // Keyboard: the cursor chooses the character; a unit is chosen with selects and numbers.
    browser.key("ArrowLeft");
    browser.wait(&format!("{detail}.includes('character 16 of 17')"));
    let surprise = browser.value(CLASSES);
    browser.value(
        "(() => { const s = document.getElementById('state'); s.value = '1.c'; \
         s.dispatchEvent(new Event('input')); const u = document.getElementById('unit'); \
         u.value = 7; u.dispatchEvent(new Event('input')); })()",
    );
    let unit = browser.value(CLASSES);
    assert_ne!(surprise, unit);
    let expected = browser
        .value("explorer.track.states[1].c[15 * 32 + 7]")
        .as_f64()
        .unwrap();
    let expected = format!("{:.3}", expected.abs());
    let shown = browser.value(detail).as_str().unwrap().to_owned();
    assert!(
        shown.contains("Layer 2, c 7") && shown.contains(&expected),
        "{shown}"
    );

    // Pointing shows another character, and going away the one of the cursor again.
    browser.mouse("#back span[data-i='2']", false);
    browser.wait(&format!("{detail}.includes('character 3 of 17')"));
    browser.mouse("h1", false);
    browser.wait(&format!("{detail}.includes('character 16 of 17')"));

    // An edit in the middle reads again from there on alone.
    browser.value("explorer.track.done = 0, explorer.reread()");
    browser.value("explorer.work()");
    let same = "(() => { explorer.text.value = 'import re\\nx = f(['; const before = explorer.track.set(\
                explorer.alphabet.read(explorer.text.value).ids); return before; })()";
    assert_eq!(browser.value(same), 7);
    assert_eq!(browser.complaints, Vec::<String>::new());
}

#[test]
fn units_are_found_and_a_click_colours_by_them() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    open_python(&mut browser, 1200);
    browser.wait("document.querySelectorAll('#found button').length === 8");
    // The scores are right: Pearson's r of the best unit for bracket depth, computed anew.
    let best = browser.value("explorer.found.best({ key: 'depth', measure: 'r' })[1]");
    let values =
        format!("Array.from(explorer.track.ids, (_, t) => explorer.track.value({best}, t))");
    let values = browser.numbers(&values);
    let marks = browser.numbers("explorer.parts.lex(explorer.reading.chars).depth");
    let r = pearson(&values, &marks);
    assert!(
        (r - best["score"].as_f64().unwrap()).abs() < 1e-4,
        "{r}: {best}"
    );
    assert!(
        r.abs() > 0.3,
        "of 64 units one goes with the depth a little: {r}"
    );

    browser.mouse("#found tbody tr:first-child td:nth-child(3) button", true);
    browser.wait("document.getElementById('state').value.startsWith('1.')");
    assert_eq!(
        browser.value("Number(document.getElementById('unit').value)"),
        best["unit"]
    );
    let pressed = "document.querySelectorAll('#found [aria-pressed=true]').length";
    assert_eq!(browser.value(pressed), 1);
    // Each layer has its column, with the same property's best unit.
    assert_eq!(
        browser.value("document.querySelectorAll('#layers article').length"),
        2
    );
    assert_eq!(
        browser.value("explorer.layers.columns[1].unit().unit"),
        best["unit"]
    );
    let coloured =
        "document.querySelectorAll('#layers article:last-child span[class]').length > 500";
    assert_eq!(browser.value(coloured), true);

    // The heat map answers to the keyboard, and its choice colours the text.
    browser.wait("explorer.heat.columns === 500");
    browser.value("document.getElementById('heat').focus()");
    for key in ["ArrowDown", "ArrowDown", "ArrowRight", "Enter"] {
        browser.key(key);
    }
    assert_eq!(browser.value("document.getElementById('unit').value"), "2");
    assert_eq!(browser.value("explorer.here - explorer.heat.start"), 1);
    let said = browser.value("document.getElementById('heat-said').textContent");
    assert!(
        said.as_str()
            .unwrap()
            .starts_with("Layer 2, c 2, character 2"),
        "{said}"
    );
    assert_eq!(browser.complaints, Vec::<String>::new());
}

fn pearson(x: &[f64], y: &[f64]) -> f64 {
    assert_eq!(x.len(), y.len());
    let n = x.len() as f64;
    let mean = |v: &[f64]| v.iter().sum::<f64>() / n;
    let (mx, my) = (mean(x), mean(y));
    let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
        x.iter().zip(y).map(|(x, y)| f(x - mx, y - my)).sum()
    };
    sum(&|x, y| x * y) / (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt()
}

#[test]
fn what_stands_where_in_python() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let vocab = vocab_of("a\n");
    let weights = model(CellKind::Rnn, vocab.len(), 2, 4, 1);
    browser.explore(&page(&weights, &vocab, "a"));
    let text = "if (a['(']):\n    '''x\n'y''' # '\n\n  b = \"\\\"\" ]\n";
    let marks = |key: &str| {
        let text = serde_json::json!(text);
        format!("explorer.parts.lex([...{text}]).{key}")
    };
    let digits =
        |numbers: Vec<f64>| -> String { numbers.iter().map(|n| format!("{n:.0}")).collect() };
    let runs = |runs: &[(&str, usize)]| -> String {
        runs.iter().map(|(digit, n)| digit.repeat(*n)).collect()
    };
    // After each of the 46 characters, brackets in strings and comments not counted; behind its whole
    // opening delimiter a string is open; blank lines and lines inside a string indent nothing.
    assert_eq!(
        digits(browser.numbers(&marks("depth"))),
        runs(&[("0", 3), ("1", 2), ("2", 4), ("1", 1), ("0", 36)])
    );
    assert_eq!(
        digits(browser.numbers(&marks("string"))),
        runs(&[
            ("0", 6),
            ("1", 2),
            ("0", 11),
            ("1", 7),
            ("0", 13),
            ("1", 3),
            ("0", 4)
        ])
    );
    assert_eq!(
        digits(browser.numbers(&marks("indent"))),
        runs(&[("0", 12), ("1", 34)])
    );
    assert_eq!(
        browser.numbers(&marks("column.slice(9, 15)")),
        [10.0, 11.0, 12.0, 0.0, 1.0, 2.0]
    );
    // Levels, not columns: tabs, a dedent to a new one; as a study has all four.
    let text = "if a:\n\tif b:\n\t  c\n  d\ne\n";
    let of = |key: &str| {
        let text = serde_json::json!(text);
        format!("explorer.parts.lex([...{text}]).{key}")
    };
    assert_eq!(
        digits(browser.numbers(&of("indent"))),
        runs(&[("0", 5), ("1", 7), ("2", 5), ("1", 4), ("0", 3)])
    );
    for text in [text, &python(4000)] {
        let chars: Vec<char> = text.chars().collect();
        let (marks, _) = lex(&chars);
        let lexed = format!("explorer.parts.lex([...{}])", serde_json::json!(text));
        let places = |value: fn(&Mark) -> f64| marks[1..].iter().map(value).collect::<Vec<f64>>();
        for (key, expected) in [
            ("depth", places(|mark| mark.depth.into())),
            ("string", places(|mark| u8::from(mark.in_string).into())),
            ("indent", places(|mark| mark.indent.into())),
            ("column", places(|mark| mark.column.into())),
        ] {
            let found = browser.numbers(&format!("{lexed}.{key}"));
            assert_eq!(found[..expected.len()], expected, "{key}");
        }
    }
    // A score of a unit that is the mark itself is 1, and of its opposite -1.
    let own = "(() => { const { correlations, areas } = explorer.parts; \
               const mark = Float32Array.of(0, 0, 1, 1, 0, 1); \
               const values = Float32Array.from(Array.from(mark, y => [y, -3 * y, 5]).flat()); \
               return [...correlations(values, 3, mark), ...areas(values, 3, mark)].map(x => x.toFixed(3)); })()";
    assert_eq!(
        browser.value(own),
        serde_json::json!(["1.000", "-1.000", "NaN", "1.000", "0.000", "NaN"])
    );
}

#[test]
fn the_page_writes_what_generation_writes() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let (text, vocab, weights) = open_python(&mut browser, 300);
    let mut generator = Generator::new(&weights, 1).unwrap();
    let mut logits = Vec::new();
    for id in vocab.encode(&text).unwrap() {
        logits = generator.step(&[id]).to_vec();
    }
    let mut expected = Vec::from(text.as_bytes());
    for _ in 0..60 {
        let best = (0..logits.len())
            .max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
            .unwrap();
        vocab.decode_into(best as u16, &mut expected);
        logits = generator.step(&[best as u16]).to_vec();
    }
    browser.value(
        "(() => { document.getElementById('temperature').value = 0; \
         document.getElementById('length').value = 60; })()",
    );
    browser.mouse("#generate", true);
    browser.wait("!document.getElementById('undo').hidden");
    let written = browser.value("explorer.text.value");
    assert_eq!(written.as_str().unwrap().as_bytes(), expected);
    assert_eq!(
        browser.value("document.querySelectorAll('[data-new]').length"),
        60
    );
    browser.mouse("#undo", true);
    assert_eq!(browser.value("explorer.text.value"), text);

    // Stopped in the middle; and draws at a temperature are as probable as the model says.
    browser.value("document.getElementById('length').value = 5000");
    browser.mouse("#generate", true);
    browser.wait("explorer.text.value.length > 330");
    browser.mouse("#generate", true);
    browser.wait("!explorer.isWriting");
    let share = "(() => { const p = [0.5, 0.2, 0.3].map(Math.log); let n = [0, 0, 0]; \
                 for (let i = 0; i < 9000; i++) n[explorer.parts.draw(p, 0.5, 2, (i + 0.5) / 9000)]++; return n; })()";
    // exp(log p / 0.5) = p^2: 25 to 4, the third never.
    assert_eq!(browser.numbers(share), [7759.0, 1241.0, 0.0]);
    assert_eq!(browser.complaints, Vec::<String>::new());
}

#[test]
fn characters_outside_the_vocabulary_are_marked_and_read_as_rnnx_reads_them() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let known = ["a", "b", "\n"].map(|c| Token::Char(c.chars().next().unwrap()));
    let odd = "Array.from(document.querySelectorAll('[data-odd]'), s => s.textContent).join('')";
    let text = "aé<b🜁a";

    let with_unknown = CharVocab::new([Token::Unknown].into_iter().chain(known), false).unwrap();
    browser.explore(&page(
        &model(CellKind::Gru, 4, 3, 8, 1),
        &with_unknown,
        text,
    ));
    let ids: Vec<f64> = with_unknown
        .encode(text)
        .unwrap()
        .into_iter()
        .map(f64::from)
        .collect();
    assert_eq!(browser.numbers("explorer.track.ids"), ids);
    assert_eq!(browser.value(odd), "é<🜁");
    let status = browser.value("document.getElementById('status').textContent");
    assert!(
        status
            .as_str()
            .unwrap()
            .contains("3 not in the vocabulary, read as <UNK>"),
        "{status}"
    );

    let without = CharVocab::new(known, false).unwrap();
    browser.explore(&page(&model(CellKind::Gru, 3, 3, 8, 1), &without, text));
    assert_eq!(browser.numbers("explorer.track.ids"), [0.0, 1.0, 0.0]);
    assert_eq!(browser.value(odd), "é<🜁");
    let status = browser.value("document.getElementById('status').textContent");
    assert!(
        status
            .as_str()
            .unwrap()
            .contains("3 not in the vocabulary, not read"),
        "{status}"
    );
    // No text at all, and nothing but what the model cannot read.
    for nothing in ["", "é"] {
        browser.read(nothing);
        assert_eq!(browser.value("explorer.track.done"), 0);
    }
    assert_eq!(browser.complaints, Vec::<String>::new());
}

#[test]
fn a_phone_light_and_dark() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    browser.be_a_phone(375);
    open_python(&mut browser, 900);
    assert_eq!(browser.value("document.documentElement.scrollWidth"), 375);
    browser.tap("#back span[data-i='40']");
    browser.wait("document.getElementById('detail').innerText.includes('character 41 of 900')");
    // The keyboard comes only when it is asked for.
    assert_eq!(browser.value("explorer.text.inputMode"), "none");
    browser.tap("#keyboard");
    browser.wait("explorer.text.inputMode === 'text'");
    let paper = "getComputedStyle(document.body).backgroundColor";
    browser.scheme("light");
    let light = browser.value(paper);
    browser.scheme("dark");
    assert_ne!(browser.value(paper), light);
    // What is written by hand lies exactly over what is coloured.
    let heights = "(() => { const { text, view } = explorer; text.style.height = '0px'; \
                   const own = text.scrollHeight; text.style.height = ''; \
                   const lines = [...view.root.children].map(l => l.getBoundingClientRect()); \
                   return [own, lines.at(-1).bottom - lines[0].top]; })()";
    let heights = browser.numbers(heights);
    assert!((heights[0] - heights[1] - 24.0).abs() < 2.0, "{heights:?}");
    assert_eq!(browser.complaints, Vec::<String>::new());
}
