//! Where settings come from, one layer over the other: file, then environment, then flags.
//!
//! Each value keeps its origin, so that a complaint names the place to mend.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use super::ConfigError;

/// Environment variables of settings begin with this; `__` stands for the dot between section and
/// key. Others with this prefix (LBAAS_LOG, LBAAS_CONFIG) are no settings.
const ENV_PREFIX: &str = "LBAAS_";
/// Settings outside every section, which have no `__`.
const ENV_TOP_LEVEL: [&str; 3] = ["state_dir", "run_dir", "networks"];

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A configuration file.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// `--set`.
    Flag,
    /// Nowhere: a default, or a key that is missing.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Flag => f.write_str("flag --set"),
            Self::Default => f.write_str("configuration"),
        }
    }
}

/// A value with its origin.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    pub(crate) value: toml::Value,
    /// The text as given, outside files: there a text needs no quotes.
    pub(crate) raw: Option<String>,
    pub(crate) origin: Origin,
}

/// A section, or a value.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    Section(BTreeMap<String, Node>, Origin),
    Leaf(Leaf),
}

/// The settings of all layers.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    root: BTreeMap<String, Node>,
}

impl Layers {
    /// Lays defaults that are written as a file beneath what is there.
    pub(crate) fn beneath(&mut self, text: &str) -> Result<(), ConfigError> {
        let mut below = Self::default();
        below.text(&Origin::Default, text)?;
        merge(&mut below.root, std::mem::take(&mut self.root));
        *self = below;
        Ok(())
    }

    /// Whether something of a section is given.
    pub(crate) fn gives(&self, section: &str) -> bool {
        self.root.contains_key(section)
    }

    /// Lays a file over what is there.
    pub(crate) fn file(&mut self, path: &std::path::Path, text: &str) -> Result<(), ConfigError> {
        self.text(&Origin::File(path.to_owned()), text)
    }

    fn text(&mut self, origin: &Origin, text: &str) -> Result<(), ConfigError> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            let line = error.span().map(|span| {
                text.get(..span.start)
                    .unwrap_or(text)
                    .lines()
                    .count()
                    .max(1)
            });
            ConfigError {
                origin: origin.clone(),
                key: line.map_or_else(|| "the file".to_owned(), |line| format!("line {line}")),
                value: None,
                fix: format!("not TOML: {}", error.message()),
            }
        })?;
        merge(&mut self.root, nodes(table, origin));
        Ok(())
    }

    /// Lays settings of environment variables over what is there.
    pub(crate) fn environment(
        &mut self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), ConfigError> {
        for (name, text) in variables {
            let Some(rest) = name.strip_prefix(ENV_PREFIX) else {
                continue;
            };
            let key = rest.to_ascii_lowercase().replace("__", ".");
            if key.contains('.') || ENV_TOP_LEVEL.contains(&key.as_str()) {
                self.single(&key, &text, Origin::Env(name))?;
            }
        }
        Ok(())
    }

    /// Lays `section.key=value` over what is there.
    pub(crate) fn flag(&mut self, setting: &str) -> Result<(), ConfigError> {
        match setting.split_once('=') {
            Some((key, text)) => self.single(key.trim(), text.trim(), Origin::Flag),
            None => Err(ConfigError {
                origin: Origin::Flag,
                key: setting.to_owned(),
                value: None,
                fix: "must be section.key=value".to_owned(),
            }),
        }
    }

    /// What came together.
    pub(crate) fn into_root(self) -> BTreeMap<String, Node> {
        self.root
    }

    fn single(&mut self, key: &str, text: &str, origin: Origin) -> Result<(), ConfigError> {
        let mut parts: Vec<&str> = key.split('.').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return Err(ConfigError {
                origin,
                key: key.to_owned(),
                value: None,
                fix: "must name section.key".to_owned(),
            });
        }
        let value = format!("value = {text}")
            .parse::<toml::Table>()
            .ok()
            .and_then(|mut table| table.remove("value"))
            .unwrap_or_else(|| toml::Value::String(text.to_owned()));
        let mut node = Node::Leaf(Leaf {
            value,
            raw: Some(text.to_owned()),
            origin: origin.clone(),
        });
        while parts.len() > 1 {
            let Some(name) = parts.pop() else { break };
            node = Node::Section(BTreeMap::from([(name.to_owned(), node)]), origin.clone());
        }
        let name = parts.first().copied().unwrap_or_default().to_owned();
        merge(&mut self.root, BTreeMap::from([(name, node)]));
        Ok(())
    }
}

pub(crate) fn nodes(table: toml::Table, origin: &Origin) -> BTreeMap<String, Node> {
    table
        .into_iter()
        .map(|(key, value)| {
            let node = match value {
                toml::Value::Table(inner) => Node::Section(nodes(inner, origin), origin.clone()),
                value => Node::Leaf(Leaf {
                    value,
                    raw: None,
                    origin: origin.clone(),
                }),
            };
            (key, node)
        })
        .collect()
}

fn merge(below: &mut BTreeMap<String, Node>, above: BTreeMap<String, Node>) {
    for (key, node) in above {
        match (below.get_mut(&key), node) {
            (Some(Node::Section(old, _)), Node::Section(new, _)) => merge(old, new),
            (_, node) => {
                below.insert(key, node);
            }
        }
    }
}
