//! Charts drawn on the server: stacked bars of success, error and skipped, one per day.

use std::fmt::Write;

use tributary_control::history::Counts;
use tributary_domain::time::date_of;

use crate::format::number;

/// The size of a chart in the units of its drawing.
const WIDTH: i64 = 720;
const HEIGHT: i64 = 120;
const SPARK: (i64, i64) = (240, 40);
const BAR: (i64, i64) = (64, 8);

/// A chart of days, the first of which is `from`, counted from 1970-01-01 = 0. Each bar says its figures when pointed at.
pub(crate) fn days(days: &[Counts], from: i64, label: &str) -> String {
    let mut svg = open("chart", WIDTH, HEIGHT, &said(days, label));
    let _ = write!(svg, "<line class=\"base\" x1=\"0\" x2=\"{WIDTH}\" y1=\"{HEIGHT}\" y2=\"{HEIGHT}\"/>");
    bars(&mut svg, days, from, WIDTH, HEIGHT);
    let last = from + as_i64(days.len()) - 1;
    let (first, last) = (date_of(from), date_of(last));
    let _ = write!(
        svg,
        "</svg><p class=\"ends\" aria-hidden=\"true\"><span>{first}</span><span>{last}</span></p>"
    );
    svg
}

/// The same, small.
pub(crate) fn spark(days: &[Counts], from: i64, label: &str) -> String {
    let (width, height) = SPARK;
    let mut svg = open("spark", width, height, &said(days, label));
    let _ = write!(svg, "<line class=\"base\" x1=\"0\" x2=\"{width}\" y1=\"{height}\" y2=\"{height}\"/>");
    bars(&mut svg, days, from, width, height);
    svg + "</svg>"
}

/// How one sum is divided.
pub(crate) fn bar(counts: &Counts) -> String {
    let (width, height) = BAR;
    let sum = total(counts);
    let mut svg = format!(
        "<svg class=\"bar\" viewBox=\"0 0 {width} {height}\" preserveAspectRatio=\"none\" aria-hidden=\"true\">"
    );
    let mut x = 0;
    for (class, value) in parts(counts) {
        // What is there at all is seen.
        let part = if value == 0 { 0 } else { (value * width / sum.max(1)).max(2) };
        let _ =
            write!(svg, "<rect class=\"{class}\" x=\"{x}\" y=\"0\" width=\"{part}\" height=\"{height}\"/>");
        x += part;
    }
    svg + "</svg>"
}

fn open(class: &str, width: i64, height: i64, label: &str) -> String {
    let label = label.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
    format!(
        "<svg class=\"{class}\" viewBox=\"0 0 {width} {height}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{label}\">"
    )
}

fn said(days: &[Counts], label: &str) -> String {
    let sum = sum(days);
    format!(
        "{label}: {} success, {} error, {} skipped in {} days",
        number(sum.success),
        number(sum.error),
        number(sum.skipped),
        days.len()
    )
}

fn bars(svg: &mut String, days: &[Counts], from: i64, width: i64, height: i64) {
    let most = days.iter().map(total).max().unwrap_or(0).max(1);
    let step = width / as_i64(days.len()).max(1);
    let thick = (step * 3 / 4).max(1);
    for (at, counts) in days.iter().enumerate() {
        let at = as_i64(at);
        let x = at * step + (step - thick) / 2;
        let day = date_of(from + at);
        let _ = write!(
            svg,
            "<g><title>{day}: {} success, {} error, {} skipped</title>",
            number(counts.success),
            number(counts.error),
            number(counts.skipped)
        );
        let _ =
            write!(svg, "<rect x=\"{x}\" y=\"0\" width=\"{thick}\" height=\"{height}\" fill-opacity=\"0\"/>");
        let mut y = height;
        for (class, value) in parts(counts) {
            let part = if value == 0 { 0 } else { (value * height / most).max(2) };
            y = (y - part).max(0);
            let _ = write!(
                svg,
                "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{thick}\" height=\"{part}\"/>"
            );
        }
        svg.push_str("</g>");
    }
}

fn parts(counts: &Counts) -> [(&'static str, i64); 3] {
    [("s", counts.success), ("e", counts.error), ("k", counts.skipped)]
}

/// Everything that was counted.
pub(crate) fn total(counts: &Counts) -> i64 {
    counts.success + counts.error + counts.skipped
}

/// The sum of days.
pub(crate) fn sum(days: &[Counts]) -> Counts {
    days.iter().fold(Counts::default(), |sum, day| Counts {
        success: sum.success + day.success,
        error: sum.error + day.error,
        skipped: sum.skipped + day.skipped,
    })
}

fn as_i64(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_says_the_sums_and_cannot_break_out_of_the_drawing() {
        let day = Counts { success: 1_200, error: 3, skipped: 0 };
        let svg = days(&[day, day], 20_000, "<b>\"x\"");
        assert!(
            svg.contains("aria-label=\"&lt;b>&quot;x&quot;: 2,400 success, 6 error, 0 skipped in 2 days\"")
        );
        assert!(svg.contains("<title>2024-10-04: 1,200 success, 3 error, 0 skipped</title>"), "{svg}");
    }

    #[test]
    fn a_single_error_among_many_successes_is_seen() {
        let svg = bar(&Counts { success: 1_000_000, error: 1, skipped: 0 });
        assert!(svg.contains("class=\"e\" x=\"63\" y=\"0\" width=\"2\""), "{svg}");
    }
}
