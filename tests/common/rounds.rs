//! How often a test does what it does: a few times within `cargo test`, as often as anybody likes as a soak.

/// So many times, unless `TOKENWARD_SOAK_ROUNDS` says how often.
pub(crate) fn rounds(few: usize) -> usize {
    let wanted = std::env::var("TOKENWARD_SOAK_ROUNDS").ok();
    wanted.map_or(few, |text| text.parse().expect("TOKENWARD_SOAK_ROUNDS is a number"))
}
