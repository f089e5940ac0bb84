//! The right side of a check, in Python's `%` formatting: text with `%(attribute)s` in it.

/// What a template may take its attributes from.
pub(crate) trait Attributes {
    /// The attribute as Python prints it; `None` when there is none of that name.
    fn text(&self, name: &str) -> Option<String>;
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Attribute(String),
}

/// A parsed right side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template(Vec<Piece>);

impl Template {
    /// `Err` says what is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('%') {
            push(&mut pieces, before);
            if let Some(after) = after.strip_prefix('%') {
                push(&mut pieces, "%");
                rest = after;
                continue;
            }
            let named = after.strip_prefix('(').and_then(|it| it.split_once(")s"));
            let Some((name, after)) = named else {
                return Err(format!(
                    "\"{text}\": after % must come (attribute)s or another %"
                ));
            };
            pieces.push(Piece::Attribute(name.to_owned()));
            rest = after;
        }
        push(&mut pieces, rest);
        Ok(Self(pieces))
    }

    /// The text; `None` when an attribute is missing, and then no check holds.
    pub(crate) fn render(&self, target: &dyn Attributes) -> Option<String> {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Attribute(name) => out.push_str(&target.text(name)?),
            }
        }
        Some(out)
    }
}

fn push(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        _ if text.is_empty() => {}
        Some(Piece::Text(before)) => before.push_str(text),
        _ => pieces.push(Piece::Text(text.to_owned())),
    }
}
