//! What a request reader asks for, found by running it: so that the API's document says what is read,
//! and nothing else.
//!
//! [`outline`] runs a reader on a body while every field it asks for is noted, with type and limits.
//! Whether a field is mandatory, and whether it may be null, is then found by trying.
//!
//! Outside of [`outline`] noting costs one look at a thread-local flag.

use std::cell::{Cell, RefCell};

use serde_json::{Value, json};

use crate::fault::Fault;

/// A field's type as a reader judges it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// At most so many characters.
    Text {
        /// Most characters.
        chars_max: usize,
    },
    /// In this range.
    Integer {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
    /// JSON's, or a word for one.
    Boolean,
    /// One of these.
    Choice(Vec<String>),
    /// With dashes or without.
    Uuid,
    /// IPv4 or IPv6.
    Address,
    /// Of anything.
    List,
    /// Of texts.
    Texts,
    /// Of networks.
    Cidrs,
    /// From texts to texts.
    TextMap,
    /// Judged by rules of its own.
    Any,
}

/// A field that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldOutline {
    /// Which object, by the name that faults use.
    pub object: &'static str,
    /// The field.
    pub key: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// Without it the request is refused.
    pub required: bool,
    /// It may be null.
    pub nullable: bool,
}

thread_local! {
    static NOTING: Cell<bool> = const { Cell::new(false) };
    static NOTED: RefCell<Vec<(&'static str, &'static str, Kind)>> = const { RefCell::new(Vec::new()) };
}

/// Notes that a reader asks for a field.
pub(super) fn note(object: &'static str, key: &'static str, kind: impl FnOnce() -> Kind) {
    if NOTING.get() {
        NOTED.with_borrow_mut(|noted| noted.push((object, key, kind())));
    }
}

/// The fields that `parse` asks for. `sample` must be a body that it takes.
///
/// # Errors
/// What `parse` says of the sample.
pub fn outline<T>(
    sample: &Value,
    parse: impl Fn(&Value) -> Result<T, Fault>,
) -> Result<Vec<FieldOutline>, Fault> {
    NOTED.with_borrow_mut(Vec::clear);
    NOTING.set(true);
    let parsed = parse(sample);
    NOTING.set(false);
    parsed?;
    let mut fields: Vec<FieldOutline> = Vec::new();
    for (object, key, kind) in NOTED.with_borrow_mut(std::mem::take) {
        match fields
            .iter_mut()
            .find(|field| field.object == object && field.key == key)
        {
            // A reader that looked at it as a whole, and then as what it is.
            Some(known) if known.kind == Kind::Any || known.kind == Kind::List => known.kind = kind,
            Some(_) => {}
            None => fields.push(FieldOutline {
                object,
                key,
                kind,
                required: false,
                nullable: false,
            }),
        }
    }
    for field in &mut fields {
        let without = with_field(sample, field.key, None);
        field.required = without.is_some_and(|body| is_missing(parse(&body).err().as_ref()));
        let null = with_field(sample, field.key, Some(json!(null)));
        field.nullable = null.is_some_and(|body| parse(&body).is_ok());
    }
    Ok(fields)
}

fn is_missing(fault: Option<&Fault>) -> bool {
    fault.is_some_and(|fault| fault.public().contains("Mandatory field missing"))
}

/// The sample with a field of its one object set, or taken out.
fn with_field(sample: &Value, key: &str, value: Option<Value>) -> Option<Value> {
    let mut body = sample.clone();
    let root = body.as_object_mut()?.values_mut().next()?;
    let object = match root {
        Value::Array(items) => items.first_mut()?.as_object_mut()?,
        other => other.as_object_mut()?,
    };
    match value {
        Some(value) => object.insert(key.to_owned(), value),
        None => object.remove(key),
    };
    Some(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{ListenerCreate, ListenerUpdate};

    #[test]
    fn a_readers_fields_are_found_by_running_it() {
        let sample = json!({"listener": {
            "protocol": "HTTP", "protocol_port": 80,
            "loadbalancer_id": "00000000-0000-4000-8000-000000000001",
        }});
        let fields = outline(&sample, ListenerCreate::parse).unwrap();
        let field = |key: &str| fields.iter().find(|field| field.key == key).unwrap();
        assert!(field("protocol").required && !field("name").required);
        assert!(field("description").nullable && !field("protocol_port").nullable);
        let range = Kind::Integer {
            min: 1,
            max: 65_535,
        };
        assert_eq!(field("protocol_port").kind, range);
        assert_eq!(field("admin_state_up").kind, Kind::Boolean);
        let Kind::Choice(protocols) = &field("protocol").kind else {
            panic!("{:?}", field("protocol"));
        };
        assert!(protocols.contains(&"TERMINATED_HTTPS".to_owned()));
        assert_eq!(field("allowed_cidrs").kind, Kind::Cidrs);
        let update = outline(&json!({"listener": {}}), ListenerUpdate::parse).unwrap();
        assert!(update.iter().all(|field| field.key != "protocol"));
        assert!(outline(&json!({"listener": 1}), ListenerUpdate::parse).is_err());
        // Off again.
        assert!(!NOTING.get());
    }
}
