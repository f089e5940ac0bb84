//! How HAProxy takes values out of headers.

/// Each comma-separated value of a header line, without the white space around it. A comma within
/// double quotes does not separate (HAProxy's `hdr()`).
pub(super) fn comma_separated(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = end_of_value(text);
        let (value, after) = text.split_at_checked(end)?;
        rest = after.split_first().map(|(_comma, after)| after);
        Some(value.trim_ascii())
    })
}

fn end_of_value(text: &[u8]) -> usize {
    let mut quoted = false;
    let mut escaped = false;
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return at,
            _ => {}
        }
    }
    text.len()
}

/// Each value of the cookie `name` in a `Cookie` line. Name and value are case-sensitive.
pub(super) fn cookies<'a>(line: &'a [u8], name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    line.split(|&byte| byte == b';').filter_map(move |pair| {
        let at = pair.iter().position(|&byte| byte == b'=')?;
        let (found, value) = pair.split_at_checked(at)?;
        let (_equals, value) = value.split_first()?;
        (found.trim_ascii() == name).then(|| value.trim_ascii())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_values_split_at_commas_outside_quotes() {
        let split = |line: &'static str| -> Vec<&str> {
            comma_separated(line.as_bytes())
                .map(|value| std::str::from_utf8(value).expect("text"))
                .collect()
        };
        assert_eq!(split("a"), ["a"]);
        assert_eq!(split("a, b ,c"), ["a", "b", "c"]);
        assert_eq!(split("\"a,b\", c"), ["\"a,b\"", "c"]);
        assert_eq!(split("\"a\\\",b\", c"), ["\"a\\\",b\"", "c"]);
        assert_eq!(split(""), [""]);
        assert_eq!(split("a,"), ["a", ""]);
        assert_eq!(split("Moz (KHTML, like)"), ["Moz (KHTML", "like)"]);
    }

    #[test]
    fn cookies_are_found_by_exact_name() {
        let find = |line: &'static str| -> Vec<&[u8]> { cookies(line.as_bytes(), b"id").collect() };
        assert_eq!(find("id=1; ID=2; xid=3; id=4"), [b"1", b"4"]);
        assert_eq!(find("id=a=b"), [b"a=b"]);
        assert!(find("id; other=1").is_empty());
    }
}
