//! Bundles as people make them: with the `openssl` command.

use std::{fs, path::PathBuf, process::Command};

use lb_model::{ctx::CertificateFact, id::SecretId};

use super::*;
use crate::{SecretError, secret};

/// A directory with a CA, an intermediate and leaf certificates below it.
struct Pki(tempfile::TempDir);

impl Pki {
    fn new() -> Self {
        let pki = Self(tempfile::tempdir().unwrap());
        pki.write("ca.ext", "basicConstraints=critical,CA:TRUE\n");
        pki.write(
            "leaf.ext",
            "subjectAltName=DNS:*.Example.test,DNS:example.test,IP:192.0.2.1\n",
        );
        pki.openssl("req -x509 -newkey rsa:2048 -nodes -keyout root.key -out root.pem -subj /CN=root -days 30");
        pki.issue("inter", "rsa:2048", "/CN=intermediate", "root", "ca.ext");
        pki.issue("leaf", "rsa:2048", "/CN=Example.test", "inter", "leaf.ext");
        pki
    }

    fn issue(&self, name: &str, key: &str, subject: &str, issuer: &str, extensions: &str) {
        self.openssl(&format!(
            "req -newkey {key} -nodes -keyout {name}.key -out {name}.csr -subj {subject}"
        ));
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA {issuer}.pem -CAkey {issuer}.key -CAcreateserial \
             -days 30 -extfile {extensions} -out {name}.pem"
        ));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    fn openssl(&self, arguments: &str) {
        let output = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(self.0.path())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments}: {told}");
    }

    fn pkcs12(&self, name: &str, options: &str) -> Vec<u8> {
        self.write(
            "chain.pem",
            &format!("{}{}", self.text("root.pem"), self.text("inter.pem")),
        );
        self.openssl(&format!(
            "pkcs12 -export -inkey {name}.key -in {name}.pem -certfile chain.pem \
             -passout pass: -out bundle.p12 {options}"
        ));
        self.read("bundle.p12")
    }

    fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).unwrap()
    }
}

async fn put(store: &Store, payload: &[u8]) -> String {
    let id = store
        .put_secret(PROJECT, "cert", payload, "application/octet-stream")
        .await
        .unwrap();
    format!("http://127.0.0.1:9311/v1/secrets/{id}")
}

async fn error(store: &Store, payload: &[u8]) -> SecretError {
    match store.load_certificate(&put(store, payload).await).await {
        Err(StoreError::Secret(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn certificates(pem: &str) -> Vec<&str> {
    pem.split_inclusive("-----END CERTIFICATE-----\n").collect()
}

on_both! {
async fn every_shape_of_pkcs12_opens_leaf_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let pki = Pki::new();
    let shapes = [
        "",
        "-legacy",
        "-nomac",
        "-keypbe NONE -certpbe NONE",
        "-keypbe NONE -certpbe NONE -nomac",
    ];
    for shape in shapes {
        let reference = put(&store, &pki.pkcs12("leaf", shape)).await;
        let certificate = store.load_certificate(&reference).await.unwrap();
        assert_eq!(certificate.id, reference);
        assert_eq!(
            certificate.hosts,
            ["example.test", "*.example.test"],
            "{shape}"
        );
        let chain = certificates(&certificate.chain_pem);
        assert_eq!(
            chain,
            [
                pki.text("leaf.pem"),
                pki.text("inter.pem"),
                pki.text("root.pem")
            ],
            "{shape}"
        );
        assert_eq!(
            certificate.key_pem.expose(),
            pki.text("leaf.key"),
            "{shape}"
        );
        assert!(!format!("{certificate:?}").contains("PRIVATE"));
    }
}
}

on_both! {
async fn pkcs12_written_as_base64_opens_too() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let pki = Pki::new();
    pki.pkcs12("leaf", "");
    pki.openssl("base64 -in bundle.p12 -out bundle.txt");
    let reference = put(&store, &pki.read("bundle.txt")).await;
    store.load_certificate(&reference).await.unwrap();
}
}

on_both! {
async fn every_kind_of_key_opens_as_pem_in_any_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let pki = Pki::new();
    pki.openssl("rsa -in leaf.key -traditional -out pkcs1.key");
    pki.issue("ed", "ed25519", "/CN=ed.test", "inter", "leaf.ext");
    pki.issue(
        "p384",
        "ec -pkeyopt ec_paramgen_curve:P-384",
        "/CN=p384.test",
        "inter",
        "leaf.ext",
    );
    pki.openssl("ec -in p384.key -out sec1.key");
    let cases = [
        ("leaf.key", "leaf.pem"),
        ("pkcs1.key", "leaf.pem"),
        ("ed.key", "ed.pem"),
        ("p384.key", "p384.pem"),
        ("sec1.key", "p384.pem"),
    ];
    for (key, leaf) in cases {
        let text = [
            pki.text("root.pem"),
            pki.text("inter.pem"),
            pki.text(key),
            pki.text(leaf),
        ]
        .concat();
        let certificate = store
            .load_certificate(&put(&store, text.as_bytes()).await)
            .await
            .unwrap();
        let chain = certificates(&certificate.chain_pem);
        assert_eq!(
            chain,
            [pki.text(leaf), pki.text("inter.pem"), pki.text("root.pem")],
            "{key}"
        );
        assert!(
            pki.text(key).contains(certificate.key_pem.expose()),
            "{key}"
        );
    }
}
}

on_both! {
async fn what_cannot_be_served_is_told_why() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let pki = Pki::new();
    pki.write("none.ext", "subjectAltName=IP:192.0.2.1\n");
    pki.issue("nameless", "rsa:2048", "/O=nobody", "inter", "none.ext");
    let both = |key: &str, leaf: &str| [pki.text(key), pki.text(leaf)].concat().into_bytes();
    assert_eq!(
        error(&store, &both("leaf.key", "inter.pem")).await,
        SecretError::KeyMismatch
    );
    assert_eq!(
        error(&store, &both("nameless.key", "nameless.pem")).await,
        SecretError::NoHostNames
    );
    for payload in [
        pki.read("leaf.key"),
        pki.read("leaf.pem"),
        b"rubbish".to_vec(),
        Vec::new(),
    ] {
        let error = error(&store, &payload).await;
        assert!(matches!(error, SecretError::NotABundle(_)), "{error}");
    }
    pki.openssl("pkcs12 -export -inkey leaf.key -in leaf.pem -passout pass:x -out locked.p12");
    let error = error(&store, &pki.read("locked.p12")).await;
    assert!(error.to_string().contains("password"), "{error}");
    let huge = vec![b'x'; secret::PAYLOAD_BYTES_MAX + 1];
    let refused = store.put_secret(PROJECT, "", &huge, "text/plain").await;
    assert!(matches!(
        refused,
        Err(StoreError::Secret(SecretError::TooLarge(_)))
    ));
}
}

on_both! {
async fn facts_tell_usable_from_unreadable() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let pki = Pki::new();
    let good = put(&store, &pki.pkcs12("leaf", "")).await;
    let lost = format!("x/{}", Uuid::from_u128(5));
    let references = [good.clone(), lost.clone(), "nonsense".to_owned()];
    let facts = store.certificate_facts(&references).await.unwrap();
    assert!(matches!(&facts[&good], CertificateFact::Usable { hosts } if hosts.len() == 2));
    assert!(
        matches!(&facts[&lost], CertificateFact::Unreadable { reason } if reason.contains("not found"))
    );
    assert!(matches!(
        &facts["nonsense"],
        CertificateFact::Unreadable { .. }
    ));
}
}

on_both! {
async fn a_secret_in_use_stays_until_its_listener_goes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let id = store
        .put_secret(PROJECT, "cert", b"private", "text/plain")
        .await
        .unwrap();
    let balancer = create(&store, "lb", &on_subnet(v4()))
        .await
        .unwrap()
        .load_balancer
        .id;
    let used = store.change_tree(balancer, |tree| {
        let mut https = listener("https", ListenerProtocol::TerminatedHttps, 443);
        https.sni_container_refs = vec![format!("https://elsewhere/v1/containers/{id}/")];
        tree.listeners.push(https);
        Ok(())
    });
    used.await.unwrap();
    let refused = store.delete_secret(id).await;
    assert!(matches!(refused, Err(StoreError::Secret(SecretError::InUse(it))) if it == id));
    let freed = store.change_tree(balancer, |tree| {
        tree.listeners.clear();
        Ok(())
    });
    freed.await.unwrap();
    store.delete_secret(id).await.unwrap();
    assert!(store.secret(id).await.unwrap().is_none());
    let again = store.delete_secret(id).await;
    assert!(matches!(
        again,
        Err(StoreError::Secret(SecretError::NotFound(_)))
    ));
}
}

on_both! {
async fn a_payload_is_readable_by_id_only_and_never_on_disk_or_in_debug() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let id = store
        .put_secret(PROJECT, "n", b"very-private", "text/plain")
        .await
        .unwrap();
    let payload = store.secret_payload(id).await.unwrap().unwrap();
    assert_eq!(payload.expose(), b"very-private");
    assert!(!format!("{payload:?} {store:?}").contains("very-private"));
    let record = store.secret(id).await.unwrap().unwrap();
    assert_eq!(
        (record.name.as_str(), record.content_type.as_str()),
        ("n", "text/plain")
    );
    assert_eq!(store.list_secrets(Some(PROJECT)).await.unwrap(), [record]);
    assert!(store.list_secrets(Some("other")).await.unwrap().is_empty());
    assert_eq!(store.list_secrets(None).await.unwrap().len(), 1);
    for entry in fs::read_dir(dir.path()).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(12).any(|window| window == b"very-private"));
    }
    assert!(
        store
            .secret_payload(SecretId(Uuid::nil()))
            .await
            .unwrap()
            .is_none()
    );
}
}

#[test]
fn of_a_reference_only_the_uuid_at_its_end_counts() {
    let id = Uuid::from_u128(9);
    for text in [
        format!("https://a/v1/secrets/{id}"),
        format!("http://b/c/{id}/"),
        id.to_string(),
    ] {
        assert_eq!(secret::reference(&text).unwrap(), SecretId(id));
    }
    assert!(secret::reference("https://a/v1/secrets/").is_err());
}
