//! Values with placeholders, as they stand in provider data: `Bearer {secret}`. A placeholder is a
//! name in braces; there is nothing else to it.

use zeroize::Zeroizing;

/// Replaces each `{name}` in `template` by its value.
///
/// # Errors
///
/// The first name that has no value. A brace that is never closed is such a name.
pub(super) fn render(
    template: &str,
    values: &[(&str, &str)],
) -> Result<Zeroizing<String>, UnknownPlaceholder> {
    let longest: usize = values.iter().map(|(_, value)| value.len()).sum();
    let mut text = Zeroizing::new(String::with_capacity(template.len() + longest));
    let mut rest = template;
    while let Some((before, from_name)) = rest.split_once('{') {
        let unknown = |name: &str| UnknownPlaceholder(name.to_owned());
        let (name, after) = from_name.split_once('}').ok_or_else(|| unknown(from_name))?;
        let value = values.iter().find(|(known, _)| *known == name);
        let (_, value) = value.ok_or_else(|| unknown(name))?;
        text.push_str(before);
        text.push_str(value);
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

/// A placeholder that has no value where it stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the placeholder {{{0}}} is unknown here")]
pub(super) struct UnknownPlaceholder(pub(super) String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_replaced_and_the_rest_is_kept() {
        let values = [("secret", "{version}"), ("version", "1")];
        let text = render("Bearer {secret} v{version}", &values).expect("known names");
        assert_eq!(*text, "Bearer {version} v1", "a value is never a template");
        assert_eq!(render("plain", &[]).as_deref().map(String::as_str), Ok("plain"));
    }

    #[test]
    fn an_unknown_placeholder_is_named() {
        assert_eq!(render("{user}", &[]), Err(UnknownPlaceholder("user".to_owned())));
        assert_eq!(render("a{b", &[("b", "x")]), Err(UnknownPlaceholder("b".to_owned())));
    }
}
