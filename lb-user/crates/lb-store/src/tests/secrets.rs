//! Bundles as people make them: with the `openssl` command.

use std::{fs, path::PathBuf, process::Command};

use lb_model::{
    ctx::{AuthorityFact, CertificateFact, RevocationListFact},
    id::SecretId,
    secret_refs::SecretRefs,
    spec::CertificateSpec,
};

use super::*;
use crate::{
    SecretError, now,
    secret::{
        self, Asker, Judged, KeyManager as _, KeySource, NewContainer, Reference, SecretAbout,
    },
};

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

/// For a load balancer that never had a copy of it.
async fn load(store: &Store, reference: &str) -> Result<CertificateSpec, StoreError> {
    let owner = LoadBalancerId(Uuid::new_v4());
    store.load_certificate(owner, PROJECT, reference).await
}

async fn judge(store: &Store, refs: &SecretRefs) -> Judged {
    judge_for(store, LoadBalancerId(Uuid::new_v4()), refs).await
}

async fn judge_for(store: &Store, owner: LoadBalancerId, refs: &SecretRefs) -> Judged {
    let stored = SecretRefs::default();
    store
        .judge_secrets(store, &asker(), owner, refs, &stored)
        .await
        .unwrap()
}

fn asker() -> Asker {
    Asker {
        projects: vec![PROJECT.to_owned()],
        ..Asker::default()
    }
}

async fn error(store: &Store, payload: &[u8]) -> SecretError {
    match load(store, &put(store, payload).await).await {
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
        let certificate = load(&store, &reference).await.unwrap();
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
    load(&store, &reference).await.unwrap();
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
        let reference = put(&store, text.as_bytes()).await;
        let certificate = load(&store, &reference).await.unwrap();
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
    let refs = SecretRefs {
        certificates: references.into(),
        ..SecretRefs::default()
    };
    let facts = judge(&store, &refs).await.certificates;
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
    let refused = store.delete_secret(PROJECT, id).await;
    assert!(matches!(refused, Err(StoreError::Secret(SecretError::InUse(it))) if it == id));
    let freed = store.change_tree(balancer, |tree| {
        tree.listeners.clear();
        Ok(())
    });
    freed.await.unwrap();
    store.delete_secret(PROJECT, id).await.unwrap();
    assert!(store.secret(PROJECT, id).await.unwrap().is_none());
    let again = store.delete_secret(PROJECT, id).await;
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
    let record = store.secret(PROJECT, id).await.unwrap().unwrap();
    assert_eq!(
        (record.about.name.as_str(), record.content_type.as_deref()),
        ("n", Some("text/plain"))
    );
    assert_eq!(store.list_secrets(PROJECT).await.unwrap(), [record]);
    assert!(store.list_secrets("other").await.unwrap().is_empty());
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

/// What stands in a container, each part a secret of its own.
async fn container(store: &Store, parts: &[(&str, Vec<u8>)]) -> String {
    let mut new = NewContainer {
        kind: "certificate".to_owned(),
        ..NewContainer::default()
    };
    for (name, payload) in parts {
        let id = store
            .put_secret(PROJECT, name, payload, "application/octet-stream")
            .await
            .unwrap();
        new.items.insert((*name).to_owned(), id);
    }
    let id = store.create_container(PROJECT, &new).await.unwrap();
    format!("http://127.0.0.1:9311/v1/containers/{id}")
}

#[tokio::test]
async fn a_certificate_container_opens_with_intermediates_in_every_form_and_a_key_under_a_passphrase()
 {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let pki = Pki::new();
    pki.write(
        "chain.pem",
        &format!("{}{}", pki.text("inter.pem"), pki.text("root.pem")),
    );
    pki.openssl("crl2pkcs7 -nocrl -certfile chain.pem -out chain.p7");
    pki.openssl("crl2pkcs7 -nocrl -certfile chain.pem -outform DER -out chain.p7der");
    pki.openssl("x509 -in leaf.pem -outform DER -out leaf.der");
    pki.openssl("pkcs8 -topk8 -in leaf.key -passout pass:opensesame -out locked.key");
    pki.openssl("pkcs8 -topk8 -nocrypt -in leaf.key -outform DER -out leaf.pk8");
    let expected = [
        pki.text("leaf.pem"),
        pki.text("inter.pem"),
        pki.text("root.pem"),
    ];
    for intermediates in ["chain.pem", "chain.p7", "chain.p7der"] {
        for (leaf, key, passphrase) in [
            ("leaf.pem", "leaf.key", None),
            ("leaf.der", "leaf.pk8", None),
            ("leaf.pem", "locked.key", Some("opensesame")),
        ] {
            let mut parts = vec![
                ("certificate", pki.read(leaf)),
                ("private_key", pki.read(key)),
                ("intermediates", pki.read(intermediates)),
            ];
            if let Some(passphrase) = passphrase {
                parts.push(("private_key_passphrase", passphrase.as_bytes().to_vec()));
            }
            let reference = container(&store, &parts).await;
            let certificate = load(&store, &reference).await.unwrap();
            assert_eq!(
                certificates(&certificate.chain_pem),
                expected,
                "{intermediates} {leaf} {key}"
            );
            assert_eq!(certificate.key_pem.expose(), pki.text("leaf.key"));
        }
    }
    let locked = |passphrase: &str| {
        vec![
            ("certificate", pki.read("leaf.pem")),
            ("private_key", pki.read("locked.key")),
            ("private_key_passphrase", passphrase.as_bytes().to_vec()),
        ]
    };
    let wrong = container(&store, &locked("guess")).await;
    let told = load(&store, &wrong).await.unwrap_err().to_string();
    assert!(told.contains("passphrase does not open"), "{told}");
    let without = container(&store, &locked("x")[..2]).await;
    let told = load(&store, &without).await.unwrap_err().to_string();
    assert!(told.contains("no passphrase"), "{told}");
    let keyless = container(&store, &locked("x")[..1]).await;
    let told = load(&store, &keyless).await.unwrap_err().to_string();
    assert!(told.contains("no private_key"), "{told}");
}

/// An authority in a directory of its own, with one certificate revoked.
fn revoke(pki: &Pki, name: &str, key: &str) -> (Vec<u8>, Vec<u8>) {
    pki.openssl(&format!(
        "req -x509 -newkey {key} -nodes -keyout {name}.key -out {name}.pem -subj /CN={name} -days 30"
    ));
    pki.write(&format!("{name}.txt"), "");
    pki.write(&format!("{name}.number"), "01\n");
    pki.write(
        &format!("{name}.cnf"),
        &format!(
            "[ca]\ndefault_ca=d\n[d]\ndatabase={name}.txt\ncrlnumber={name}.number\n\
             default_md=sha256\ndefault_crl_days=30\n"
        ),
    );
    pki.openssl(&format!(
        "ca -config {name}.cnf -gencrl -keyfile {name}.key -cert {name}.pem -out {name}.crl"
    ));
    let file = |end: &str| pki.read(&format!("{name}.{end}"));
    (file("pem"), file("crl"))
}

#[tokio::test]
async fn a_list_of_revoked_certificates_counts_for_the_authority_that_signed_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let pki = Pki::new();
    let (rsa_ca, rsa_crl) = revoke(&pki, "rsa", "rsa:2048");
    let (ec_ca, ec_crl) = revoke(&pki, "ec", "ec -pkeyopt ec_paramgen_curve:P-256");
    // The same name, another key.
    fs::create_dir(pki.path("twin")).unwrap();
    pki.openssl("req -x509 -newkey rsa:2048 -nodes -keyout twin.key -out twin.pem -subj /CN=rsa");
    pki.openssl("crl -in rsa.crl -outform DER -out rsa.der");
    let rsa_ca = put(&store, &rsa_ca).await;
    let ec_ca = put(&store, &ec_ca).await;
    let twin = put(&store, &pki.read("twin.pem")).await;
    let lists = [
        put(&store, &rsa_crl).await,
        put(&store, &pki.read("rsa.der")).await,
        put(&store, &ec_crl).await,
    ];
    let key = put(&store, &pki.read("rsa.key")).await;
    let refs = SecretRefs {
        authorities: [&rsa_ca, &ec_ca, &twin, &key].map(Clone::clone).into(),
        revocation_lists: lists.iter().chain([&key]).cloned().collect(),
        ..SecretRefs::default()
    };
    let judged = judge(&store, &refs).await;
    assert_eq!(judged.authorities[&rsa_ca], AuthorityFact::Usable);
    assert!(matches!(
        &judged.authorities[&key],
        AuthorityFact::Unreadable { .. }
    ));
    assert!(matches!(
        &judged.revocation_lists[&key],
        RevocationListFact::Unreadable { .. }
    ));
    for (list, signer) in lists.iter().zip([&rsa_ca, &rsa_ca, &ec_ca]) {
        let issuers = [signer.clone()].into();
        assert_eq!(
            judged.revocation_lists[list],
            RevocationListFact::Usable { issuers }
        );
    }
}

#[tokio::test]
async fn another_projects_secret_answers_like_none() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let id = store
        .put_secret("another", "theirs", b"private", "text/plain")
        .await
        .unwrap();
    let (theirs, nobodys) = (id.to_string(), Uuid::from_u128(5).to_string());
    let refs = SecretRefs {
        certificates: [theirs.clone(), nobodys.clone()].into(),
        ..SecretRefs::default()
    };
    let judged = judge(&store, &refs).await.certificates;
    let reason = |text: &String| match &judged[text] {
        CertificateFact::Unreadable { reason } => reason.replace(text.as_str(), "ID"),
        usable @ CertificateFact::Usable { .. } => panic!("{usable:?}"),
    };
    assert_eq!(reason(&theirs), reason(&nobodys));
    assert!(store.secret(PROJECT, id).await.unwrap().is_none());
    let refused = store.delete_secret(PROJECT, id).await;
    assert!(matches!(
        refused,
        Err(StoreError::Secret(SecretError::NotFound(_)))
    ));
}

#[tokio::test]
async fn what_has_expired_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let about = SecretAbout {
        expires_at: Some(Timestamp(now().0 - 1)),
        ..SecretAbout::default()
    };
    let id = store
        .create_secret(PROJECT, &about, Some((b"x", "text/plain")))
        .await
        .unwrap();
    assert!(store.secret(PROJECT, id).await.unwrap().is_none());
    assert!(store.list_secrets(PROJECT).await.unwrap().is_empty());
    let reference = Reference::parse(&id.to_string()).unwrap();
    assert!(store.read(reference, &asker()).await.is_err());
    let pki = Pki::new();
    pki.openssl("req -newkey rsa:2048 -nodes -keyout old.key -out old.csr -subj /CN=old.test");
    pki.write("old.txt", "");
    pki.write("old.serial", "01\n");
    pki.write(
        "old.cnf",
        "[ca]\ndefault_ca=d\n[d]\ndatabase=old.txt\nserial=old.serial\nnew_certs_dir=.\n\
         default_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n",
    );
    pki.openssl(
        "ca -batch -config old.cnf -in old.csr -cert root.pem -keyfile root.key -out old.pem \
         -startdate 200101000000Z -enddate 210101000000Z",
    );
    let text = [pki.text("old.key"), pki.text("old.pem")].concat();
    let reference = put(&store, text.as_bytes()).await;
    let refs = SecretRefs {
        certificates: [reference.clone()].into(),
        ..SecretRefs::default()
    };
    let judged = judge(&store, &refs).await.certificates;
    let told = format!("{:?}", judged[&reference]);
    assert!(told.contains("the certificate has expired"), "{told}");
}

#[tokio::test]
async fn the_last_good_copy_is_served_after_the_secret_is_gone_until_it_is_lost_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let pki = Pki::new();
    let reference = put(&store, &pki.pkcs12("leaf", "")).await;
    let id = secret::reference(&reference).unwrap();
    let owner = LoadBalancerId(Uuid::from_u128(77));
    let refs = SecretRefs {
        certificates: [reference.clone()].into(),
        ..SecretRefs::default()
    };
    let judged = judge_for(&store, owner, &refs).await;
    store.keep_copies(owner, &judged.copies).await.unwrap();
    let before = store.load_certificate(owner, PROJECT, &reference).await;
    store.delete_secret(PROJECT, id).await.unwrap();
    let after = store.load_certificate(owner, PROJECT, &reference).await;
    assert_eq!(before.unwrap(), after.unwrap());
    // Another load balancer has no copy.
    assert!(load(&store, &reference).await.is_err());
    // Young copies wait for the request they were made for.
    assert_eq!(store.forget_unused_copies().await.unwrap(), 0);
    assert!(store.lose_copies(owner, id).await.unwrap());
    assert!(!store.lose_copies(owner, id).await.unwrap());
    let lost = store.load_certificate(owner, PROJECT, &reference).await;
    assert!(matches!(
        lost,
        Err(StoreError::Secret(SecretError::NotFound(_)))
    ));
    // Read again, it is there again.
    store.keep_copies(owner, &judged.copies).await.unwrap();
    let found = store.load_certificate(owner, PROJECT, &reference).await;
    assert!(found.is_ok());
}

#[tokio::test]
async fn a_secret_in_a_container_in_use_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let reference = container(&store, &[("certificate", b"x".to_vec())]).await;
    let id = secret::reference(&reference).unwrap();
    let item = store.list_secrets(PROJECT).await.unwrap()[0].id;
    let balancer = create(&store, "lb", &on_subnet(v4()))
        .await
        .unwrap()
        .load_balancer
        .id;
    let used = store.change_tree(balancer, |tree| {
        let mut https = listener("https", ListenerProtocol::TerminatedHttps, 443);
        https.default_tls_container_ref = Some(reference.clone());
        tree.listeners.push(https);
        Ok(())
    });
    used.await.unwrap();
    for refused in [
        store.delete_secret(PROJECT, item).await,
        store.delete_container(PROJECT, id).await,
    ] {
        assert!(matches!(
            refused,
            Err(StoreError::Secret(SecretError::InUse(_)))
        ));
    }
    store.remove_tree(balancer).await.unwrap();
    store.delete_container(PROJECT, id).await.unwrap();
    store.delete_secret(PROJECT, item).await.unwrap();
}

#[tokio::test]
async fn another_key_is_refused_at_start_and_damages_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let networks = || Arc::new(NetworkCatalog::new(Vec::new()).unwrap());
    let start = async |key: &KeySource| {
        let settings = DatabaseSettings {
            secrets_key: key.clone(),
            ..DatabaseSettings::default()
        };
        Store::open_on(&settings, dir.path(), "test", networks()).await
    };
    let store = start(&KeySource::StateDir).await.unwrap();
    let id = store
        .put_secret(PROJECT, "n", b"private", "text/plain")
        .await
        .unwrap();
    store.close().await;
    drop(store);
    let other = dir.path().join("other.key");
    fs::write(&other, [9; 32]).unwrap();
    let error = start(&KeySource::File(other.clone())).await.unwrap_err();
    assert!(matches!(&error, StoreError::WrongKey(path) if *path == other));
    assert!(error.to_string().contains("secrets.key_file"), "{error}");
    let junk = dir.path().join("junk.key");
    fs::write(&junk, "no key").unwrap();
    let error = start(&KeySource::File(junk)).await.unwrap_err();
    assert!(matches!(error, StoreError::BadKey(_)), "{error}");
    // A lost key is not replaced by a fresh one.
    let kept = dir.path().join("kept.key");
    fs::rename(dir.path().join("secrets.key"), &kept).unwrap();
    let error = start(&KeySource::StateDir).await.unwrap_err();
    assert!(matches!(error, StoreError::File { .. }), "{error}");
    assert!(!dir.path().join("secrets.key").exists());
    let store = start(&KeySource::File(kept)).await.unwrap();
    let payload = store.secret_payload(id).await.unwrap().unwrap();
    assert_eq!(payload.expose(), b"private");
}
