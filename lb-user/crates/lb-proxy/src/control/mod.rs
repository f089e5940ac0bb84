//! The agent's connection: one at a time, the newest wins.
//!
//! A session is two tasks: one reads frames, one writes them. A session that sends nonsense, or does
//! not read what it is sent, is closed; the agent connects again.

mod frame;

use std::{io, os::fd::OwnedFd};

use lb_model::amphora::{FromAmphora, ToAmphora};
use tokio::{
    io::BufReader,
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    task::JoinHandle,
};

use crate::Error;

/// Frames that may wait until the agent reads them.
const ANSWERS_MAX: usize = 64;

/// Messages that may wait until we read them.
const MESSAGES_MAX: usize = 4;

/// What an agent does.
#[derive(Debug)]
pub(crate) enum Agent {
    /// A new session has begun.
    Connected,
    /// A message of the current session.
    Says(Box<ToAmphora>),
}

/// Where agents come in.
#[derive(Debug)]
pub(crate) struct Inbox {
    listener: UnixListener,
    session: Option<Session>,
}

#[derive(Debug)]
struct Session {
    messages: mpsc::Receiver<ToAmphora>,
    answers: mpsc::Sender<FromAmphora>,
    tasks: [JoinHandle<Option<()>>; 2],
}

impl Drop for Session {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Inbox {
    /// Listens on the inherited socket.
    pub(crate) fn listen(socket: OwnedFd) -> Result<Self, Error> {
        let listener = std::os::unix::net::UnixListener::from(socket);
        listener
            .set_nonblocking(true)
            .and_then(|()| UnixListener::from_std(listener))
            .map(|listener| Self {
                listener,
                session: None,
            })
            .map_err(|source: io::Error| Error::ControlSocket { source })
    }

    /// What happens next. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Agent {
        loop {
            let message = async {
                match &mut self.session {
                    Some(session) => session.messages.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        tracing::info!("an agent has connected");
                        self.session = Some(Session::start(stream));
                        return Agent::Connected;
                    }
                    Err(error) => tracing::warn!(%error, "cannot accept an agent"),
                },
                message = message => match message {
                    Some(message) => return Agent::Says(Box::new(message)),
                    None => {
                        tracing::info!("the agent has gone");
                        self.session = None;
                    }
                },
            }
        }
    }

    /// Tells the agent, if one is there.
    pub(crate) fn answer(&mut self, answer: FromAmphora) {
        let full = self
            .session
            .as_ref()
            .is_some_and(|session| session.answers.try_send(answer).is_err());
        if full {
            tracing::warn!("the agent does not read: its session is closed");
            self.session = None;
        }
    }
}

impl Inbox {
    /// Tells lines of the flow log, or gives them back: when no agent is there, or it is behind so
    /// far that what matters more might not get through.
    pub(crate) fn offer_lines(&mut self, lines: String) -> Result<(), String> {
        match &self.session {
            Some(session) if session.answers.capacity() > ANSWERS_MAX / 2 => {
                self.answer(FromAmphora::Log { lines });
                Ok(())
            }
            _ => Err(lines),
        }
    }
}

impl Session {
    fn start(stream: UnixStream) -> Self {
        let (reader, writer) = stream.into_split();
        let (inbound, messages) = mpsc::channel(MESSAGES_MAX);
        let (answers, outbound) = mpsc::channel(ANSWERS_MAX);
        Self {
            messages,
            answers,
            tasks: [
                lb_telemetry::task::spawn("agent reader", read(reader, inbound)),
                lb_telemetry::task::spawn("agent writer", write(writer, outbound)),
            ],
        }
    }
}

async fn read(reader: OwnedReadHalf, inbound: mpsc::Sender<ToAmphora>) {
    let mut reader = BufReader::new(reader);
    loop {
        match frame::read(&mut reader).await {
            Ok(Some(message)) => {
                if inbound.send(message).await.is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, "the agent's session is closed");
                return;
            }
        }
    }
}

async fn write(mut writer: OwnedWriteHalf, mut outbound: mpsc::Receiver<FromAmphora>) {
    while let Some(answer) = outbound.recv().await {
        if let Err(error) = frame::write(&mut writer, &answer).await {
            tracing::debug!(%error, "the agent is gone");
            return;
        }
    }
}
