//! The rows that have a target as a picture: how far each is from it.

use std::fmt::Write as _;

use crate::table::Row;

const LINE: f64 = 24.0;
const TOP: f64 = 44.0;
const WIDTH: f64 = 1090.0;

/// Where the names end.
const NAMES: f64 = 540.0;

/// Where the line stands on which all targets are.
const TARGET: f64 = 780.0;

/// How wide a doubling is, and the most that is shown, in doublings.
const DOUBLING: f64 = 60.0;
const MOST: f64 = 3.5;

/// Colours that can be told apart on white and on black, by those who do not tell red from green too.
const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#24292f}.met{fill:#2f81c8}\
    .missed{fill:#d9822b}.axis{stroke:#848d97}.name{text-anchor:end}.scale{text-anchor:middle}\
    @media(prefers-color-scheme:dark){text{fill:#d1d7e0}}";

/// A bar for each of `rows` that has a target: to the left where it is better, to the right where it is missed.
/// The scale is one of doublings.
pub(crate) fn svg<'a>(rows: impl Iterator<Item = &'a Row>) -> String {
    let mut bars = String::new();
    let mut bottom = TOP;
    for (row, share) in rows.filter_map(|row| Some((row, row.share_of_target()?))) {
        let length = DOUBLING * share.log2().clamp(-MOST, MOST);
        let (from, class) =
            if share <= 1.0 { (TARGET + length, "met") } else { (TARGET, "missed") };
        let (text, bar, width) = (bottom + 16.0, bottom + 4.0, length.abs().max(1.0));
        let name = escaped(row.what());
        let _ = writeln!(
            bars,
            "<text class=\"name\" x=\"{NAMES}\" y=\"{text}\">{name}</text>\
             <rect class=\"{class}\" x=\"{from:.1}\" y=\"{bar}\" width=\"{width:.1}\" height=\"16\"/>\
             <text x=\"{}\" y=\"{text}\">{share:.2}</text>",
            WIDTH - 60.0,
        );
        bottom += LINE;
    }
    let mut scale = String::new();
    for (doublings, label) in
        [(-2.0, "¼"), (-1.0, "½"), (0.0, "target"), (1.0, "2 ×"), (2.0, "4 ×")]
    {
        let at = TARGET + DOUBLING * doublings;
        let _ = writeln!(
            scale,
            "<text class=\"scale\" x=\"{at}\" y=\"26\">{label}</text>\
             <line class=\"axis\" x1=\"{at}\" x2=\"{at}\" y1=\"34\" y2=\"{bottom}\" \
             stroke-width=\"{}\"/>",
            if doublings == 0.0 { 1.5 } else { 0.3 },
        );
    }
    let height = bottom + 10.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n\
         <title>Figures as shares of their targets: left of the line is better</title>\n\
         <style>{STYLE}</style>\n{bars}{scale}</svg>\n"
    )
}

/// As text of XML, without the marks of Markdown.
fn escaped(text: &str) -> String {
    text.replace('`', "").replace('&', "&amp;").replace('<', "&lt;")
}
