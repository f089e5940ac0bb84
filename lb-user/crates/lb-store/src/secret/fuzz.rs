//! What `tests/fuzz` aims bytes at. Of no use to anyone else.

use super::{authority, bundle, parts};

/// A payload that shall hold a certificate and its key, in whatever form; or one as each part of a
/// container. `Err`: what was found of what must not be.
pub fn payload(bytes: &[u8]) -> Result<(), String> {
    if let Ok(bundle) = bundle::read(bytes) {
        let again =
            bundle::read(format!("{}{}", bundle.key_pem.expose(), bundle.chain_pem).as_bytes());
        let again =
            again.map_err(|error| format!("what was read cannot be read again: {error}"))?;
        if again.hosts != bundle.hosts || again.chain_pem != bundle.chain_pem {
            return Err("what was read is read differently".to_owned());
        }
    }
    // Nothing but that they end without a panic.
    drop(parts::certificates(bytes));
    drop(parts::private_key(bytes, Some(b"")));
    drop(authority::read_authority(bytes));
    drop(authority::read_revocation_list(bytes));
    Ok(())
}
