//! Which of a list's ciphers can be offered (contract 8.3).
//!
//! One string holds the names of TLSv1.2 and of TLSv1.3. OpenSSL understands far more words than
//! there are suites we offer: what it knows and we lack is passed over (and echoed in answers), what
//! it does not know is refused, and so is a list that leaves an enabled version without any suite.
//!
//! Left out on purpose: the order of suites; the server's own order decides.

use super::words::{GROUPS, NAMES};
use crate::fault::Fault;

/// A suite that can be offered, with the words that mean it among others.
struct Suite {
    name: &'static str,
    version: &'static str,
    groups: &'static str,
}

/// Words that mean every suite we offer.
const EVERY: &[&str] = &["ALL", "DEFAULT", "HIGH", "COMPLEMENTOFDEFAULT", "FIPS"];

const OFFERED: &[Suite] = &[
    suite13("TLS_AES_128_GCM_SHA256", "AESGCM AES AES128"),
    suite13("TLS_AES_256_GCM_SHA384", "AESGCM AES AES256"),
    suite13("TLS_CHACHA20_POLY1305_SHA256", "CHACHA20"),
    suite12(
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "AESGCM AES AES128 SHA256 aECDSA ECDSA SUITEB128 SUITEB128ONLY",
    ),
    suite12(
        "ECDHE-RSA-AES128-GCM-SHA256",
        "AESGCM AES AES128 SHA256 aRSA",
    ),
    suite12(
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "AESGCM AES AES256 SHA384 aECDSA ECDSA SUITEB128 SUITEB192",
    ),
    suite12(
        "ECDHE-RSA-AES256-GCM-SHA384",
        "AESGCM AES AES256 SHA384 aRSA",
    ),
    suite12("ECDHE-ECDSA-CHACHA20-POLY1305", "CHACHA20 aECDSA ECDSA"),
    suite12("ECDHE-RSA-CHACHA20-POLY1305", "CHACHA20 aRSA"),
];

/// Words every suite of TLSv1.2 that we offer is meant by.
const KEY_EXCHANGE: &[&str] = &["kECDHE", "kEECDH", "ECDHE", "EECDH", "ECDH", "TLSv1.2"];

const fn suite13(name: &'static str, groups: &'static str) -> Suite {
    Suite {
        name,
        version: "TLSv1.3",
        groups,
    }
}

const fn suite12(name: &'static str, groups: &'static str) -> Suite {
    Suite {
        name,
        version: "TLSv1.2",
        groups,
    }
}

/// Refuses words that OpenSSL does not know.
pub fn check_known(list: &str) -> Result<(), Fault> {
    let unknown: Vec<&str> = elements(list)
        .filter(|element| !element.starts_with('@'))
        .flat_map(|element| element.trim_start_matches(['!', '-', '+']).split('+'))
        .filter(|word| !is_word(word))
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(Fault::option(
        "tls_ciphers",
        list,
        format!("Unknown ciphers: {}", unknown.join(", ")),
    ))
}

/// Refuses a list that leaves one of these versions without a suite. Versions that are never
/// offered are passed over.
pub fn check_offered(list: &str, versions: &[String]) -> Result<(), Fault> {
    let offered = offered(list);
    let empty: Vec<&str> = versions
        .iter()
        .map(String::as_str)
        .filter(|version| OFFERED.iter().any(|suite| suite.version == *version))
        .filter(|version| !offered.iter().any(|suite| suite.version == *version))
        .collect();
    if empty.is_empty() {
        return Ok(());
    }
    Err(Fault::option(
        "tls_ciphers",
        list,
        format!(
            "None of these ciphers can be offered with {}; ciphers that can: {}",
            empty.join(", "),
            names_of(&empty)
        ),
    ))
}

/// Names in a list that no suite we offer is meant by: they are kept, shown and not offered.
#[must_use]
pub fn not_offered(list: &str) -> Vec<&str> {
    elements(list)
        .filter(|element| NAMES.split_ascii_whitespace().any(|name| name == *element))
        .filter(|name| !OFFERED.iter().any(|suite| suite.name == *name))
        .collect()
}

/// The names of the suites that a list offers.
pub fn offered_names(list: &str) -> impl Iterator<Item = &'static str> {
    offered(list).into_iter().map(|suite| suite.name)
}

fn names_of(versions: &[&str]) -> String {
    let names = OFFERED
        .iter()
        .filter(|suite| versions.contains(&suite.version))
        .map(|suite| suite.name);
    names.collect::<Vec<_>>().join(", ")
}

fn elements(list: &str) -> impl Iterator<Item = &str> {
    list.split(':').filter(|element| !element.is_empty())
}

fn is_word(word: &str) -> bool {
    let known = |words: &str| words.split_ascii_whitespace().any(|known| known == word);
    known(NAMES) || known(GROUPS)
}

/// What is left when the list is read from left to right.
fn offered(list: &str) -> Vec<&'static Suite> {
    let mut chosen: Vec<&Suite> = Vec::new();
    let mut banned: Vec<&str> = Vec::new();
    for element in elements(list) {
        let words = element.trim_start_matches(['!', '-', '+']);
        let meant = OFFERED.iter().filter(|suite| means(words, suite));
        match element.as_bytes().first() {
            Some(b'!') => banned.extend(meant.map(|suite| suite.name)),
            Some(b'-') => {
                let out: Vec<&str> = meant.map(|suite| suite.name).collect();
                chosen.retain(|suite| !out.contains(&suite.name));
            }
            // Both of these change nothing but order and strength.
            Some(b'+' | b'@') => {}
            _ => chosen.extend(meant),
        }
    }
    chosen.retain(|suite| !banned.contains(&suite.name));
    chosen
}

/// Whether all words, joined by `+`, mean this suite.
fn means(words: &str, suite: &Suite) -> bool {
    words.split('+').all(|word| {
        suite.name == word
            || EVERY.contains(&word)
            || (suite.version == "TLSv1.2" && KEY_EXCHANGE.contains(&word))
            || suite.groups.split(' ').any(|group| group == word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::defaults;

    fn versions(list: &str) -> Vec<String> {
        list.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn the_default_list_is_offered_and_names_what_is_left_out() {
        let list = defaults::TLS_CIPHERS;
        assert_eq!(check_known(list), Ok(()));
        assert_eq!(check_offered(list, &versions("TLSv1.2 TLSv1.3")), Ok(()));
        assert_eq!(
            not_offered(list),
            [
                "DHE-RSA-AES128-GCM-SHA256",
                "DHE-RSA-AES256-GCM-SHA384",
                "DHE-RSA-CHACHA20-POLY1305"
            ]
        );
    }

    #[test]
    fn every_enabled_version_needs_a_cipher() {
        // List, and whether it has something for TLSv1.2 and for TLSv1.3.
        let table = [
            ("TLS_AES_128_GCM_SHA256", false, true),
            ("ECDHE-RSA-AES128-GCM-SHA256", true, false),
            (
                "ECDHE-RSA-AES128-GCM-SHA256:TLS_CHACHA20_POLY1305_SHA256",
                true,
                true,
            ),
            ("DHE-RSA-AES128-GCM-SHA256:AES128-SHA", false, false),
            ("TLS_AES_128_CCM_SHA256", false, false),
            ("ALL", true, true),
            ("HIGH:!aNULL:!MD5", true, true),
            ("ECDHE+AESGCM", true, false),
            ("ALL:!ECDHE", false, true),
            ("ALL:-AESGCM:-CHACHA20", false, false),
            ("ALL:!AESGCM:CHACHA20", true, true),
            ("!ALL:ALL", false, false),
            ("DEFAULT@SECLEVEL=2", false, false),
            ("DEFAULT:@SECLEVEL=2", true, true),
            ("kRSA+AES", false, false),
        ];
        for (list, tls12, tls13) in table {
            let got12 = check_offered(list, &versions("TLSv1.2 TLSv1.1")).is_ok();
            let got13 = check_offered(list, &versions("TLSv1.3")).is_ok();
            assert_eq!((got12, got13), (tls12, tls13), "{list}");
            let both = check_offered(list, &versions("TLSv1.2 TLSv1.3")).is_ok();
            assert_eq!(both, tls12 && tls13, "{list}");
        }
    }

    #[test]
    fn unknown_words_are_named() {
        for good in [
            "AES128-SHA",
            "ECDHE+AESGCM:!aNULL:@STRENGTH",
            "RC4-MD5:-ALL:+kRSA",
        ] {
            assert_eq!(check_known(good), Ok(()), "{good}");
        }
        for (bad, named) in [("BOGUS", "BOGUS"), ("ALL:!NOPE:HIGH+WHAT", "NOPE, WHAT")] {
            let fault = check_known(bad).unwrap_err().to_string();
            assert!(fault.contains(named), "{fault}");
        }
    }
}
