//! Headers that are added to requests (contract 10.4).

/// A header of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Insert {
    ForwardedFor,
    ForwardedPort,
    ForwardedProto,
    ForwardedIp,
    ClientIp,
    RealIp,
    ClientVerify,
    ClientHasCert,
    ClientDn,
    ClientCn,
    Issuer,
    ClientSha1,
    ClientNotBefore,
    ClientNotAfter,
}

impl Insert {
    /// Of the names a listener has switched on; `X-SSL-*` only where TLS is spoken.
    pub(super) fn of(names: &[String], tls: bool) -> Vec<Self> {
        let named = |name: &String| Self::named(&name.to_ascii_lowercase());
        let inserts = names.iter().filter_map(named);
        inserts.filter(|it| tls || !it.is_of_tls()).collect()
    }

    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "x-forwarded-for" => Self::ForwardedFor,
            "x-forwarded-port" => Self::ForwardedPort,
            "x-forwarded-proto" => Self::ForwardedProto,
            "x-forwarded-ip" => Self::ForwardedIp,
            "x-client-ip" => Self::ClientIp,
            "x-real-ip" => Self::RealIp,
            "x-ssl-client-verify" => Self::ClientVerify,
            "x-ssl-client-has-cert" => Self::ClientHasCert,
            "x-ssl-client-dn" => Self::ClientDn,
            "x-ssl-client-cn" => Self::ClientCn,
            "x-ssl-issuer" => Self::Issuer,
            "x-ssl-client-sha1" => Self::ClientSha1,
            "x-ssl-client-not-before" => Self::ClientNotBefore,
            "x-ssl-client-not-after" => Self::ClientNotAfter,
            _ => return None,
        })
    }

    const fn is_of_tls(self) -> bool {
        matches!(
            self,
            Self::ClientVerify
                | Self::ClientHasCert
                | Self::ClientDn
                | Self::ClientCn
                | Self::Issuer
                | Self::ClientSha1
                | Self::ClientNotBefore
                | Self::ClientNotAfter
        )
    }
}
