//! Who speaks to this amphora: its agent, and once in its life its successor.
//!
//! A session is two tasks: one reads frames, one writes them. A session that sends nonsense, or does
//! not read what it is sent, is closed; the agent connects again. The newest agent wins, as soon as
//! it says something; a successor that asks costs the agent nothing until it serves. While one is
//! asked for, nobody else is heard: what it was given must not change.

pub(crate) mod frame;
mod session;

use std::{io, os::fd::OwnedFd, time::Duration};

use lb_model::amphora::{FromAmphora, ToAmphora};
use tokio::{
    net::UnixListener,
    time::{Instant, sleep_until},
};

use self::session::Session;
use crate::Error;

/// A successor that does not serve within this is given up.
const SUCCEED_WITHIN: Duration = Duration::from_secs(20);

/// What happens at the control socket.
#[derive(Debug)]
pub(crate) enum Agent {
    /// A new session has begun.
    Connected,
    /// A message of the current session.
    Says(Box<ToAmphora>),
    /// A successor asks; [`Inbox::hand_over`] answers it.
    TakesOver,
    /// The successor serves: from now on everything is told to it.
    Serves,
}

/// Where agents and successors come in.
#[derive(Debug)]
pub(crate) struct Inbox {
    /// None once a successor has it.
    listener: Option<UnixListener>,
    session: Option<Session>,
    /// Has connected while there is a session, and not said anything.
    visitor: Option<Session>,
    successor: Option<(Session, Instant)>,
    /// The agent's last session here; kept so that what it was told reaches it.
    _former: Option<Session>,
}

impl Inbox {
    /// Listens on the inherited socket.
    pub(crate) fn listen(socket: OwnedFd) -> Result<Self, Error> {
        let listener = std::os::unix::net::UnixListener::from(socket);
        listener
            .set_nonblocking(true)
            .and_then(|()| UnixListener::from_std(listener))
            .map(|listener| Self {
                listener: Some(listener),
                session: None,
                visitor: None,
                successor: None,
                _former: None,
            })
            .map_err(|source: io::Error| Error::ControlSocket { source })
    }

    /// What happens next. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Agent {
        loop {
            if self.successor.is_some() {
                if self.succeeded().await {
                    return Agent::Serves;
                }
                continue;
            }
            tokio::select! {
                accepted = accept(self.listener.as_ref()) => match accepted {
                    Ok(session) if self.session.is_none() => {
                        tracing::info!("an agent has connected");
                        self.session = Some(session);
                        return Agent::Connected;
                    }
                    Ok(session) => self.visitor = Some(session),
                    Err(error) => tracing::warn!(%error, "cannot accept an agent"),
                },
                message = receive(self.visitor.as_mut()) => {
                    let visitor = self.visitor.take();
                    match message {
                        Some(ToAmphora::TakeOver) => return self.asked_by(visitor),
                        Some(message) => {
                            tracing::info!("a newer agent has connected");
                            self.session = visitor;
                            return Agent::Says(Box::new(message));
                        }
                        None => {}
                    }
                }
                message = receive(self.session.as_mut()) => match message {
                    Some(ToAmphora::TakeOver) => {
                        let session = self.session.take();
                        return self.asked_by(session);
                    }
                    Some(message) => return Agent::Says(Box::new(message)),
                    None => {
                        tracing::info!("the agent has gone");
                        self.session = None;
                    }
                },
            }
        }
    }

    fn asked_by(&mut self, session: Option<Session>) -> Agent {
        let deadline = Instant::now() + SUCCEED_WITHIN;
        self.successor = session.map(|session| (session, deadline));
        Agent::TakesOver
    }

    /// Whether the successor serves; when not, it has gone.
    async fn succeeded(&mut self) -> bool {
        let Some((session, deadline)) = &mut self.successor else {
            return false;
        };
        let message = tokio::select! {
            message = session.messages.recv() => message,
            () = sleep_until(*deadline) => None,
        };
        let successor = self.successor.take();
        if message != Some(ToAmphora::Serves) {
            tracing::warn!("the successor does not serve: all goes on as before");
            return false;
        }
        self.answer(FromAmphora::TakenOver);
        // Closed by the agent; those that wait to be accepted are the successor's.
        self._former = self.session.take();
        self.listener = None;
        self.visitor = None;
        self.session = successor.map(|(session, _)| session);
        true
    }

    /// Gives the successor what it asked for.
    pub(crate) fn hand_over(&mut self, descriptors: Vec<OwnedFd>, answer: FromAmphora) {
        let Some((session, _)) = &self.successor else {
            return;
        };
        if !session.hand(descriptors) || !session.tell(answer) {
            self.successor = None;
        }
    }

    /// There is nothing to hand over.
    pub(crate) fn refuse(&mut self) {
        self.successor = None;
    }

    /// A second handle on the listening socket.
    pub(crate) fn listening(&self) -> io::Result<OwnedFd> {
        use std::os::fd::AsFd as _;
        match &self.listener {
            Some(listener) => listener.as_fd().try_clone_to_owned(),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Tells the agent (or, in its place, the successor), if one is there.
    pub(crate) fn answer(&mut self, answer: FromAmphora) {
        let told = self
            .session
            .as_ref()
            .is_none_or(|session| session.tell(answer));
        if !told {
            tracing::warn!("the agent does not read: its session is closed");
            self.session = None;
        }
    }

    /// Tells lines of the flow log, or gives them back: when no agent is there, or it is behind so
    /// far that what matters more might not get through.
    pub(crate) fn offer_lines(&mut self, lines: String) -> Result<(), String> {
        match &self.session {
            Some(session) if session.keeps_up() => {
                self.answer(FromAmphora::Log { lines });
                Ok(())
            }
            _ => Err(lines),
        }
    }
}

async fn accept(listener: Option<&UnixListener>) -> io::Result<Session> {
    match listener {
        Some(listener) => Ok(Session::start(listener.accept().await?.0)),
        None => std::future::pending().await,
    }
}

async fn receive(session: Option<&mut Session>) -> Option<ToAmphora> {
    match session {
        Some(session) => session.messages.recv().await,
        None => std::future::pending().await,
    }
}
