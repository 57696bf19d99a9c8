//! The picture of an alignment.

use rnnx::report::attention_svg;

use super::support::{assert_xml, count, words};

/// Opacity of each cell, row by row.
fn opacities(svg: &str) -> Vec<&str> {
    let rows = svg.split("<g class=\"at-row\">").skip(1);
    rows.flat_map(|row| {
        let row = row.split_once("</g>").unwrap().0;
        row.split("fill-opacity=\"").skip(1)
    })
    .map(|cell| cell.split_once('"').unwrap().0)
    .collect()
}

#[test]
fn a_cell_for_each_weight() {
    let weights = [vec![0.8, 0.2], vec![0.0, 1.0]];
    let svg = attention_svg(&words("Say hello."), &words("return 1"), &weights);
    assert_xml(&svg);
    assert!(svg.starts_with(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" "
    ));
    // 0.05 + 0.95 w on a scale that ends at 1.
    assert_eq!(opacities(&svg), ["0.810", "0.240", "0.050", "1.000"]);
    for title in [
        "Say → return: 0.8000",
        "hello. → return: 0.2000",
        "Say → 1: 0.0000",
        "hello. → 1: 1.0000",
    ] {
        assert_eq!(
            count(&svg, &format!("<title>{title}</title>")),
            1,
            "{title}"
        );
    }
    assert!(!svg.contains("&lt;EOS&gt;"));
    // Nothing is fetched: the name space is the only address.
    assert_eq!((count(&svg, "http"), count(&svg, "url(")), (1, 0));
}

#[test]
fn the_row_after_the_output_is_its_end() {
    let weights = [vec![0.5, 0.5], vec![0.25, 0.75]];
    let svg = attention_svg(&words("a b"), &words("x"), &weights);
    assert_xml(&svg);
    assert_eq!(count(&svg, ">&lt;EOS&gt;</text>"), 1);
    assert!(svg.contains("<title>b → &lt;EOS&gt;: 0.7500</title>"));
}

#[test]
fn the_scale_ends_at_a_round_number() {
    let svg = attention_svg(&words("a b"), &words("x"), &[vec![0.37, 0.2]]);
    assert!(svg.contains(">0.40</text>"), "{svg}");
    assert_eq!(opacities(&svg), ["0.929", "0.525"]);
    // A bit over 1, as rounding may leave it.
    let svg = attention_svg(&words("a"), &words("x"), &[vec![1.000_000_2]]);
    assert!(svg.contains(">1.00</text>"), "{svg}");
    assert_eq!(opacities(&svg), ["1.000"]);
}

#[test]
fn long_tokens_are_cut() {
    let long = "a_name_of_twenty_one_";
    let source = vec![long.to_owned(), "eighteen_columns__".into()];
    let wide = "\u{4f60}".repeat(10);
    let svg = attention_svg(&source, std::slice::from_ref(&wide), &[vec![0.5, 0.5]]);
    assert_xml(&svg);
    assert!(svg.contains(&format!("<title>{long}</title>a_name_of_twenty_…</text>")));
    assert!(svg.contains(">eighteen_columns__</text>"));
    // A wide character takes two columns.
    let cut = "\u{4f60}".repeat(8);
    assert!(svg.contains(&format!("<title>{wide}</title>{cut}…</text>")));
    // A huge token does not stand in every cell.
    let svg = attention_svg(&["x".repeat(50_000)], &words("y"), &[vec![1.0]]);
    assert!(svg.len() < 60_000, "{}", svg.len());
}

#[test]
fn text_stays_text() {
    let evil = "</title><script>&\"'\0\u{1f}\u{ffff}";
    let svg = attention_svg(&[evil.into()], &[evil.into()], &[vec![1.0]]);
    assert_xml(&svg);
    assert!(!svg.contains("<script"));
    assert!(svg.contains("&lt;/title&gt;&lt;script&gt;&amp;&quot;&#39;\u{fffd}\u{fffd}\u{fffd}"));
}

#[test]
fn weights_that_do_not_fit() {
    let (source, output) = (words("a b"), words("x y"));
    let empty: [Vec<f32>; 0] = [];
    for svg in [
        attention_svg(&[], &[], &empty),
        attention_svg(&[], &output, &empty),
        attention_svg(&source, &[], &empty),
    ] {
        assert_xml(&svg);
        assert!(svg.contains("no attention weights"));
    }
    // Rows that are missing, short, long or no numbers: a cell each, empty where nothing is known.
    let rows = [
        vec![f32::NAN, 0.5, 0.5],
        vec![],
        vec![f32::INFINITY],
        vec![-1.0],
    ];
    let svg = attention_svg(&source, &output, &rows);
    assert_xml(&svg);
    assert_eq!(opacities(&svg), ["1.000", "1.000", "0.050"]);
    assert_eq!(count(&svg, "class=\"at-none\""), 9);
    assert!(svg.contains("<title>a → x: no weight</title>"));
    for number in ["NaN", "inf"] {
        assert!(!svg.contains(number), "{number}");
    }
}

#[test]
fn the_largest_map_is_readable() {
    let tokens = |n: usize| (0..n).map(|i| format!("token_{i}_")).collect::<Vec<_>>();
    let weights = vec![vec![1.0 / 30.0; 30]; 51];
    let svg = attention_svg(&tokens(30), &tokens(50), &weights);
    assert_xml(&svg);
    assert_eq!(opacities(&svg).len(), 30 * 51);
    // Rows of 18 pixels hold type of 12; coordinates have one decimal.
    let ys: Vec<f64> = svg
        .split("text-anchor=\"end\"")
        .filter_map(|t| t.rsplit_once("y=\"")?.1.split_once('"')?.0.parse().ok())
        .take(51)
        .collect();
    assert_eq!(ys.len(), 51);
    assert!(
        ys.windows(2).all(|y| (y[1] - y[0] - 18.0).abs() < 0.2),
        "{ys:?}"
    );
    let size = svg.split_once("viewBox=\"0 0 ").unwrap().1;
    let (width, rest) = size.split_once(' ').unwrap();
    let height = rest.split_once('"').unwrap().0;
    let (width, height): (f64, f64) = (width.parse().unwrap(), height.parse().unwrap());
    assert!((800.0..900.0).contains(&width) && (1000.0..1100.0).contains(&height));
}
