//! `[[providers]]`: further names for what this service provides, beside Octavia's own two.

use std::fmt;

use lb_model::provider::Provider;

use super::{ConfigError, reader::Section};

const NAME_CHARS_MAX: usize = 64;
const DESCRIPTION: &str = "XDP steering with user-space amphorae.";

pub(super) fn read(root: &mut Section) -> Result<Vec<Provider>, ConfigError> {
    let mut providers = Provider::built_in();
    for mut section in root.sections("providers")? {
        let name: String = section.required("name", "the name that requests use")?;
        let known = providers.iter().any(|provider| provider.name == name);
        if name.is_empty() || name.len() > NAME_CHARS_MAX || known {
            return Err(section.wrong(
                "name",
                Some(format!("{name:?}")),
                format!("must be a name of its own, 1 to {NAME_CHARS_MAX} characters"),
            ));
        }
        let description: Option<String> = section.parsed("description", "a text for people")?;
        section.finish()?;
        providers.push(Provider::new(
            name,
            description.unwrap_or_else(|| DESCRIPTION.to_owned()),
        ));
    }
    Ok(providers)
}

pub(super) fn write(providers: &[Provider], out: &mut impl fmt::Write) -> fmt::Result {
    let built_in = Provider::built_in();
    for provider in providers.iter().filter(|it| !built_in.contains(it)) {
        writeln!(out, "\n[[providers]]\nname = {:?}", provider.name)?;
        writeln!(out, "description = {:?}", provider.description)?;
    }
    Ok(())
}
