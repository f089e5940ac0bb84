//! A request's tie to a member: found before it is sent, made or renewed with the answer.

use http::{
    HeaderMap, HeaderValue,
    header::{CACHE_CONTROL, SET_COOKIE},
};
use lb_model::id::MemberId;
use uuid::Uuid;

use crate::{
    connection::Client,
    persistence::{self, COOKIE, COOKIE_BYTES_MAX, Learned, Persistence},
    view::{ListenerView, PoolView},
};

/// What was found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kept {
    /// The member, when it takes clients that are tied to it.
    pub(crate) index: Option<usize>,
    pub(crate) cookie: Cookie,
}

/// What the client's HTTP_COOKIE is worth, as HAProxy logs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Cookie {
    /// The pool keeps clients otherwise, or not at all.
    #[default]
    Unused,
    None,
    /// It names nobody.
    Invalid,
    /// Its member takes nothing.
    Down,
    Valid,
}

impl Kept {
    pub(crate) fn find(pool: &PoolView, client: &Client, headers: &HeaderMap) -> Self {
        match &pool.config.persistence {
            Persistence::None => Self::default(),
            Persistence::SourceIp(source) => {
                let key = source.key(client.ends.client);
                let member = pool.ties().borrow_mut().find(&key, source.timeout);
                Self {
                    index: member.and_then(|id| pool.tied(id)),
                    cookie: Cookie::Unused,
                }
            }
            Persistence::HttpCookie => Self::by_cookie(pool, headers),
            Persistence::AppCookie { name } => {
                let value = persistence::named(headers, name).map(shortened);
                let find = |value| pool.ties().borrow_mut().find(value, None);
                Self {
                    index: value.and_then(find).and_then(|id| pool.tied(id)),
                    cookie: Cookie::Unused,
                }
            }
        }
    }

    fn by_cookie(pool: &PoolView, headers: &HeaderMap) -> Self {
        let Some(value) = persistence::named(headers, COOKIE) else {
            return Self {
                index: None,
                cookie: Cookie::None,
            };
        };
        let id = Uuid::try_parse_ascii(value).ok().map(MemberId);
        let known = id.filter(|id| pool.config.members.iter().any(|member| member.id == *id));
        let index = known.and_then(|id| pool.tied(id));
        let cookie = match (known, index) {
            (None, _) => Cookie::Invalid,
            (Some(_), None) => Cookie::Down,
            (Some(_), Some(_)) => Cookie::Valid,
        };
        Self { index, cookie }
    }

    /// Ties the client to the member that answered.
    pub(crate) fn settle(
        self,
        listener: &ListenerView,
        pool: &PoolView,
        client: &Client,
        index: usize,
        answer: &mut HeaderMap,
    ) {
        let Some(member) = pool.config.members.get(index).map(|member| member.id) else {
            return;
        };
        let learn = |key: &[u8]| {
            if pool.ties().borrow_mut().learn(key, member) {
                client.worker.tell(Learned {
                    place: (listener.config.id, pool.config.id),
                    key: key.into(),
                    member,
                    worker: Some(client.worker.index),
                });
            }
        };
        match &pool.config.persistence {
            Persistence::None => {}
            Persistence::SourceIp(source) => {
                if self.index != Some(index) {
                    learn(&source.key(client.ends.client));
                }
            }
            Persistence::HttpCookie => {
                if self.index != Some(index) {
                    insert_cookie(member, answer);
                }
            }
            Persistence::AppCookie { name } => {
                let values = answer.get_all(SET_COOKIE).iter();
                if let Some(value) = values.filter_map(|line| set(line, name)).next() {
                    learn(shortened(value));
                }
            }
        }
    }
}

/// As HAProxy's `cookie SRV insert indirect nocache`: an answer that says how to cache it must not
/// hand one client's cookie to others.
fn insert_cookie(member: MemberId, answer: &mut HeaderMap) {
    if let Ok(value) = HeaderValue::try_from(format!("{COOKIE}={}; path=/", member.0)) {
        answer.append(SET_COOKIE, value);
    }
    if answer.contains_key(CACHE_CONTROL) {
        answer.append(CACHE_CONTROL, HeaderValue::from_static("private"));
    }
}

/// The value a `Set-Cookie` line gives to the cookie `name`.
fn set<'a>(line: &'a HeaderValue, name: &str) -> Option<&'a [u8]> {
    let pair = line.as_bytes().split(|&byte| byte == b';').next()?;
    let value = pair
        .trim_ascii_start()
        .strip_prefix(name.as_bytes())?
        .trim_ascii_start()
        .strip_prefix(b"=")?;
    Some(value.trim_ascii())
}

fn shortened(value: &[u8]) -> &[u8] {
    value.get(..COOKIE_BYTES_MAX).unwrap_or(value)
}
