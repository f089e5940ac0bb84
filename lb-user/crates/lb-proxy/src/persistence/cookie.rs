//! Cookies in a request's head: read one, take one out.

use http::{HeaderMap, HeaderValue, header::COOKIE};

/// The value of the first cookie with this name.
pub(crate) fn named<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    headers
        .get_all(COOKIE)
        .iter()
        .flat_map(|line| line.as_bytes().split(|&byte| byte == b';'))
        .find_map(|pair| value_of(pair, name))
}

/// Takes the cookies with this name out, and the header when nothing is left of it.
pub(crate) fn strip(headers: &mut HeaderMap, name: &str) {
    if named(headers, name).is_none() {
        return;
    }
    let kept: Vec<HeaderValue> = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|line| {
            let pairs: Vec<&[u8]> = line
                .as_bytes()
                .split(|&byte| byte == b';')
                .filter(|pair| value_of(pair, name).is_none())
                .map(<[u8]>::trim_ascii)
                .collect();
            let joined = pairs.join(&b"; "[..]);
            (!joined.is_empty())
                .then(|| HeaderValue::from_bytes(&joined).ok())
                .flatten()
        })
        .collect();
    headers.remove(COOKIE);
    for line in kept {
        headers.append(COOKIE, line);
    }
}

fn value_of<'a>(pair: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let value = pair
        .trim_ascii_start()
        .strip_prefix(name.as_bytes())?
        .trim_ascii_start()
        .strip_prefix(b"=")?
        .trim_ascii();
    let unquoted = value
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""));
    Some(unquoted.unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&'static str]) -> HeaderMap {
        lines
            .iter()
            .map(|line| (COOKIE, HeaderValue::from_static(line)))
            .collect()
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let map = headers(&["a=1; XSRV=2; SRV2=3", "b; SRV=\"four\"; SRV=5"]);
        assert_eq!(named(&map, "SRV"), Some(&b"four"[..]));
        assert_eq!(named(&map, "a"), Some(&b"1"[..]));
        assert_eq!(named(&map, "b"), None);
        assert_eq!(named(&map, "srv"), None);
    }

    #[test]
    fn a_cookie_is_taken_out_and_its_neighbours_stay() {
        for (before, after) in [
            (vec!["a=b; SRV=x; c=d"], vec!["a=b; c=d"]),
            (vec!["SRV=x"], vec![]),
            (vec!["SRV=x; a=b"], vec!["a=b"]),
            (vec!["a=b;SRV=x", "SRV=y", "c=d"], vec!["a=b", "c=d"]),
            (vec!["a=b; SRVx=1"], vec!["a=b; SRVx=1"]),
        ] {
            let mut map = headers(&before);
            strip(&mut map, "SRV");
            let left: Vec<_> = map
                .get_all(COOKIE)
                .iter()
                .map(|line| line.to_str().expect("text"))
                .collect();
            assert_eq!(left, after, "{before:?}");
        }
    }
}
