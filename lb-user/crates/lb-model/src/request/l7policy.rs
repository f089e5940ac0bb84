//! `l7policy` bodies (contract 2.6).

use serde_json::Value;

use super::{
    CommonFields, Given,
    load_balancer::ignore_project,
    reader::{Reader, not_null, required},
};
use crate::{
    defaults::POSITION_LAST,
    enums::L7PolicyAction,
    fault::Fault,
    id::{ListenerId, PoolId},
};

/// Codes a redirect may have.
const REDIRECT_CODES: &[u16] = &[301, 302, 303, 307, 308];

/// POST, stand-alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct L7PolicyCreate {
    /// Whose requests it judges.
    pub listener_id: ListenerId,
    /// Everything else; `action` in it has a value.
    pub fields: L7PolicyUpdate,
}

/// PUT: every field that can be changed, which is every field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct L7PolicyUpdate {
    /// Shared part.
    pub common: CommonFields,
    /// What it does.
    pub action: Given<L7PolicyAction>,
    /// For REDIRECT_TO_POOL.
    pub redirect_pool_id: Given<PoolId>,
    /// For REDIRECT_TO_URL.
    pub redirect_url: Given<String>,
    /// For REDIRECT_PREFIX.
    pub redirect_prefix: Given<String>,
    /// For the two redirects.
    pub redirect_http_code: Given<u16>,
    /// 1-based.
    pub position: Given<i64>,
}

impl L7PolicyCreate {
    /// Reads a request body.
    pub fn parse(body: &Value) -> Result<Self, Fault> {
        let mut reader = Reader::envelope(body, "l7policy")?;
        let listener_id = required("listener_id", reader.uuid("listener_id")?)?;
        let fields = L7PolicyUpdate::read_new(&mut reader)?;
        reader.only_in_tree("redirect_pool")?;
        reader.only_in_tree("rules")?;
        reader.finish()?;
        Ok(Self {
            listener_id,
            fields,
        })
    }
}

impl L7PolicyUpdate {
    /// Reads a request body. An empty object is a 400 here, unlike for every other resource.
    pub fn parse(body: &Value) -> Result<Self, Fault> {
        let mut reader = Reader::envelope(body, "l7policy")?;
        if reader.keys().next().is_none() {
            return Err(Fault::invalid(
                "Invalid L7 Policy arguments: Invalid update options",
            ));
        }
        let update = Self::read(&mut reader)?;
        reader.finish()?;
        not_null("action", &update.action)?;
        Ok(update)
    }

    /// The fields of a new policy.
    pub(crate) fn read_new(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        ignore_project(reader)?;
        let mut fields = Self::read(reader)?;
        fields.action = Given::Value(required("action", fields.action)?);
        Ok(fields)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let code: Given<u16> = reader.number("redirect_http_code", 0..=65_535)?;
        if let Given::Value(code) = &code
            && !REDIRECT_CODES.contains(code)
        {
            return Err(Fault::option(
                "redirect_http_code",
                code,
                "Value should be one of: 301, 302, 303, 307, 308",
            ));
        }
        Ok(Self {
            common: CommonFields::read(reader)?,
            action: reader.choice("action")?,
            redirect_pool_id: reader.uuid("redirect_pool_id")?,
            redirect_url: redirect(reader, "redirect_url")?,
            redirect_prefix: redirect(reader, "redirect_prefix")?,
            redirect_http_code: code,
            position: reader.integer("position", 1..=POSITION_LAST)?,
        })
    }
}

/// An absolute http or https URL with a host and without anything that could break a header.
fn redirect(reader: &mut Reader<'_>, key: &'static str) -> Result<Given<String>, Fault> {
    let given = reader.text(key)?;
    if let Given::Value(url) = &given
        && !is_redirect_url(url)
    {
        return Err(Fault::option(
            key,
            url,
            "Value should be an http or https URL with a host, without spaces.",
        ));
    }
    Ok(given)
}

fn is_redirect_url(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else {
        return false;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let known = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    known
        && !host.is_empty()
        && !host.starts_with(':')
        && url.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::is_redirect_url;

    #[test]
    fn only_whole_http_urls_are_redirect_targets() {
        for good in [
            "http://a",
            "https://a.b:8443/x?y=1#z",
            "HTTP://u@[2001:db8::1]/",
        ] {
            assert!(is_redirect_url(good), "{good}");
        }
        for bad in [
            "",
            "a",
            "/x",
            "ftp://a",
            "http://",
            "http:///x",
            "http://:80/",
            "http://u@/x",
            "http://a b",
            "http://a\r\nx: y",
            "http://ä",
            "javascript:alert(1)",
        ] {
            assert!(!is_redirect_url(bad), "{bad}");
        }
    }
}
