//! What a pool's fields demand of each other (contract 2.3).

use crate::{
    ctx::Facts,
    enums::{PoolProtocol, SessionPersistenceType},
    fault::Fault,
    request::{Given, PoolUpdate, pool::SessionPersistenceFields},
    resource::{Pool, SessionPersistence},
    tls,
};

/// Characters in a cookie's name.
const COOKIE_NAME_MAX: usize = 255;

/// A persistence object as it will be: at create its type is required, at update a missing type
/// keeps the stored one.
pub(super) fn merge_persistence(
    stored: Option<SessionPersistence>,
    fields: SessionPersistenceFields,
) -> Result<SessionPersistence, Fault> {
    let stored_kind = stored.as_ref().map(|stored| stored.kind);
    let kind = fields.kind.into_value().or(stored_kind).ok_or_else(|| {
        Fault::option(
            "session_persistence/type",
            "None",
            "Mandatory field missing.",
        )
    })?;
    let mut merged = match stored {
        Some(stored) if stored.kind == kind => stored,
        // Another kind begins anew: a cookie's name means nothing to SOURCE_IP.
        _ => SessionPersistence {
            kind,
            cookie_name: None,
            persistence_timeout: None,
            persistence_granularity: None,
        },
    };
    fields
        .cookie_name
        .apply_option(&mut merged.cookie_name, None);
    fields
        .persistence_timeout
        .apply_option(&mut merged.persistence_timeout, None);
    fields
        .persistence_granularity
        .apply_option(&mut merged.persistence_granularity, None);
    Ok(merged)
}

/// Which persistence goes with which protocol, and which option with which kind.
pub(super) fn check_persistence(pool: &Pool) -> Result<(), Fault> {
    let Some(persistence) = &pool.session_persistence else {
        return Ok(());
    };
    let datagram = matches!(pool.protocol, PoolProtocol::Udp | PoolProtocol::Sctp);
    let extras =
        persistence.persistence_timeout.is_some() || persistence.persistence_granularity.is_some();
    if extras && !datagram {
        return Err(Fault::validation(
            "persistence_timeout and persistence_granularity is only for UDP and SCTP protocol \
             pools.",
        ));
    }
    match (persistence.kind, &persistence.cookie_name) {
        (SessionPersistenceType::AppCookie, None) => {
            return Err(Fault::validation(
                "Field \"cookie_name\" must be specified when using the \"APP_COOKIE\" session \
                 persistence type.",
            ));
        }
        (SessionPersistenceType::AppCookie, Some(name)) => check_cookie_name(name)?,
        (_, Some(_)) if datagram => {
            return Err(Fault::validation(
                "Cookie names are not supported for UDP/SCTP pools.",
            ));
        }
        (_, Some(_)) => {
            return Err(Fault::validation(
                "Field \"cookie_name\" can only be specified with session persistence of type \
                 \"APP_COOKIE\".",
            ));
        }
        (_, None) => {}
    }
    if datagram && persistence.kind != SessionPersistenceType::SourceIp {
        return Err(Fault::validation(format!(
            "Session persistence of type {} is not supported for UDP/SCTP protocol pools.",
            persistence.kind
        )));
    }
    Ok(())
}

fn check_cookie_name(name: &str) -> Result<(), Fault> {
    let forbidden = |character: char| {
        character.is_whitespace()
            || character.is_control()
            || r#""(),/:;<=>?@[\]{}"#.contains(character)
    };
    if name.is_empty() || name.chars().count() > COOKIE_NAME_MAX || name.contains(forbidden) {
        return Err(Fault::validation("Supplied \"cookie_name\" is invalid."));
    }
    Ok(())
}

/// TLS towards members. `spoken`: lists are judged whole, as they are where TLS is spoken, and
/// always at PUT.
pub(super) fn check_tls(
    pool: &Pool,
    given: &PoolUpdate,
    spoken: bool,
    facts: &Facts,
) -> Result<(), Fault> {
    if pool.crl_container_ref.is_some() && pool.ca_tls_container_ref.is_none() {
        return Err(Fault::validation(
            "A CA certificate reference is required to specify a revocation list.",
        ));
    }
    let named = given.secret_refs();
    tls::check_readable(&named, facts)?;
    if named.touches_revocation() {
        tls::check_revocation_list(
            pool.crl_container_ref.as_ref(),
            pool.ca_tls_container_ref.as_ref(),
            facts,
        )?;
    }
    if let Given::Value(ciphers) = &given.tls_ciphers {
        tls::check_ciphers(ciphers)?;
        facts.deployment.check_ciphers(ciphers)?;
    }
    if let Given::Value(versions) = &given.tls_versions
        && spoken
    {
        tls::check_versions(versions)?;
        facts.deployment.check_versions(versions)?;
    }
    if let Given::Value(protocols) = &given.alpn_protocols {
        tls::check_alpn(protocols, spoken)?;
    }
    let changed = given.tls_ciphers.is_given()
        || given.tls_versions.is_given()
        || given.tls_enabled.is_given();
    if changed && pool.tls_enabled {
        tls::check_offered(pool.tls_ciphers.as_deref(), pool.tls_versions.as_deref())?;
    }
    Ok(())
}
