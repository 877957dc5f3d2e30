//! How keys, ids and times stand in the header: as base64 and numbers, by way of buffers that are
//! wiped where the text is a key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

/// A key.
pub(super) mod key {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};
    use zeroize::{Zeroize as _, Zeroizing};

    use crate::vault::seal::KeyBytes;

    pub(in super::super) fn serialize<S: Serializer>(
        key: &KeyBytes,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        Zeroizing::new(STANDARD.encode(key.as_slice())).serialize(to)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>, K: From<KeyBytes>>(
        from: D,
    ) -> Result<K, D::Error> {
        let wrong = || serde::de::Error::custom("not 32 bytes of base64");
        let mut text = String::deserialize(from)?;
        let bytes = STANDARD.decode(&text).map(Zeroizing::new);
        text.zeroize();
        let bytes = bytes.map_err(|_| wrong())?;
        let key: &[u8; 32] = bytes.as_slice().try_into().map_err(|_| wrong())?;
        Ok(Zeroizing::new(*key).into())
    }
}

/// Bytes of a fixed number that are no secret.
pub(super) fn serialize<S: Serializer, const N: usize>(
    bytes: &[u8; N],
    to: S,
) -> Result<S::Ok, S::Error> {
    STANDARD.encode(bytes).serialize(to)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
    from: D,
) -> Result<[u8; N], D::Error> {
    let wrong = || serde::de::Error::custom(format!("not {N} bytes of base64"));
    let bytes = STANDARD.decode(String::deserialize(from)?).map_err(|_| wrong())?;
    bytes.try_into().map_err(|_| wrong())
}
