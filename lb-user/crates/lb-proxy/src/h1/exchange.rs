//! One request to one pool, with the retries that are safe.

use std::{
    io,
    rc::Rc,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, StatusCode};
use tokio::{net::TcpStream, time::Instant};

use super::{
    Asked, Connection, Stream,
    answer::{self, Answer, Read},
    body::{Ended, Progress},
    io::{read, write, write_last},
};
use crate::{
    balance::{Busy, Load},
    config::MemberConfig,
    log::{Asked as Logged, Line},
    reply,
    tcp::Pipes,
    upstream::{Cookie, Failure, Kept, Key, connect},
    view::{ListenerView, PoolView},
};

/// Further members that are tried when one cannot be connected to.
const REDISPATCHES: usize = 3;

/// A head of a member longer than this is none.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Why an attempt brought no answer.
enum Lost {
    /// The member closed without a byte: safe to repeat if the connection had been idle.
    Unanswered,
    Failed(Failure),
}

/// What the client was given.
pub(super) struct Given {
    status: StatusCode,
    bytes: u64,
    ended: Ended,
}

/// A member that was reached.
struct Reached<'a> {
    index: usize,
    member: &'a MemberConfig,
    load: &'a Rc<Load>,
}

/// The beginning of an answer, ready to go out.
pub(super) struct Begun {
    pub(super) answer: Answer,
    /// Head and the first of the body, as the client gets them.
    pub(super) out: Vec<u8>,
    /// How far the body is.
    pub(super) progress: Progress,
}

impl<S: Stream> Connection<S> {
    /// Whether the connection goes on.
    pub(super) async fn exchange(
        &mut self,
        listener: &ListenerView,
        pool: &PoolView,
        asked: Asked,
        closes: bool,
    ) -> bool {
        let counters = &listener.counters;
        let (begun, wall) = (Instant::now(), SystemTime::now());
        counters.requests.increment();
        let mut member = None;
        let given = self
            .forward(listener, pool, asked, closes, &mut member)
            .await;
        let (given, state) = match given {
            Ok(given) => {
                counters.answers.count(given.status);
                let state = given.ended.state();
                (given, state)
            }
            Err(failure) => {
                counters.request_failed();
                counters.answers.count(failure.status());
                let page = reply::raw_page(failure.status(), asked.is_head, closes);
                let patience = listener.config.client_timeout;
                let sent = if closes {
                    write_last(&mut self.stream, &page, &mut self.timer, patience).await
                } else {
                    write(&mut self.stream, &page, &mut self.timer, patience).await
                };
                counters.sent(page.len());
                let given = Given {
                    status: failure.status(),
                    bytes: page.len() as u64,
                    ended: if sent.is_ok() {
                        Ended::Well
                    } else {
                        Ended::ByClient
                    },
                };
                (given, failure.state())
            }
        };
        if self.client.worker.log.is_on() {
            self.client.worker.log.write(&Line {
                listener: listener.config.id,
                client: self.client.ends.client,
                time: wall,
                request: Some(Logged::Line(self.first_line())),
                status: given.status.as_u16(),
                read: given.bytes,
                uploaded: self.request.len() as u64,
                session: self.client.session.as_ref(),
                pool: Some(pool.config.id),
                member,
                total: begun.elapsed(),
                state,
                cookie: Cookie::Unused,
            });
        }
        given.ended == Ended::Well && !closes
    }

    fn first_line(&self) -> &[u8] {
        let mut lines = self.request.split(|&byte| byte == b'\r');
        lines.next().unwrap_or_default()
    }

    async fn forward(
        &mut self,
        listener: &ListenerView,
        pool: &PoolView,
        asked: Asked,
        closes: bool,
        served_by: &mut Option<lb_model::id::MemberId>,
    ) -> Result<Given, Failure> {
        let client = Rc::clone(&self.client);
        let kept = Kept::find(pool, &client, &HeaderMap::new());
        let mut tried = Vec::new();
        while tried.len() <= REDISPATCHES {
            let tied = kept.index.filter(|_| tried.is_empty());
            let Some(index) = tied.or_else(|| pool.next(client.ends.client, &tried)) else {
                break;
            };
            let (Some(member), Some(load)) =
                (pool.config.members.get(index), pool.loads.get(index))
            else {
                break;
            };
            let counters = &load.counters;
            if tied.is_none() {
                counters.balanced.increment();
            }
            *served_by = Some(member.id);
            let reached = Reached {
                index,
                member,
                load,
            };
            let mut reused = self.reuse(Key::shared(member));
            loop {
                let is_reused = reused.is_some();
                let Some((key, stream)) = (match reused.take() {
                    Some(reused) => {
                        counters.reuses.increment();
                        Some(reused)
                    }
                    None => self.connect(listener, pool, &reached).await,
                }) else {
                    break;
                };
                let attempt = self.attempt(listener, &reached, key, stream, asked, closes);
                match attempt.await {
                    Ok(given) => {
                        let mut none = HeaderMap::new();
                        kept.settle(listener, pool, &client, reached.index, &mut none);
                        return Ok(given);
                    }
                    Err(Lost::Unanswered) if is_reused => counters.retries.increment(),
                    Err(Lost::Unanswered) => {
                        counters.answer_errors.increment();
                        return Err(Failure::BadAnswer);
                    }
                    Err(Lost::Failed(failure)) => {
                        counters.answer_errors.increment();
                        return Err(failure);
                    }
                }
            }
            counters.redispatches.increment();
            tried.push(index);
        }
        pool.counters.without_member.increment();
        Err(Failure::NoMember)
    }

    /// An idle connection: the client's own before anyone's.
    fn reuse(&self, key: Key) -> Option<(Key, TcpStream)> {
        let idle = &self.client.worker.idle;
        if self.client.owns.get() {
            let own = key.of(self.client.number);
            if let Some(stream) = idle.take_raw(own) {
                return Some((own, stream));
            }
        }
        Some((key, idle.take_raw(key)?))
    }

    async fn connect(
        &self,
        listener: &ListenerView,
        pool: &PoolView,
        reached: &Reached<'_>,
    ) -> Option<(Key, TcpStream)> {
        let (member, counters) = (reached.member, &reached.load.counters);
        counters.connects.increment();
        let begun = Instant::now();
        let deadline = listener.config.connect_timeout;
        match connect::tcp(&pool.config, member, self.client.ends, deadline).await {
            Ok(stream) => {
                counters.connect_time.note(begun.elapsed());
                Some((Key::shared(member), stream))
            }
            Err(error) => {
                counters.connect_errors.increment();
                tracing::trace!(pool.id = %pool.config.id, member.addr = %member.address, %error, "no connection to the member");
                None
            }
        }
    }

    async fn attempt(
        &mut self,
        listener: &ListenerView,
        reached: &Reached<'_>,
        key: Key,
        mut stream: TcpStream,
        asked: Asked,
        closes: bool,
    ) -> Result<Given, Lost> {
        let since = Instant::now();
        let busy = Busy::count(reached.load);
        let counters = &busy.0.counters;
        let patience = listener.config.member_timeout;
        let sent = write(&mut stream, &self.request, &mut self.timer, patience).await;
        sent.map_err(|_error| Lost::Unanswered)?;
        counters.bytes_in.add(self.request.len() as u64);
        let begun = self
            .begin(
                &mut stream,
                since + patience,
                asked,
                closes,
                listener.config.client_timeout,
            )
            .await;
        let Begun {
            answer,
            out,
            mut progress,
        } = begun?;
        counters.answer_time.note(since.elapsed());
        counters.answers.count(answer.status);
        let patience = listener.config.client_timeout;
        let taken = if closes && progress.is_done() {
            write_last(&mut self.stream, &out, &mut self.timer, patience).await
        } else {
            write(&mut self.stream, &out, &mut self.timer, patience).await
        };
        let mut bytes = out.len() as u64;
        listener.counters.sent(out.len());
        self.client.worker.pipes.put_out(out);
        let ended = match taken {
            Ok(()) if progress.is_done() => Ended::Well,
            Ok(()) => {
                let passed = self.pass_body(&mut stream, &mut progress, listener).await;
                bytes += passed.1;
                if closes && passed.0 == Ended::Well {
                    // It has all it asked for; whether it hears the goodbye is its own affair.
                    drop(write_last(&mut self.stream, &[], &mut self.timer, patience).await);
                }
                passed.0
            }
            Err(_error) => Ended::ByClient,
        };
        counters.bytes_out.add(progress.received());
        match ended {
            Ended::Well => {
                counters.total_time.note(since.elapsed());
                if answer.stays && progress.is_clean() {
                    let key = if answer.authenticates {
                        key.of(self.client.number)
                    } else {
                        key
                    };
                    if key.owner.is_some() {
                        self.client.owns.set(true);
                    }
                    self.client.worker.idle.put_raw(key, stream);
                }
            }
            Ended::ByClient => counters.client_aborts.increment(),
            Ended::ByMember | Ended::BySilence => counters.server_aborts.increment(),
        }
        Ok(Given {
            status: answer.status,
            bytes,
            ended,
        })
    }

    /// Waits for the head of the answer, and takes with it what has come of the body.
    async fn begin(
        &mut self,
        stream: &mut TcpStream,
        until: Instant,
        asked: Asked,
        closes: bool,
        patience: Duration,
    ) -> Result<Begun, Lost> {
        let worker = Rc::clone(&self.client.worker);
        let mut partial: Vec<u8> = Vec::new();
        let mut received = 0_u64;
        loop {
            let read = match read(stream, &worker.pipes.buffer, &mut self.timer, until).await {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    return Err(Lost::Failed(Failure::Timeout));
                }
                Ok(0) | Err(_) if received == 0 => return Err(Lost::Unanswered),
                Ok(0) | Err(_) => return Err(Lost::Failed(Failure::BadAnswer)),
                Ok(read) => read,
            };
            received += read as u64;
            let hints = match took(&worker.pipes, read, &mut partial, received, asked, closes)? {
                Took::Begun(begun) => return Ok(begun),
                Took::Hints(hints) => hints,
            };
            if !hints.is_empty() {
                // The answer is written next, and tells whether the client is still there.
                let (client, timer) = (&mut self.stream, &mut self.timer);
                drop(write(client, &hints, timer, patience).await);
            }
        }
    }
}

enum Took {
    Begun(Begun),
    /// The head is not whole yet; this can go to the client meanwhile.
    Hints(Vec<u8>),
}

/// Looks at what was read last, behind what is left of before.
fn took(
    pipes: &Pipes,
    read: usize,
    partial: &mut Vec<u8>,
    received: u64,
    asked: Asked,
    closes: bool,
) -> Result<Took, Lost> {
    let buffer = pipes.buffer.borrow();
    let mut bytes = buffer.get(..read).unwrap_or_default();
    if !partial.is_empty() {
        partial.extend_from_slice(bytes);
        bytes = partial;
    }
    let mut out = pipes.take_out();
    let mut hints = Vec::new();
    let answer = loop {
        match answer::rewrite(bytes, asked, closes, &mut out) {
            Read::Interim(length) => {
                hints.extend_from_slice(&out);
                bytes = bytes.get(length..).unwrap_or_default();
            }
            other => break other,
        }
    };
    match answer {
        Read::Answer(answer) => {
            let rest = bytes.get(answer.length..).unwrap_or_default();
            let progress = Progress::begin(answer.ends, rest, received, &mut out)
                .ok_or(Lost::Failed(Failure::BadAnswer))?;
            if !hints.is_empty() {
                hints.append(&mut out);
                out = hints;
            }
            Ok(Took::Begun(Begun {
                answer,
                out,
                progress,
            }))
        }
        Read::Bad => Err(Lost::Failed(Failure::BadAnswer)),
        Read::Incomplete | Read::Interim(_) => {
            pipes.put_out(out);
            let left = bytes.to_vec();
            *partial = left;
            if partial.len() > HEAD_BYTES_MAX {
                return Err(Lost::Failed(Failure::BadAnswer));
            }
            Ok(Took::Hints(hints))
        }
    }
}
