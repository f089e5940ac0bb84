//! `expected_codes`: one code, a list of codes, or one range (contract 2.5).

use std::ops::RangeInclusive;

/// Which status codes count as passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedCodes(Vec<RangeInclusive<u16>>);

impl ExpectedCodes {
    /// Reads the wire form. The API has validated it; what cannot be read expects nothing, so that a
    /// fault shows as a member that is down and not as one that is wrongly up.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let code = |part: &str| part.trim().parse::<u16>().ok();
        if let Some((first, last)) = text.split_once('-') {
            let range = code(first).zip(code(last)).map(|(a, b)| a..=b);
            return Self(range.into_iter().collect());
        }
        Self(
            text.split(',')
                .filter_map(code)
                .map(|code| code..=code)
                .collect(),
        )
    }

    /// Whether `code` is expected.
    #[must_use]
    pub fn contains(&self, code: u16) -> bool {
        self.0.iter().any(|range| range.contains(&code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_list_and_range_are_understood() {
        for (text, yes, no) in [
            ("200", &[200][..], &[199, 201, 404][..]),
            ("200,202, 301", &[200, 202, 301], &[201, 300]),
            ("200-204", &[200, 202, 204], &[199, 205]),
            ("", &[], &[0, 200]),
            ("abc", &[], &[200]),
        ] {
            let codes = ExpectedCodes::parse(text);
            assert!(yes.iter().all(|&code| codes.contains(code)), "{text}");
            assert!(!no.iter().any(|&code| codes.contains(code)), "{text}");
        }
    }
}
