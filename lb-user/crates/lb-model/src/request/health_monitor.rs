//! `healthmonitor` bodies (contract 2.5).

use serde_json::Value;

use super::{
    CommonFields, Given,
    load_balancer::ignore_project,
    reader::{Reader, not_null, required},
};
use crate::{
    defaults::{INTEGER_MAX, TEXT_MAX},
    enums::HealthMonitorType,
    fault::Fault,
    id::PoolId,
};

/// Methods a probe may use.
const METHODS: &[&str] = &[
    "GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "OPTIONS", "CONNECT", "PATCH",
];

/// POST, stand-alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthMonitorCreate {
    /// Whose members are probed.
    pub pool_id: PoolId,
    /// Everything else.
    pub fields: HealthMonitorFields,
}

/// What a new monitor is made of, wherever it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthMonitorFields {
    /// Kind of probe.
    pub kind: HealthMonitorType,
    /// Seconds.
    pub delay: u32,
    /// Seconds.
    pub timeout: u32,
    /// Rise.
    pub max_retries: u8,
    /// What can be changed later; `delay`, `timeout` and `max_retries` in it are absent.
    pub mutable: HealthMonitorUpdate,
}

/// PUT: every field that can be changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthMonitorUpdate {
    /// Shared part.
    pub common: CommonFields,
    /// Seconds.
    pub delay: Given<u32>,
    /// Seconds.
    pub timeout: Given<u32>,
    /// Rise.
    pub max_retries: Given<u8>,
    /// Fall.
    pub max_retries_down: Given<u8>,
    /// HTTP and HTTPS.
    pub http_method: Given<String>,
    /// HTTP and HTTPS.
    pub url_path: Given<String>,
    /// HTTP and HTTPS.
    pub expected_codes: Given<String>,
    /// "1.0" or "1.1".
    pub http_version: Given<String>,
    /// Host header of the probe.
    pub domain_name: Given<String>,
}

impl HealthMonitorCreate {
    /// Reads a request body.
    pub fn parse(body: &Value) -> Result<Self, Fault> {
        let mut reader = Reader::envelope(body, "healthmonitor")?;
        let pool_id = required("pool_id", reader.uuid("pool_id")?)?;
        let fields = HealthMonitorFields::read(&mut reader)?;
        reader.finish()?;
        Ok(Self { pool_id, fields })
    }
}

impl HealthMonitorFields {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        ignore_project(reader)?;
        let kind = required("type", reader.choice("type")?)?;
        let mut mutable = HealthMonitorUpdate::read(reader)?;
        Ok(Self {
            kind,
            delay: required("delay", std::mem::take(&mut mutable.delay))?,
            timeout: required("timeout", std::mem::take(&mut mutable.timeout))?,
            max_retries: required("max_retries", std::mem::take(&mut mutable.max_retries))?,
            mutable,
        })
    }
}

impl HealthMonitorUpdate {
    /// Reads a request body.
    pub fn parse(body: &Value) -> Result<Self, Fault> {
        let mut reader = Reader::envelope(body, "healthmonitor")?;
        let update = Self::read(&mut reader)?;
        reader.finish()?;
        not_null("delay", &update.delay)?;
        not_null("timeout", &update.timeout)?;
        not_null("max_retries", &update.max_retries)?;
        Ok(update)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        Ok(Self {
            common: CommonFields::read_without_description(reader)?,
            delay: reader.number("delay", 0..=INTEGER_MAX)?,
            timeout: reader.number("timeout", 0..=INTEGER_MAX)?,
            max_retries: reader.number("max_retries", 1..=10)?,
            max_retries_down: reader.number("max_retries_down", 1..=10)?,
            http_method: http_method(reader)?,
            url_path: reader.string("url_path", TEXT_MAX)?,
            expected_codes: reader.text("expected_codes")?,
            http_version: http_version(reader)?,
            domain_name: domain_name(reader)?,
        })
    }
}

fn http_method(reader: &mut Reader<'_>) -> Result<Given<String>, Fault> {
    let given = reader.text("http_method")?;
    if let Given::Value(method) = &given
        && !METHODS.contains(&method.as_str())
    {
        let reason = format!("Value should be one of: {}", METHODS.join(", "));
        return Err(Fault::option("http_method", method, reason));
    }
    Ok(given)
}

/// A JSON number; a numeric string will do, as for every number.
fn http_version(reader: &mut Reader<'_>) -> Result<Given<String>, Fault> {
    let value = match reader.raw("http_version") {
        Given::Absent => return Ok(Given::Absent),
        Given::Null => return Ok(Given::Null),
        Given::Value(value) => value,
    };
    let number = value
        .as_f64()
        .or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()));
    // Only these two, compared as what they print.
    match number.map(|number| format!("{number:.3}")).as_deref() {
        Some("1.000") => Ok(Given::Value("1.0".to_owned())),
        Some("1.100") => Ok(Given::Value("1.1".to_owned())),
        _ => Err(Fault::option(
            "http_version",
            value,
            "Value should be one of: 1.0, 1.1",
        )),
    }
}

fn domain_name(reader: &mut Reader<'_>) -> Result<Given<String>, Fault> {
    let given = reader.text("domain_name")?;
    if given.value().is_some_and(String::is_empty) {
        return Err(Fault::option(
            "domain_name",
            "",
            "Value should have at least 1 character.",
        ));
    }
    Ok(given)
}
