//! Listening unix sockets that outlive their maker: bound by path by the agent, handed down to an
//! amphora by inheritance, connected to again by the next agent.

use std::{
    fs, io,
    os::{
        fd::OwnedFd,
        unix::{fs::PermissionsExt as _, net::UnixListener},
    },
    path::Path,
};

use crate::{Doing as _, Result};

/// Binds `path` (an old socket there is replaced) so that only root can connect. The directory must
/// already be root's alone: it protects the moment before the mode is set.
///
/// # Errors
/// When the path is too long for a socket (107 bytes) or cannot be written.
pub fn listen(path: &Path) -> Result<OwnedFd> {
    let doing = || format!("listen on {}", path.display());
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).doing(doing),
        _ => {}
    }
    let listener = UnixListener::bind(path).doing(doing)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).doing(doing)?;
    Ok(listener.into())
}

/// Creates a directory (with its parents) that only its owner may enter.
///
/// # Errors
/// When it cannot be made or its mode set.
pub fn private_dir(path: &Path) -> Result<()> {
    let doing = || format!("make directory {}", path.display());
    fs::create_dir_all(path).doing(doing)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).doing(doing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_is_private_and_can_be_bound_again() {
        let dir = tempfile::tempdir().unwrap();
        private_dir(&dir.path().join("a/b")).unwrap();
        let path = dir.path().join("a/b/control.sock");
        let first = listen(&path).unwrap();
        drop(first);
        let _second = listen(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(std::os::unix::net::UnixStream::connect(&path).is_ok());
    }
}
