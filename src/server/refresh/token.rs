//! What a refresh token is made of: the name of its family, a secret, and two seals, one of them with
//! the application. They tell a token that was issued once from an invention, and whose it is,
//! without a list of all of them: only what was issued ends a family. Each secret follows from the one before it, so the
//! successor of a token can be made again for whoever has that token, and by nobody else.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::clock::{Entropy, EntropyError};
use crate::secret::Secret;
use crate::server::application::ApplicationId;

/// What a token begins with, so that one that was published by mistake is recognized.
const PREFIX: &str = "rt_";

const FAMILY: usize = 16;
const SECRET: usize = 32;
const SEAL: usize = 16;

/// A refresh token that this server issued.
pub(crate) struct RefreshToken {
    family: [u8; FAMILY],
    secret: Zeroizing<[u8; SECRET]>,
}

impl RefreshToken {
    /// The first token of a new family.
    pub(super) fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        let (mut family, mut secret) = ([0; FAMILY], Zeroizing::new([0; SECRET]));
        entropy.fill(&mut family)?;
        entropy.fill(secret.as_mut_slice())?;
        Ok(Self { family, secret })
    }

    /// The name of its family.
    pub(crate) fn family(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.family)
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshToken").field("family", &self.family()).finish_non_exhaustive()
    }
}

/// What a text is to an application that presents it.
#[derive(Debug)]
pub(crate) enum ReadToken {
    /// A refresh token that was issued to it.
    Issued(RefreshToken),
    /// One that was issued to another application.
    OfAnother,
    /// Nothing that this server has issued.
    None,
}

/// Makes and reads the refresh tokens of one server.
#[derive(Clone)]
pub(crate) struct RefreshTokens(hmac::Key);

impl RefreshTokens {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The token that follows `token`.
    pub(crate) fn successor(&self, token: &RefreshToken) -> RefreshToken {
        let secret = self.tag(b"refresh token: successor", &[&token.family, &*token.secret]);
        RefreshToken { family: token.family, secret }
    }

    /// What is kept of a token.
    pub(crate) fn hash(&self, token: &RefreshToken) -> [u8; 32] {
        *self.tag(b"refresh token: hash", &[&token.family, &*token.secret])
    }

    /// The text that `application` is given.
    pub(crate) fn write(&self, token: &RefreshToken, application: &ApplicationId) -> Secret {
        let mut bytes = Zeroizing::new([0; FAMILY + SECRET + 2 * SEAL]);
        bytes[..FAMILY].copy_from_slice(&token.family);
        bytes[FAMILY..FAMILY + SECRET].copy_from_slice(&*token.secret);
        bytes[FAMILY + SECRET..].copy_from_slice(&self.seals(token, application));
        let mut text = String::with_capacity(PREFIX.len() + 2 * bytes.len());
        text.push_str(PREFIX);
        URL_SAFE_NO_PAD.encode_string(bytes.as_slice(), &mut text);
        Secret::from(text)
    }

    /// What `text` is to `application`.
    pub(crate) fn read(&self, text: &str, application: &ApplicationId) -> ReadToken {
        let Some((token, seals)) = parsed(text) else { return ReadToken::None };
        let expected = self.seals(&token, application);
        // Both are compared in any case.
        let [issued, ours] =
            [0, SEAL].map(|at| bool::from(expected[at..at + SEAL].ct_eq(&seals[at..at + SEAL])));
        match (issued, ours) {
            (false, _) => ReadToken::None,
            (true, false) => ReadToken::OfAnother,
            (true, true) => ReadToken::Issued(token),
        }
    }

    /// The seal of a token, and the one with its application.
    fn seals(&self, token: &RefreshToken, application: &ApplicationId) -> [u8; 2 * SEAL] {
        let parts = [&token.family[..], &*token.secret];
        let issued = self.tag(b"refresh token: seal", &parts);
        let parts = [&token.family[..], &*token.secret, application.as_str().as_bytes()];
        let ours = self.tag(b"refresh token: seal of its application", &parts);
        let mut seals = [0; 2 * SEAL];
        seals[..SEAL].copy_from_slice(&issued[..SEAL]);
        seals[SEAL..].copy_from_slice(&ours[..SEAL]);
        seals
    }

    /// An HMAC over parts, of which all but the last have a fixed length.
    fn tag(&self, purpose: &[u8], parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(purpose);
        for part in parts {
            context.update(part);
        }
        let mut tag = Zeroizing::new([0; 32]);
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }
}

/// A token and its seals, not yet compared.
fn parsed(text: &str) -> Option<(RefreshToken, [u8; 2 * SEAL])> {
    let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok()?);
    let (family, rest) = bytes.split_first_chunk::<FAMILY>()?;
    let (secret, seals) = rest.split_first_chunk::<SECRET>()?;
    let token = RefreshToken { family: *family, secret: Zeroizing::new(*secret) };
    Some((token, seals.try_into().ok()?))
}
