//! What was measured, as the rows of one table.

use std::fmt;

/// What is measured in a run: how often, and what it came to.
#[derive(Debug)]
pub(crate) struct Report {
    quick: bool,
    rows: Vec<Row>,
}

/// One number, and what it is to be.
#[derive(Debug)]
pub(crate) struct Row {
    what: String,
    unit: &'static str,
    floor: Option<f64>,
    figure: f64,
    target: Target,
}

#[derive(Debug, Clone, Copy)]
enum Target {
    /// It is told, and may be what it is.
    None,
    /// So much of the floor at most.
    RatioAtMost(f64),
    /// So much of the floor at least.
    RatioAtLeast(f64),
    /// So much at most, in the unit of the row.
    AtMost(f64),
    /// None at all.
    Nothing,
}

impl Report {
    pub(crate) fn new(quick: bool) -> Self {
        Self { quick, rows: Vec::new() }
    }

    /// How many turns to measure, where `usual` ones are worth their time. A median needs three.
    pub(crate) fn turns(&self, usual: u32) -> u32 {
        if self.quick { usual.div_ceil(5).max(usual.min(3)) } else { usual }
    }

    /// Takes a row. It is shown at once, too, since all of them take minutes.
    pub(crate) fn add(&mut self, row: Row) {
        eprintln!("{row}");
        self.rows.push(row);
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter()
    }
}

impl Row {
    /// `figure` is in `unit`, which stands beside it.
    pub(crate) fn new(what: impl Into<String>, unit: &'static str, figure: f64) -> Self {
        Self { what: what.into(), unit, floor: None, figure, target: Target::None }
    }

    /// What the machine needs at least, in the same unit.
    pub(crate) fn over(mut self, floor: f64) -> Self {
        self.floor = Some(floor);
        self
    }

    pub(crate) fn ratio_at_most(mut self, most: f64) -> Self {
        self.target = Target::RatioAtMost(most);
        self
    }

    pub(crate) fn ratio_at_least(mut self, least: f64) -> Self {
        self.target = Target::RatioAtLeast(least);
        self
    }

    pub(crate) fn at_most(mut self, most: f64) -> Self {
        self.target = Target::AtMost(most);
        self
    }

    pub(crate) fn nothing(mut self) -> Self {
        self.target = Target::Nothing;
        self
    }

    fn ratio(&self) -> Option<f64> {
        Some(self.figure / self.floor?)
    }

    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    /// How much of its target it needs: more than 1 is a miss. None where it may be anything.
    pub(crate) fn share_of_target(&self) -> Option<f64> {
        match self.target {
            Target::None => None,
            Target::RatioAtMost(most) => Some(self.ratio()? / most),
            Target::RatioAtLeast(least) => Some(least / self.ratio()?),
            Target::AtMost(most) => Some(self.figure / most),
            Target::Nothing => Some(if self.figure > 0.0 { f64::INFINITY } else { 1.0 }),
        }
    }

    fn target(&self) -> String {
        match self.target {
            Target::None => String::new(),
            Target::RatioAtMost(most) => format!("≤ {most} ×"),
            Target::RatioAtLeast(least) => format!("≥ {least} ×"),
            Target::AtMost(most) => format!("≤ {most} {}", self.unit),
            Target::Nothing => "0".to_owned(),
        }
    }
}

/// As a row of a table in Markdown.
impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with_unit = |value| format!("{} {}", rounded(value), self.unit).trim_end().to_owned();
        let floor = self.floor.map(with_unit).unwrap_or_default();
        let ratio = self.ratio().map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
        let verdict = match self.share_of_target() {
            None => "",
            Some(share) if share <= 1.0 => "met",
            Some(_) => "**missed**",
        };
        let (what, figure, target) = (&self.what, with_unit(self.figure), self.target());
        write!(f, "| {what} | {floor} | {figure} | {ratio} | {target} | {verdict} |")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what | floor | tokenward | ratio | target | |")?;
        writeln!(f, "| --- | --- | --- | --- | --- | --- |")?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{row}"))
    }
}

/// A number as part of the name of a row, such as 100,000.
pub(crate) fn thousands(number: u32) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join(",")
}

/// With as many digits as say something.
fn rounded(value: f64) -> String {
    if value.fract() == 0.0 || value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}
