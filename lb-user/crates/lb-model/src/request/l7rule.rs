//! `rule` bodies (contract 2.7).

use serde_json::Value;

use super::{
    CommonFields, Given,
    load_balancer::ignore_project,
    reader::{Reader, not_null, required},
};
use crate::{
    enums::{L7RuleCompareType, L7RuleType},
    fault::Fault,
};

/// POST, and a rule in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct L7RuleCreate {
    /// Shared part.
    pub common: CommonFields,
    /// What is looked at.
    pub kind: L7RuleType,
    /// How it is compared.
    pub compare_type: L7RuleCompareType,
    /// Which header, cookie or DN field.
    pub key: Option<String>,
    /// What it is compared with.
    pub value: String,
    /// Negates the match.
    pub invert: bool,
}

/// PUT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct L7RuleUpdate {
    /// Shared part.
    pub common: CommonFields,
    /// What is looked at.
    pub kind: Given<L7RuleType>,
    /// How it is compared.
    pub compare_type: Given<L7RuleCompareType>,
    /// Which header, cookie or DN field.
    pub key: Given<String>,
    /// What it is compared with.
    pub value: Given<String>,
    /// Negates the match.
    pub invert: Given<bool>,
}

impl L7RuleCreate {
    /// Reads a request body.
    pub fn parse(body: &Value) -> Result<Self, Fault> {
        Self::read(Reader::envelope(body, "rule")?)
    }

    /// Reads an item of a list.
    pub(crate) fn parse_item(item: &Value) -> Result<Self, Fault> {
        Self::read(Reader::object(item, "rule")?)
    }

    fn read(mut reader: Reader<'_>) -> Result<Self, Fault> {
        ignore_project(&mut reader)?;
        let fields = L7RuleUpdate::read(&mut reader)?;
        reader.finish()?;
        Ok(Self {
            common: fields.common,
            kind: required("type", fields.kind)?,
            compare_type: required("compare_type", fields.compare_type)?,
            key: fields.key.into_value(),
            value: required("value", fields.value)?,
            invert: fields.invert.resolve(false, false),
        })
    }
}

impl L7RuleUpdate {
    /// Reads a request body.
    pub fn parse(body: &Value) -> Result<Self, Fault> {
        let mut reader = Reader::envelope(body, "rule")?;
        let update = Self::read(&mut reader)?;
        reader.finish()?;
        not_null("type", &update.kind)?;
        not_null("compare_type", &update.compare_type)?;
        not_null("value", &update.value)?;
        Ok(update)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        Ok(Self {
            common: CommonFields::read_unnamed(reader)?,
            kind: reader.choice("type")?,
            compare_type: reader.choice("compare_type")?,
            key: reader.text("key")?,
            value: reader.text("value")?,
            invert: reader.boolean("invert")?,
        })
    }
}
