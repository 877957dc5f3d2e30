//! A telephone number as E.164 has it.

use std::fmt;
use std::str::FromStr;

/// The fewest and the most digits: E.164 §6.2 has at most 15, and no subscriber anywhere is
/// reached by less than 7 with the code of the country.
const DIGITS: std::ops::RangeInclusive<usize> = 7..=15;

/// A telephone number in its international form (ITU-T E.164), such as `+33612345678`.
///
/// ```
/// use tokenward::service::orange::PhoneNumber;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let number: PhoneNumber = "+33612345678".parse()?;
/// assert_eq!(number.to_uri(), "tel:+33612345678");
/// assert!("06 12 34 56 78".parse::<PhoneNumber>().is_err(), "without its country");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PhoneNumber {
    /// Without the plus sign.
    digits: String,
}

/// A text that is no telephone number. It does not repeat the text.
///
/// ```
/// use tokenward::service::orange::{PhoneNumber, PhoneNumberError};
///
/// // As a person types it, who is told by the error how it is written.
/// let typed = "06 12 34 56 78".parse::<PhoneNumber>();
/// assert_eq!(typed, Err(PhoneNumberError));
/// assert!(PhoneNumberError.to_string().contains("+33612345678"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a telephone number is written as +33612345678: a plus sign and 7 to 15 digits, the first not 0"
)]
pub struct PhoneNumberError;

impl PhoneNumber {
    pub(super) fn digits(&self) -> &str {
        &self.digits
    }

    /// As a `tel` URI (RFC 3966): `tel:+33612345678`.
    pub fn to_uri(&self) -> String {
        format!("tel:{self}")
    }
}

impl FromStr for PhoneNumber {
    type Err = PhoneNumberError;

    fn from_str(text: &str) -> Result<Self, PhoneNumberError> {
        let digits = text.strip_prefix('+').ok_or(PhoneNumberError)?;
        let number = DIGITS.contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|byte| byte.is_ascii_digit());
        if number { Ok(Self { digits: digits.to_owned() }) } else { Err(PhoneNumberError) }
    }
}

impl fmt::Display for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{}", self.digits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_taken_in_its_international_form_alone() {
        let number: PhoneNumber = "+33612345678".parse().expect("a number");
        assert_eq!(number.to_string(), "+33612345678");
        assert_eq!(number.to_uri(), "tel:+33612345678");
        for text in [
            "",
            "+",
            "33612345678",
            "0033612345678",
            "+0612345678",
            "+336123",
            "+1234567890123456",
            "+33 6 12 34 56 78",
            "+33612345678/requests",
            "tel:+33612345678",
            "+336١٢٣٤٥٦٧",
        ] {
            assert_eq!(text.parse::<PhoneNumber>(), Err(PhoneNumberError), "{text}");
        }
    }
}
