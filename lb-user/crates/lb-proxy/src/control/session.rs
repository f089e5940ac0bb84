//! One connection to the control socket.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use lb_model::amphora::{FromAmphora, ToAmphora};
use lb_sys::rights;
use tokio::{
    io::{BufReader, Interest},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    task::JoinHandle,
};

use super::frame;

/// Frames that may wait until the other side reads them.
const ANSWERS_MAX: usize = 64;

/// Messages that may wait until we read them.
const MESSAGES_MAX: usize = 4;

/// What goes out.
#[derive(Debug)]
enum Outgoing {
    Frame(FromAmphora),
    Descriptors(Vec<OwnedFd>),
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) messages: mpsc::Receiver<ToAmphora>,
    answers: mpsc::Sender<Outgoing>,
    tasks: [JoinHandle<Option<()>>; 2],
}

impl Drop for Session {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Session {
    pub(super) fn start(stream: UnixStream) -> Self {
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

    /// Whether it takes it.
    pub(super) fn tell(&self, answer: FromAmphora) -> bool {
        self.answers.try_send(Outgoing::Frame(answer)).is_ok()
    }

    /// Whether it takes them.
    pub(super) fn hand(&self, descriptors: Vec<OwnedFd>) -> bool {
        let descriptors = Outgoing::Descriptors(descriptors);
        self.answers.try_send(descriptors).is_ok()
    }

    /// Not so much waits that something could get lost.
    pub(super) fn keeps_up(&self) -> bool {
        self.answers.capacity() > ANSWERS_MAX / 2
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

async fn write(mut writer: OwnedWriteHalf, mut outbound: mpsc::Receiver<Outgoing>) {
    while let Some(outgoing) = outbound.recv().await {
        let written = match outgoing {
            Outgoing::Frame(answer) => frame::write(&mut writer, &answer).await,
            Outgoing::Descriptors(all) => hand(writer.as_ref(), &all).await.map_err(Into::into),
        };
        if let Err(error) = written {
            tracing::debug!(%error, "the agent is gone");
            return;
        }
    }
}

async fn hand(stream: &UnixStream, descriptors: &[OwnedFd]) -> io::Result<()> {
    for batch in descriptors.chunks(rights::BATCH_MAX) {
        let batch: Vec<_> = batch.iter().map(|it| it.as_fd()).collect();
        let send = || rights::send(stream, b' ', &batch);
        stream.async_io(Interest::WRITABLE, send).await?;
    }
    Ok(())
}
