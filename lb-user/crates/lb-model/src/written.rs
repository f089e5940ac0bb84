//! An address as its owner wrote it.
//!
//! Octavia shows a member's addresses as they were given, and clients compare what they gave with what they
//! are shown. What they mean is the address: `2001:db8:0:0::1` and `2001:db8::1` are one member.

use std::{
    fmt,
    net::{AddrParseError, IpAddr},
    ops::Deref,
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An address, and how it is written where that is not the usual way (RFC 5952). Equal are those that are
/// written alike; of what they mean ask [`Self::ip`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenAddr {
    ip: IpAddr,
    text: Option<Box<str>>,
}

impl WrittenAddr {
    /// The address.
    #[must_use]
    pub const fn ip(&self) -> IpAddr {
        self.ip
    }

    /// How it is written, where that is not the usual way.
    #[must_use]
    pub fn unusual(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// What was kept of one: the address, and what [`Self::unusual`] said. Text that means another address
    /// counts for nothing: who changed the address did not know of it.
    #[must_use]
    pub fn kept(ip: IpAddr, text: Option<&str>) -> Self {
        let written = text.and_then(|text| text.parse().ok());
        written
            .filter(|written: &Self| written.ip == ip)
            .unwrap_or_else(|| Self::from(ip))
    }
}

impl From<IpAddr> for WrittenAddr {
    fn from(ip: IpAddr) -> Self {
        Self { ip, text: None }
    }
}

impl FromStr for WrittenAddr {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ip: IpAddr = text.parse()?;
        let is_usual = ip.to_string() == text;
        Ok(Self {
            ip,
            text: (!is_usual).then(|| text.into()),
        })
    }
}

impl Deref for WrittenAddr {
    type Target = IpAddr;

    fn deref(&self) -> &IpAddr {
        &self.ip
    }
}

impl fmt::Display for WrittenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => f.write_str(text),
            None => self.ip.fmt(f),
        }
    }
}

impl Serialize for WrittenAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for WrittenAddr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_as_written_and_means_what_it_means() {
        for (text, unusual) in [
            ("192.0.2.1", false),
            ("2001:db8::1", false),
            ("2001:db8:0:0:0:0:0:1", true),
            ("2001:DB8::1", true),
        ] {
            let written: WrittenAddr = text.parse().unwrap();
            assert_eq!(written.to_string(), text);
            assert_eq!(written.unusual().is_some(), unusual, "{text}");
            let kept = WrittenAddr::kept(written.ip(), written.unusual());
            assert_eq!(kept, written);
        }
        let other = WrittenAddr::kept("192.0.2.1".parse().unwrap(), Some("2001:DB8::1"));
        assert_eq!(other.to_string(), "192.0.2.1");
    }
}
