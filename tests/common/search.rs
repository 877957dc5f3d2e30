//! The search for texts in whatever form somebody may have written them, and for whatever can be read
//! at all.

#![allow(dead_code, reason = "each test uses its own part of this")]

use std::collections::{BTreeSet, HashMap, HashSet};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// A text, and all forms in which it would give itself away.
pub(crate) struct Needle {
    forms: Vec<String>,
}

impl Needle {
    /// The text as it is, in UTF-16, in hex and in base64, wherever in a longer text it stands, and
    /// backwards.
    pub(crate) fn in_any_form(text: &str) -> Self {
        let list = |write: fn(u8) -> String| text.bytes().map(write).collect::<Vec<_>>();
        let hex = list(|byte| format!("{byte:02x}")).concat();
        let bytes = list(|byte| byte.to_string()).join(", ");
        let mut forms = vec![text.to_owned(), hex.to_uppercase(), hex, bytes];
        assert!(text.is_ascii(), "what is not would be more in UTF-16");
        forms.push(text.chars().flat_map(|it| [it, '\0']).collect());
        forms.push(text.chars().flat_map(|it| ['\0', it]).collect());
        forms.push(text.chars().rev().collect());
        for before in 0..3 {
            let shifted = [vec![0; before], text.as_bytes().to_vec()].concat();
            // The characters at both ends hold bits of what stands around the text.
            let encoded = STANDARD_NO_PAD.encode(&shifted);
            let whole = shifted.len() / 3 * 4;
            let first = if before == 0 { 0 } else { before + 1 };
            forms.push(encoded[first..whole].to_owned());
            forms.push(URL_SAFE_NO_PAD.encode(&shifted)[first..whole].to_owned());
        }
        forms.sort();
        forms.dedup();
        Self { forms }
    }

    /// What surrounds a place in which it stands, if it does.
    pub(crate) fn find(&self, text: &str) -> Option<String> {
        let at = self.forms.iter().find_map(|form| text.find(form.as_str()))?;
        Some(surroundings(text, at))
    }
}

/// Many texts in all their forms, looked for in bytes all at once.
pub(crate) struct Needles {
    /// The forms by their first four bytes, each with the text that it is of.
    forms: HashMap<[u8; 4], Vec<(Vec<u8>, String)>>,
    /// Which pairs of bytes a form begins with, so that most places need no look into the map.
    pairs: Vec<bool>,
}

impl Needles {
    pub(crate) fn new<'t>(texts: impl IntoIterator<Item = &'t str>) -> Self {
        let mut forms: HashMap<_, Vec<_>> = HashMap::new();
        let mut pairs = vec![false; 1 << 16];
        for text in texts {
            assert!(text.len() >= 6, "{text} would be found by chance");
            for form in Needle::in_any_form(text).forms {
                let start: [u8; 4] = *form.as_bytes().first_chunk().expect("it is longer");
                pairs[pair(start[0], start[1])] = true;
                forms.entry(start).or_default().push((form.into_bytes(), text.to_owned()));
            }
        }
        Self { forms, pairs }
    }

    /// The texts that stand in `bytes` in some form.
    pub(crate) fn find(&self, bytes: &[u8]) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        for at in 0..bytes.len().saturating_sub(3) {
            if !self.pairs[pair(bytes[at], bytes[at + 1])] {
                continue;
            }
            let start: [u8; 4] = *bytes[at..].first_chunk().expect("four");
            for (form, text) in self.forms.get(&start).into_iter().flatten() {
                if bytes[at..].starts_with(form) {
                    found.insert(text.as_str());
                }
            }
        }
        found
    }
}

/// Runs of printable characters, as `strings` lists them, in many files of sealed bytes.
///
/// Of random bytes 95 in 256 are printable, so how many runs of a length chance makes is known. What
/// it does not make is what somebody wrote.
#[derive(Default)]
pub(crate) struct Strings {
    bytes: usize,
    runs: BTreeSet<String>,
}

impl Strings {
    /// The shortest run that is listed.
    const SHORTEST: usize = 6;

    /// Runs of this length are counted: chance makes about thirty in a megabyte.
    const COUNTED: usize = 10;

    const PRINTABLE: f64 = 95.0 / 256.0;

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        let runs = bytes.split(|byte| !(b' '..=b'~').contains(byte));
        let runs = runs.filter(|run| run.len() >= Self::SHORTEST);
        self.runs.extend(runs.map(|run| String::from_utf8_lossy(run).into_owned()));
    }

    /// How many different runs there are.
    pub(crate) fn count(&self) -> usize {
        self.runs.len()
    }

    /// How many runs of at least `length` chance makes in so many bytes.
    fn by_chance(&self, length: usize) -> f64 {
        let length = i32::try_from(length).expect("small");
        let bytes = f64::from(u32::try_from(self.bytes).expect("less than 4 GiB"));
        bytes * (1.0 - Self::PRINTABLE) * Self::PRINTABLE.powi(length)
    }

    /// What chance did not make, after `known` has taken away from a run what it knows: every run
    /// that is so long that chance would make it once in a million times, and all that are counted
    /// if there are twice as many as chance makes.
    pub(crate) fn readable(&self, known: impl Fn(&str) -> Vec<String>) -> Vec<String> {
        let impossible = (1..200).find(|length| self.by_chance(*length) < 1e-6).expect("one");
        let left = self.runs.iter().flat_map(|run| known(run));
        let counted: BTreeSet<String> = left.filter(|run| run.len() >= Self::COUNTED).collect();
        let expected = 2.0 * self.by_chance(Self::COUNTED) + 10.0;
        let too_many = f64::from(u32::try_from(counted.len()).expect("few")) > expected;
        counted.into_iter().filter(|run| too_many || run.len() >= impossible).collect()
    }
}

/// Many random tokens, each of 32 bytes in base64url, looked for all at once.
pub(crate) struct Tokens(HashSet<Vec<u8>>);

impl Tokens {
    const LENGTH: usize = 43;

    pub(crate) fn new(tokens: impl IntoIterator<Item = String>) -> Self {
        let tokens = tokens.into_iter().map(|token| {
            assert_eq!(token.len(), Self::LENGTH);
            token.into_bytes()
        });
        Self(tokens.collect())
    }

    /// What surrounds a place in which one of them stands, if one does.
    pub(crate) fn find(&self, text: &str) -> Option<String> {
        let mut in_a_row = 0;
        for (last, byte) in text.bytes().enumerate() {
            let plain = byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            in_a_row = if plain { in_a_row + 1 } else { 0 };
            if in_a_row >= Self::LENGTH {
                let first = last + 1 - Self::LENGTH;
                if self.0.contains(&text.as_bytes()[first..=last]) {
                    return Some(surroundings(text, first));
                }
            }
        }
        None
    }
}

fn pair(one: u8, two: u8) -> usize {
    usize::from(one) << 8 | usize::from(two)
}

fn surroundings(text: &str, at: usize) -> String {
    let around = |index: usize| text.floor_char_boundary(index);
    text[around(at.saturating_sub(400))..around(at + 200)].to_owned()
}

#[test]
fn a_needle_is_found_in_each_of_its_forms() {
    let needle = Needle::in_any_form("canary-7");
    assert_eq!(needle.find("nothing of the kind"), None);
    assert!(needle.find("a canary-7 sings").is_some());
    assert!(needle.find("63616e6172792d37").is_some());
    assert!(needle.find("63616E6172792D37").is_some());
    assert!(needle.find(&format!("{:?}", b"a canary-7 sings")).is_some());
    for before in ["", "a", "ab", "abc", "id:"] {
        for after in ["", "x", "xy"] {
            let text = format!("{before}canary-7{after}");
            assert!(needle.find(&STANDARD_NO_PAD.encode(&text)).is_some(), "{text}");
            assert!(needle.find(&URL_SAFE_NO_PAD.encode(&text)).is_some(), "{text}");
        }
    }
}

#[test]
fn a_token_is_found_wherever_it_stands() {
    let token = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let tokens = Tokens::new([token.to_owned(), token.replace('d', "e")]);
    assert_eq!(tokens.find(&token[1..]), None);
    for text in [format!("state={token}&x"), format!("\u{fffd}ab{token}cd"), token.to_owned()] {
        assert!(tokens.find(&text).is_some(), "{text}");
    }
}

#[test]
fn needles_are_found_in_bytes_in_every_form_and_nothing_else_is() {
    let needles = Needles::new(["canary-7", "nightingale"]);
    assert!(needles.find(b"nothing of the kind").is_empty());
    for form in Needle::in_any_form("nightingale").forms {
        let bytes = [&[0xff, 0xfe][..], form.as_bytes(), &[0xff]].concat();
        assert_eq!(needles.find(&bytes), BTreeSet::from(["nightingale"]), "{form}");
    }
    let wide: Vec<u8> = "canary-7".encode_utf16().flat_map(u16::to_be_bytes).collect();
    assert!(needles.find(&wide).contains("canary-7"));
    assert!(needles.find(b"7-yranac").contains("canary-7"));
}

#[test]
fn what_is_readable_stands_out_of_noise() {
    let entropy = tokenward::clock::Sources::system().entropy;
    let mut noise = vec![0; 400_000];
    entropy.fill(&mut noise).expect("noise");
    let all = |run: &str| vec![run.to_owned()];
    let mut strings = Strings::default();
    strings.add(&noise);
    assert!(strings.count() > 100, "chance makes many short ones");
    assert_eq!(strings.readable(all), Vec::<String>::new());

    strings.add(b"one line that nobody can have thrown by dice");
    assert_eq!(strings.readable(all).len(), 1);
    // Many short ones, of which each could be chance.
    let mut strings = Strings::default();
    strings.add(&noise);
    for number in 0..200 {
        strings.add(format!("\0user name {number}\0").as_bytes());
    }
    assert!(strings.readable(all).len() >= 200);
}
