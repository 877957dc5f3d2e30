//! Forms, strictly: what is not an escape, or not UTF-8, is refused. A decoder that guesses would
//! take different secrets for one.

use zeroize::Zeroizing;

use super::{Intake, Parameters};
use crate::server::refusal::Refusal;

/// Reads a form (RFC 6749 appendix B).
pub(super) fn parse(body: &[u8]) -> Result<Parameters, Refusal> {
    let mut intake = Intake::default();
    for pair in body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        let equals = pair.iter().position(|byte| *byte == b'=');
        let (name, value) = match equals {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &[][..]),
        };
        let malformed = || Refusal::InvalidRequest("the form is not encoded as a form");
        let mut name = decoded(name).ok_or_else(malformed)?;
        let value = decoded(value).ok_or_else(malformed)?;
        intake.add(std::mem::take(&mut *name), value)?;
    }
    Ok(intake.finished())
}

/// The text that was form-encoded; none when it can not have been.
pub(super) fn decoded(encoded: &[u8]) -> Option<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(encoded.len()));
    let mut rest = encoded.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (high, low) = (digit(*rest.next()?)?, digit(*rest.next()?)?);
                high << 4 | low
            }
            plain => *plain,
        });
    }
    // The buffer becomes the text, so that nothing is left behind.
    String::from_utf8(std::mem::take(&mut *bytes)).ok().map(Zeroizing::new)
}

fn digit(character: u8) -> Option<u8> {
    char::from(character).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
