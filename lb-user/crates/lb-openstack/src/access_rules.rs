//! Access rules of application credentials: which requests a restricted token is for.
//!
//! Patterns as Keystone documents them: `{name}` and `*` stand for one or more characters of one
//! path segment, `**` for anything.

use serde::Deserialize;

/// Names under which load balancers stand in service catalogues.
const SERVICE_TYPES: &[&str] = &["load-balancer", "load_balancer", "octavia"];

/// One request that a token may be used for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct AccessRule {
    service: String,
    method: String,
    path: String,
}

impl AccessRule {
    /// Whether it is about a request to us.
    #[must_use]
    pub fn allows(&self, method: &str, path: &str) -> bool {
        SERVICE_TYPES.contains(&self.service.as_str())
            && self.method == method
            && matches(&tokens(&self.path), path)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece<'a> {
    Literal(&'a str),
    /// Not empty, within a segment.
    Segment,
    Anything,
}

fn tokens(pattern: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = pattern;
    while !rest.is_empty() {
        let (piece, after) = if let Some(after) = rest.strip_prefix("**") {
            (Piece::Anything, after)
        } else if let Some(after) = rest.strip_prefix('*') {
            (Piece::Segment, after)
        } else if let Some((_, after)) = rest.strip_prefix('{').and_then(|it| it.split_once('}')) {
            (Piece::Segment, after)
        } else {
            // At least one character, so an unclosed brace is one.
            let first = rest.chars().next().map_or(1, char::len_utf8);
            let tail = rest.get(first..).unwrap_or_default();
            let end = first + tail.find(['*', '{']).unwrap_or(tail.len());
            let (literal, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
            (Piece::Literal(literal), after)
        };
        // Two of the same wildcard in a row would only multiply the work.
        if matches!(piece, Piece::Literal(_)) || pieces.last() != Some(&piece) {
            pieces.push(piece);
        }
        rest = after;
    }
    pieces
}

/// Every place of `path` that can be reached, piece by piece: linear in both, no backtracking.
fn matches(pieces: &[Piece<'_>], path: &str) -> bool {
    let bytes = path.as_bytes();
    let mut reached = vec![false; bytes.len() + 1];
    if let Some(start) = reached.first_mut() {
        *start = true;
    }
    for piece in pieces {
        let mut next = vec![false; bytes.len() + 1];
        let mut inside = false;
        for (place, &was) in reached.iter().enumerate() {
            match piece {
                Piece::Literal(literal) if was => {
                    let rest = bytes.get(place..).unwrap_or_default();
                    if rest.starts_with(literal.as_bytes()) {
                        mark(&mut next, place + literal.len());
                    }
                }
                Piece::Literal(_) => {}
                Piece::Segment => {
                    inside |= was;
                    inside &= bytes.get(place).is_some_and(|byte| *byte != b'/');
                    if inside {
                        mark(&mut next, place + 1);
                    }
                }
                Piece::Anything => {
                    inside |= was;
                    if inside {
                        mark(&mut next, place);
                    }
                }
            }
        }
        reached = next;
    }
    reached.last().copied().unwrap_or(false)
}

fn mark(places: &mut [bool], place: usize) {
    if let Some(slot) = places.get_mut(place) {
        *slot = true;
    }
}

#[cfg(test)]
mod tests {
    use super::AccessRule;

    #[test]
    fn patterns_stand_for_segments_and_for_anything() {
        let path = "/v2/lbaas/loadbalancers/1";
        for (pattern, expected) in [
            (path, true),
            ("/v2/lbaas/loadbalancers", false),
            ("/v2/lbaas/loadbalancers/*", true),
            ("/v2/lbaas/loadbalancers/{id}", true),
            ("/v2/*/{kind}/*", true),
            ("/v2/*", false),
            ("/v2/**", true),
            ("**", true),
            ("**/1", true),
            ("**/2", false),
            ("/v2/lbaas/loadbalancers/1*", false),
            ("/v2/lbaas/load*/1", true),
            ("/v2/lbaas/loadbalancers/{id", false),
            ("", false),
        ] {
            let rule = AccessRule {
                service: "load-balancer".to_owned(),
                method: "GET".to_owned(),
                path: pattern.to_owned(),
            };
            assert_eq!(rule.allows("GET", path), expected, "{pattern}");
            assert!(!rule.allows("PUT", path));
            let other = AccessRule {
                service: "compute".to_owned(),
                ..rule
            };
            assert!(!other.allows("GET", path));
        }
    }
}
