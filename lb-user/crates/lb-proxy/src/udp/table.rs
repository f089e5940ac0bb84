//! The sessions of a listening socket, by client.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    rc::{Rc, Weak},
};

use super::session::Session;

/// The queue may have this many that ended before it is looked through.
const SLACK: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Table {
    by_client: RefCell<HashMap<SocketAddr, Rc<Session>>>,
    /// In order of beginning; among them some that have been answered or have ended.
    unanswered: RefCell<VecDeque<Weak<Session>>>,
}

impl Table {
    pub(super) fn find(&self, client: SocketAddr) -> Option<Rc<Session>> {
        self.by_client.borrow().get(&client).cloned()
    }

    pub(super) fn insert(&self, session: &Rc<Session>) {
        let mut by_client = self.by_client.borrow_mut();
        by_client.insert(session.client, Rc::clone(session));
        let mut unanswered = self.unanswered.borrow_mut();
        if unanswered.len() > 2 * by_client.len() + SLACK {
            unanswered.retain(|it| it.upgrade().is_some_and(|it| !it.is_answered()));
        }
        unanswered.push_back(Rc::downgrade(session));
    }

    /// Takes a session out, unless another has taken its place.
    pub(super) fn remove(&self, session: &Rc<Session>) {
        let mut by_client = self.by_client.borrow_mut();
        let is_there = by_client.get(&session.client);
        if is_there.is_some_and(|it| Rc::ptr_eq(it, session)) {
            by_client.remove(&session.client);
        }
    }

    /// The session that has been without an answer for longest.
    pub(super) fn oldest_unanswered(&self) -> Option<Rc<Session>> {
        loop {
            let session = self.unanswered.borrow_mut().pop_front()?;
            let lives = session
                .upgrade()
                .filter(|it| !it.is_answered() && !it.is_over());
            if lives.is_some() {
                return lives;
            }
        }
    }
}
