//! Numbers and text as the page shows them.

/// How numbers of an axis are written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unit {
    /// As they are; very small ones as 1.8e-4.
    Plain,
    /// Shares of one, in percent.
    Percent,
    /// With k and M for thousands and millions.
    Short,
}

/// A tick's text, with as many decimals as `step` needs.
pub fn tick(x: f64, step: f64, unit: Unit) -> String {
    let decimals = |s: f64| (-(s * 1.0001).log10().floor()).clamp(0.0, 9.0) as usize;
    match unit {
        Unit::Percent => format!("{:.*} %", decimals(step * 100.0), x * 100.0),
        Unit::Short if step >= 1e6 || (x.abs() >= 1e6 && step >= 1e5) => {
            format!("{:.*}M", decimals(step / 1e6), x / 1e6)
        }
        Unit::Short if step >= 100.0 && x.abs() >= 1e3 => {
            format!("{:.*}k", decimals(step / 1e3), x / 1e3)
        }
        Unit::Plain if x != 0.0 && step < 1e-3 => scientific(x, decimals(step)),
        _ => format!("{:.*}", decimals(step), x + 0.0),
    }
}

/// `x` rounded to `decimals` places, written as 1.8e-4.
fn scientific(x: f64, decimals: usize) -> String {
    let exponent = x.abs().log10().floor();
    let digits = (decimals as f64 + exponent).clamp(0.0, 6.0) as usize;
    format!("{x:.digits$e}")
}

/// A value with the digits that one reads.
pub fn value(x: f64, unit: Unit) -> String {
    match unit {
        _ if !x.is_finite() => "–".into(),
        Unit::Percent => format!("{:.2} %", x * 100.0),
        Unit::Short if x.abs() >= 1e6 => format!("{:.2}M", x / 1e6),
        Unit::Short if x.abs() >= 1e4 => format!("{:.1}k", x / 1e3),
        Unit::Short => format!("{x:.0}"),
        Unit::Plain if x == 0.0 => "0".into(),
        Unit::Plain if x.abs() < 1e-2 || x.abs() >= 1e5 => {
            let text = format!("{x:.3e}");
            let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            format!(
                "{}e{exponent}",
                digits.trim_end_matches('0').trim_end_matches('.')
            )
        }
        Unit::Plain => format!("{x:.4}"),
    }
}

/// Text for HTML, SVG and attribute values. Characters that XML forbids become U+FFFD.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\u{fffe}' | '\u{ffff}' => {
                out.push(char::REPLACEMENT_CHARACTER)
            }
            _ => out.push(c),
        }
    }
    out
}

/// A time in the two largest of its units.
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return "–".into();
    }
    let s = seconds.round() as u64;
    match s {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {:02} s", s / 60, s % 60),
        _ => format!("{} h {:02} min", s / 3600, s % 3600 / 60),
    }
}

/// A score between 0 and 1 with four decimals; a tiny one as 1.2e-7.
pub fn score(x: f64) -> String {
    match x.abs() {
        a if !a.is_finite() => "–".into(),
        a if a > 0.0 && a < 5e-5 => format!("{x:.1e}"),
        _ => format!("{x:.4}"),
    }
}

/// A share of one in percent, without the sign.
pub fn percent(x: f64) -> String {
    if x.is_finite() {
        format!("{:.2}", x * 100.0)
    } else {
        "–".into()
    }
}
