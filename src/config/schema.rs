//! Which settings there are, what each takes, and which one was meant by a name that none has.

use serde::de::DeserializeOwned;

use super::path::SettingPath;

/// One setting that there is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    /// Its name; a key `*` stands for any.
    pub(crate) path: &'static str,
    /// What it takes, in words, to follow "write".
    pub(crate) takes: &'static str,
    /// Whether a value has the form that it takes.
    pub(crate) fits: fn(&toml::Value) -> bool,
    /// How its value is treated.
    pub(crate) kind: Kind,
}

/// How a value is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It is shown to whoever asks.
    Plain,
    /// It is shown, and `false` takes away what a preset has.
    Removable,
    /// It is a path, or a table whose `file` is one; in a file it is meant from the file's folder.
    Path,
    /// It is nobody's secret by itself, and may hold one: only its origin is shown.
    Withheld,
    /// It is a secret, given by reference or as it is.
    Secret,
}

/// All settings that there are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schema(pub(crate) &'static [Known]);

/// What a name stands for.
#[derive(Debug)]
pub(crate) enum Found {
    Setting(&'static Known),
    /// Something that has settings beneath it.
    Section,
    /// Nothing. Perhaps this was meant.
    Unknown(Option<String>),
}

impl Schema {
    pub(crate) fn find(self, path: &SettingPath) -> Found {
        let keys = path.keys();
        for known in self.0 {
            let names: Vec<&str> = known.path.split('.').collect();
            if names.len() >= keys.len() && matches(&names, keys) {
                let whole = names.len() == keys.len();
                return if whole { Found::Setting(known) } else { Found::Section };
            }
        }
        Found::Unknown(self.nearest(path))
    }

    /// The known name that is most like `path`: another key at the same place, or the same key at
    /// another place nearby.
    fn nearest(self, path: &SettingPath) -> Option<String> {
        let (wrong, above) = path.keys().split_last()?;
        let mut best: Option<(usize, String)> = None;
        for known in self.0 {
            let names: Vec<&str> = known.path.split('.').collect();
            if names.len() <= above.len() || !matches(&names, above) {
                continue;
            }
            let (here, last) = (names[above.len()], names[names.len() - 1]);
            let beneath = names[above.len()..].join(".");
            // Deeper settings count only by their own name, and cost one more.
            let deeper = (beneath != here).then(|| (distance(wrong, last) + 1, beneath));
            let candidates = [Some((distance(wrong, here), here.to_owned())), deeper];
            for (cost, name) in candidates.into_iter().flatten() {
                let near = name != "*" && is_near(cost, wrong);
                if near && best.as_ref().is_none_or(|(least, _)| cost < *least) {
                    best = Some((cost, name));
                }
            }
        }
        best.map(|(_, name)| name)
    }
}

/// Whether `keys` are the first of `names`.
fn matches(names: &[&str], keys: &[String]) -> bool {
    names.iter().zip(keys).all(|(name, key)| *name == "*" || name == key)
}

/// For [`Known::fits`]: whether a value reads as a `T`.
pub(crate) fn reads_as<T: DeserializeOwned>(value: &toml::Value) -> bool {
    value.clone().try_into::<T>().is_ok()
}

/// The one of `names` that is most like `wrong`, if any is.
pub(crate) fn nearest<'a>(
    wrong: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let by_cost = names.into_iter().map(|name| (distance(wrong, name), name));
    let near = by_cost.filter(|(cost, _)| is_near(*cost, wrong));
    near.min_by_key(|(cost, _)| *cost).map(|(_, name)| name)
}

/// Whether what is so far away from `wrong` may have been meant by it.
fn is_near(cost: usize, wrong: &str) -> bool {
    cost <= 1 + wrong.chars().count() / 3
}

/// How many letters have to be added, taken away or replaced, or neighbours swapped.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row_before: Vec<usize> = Vec::new();
    let mut row_above: Vec<usize> = (0..=other.len()).collect();
    let mut previous = None;
    for (index, letter) in one.chars().enumerate() {
        let mut row = vec![index + 1];
        for (column, &against) in other.iter().enumerate() {
            let replaced = row_above[column] + usize::from(letter != against);
            let mut cost = replaced.min(row_above[column + 1] + 1).min(row[column] + 1);
            if column > 0 && previous == Some(against) && other[column - 1] == letter {
                cost = cost.min(row_before[column - 1] + 1);
            }
            row.push(cost);
        }
        row_before = std::mem::replace(&mut row_above, row);
        previous = Some(letter);
    }
    row_above[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: Schema = Schema(&[
        known("vault.path"),
        known("providers.*.base_url"),
        known("providers.*.oauth.client_id"),
        known("providers.*.oauth.token_endpoint"),
        known("providers.*.oauth.parameters.*"),
    ]);

    const fn known(path: &'static str) -> Known {
        Known { path, takes: "text", fits: reads_as::<String>, kind: Kind::Plain }
    }

    fn find(path: &str) -> Found {
        SCHEMA.find(&SettingPath::parse(path))
    }

    #[test]
    fn settings_and_sections_are_told_apart() {
        assert!(matches!(find("vault.path"), Found::Setting(known) if known.path == "vault.path"));
        assert!(matches!(find("providers.mine.oauth.parameters.audience"), Found::Setting(_)));
        for section in ["vault", "providers", "providers.mine", "providers.mine.oauth"] {
            assert!(matches!(find(section), Found::Section), "{section}");
        }
        assert!(matches!(find("vault.path.deeper"), Found::Unknown(_)));
    }

    #[test]
    fn a_name_that_none_has_suggests_the_nearest() {
        for (wrong, meant) in [
            ("vualt", Some("vault")),
            ("provider", Some("providers")),
            ("providers.mine.baseurl", Some("base_url")),
            ("providers.mine.client_id", Some("oauth.client_id")),
            ("providers.mine.oauth.token_endpiont", Some("token_endpoint")),
            ("providers.mine.oauth.entirely_different", None),
            ("x", None),
        ] {
            let Found::Unknown(suggestion) = find(wrong) else { panic!("{wrong} is known") };
            assert_eq!(suggestion.as_deref(), meant, "{wrong}");
        }
    }

    #[test]
    fn distances_count_letters() {
        for (one, other, apart) in [
            ("", "", 0),
            ("abc", "abc", 0),
            ("abc", "acb", 1),
            ("", "ab", 2),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(one, other), apart, "{one} {other}");
        }
    }
}
