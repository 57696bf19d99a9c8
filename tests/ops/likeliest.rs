//! The likeliest columns of rows of logits.

use crate::{assert_refused, f64s};
use rnnx::ops::likeliest;
use rnnx::tensor::Tensor;

fn chosen(logits: &Tensor, never: u32) -> (Vec<u32>, Vec<f64>) {
    let found = likeliest(logits, never).unwrap();
    let (columns, gains) = (found.columns, found.gains);
    (
        columns.data::<u32>().unwrap().to_vec(),
        gains.data::<f64>().unwrap().to_vec(),
    )
}

#[test]
fn known_values() {
    let (a, b, c) = (0.2f64.ln(), 0.3f64.ln(), 0.5f64.ln());
    let logits = f64s(&[a, c, b, c + 9.0, a + 9.0, b + 9.0], [2, 3]);
    let (columns, gains) = chosen(&logits, 0);
    assert_eq!(columns, [1, 0]);
    assert!(gains.iter().all(|gain| (gain - c).abs() < 1e-12));
    // The probability is that among all columns.
    let (columns, gains) = chosen(&logits, 0b010);
    assert_eq!(columns, [2, 0]);
    assert!((gains[0] - b).abs() < 1e-12 && (gains[1] - c).abs() < 1e-12);
}

#[test]
fn ties_go_to_the_lowest_column_and_what_is_no_number_is_not_chosen() {
    let nan = f64::NAN;
    let logits = f64s(&[1.0, 2.0, 2.0, nan, 1.0, 0.5, nan, nan, nan], [3, 3]);
    let (columns, gains) = chosen(&logits, 0b001);
    assert_eq!(columns, [1, 1, 1]);
    assert!(gains[0].is_finite() && gains[1].is_nan() && gains[2].is_nan());
}

#[test]
fn columns_from_32_on_are_allowed() {
    let mut row = [0.0; 40];
    row[31] = 2.0;
    row[39] = 1.0;
    assert_eq!(chosen(&f64s(&row, [1, 40]), u32::MAX).0, [39]);
}

#[test]
fn refused() {
    let logits = f64s(&[1.0, 2.0], [1, 2]);
    assert_refused(likeliest(&logits, 0b11), &["[1, 2]", "0b11"]);
    assert_refused(likeliest(&f64s(&[1.0], [1]), 0), &["likeliest"]);
}
