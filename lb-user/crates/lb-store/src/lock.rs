//! Who may go on alone: one process on a state directory, one transaction on a row.
//!
//! The state directory's lock is the kernel's (`flock`): it ends with the process, however that ends.
//! What is written into the file only tells the next one who it was. A row's lock
//! ([`lock_row`]) is the database's and ends with the transaction; rows are locked in one order
//! everywhere: load balancer, quota, address, secret. Where two transactions still meet head on, the
//! database undoes one, which is run again ([`Attempts`]).

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};

use crate::{
    db::{Transaction, query},
    error::StoreError,
};

/// How often a transaction is run again that had to give way.
const ATTEMPTS_MAX: u32 = 8;

/// Keeps a row for this transaction until its end; on SQLite the one writing transaction has it
/// anyway. `sql` selects the row by `$1`. Says whether there is such a row.
pub(crate) async fn lock_row(
    transaction: &mut Transaction,
    sql: &'static str,
    id: impl std::fmt::Display,
) -> Result<bool, StoreError> {
    let row = query(sql)
        .bind(id.to_string())
        .locking()
        .fetch_optional(transaction)
        .await?;
    Ok(row.is_some())
}

/// Counts how often a transaction was run.
#[derive(Debug, Default)]
pub(crate) struct Attempts(u32);

impl Attempts {
    /// Whether to run it again: it was undone for another's sake, and not too often yet.
    pub(crate) fn again(&mut self, error: &StoreError) -> bool {
        self.0 += 1;
        matches!(error, StoreError::Contended(_)) && self.0 < ATTEMPTS_MAX
    }
}

/// Name of the lock file in the state directory.
const LOCK_FILE: &str = "lock";
/// More than any holder writes about itself.
const HOLDER_BYTES_MAX: u64 = 256;

/// Held for as long as the process works on the state directory.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

impl StateLock {
    /// Takes the directory for this process, which works as `role`.
    ///
    /// # Errors
    /// [`StoreError::Locked`] names the holder.
    pub fn acquire(state_dir: &Path, role: &str) -> Result<Self, StoreError> {
        let path = state_dir.join(LOCK_FILE);
        let fail = |source| StoreError::File {
            path: path.clone(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(fail)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked {
                    path: PathBuf::from(state_dir),
                    holder: holder(&file),
                });
            }
            Err(TryLockError::Error(source)) => return Err(fail(source)),
        }
        file.set_len(0).map_err(fail)?;
        file.rewind().map_err(fail)?;
        write!(file, "lbaas {role}, process {}", std::process::id()).map_err(fail)?;
        Ok(Self { _file: file })
    }
}

/// Waits for a file to be this process's alone, until what is returned is dropped.
pub(crate) fn alone(path: &Path) -> Result<File, StoreError> {
    let fail = |source| StoreError::File {
        path: path.to_owned(),
        source,
    };
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(fail)?;
    file.lock().map_err(fail)?;
    Ok(file)
}

fn holder(file: &File) -> String {
    let mut text = String::new();
    match file.take(HOLDER_BYTES_MAX).read_to_string(&mut text) {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _unreadable => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_opener_is_told_who_holds_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let first = StateLock::acquire(dir.path(), "all-in-one").unwrap();
        let error = StateLock::acquire(dir.path(), "server").unwrap_err();
        let text = error.to_string();
        assert!(text.contains("all-in-one"), "{text}");
        assert!(text.contains(&std::process::id().to_string()), "{text}");
        drop(first);
        StateLock::acquire(dir.path(), "server").unwrap();
    }
}
