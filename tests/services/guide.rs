//! The guide says what the code has: every knob of a Memory Bank with its default.

use std::collections::BTreeMap;

use serde_json::Value;
use tokenward::catalog;
use tokenward::service::memory_bank::MemoryBankLimits;

const GUIDE: &str = include_str!("../../docs/services.md");

/// The rows of the table of knobs: what is in the first column, and what is in the last one.
fn told() -> BTreeMap<String, String> {
    let (_, rest) = GUIDE.split_once("### Every knob").expect("the section");
    let (section, _) = rest.split_once("\n###").expect("its end");
    let rows = section.lines().filter_map(|line| {
        let mut columns = line.trim_matches('|').split('|').map(str::trim);
        let name = columns.next()?.strip_prefix('`')?.strip_suffix('`')?;
        Some((name.to_owned(), columns.next_back()?.trim_matches('`').to_owned()))
    });
    rows.collect()
}

/// Everything beneath `value`, by its path.
fn leaves(path: &str, value: &Value, found: &mut BTreeMap<String, String>) {
    let text = match value {
        Value::Object(members) => {
            for (name, member) in members {
                leaves(&format!("{path}.{name}"), member, found);
            }
            return;
        }
        Value::Null => "all".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    found.insert(path.to_owned(), text);
}

#[test]
fn every_knob_is_in_the_guide_with_its_default() {
    let bank = catalog::memory_bank("https://memory.example".parse().expect("a url"));
    let written = serde_json::to_value(&bank).expect("json");
    let mut expected = BTreeMap::new();
    leaves("calls", &written["calls"], &mut expected);
    let newest = expected.entry("calls.breaker.newest_calls".to_owned());
    newest.or_insert_with(|| "all".to_owned());
    leaves("refresh.threshold", &written["refresh"]["threshold"], &mut expected);
    let scopes = bank.oauth.scopes.join(" ");
    expected.insert("oauth.scopes".to_owned(), scopes);
    let endpoint = bank.oauth.token_endpoint.expect("one");
    assert_eq!(endpoint.as_str(), "https://memory.example/auth/token");
    expected.insert("oauth.token_endpoint".to_owned(), "/auth/token` beneath `base_url".to_owned());
    let MemoryBankLimits { answer_bytes, content_bytes, pages } = MemoryBankLimits::default();
    for (name, limit) in
        [("answer_bytes", answer_bytes), ("content_bytes", content_bytes), ("pages", pages)]
    {
        expected.insert(format!("MemoryBankLimits::{name}"), limit.to_string());
    }

    let mut told = told();
    // What a search asks for is shown where requests are (`memories.rs`).
    told.remove("Search::limit").expect("it is told");
    assert_eq!(told, expected);
}
