//! Where PostgreSQL is, as operators write it. Its password is never shown.

use std::{fmt, str::FromStr};

use sqlx::postgres::PgConnectOptions;

/// `postgresql://user:password@host:port/database?sslmode=verify-full&sslrootcert=/path`; a unix
/// socket's directory is `?host=/path`.
#[derive(Clone)]
pub struct DatabaseUrl {
    text: String,
    options: PgConnectOptions,
}

/// Why a text is no URL of a database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a URL such as postgresql://user:password@host/database ({0})")]
pub struct UrlError(String);

impl DatabaseUrl {
    pub(super) fn options(&self) -> PgConnectOptions {
        self.options.clone()
    }
}

impl FromStr for DatabaseUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if !text.starts_with("postgresql://") && !text.starts_with("postgres://") {
            return Err(UrlError("other databases are not supported".to_owned()));
        }
        // libpq takes a user without a host, which the parser here does not.
        let options = text
            .replacen("@/", "@localhost/", 1)
            .parse()
            .map_err(|error: sqlx::Error| UrlError(error.to_string()))?;
        Ok(Self {
            text: text.to_owned(),
            options,
        })
    }
}

impl PartialEq for DatabaseUrl {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for DatabaseUrl {}

/// Without the password.
impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &self.options;
        write!(f, "postgresql://{}@", options.get_username())?;
        match options.get_socket() {
            None => write!(f, "{}:{}", options.get_host(), options.get_port())?,
            Some(_at_the_end) => write!(f, ":{}", options.get_port())?,
        }
        if let Some(database) = options.get_database() {
            write!(f, "/{database}")?;
        }
        if let Some(socket) = options.get_socket() {
            write!(f, "?host={}", socket.display())?;
        }
        Ok(())
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let url: DatabaseUrl = "postgresql://lb:s3cret@db.example:6432/lbaas?sslmode=require"
            .parse()
            .unwrap();
        let shown = format!("{url} {url:?}");
        assert!(!shown.contains("s3cret"), "{shown}");
        assert!(
            shown.contains("postgresql://lb@db.example:6432/lbaas"),
            "{shown}"
        );
    }

    #[test]
    fn other_databases_and_nonsense_are_refused() {
        for text in [
            "mysql://x/y",
            "sqlite://lbaas.db",
            "",
            "postgresql://h:port/x",
        ] {
            assert!(text.parse::<DatabaseUrl>().is_err(), "{text}");
        }
    }
}
