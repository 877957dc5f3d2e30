//! The name of a setting: the keys that lead to it, written as TOML writes a dotted key.

use std::fmt;

/// The name of a setting, such as `providers.openai.base_url`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct SettingPath(Vec<String>);

impl SettingPath {
    /// Reads `a.b."c.d"`. What is not well formed is a name that no setting has.
    pub(crate) fn parse(text: &str) -> Self {
        let (mut keys, mut key, mut quoted) = (Vec::new(), String::new(), false);
        for character in text.chars() {
            match character {
                '"' => quoted = !quoted,
                '.' if !quoted => keys.push(std::mem::take(&mut key)),
                other => key.push(other),
            }
        }
        keys.push(key);
        Self(keys)
    }

    /// This one with one more key.
    pub(crate) fn join(&self, key: &str) -> Self {
        let mut keys = self.0.clone();
        keys.push(key.to_owned());
        Self(keys)
    }

    /// This one with all the keys of `text`.
    pub(crate) fn beneath(&self, text: &str) -> Self {
        let mut keys = self.0.clone();
        keys.extend(Self::parse(text).0);
        Self(keys)
    }

    pub(crate) fn keys(&self) -> &[String] {
        &self.0
    }

    /// The keys after `start`, when it begins so.
    pub(crate) fn after(&self, start: &Self) -> Option<&[String]> {
        self.0.strip_prefix(start.0.as_slice())
    }

    /// This one without its last key.
    pub(crate) fn parent(&self) -> Option<Self> {
        let (_, above) = self.0.split_last()?;
        (!above.is_empty()).then(|| Self(above.to_vec()))
    }
}

impl fmt::Display for SettingPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bare = |key: &str| {
            let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_*".contains(&byte);
            !key.is_empty() && key.bytes().all(fine)
        };
        for (index, key) in self.0.iter().enumerate() {
            let dot = if index == 0 { "" } else { "." };
            if bare(key) {
                write!(f, "{dot}{key}")?;
            } else {
                write!(f, "{dot}\"{}\"", key.escape_debug())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_and_read_as_toml_does() {
        for text in ["vault.path", "providers.openai.oauth.client_id", "providers.\"a.b c\".errors"]
        {
            assert_eq!(SettingPath::parse(text).to_string(), text);
        }
        let odd = SettingPath::parse("providers").join("a.b").beneath("oauth.scopes");
        assert_eq!(odd.keys(), ["providers", "a.b", "oauth", "scopes"]);
        assert_eq!(odd.after(&SettingPath::parse("providers")).map(<[String]>::len), Some(3));
    }
}
