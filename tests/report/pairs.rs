//! Sample predictions and alignments on the page of seq2seq runs.

use rnnx::programs::render;

use super::support::{attention, between, count, seq2seq, words};

#[test]
fn tokens_are_marked_where_the_reference_has_them() {
    let page = render(&[seq2seq("rnn", 0.1)]);
    let card = between(&page, "<article class=\"card pair\">", "</article>");
    assert!(card.starts_with("<p class=\"doc\">Say hello.</p><dl><dt>reference<small>3 tokens</small></dt><dd>return &#39;hello&#39; a</dd>"), "{card}");
    // The reference has one `a`, which the token in its place took.
    assert!(card.contains("<small>4 tokens, 2 in place, 0 elsewhere</small></dt><dd><span class=\"hit\">return</span> a <span class=\"hit\">a</span> a</dd>"), "{card}");

    let mut run = seq2seq("rnn", 0.1);
    run.pairs[0].reference = words("a b <UNK> c d");
    run.pairs[0].prediction = words("b b <UNK> d c a a");
    let page = render(&[run]);
    let expected = "<small>7 tokens, 1 in place, 3 elsewhere</small></dt><dd>b <span \
                    class=\"hit\">b</span> <span class=\"unk\">&lt;UNK&gt;</span> <span \
                    class=\"near\">d c a</span> a</dd>";
    assert!(
        page.contains(expected),
        "{}",
        between(&page, "<article", "</article>")
    );
}

#[test]
fn copied_tokens_say_where_they_are_from() {
    let mut run = seq2seq("rnn", 0.1);
    assert!(!render(&[run.clone()]).contains("class=\"copied\""));
    let pair = &mut run.pairs[0];
    pair.source = words("say \"<it>\" & go");
    pair.reference = words("print \"<it>\"");
    pair.prediction = words("print \"<it>\" go on");
    // The last place is none of the source, as in a file that was changed by hand.
    pair.copied = vec![None, Some(1), Some(3), Some(9)];
    let page = render(&[run]);
    assert!(page.contains("Tokens <span class=\"copied\">copied</span> from the source say"));
    for mark in [
        "title=\"copied from token 2, &quot;&lt;it&gt;&quot;\">&quot;&lt;it&gt;&quot;</span>",
        "title=\"copied from token 4, go\">go</span>",
    ] {
        assert_eq!(count(&page, mark), 1, "{mark}");
    }
    assert_eq!(count(&page, "title=\"copied from"), 2);
}

#[test]
fn the_same_pairs_stand_side_by_side() {
    let mut runs = [seq2seq("rnn", 0.1), seq2seq("lstm", 0.2), attention(0.3)];
    let mut other = runs[0].pairs[0].clone();
    other.docstring = "Another one.".into();
    other.prediction.clear();
    runs[1].pairs.push(other);
    let page = render(&runs);
    assert_eq!(count(&page, "<article class=\"card pair\">"), 2);
    let cards: Vec<_> = page.split("<article").skip(1).collect();
    let first = cards[0].split_once("</article>").unwrap().0;
    assert_eq!(count(first, "in place"), 3);
    let places = ["rnn<small>", "lstm<small>", "attention<small>"].map(|n| first.find(n).unwrap());
    assert!(places.is_sorted(), "{places:?}");
    let second = cards[1].split_once("</article>").unwrap().0;
    assert_eq!(count(second, "in place"), 1);
    assert!(second.contains("(nothing)"));
}

#[test]
fn what_the_model_read_is_shown_where_it_differs() {
    let mut run = seq2seq("rnn", 0.1);
    assert!(!render(&[run.clone()]).contains("read as"));
    run.pairs[0].source[1] = "<UNK>".into();
    let page = render(&[run]);
    assert!(page.contains(
        "<dt>read as</dt><dd class=\"soft\">Say <span class=\"unk\">&lt;UNK&gt;</span></dd>"
    ));
}

#[test]
fn more_pairs_are_folded_away() {
    let mut run = attention(0.1);
    for i in 1..20 {
        let mut pair = run.pairs[0].clone();
        pair.docstring = format!("Pair {i}.");
        run.pairs.push(pair);
    }
    let page = render(&[run]);
    assert_eq!(count(&page, "<article class=\"card pair\">"), 20);
    assert!(page.contains("<summary>15 more</summary><article"));
    assert_eq!(count(&page, "<svg class=\"heat\""), 8);
    assert!(page.contains("<summary>5 more</summary><div class=\"maps\"><figure"));
}

#[test]
fn a_page_shows_the_first_forty_pairs() {
    let mut run = seq2seq("rnn", 0.1);
    let pair = run.pairs[0].clone();
    run.pairs = (0..41)
        .map(|i| {
            let mut pair = pair.clone();
            pair.docstring = format!("Number {i}.");
            pair
        })
        .collect();
    let page = render(&[run]);
    assert_eq!(count(&page, "<article class=\"card pair\">"), 40);
    assert!(page.contains("Number 39.") && !page.contains("Number 40."));
    assert!(page.contains("These are the first 40 of 41 pairs."));
}

#[test]
fn weights_are_drawn_and_their_sums_checked() {
    let mut runs = [seq2seq("rnn", 0.1), attention(0.3)];
    let page = render(&runs);
    assert_eq!(count(&page, "<svg class=\"heat\""), 1);
    assert!(page.contains("<h2>Attention weights of attention</h2>"));
    assert!(page.contains("4 rows of 2 weights; each row sums to 1."));
    assert!(page.contains("<title>hello. → &lt;UNK&gt;: 0.8750</title>"));
    assert!(page.contains("<title>hello. → &lt;EOS&gt;: 1.0000</title>"));

    runs[1].pairs[0].attention[2] = vec![0.125, 0.125];
    let page = render(&runs);
    assert!(!page.contains("each row sums to 1"));
    assert!(page.contains("Row 3 sums to 0.2500, not to 1"));
    runs[1].pairs[0].attention[0][1] = f32::NAN;
    assert!(render(&runs).contains("Row 1 sums to NaN, not to 1"));
}
