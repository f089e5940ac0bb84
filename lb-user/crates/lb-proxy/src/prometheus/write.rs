//! The text format, version 0.0.4.

use std::fmt::{Display, Write as _};

/// A text in the making.
#[derive(Debug, Default)]
pub(super) struct Text(String);

impl Text {
    /// Begins a family. Its type is in its name: `_total` counts.
    pub(super) fn family(&mut self, name: &str) {
        let kind = if name.ends_with("_total") {
            "counter"
        } else {
            "gauge"
        };
        let words = name.trim_start_matches("octavia_").replace('_', " ");
        self.add(format_args!(
            "# HELP {name} {words}\n# TYPE {name} {kind}\n"
        ));
    }

    /// A series of the family. `labels`: as they stand between the braces.
    pub(super) fn series(&mut self, name: &str, labels: &str, value: impl Display) {
        if labels.is_empty() {
            self.add(format_args!("{name} {value}\n"));
        } else {
            self.add(format_args!("{name}{{{labels}}} {value}\n"));
        }
    }

    pub(super) fn finish(self) -> String {
        self.0
    }

    fn add(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        self.0.write_fmt(text).unwrap_or_default();
    }
}
