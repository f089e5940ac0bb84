//! Certificates for tests and the sandbox, made by the `openssl` program: a CA of its own and leaf
//! certificates as PKCS#12, which is what tenants upload.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

/// A CA in a directory of its own.
#[derive(Debug)]
pub struct TestCa {
    directory: PathBuf,
}

impl TestCa {
    /// Makes a CA in `directory`, which is made too.
    ///
    /// # Errors
    /// `openssl` is missing or fails, or the directory cannot be written.
    pub fn create(directory: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(directory)?;
        let ca = Self {
            directory: directory.to_path_buf(),
        };
        ca.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=LBaaS demonstration CA",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
        ])?;
        Ok(ca)
    }

    /// The CA certificate, for `curl --cacert`.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// Issues a certificate for `host` and gives it as PKCS#12 without a passphrase.
    ///
    /// # Errors
    /// `openssl` fails.
    pub fn pkcs12(&self, host: &str) -> anyhow::Result<Vec<u8>> {
        let file = |kind: &str| format!("{host}.{kind}");
        fs::write(
            self.directory.join(file("ext")),
            format!("subjectAltName=DNS:{host}\n"),
        )?;
        self.openssl(&[
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            &format!("/CN={host}"),
            "-keyout",
            &file("key"),
            "-out",
            &file("csr"),
        ])?;
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            &file("csr"),
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "30",
            "-extfile",
            &file("ext"),
            "-out",
            &file("pem"),
        ])?;
        self.openssl(&[
            "pkcs12",
            "-export",
            "-passout",
            "pass:",
            "-in",
            &file("pem"),
            "-inkey",
            &file("key"),
            "-certfile",
            "ca.pem",
            "-out",
            &file("p12"),
        ])?;
        fs::read(self.directory.join(file("p12"))).context("openssl wrote no PKCS#12")
    }

    fn openssl(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(&self.directory)
            .output()
            .context("cannot start openssl")?;
        if !output.status.success() {
            bail!(
                "openssl {arguments:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(())
    }
}
