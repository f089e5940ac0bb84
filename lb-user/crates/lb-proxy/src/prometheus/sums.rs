//! Counters of all workers, added up.

use std::{collections::HashMap, sync::Arc};

use lb_model::id::MemberId;

use crate::{
    config::MemberConfig,
    counters::{Average, Counter, ListenerMetrics, MemberCounters, PoolMetrics},
};

/// Of a listener.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Listener {
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) sessions: u64,
    pub(super) sessions_max: u64,
    pub(super) sessions_total: u64,
    pub(super) sessions_limit: u64,
    pub(super) requests: u64,
    pub(super) errors: u64,
    pub(super) denied: u64,
    pub(super) intercepted: u64,
    pub(super) answers: [u64; 6],
}

impl Listener {
    pub(super) fn of(metrics: &ListenerMetrics, limit: u64) -> Self {
        let mut sum = Self {
            sessions_limit: limit,
            ..Self::default()
        };
        for counters in &metrics.workers {
            sum.bytes_in += counters.bytes_in.get();
            sum.bytes_out += counters.bytes_out.get();
            sum.sessions += counters.connections.now.get();
            sum.sessions_max += counters.connections.max.get();
            sum.sessions_total += counters.connections.total.get();
            sum.requests += counters.requests.get();
            sum.errors += counters.errors.get();
            sum.denied += counters.denied.get();
            sum.intercepted += counters.intercepted.get();
            add(&mut sum.answers, counters.answers.all());
        }
        sum
    }
}

/// Of a member, or of all members of a pool.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Member {
    pub(super) sessions: u64,
    pub(super) sessions_max: u64,
    pub(super) sessions_total: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) connects: u64,
    pub(super) reuses: u64,
    pub(super) connect_errors: u64,
    pub(super) answer_errors: u64,
    pub(super) retries: u64,
    pub(super) redispatches: u64,
    pub(super) client_aborts: u64,
    pub(super) server_aborts: u64,
    pub(super) balanced: u64,
    pub(super) without_member: u64,
    pub(super) answers: [u64; 6],
    pub(super) connect: Time,
    pub(super) answer: Time,
    pub(super) total: Time,
    pub(super) up: bool,
    pub(super) weight: u64,
    /// Members, where it is a pool's.
    pub(super) active: u64,
    pub(super) backups: u64,
}

/// Seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Time {
    pub(super) average: f64,
    pub(super) max: f64,
}

impl Time {
    fn note(&mut self, average: &Average) {
        // Workers have about the same: the largest stands for all.
        self.average = self.average.max(seconds(average.value()));
        self.max = self.max.max(seconds(average.max.get()));
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a request")]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

impl Member {
    pub(super) fn of(workers: &[Arc<MemberCounters>], config: &MemberConfig) -> Self {
        let mut sum = Self {
            up: config.health.is_usable(),
            weight: config.weight.into(),
            ..Self::default()
        };
        for counters in workers {
            sum.sessions += counters.sessions.now.get();
            sum.sessions_max += counters.sessions.max.get();
            sum.sessions_total += counters.sessions.total.get();
            add(&mut sum.answers, counters.answers.all());
            for (to, from) in [
                (&mut sum.bytes_in, &counters.bytes_in),
                (&mut sum.bytes_out, &counters.bytes_out),
                (&mut sum.connects, &counters.connects),
                (&mut sum.reuses, &counters.reuses),
                (&mut sum.connect_errors, &counters.connect_errors),
                (&mut sum.answer_errors, &counters.answer_errors),
                (&mut sum.retries, &counters.retries),
                (&mut sum.redispatches, &counters.redispatches),
                (&mut sum.client_aborts, &counters.client_aborts),
                (&mut sum.server_aborts, &counters.server_aborts),
                (&mut sum.balanced, &counters.balanced),
            ] {
                *to += Counter::get(from);
            }
            sum.connect.note(&counters.connect_time);
            sum.answer.note(&counters.answer_time);
            sum.total.note(&counters.total_time);
        }
        sum
    }

    /// Of a pool: its members together.
    pub(super) fn pool(metrics: &PoolMetrics, members: &[(&MemberConfig, Self)]) -> Self {
        let mut sum = Self::default();
        for (config, member) in members {
            for (to, from) in [
                (&mut sum.sessions, member.sessions),
                (&mut sum.sessions_max, member.sessions_max),
                (&mut sum.sessions_total, member.sessions_total),
                (&mut sum.bytes_in, member.bytes_in),
                (&mut sum.bytes_out, member.bytes_out),
                (&mut sum.connects, member.connects),
                (&mut sum.reuses, member.reuses),
                (&mut sum.connect_errors, member.connect_errors),
                (&mut sum.answer_errors, member.answer_errors),
                (&mut sum.retries, member.retries),
                (&mut sum.redispatches, member.redispatches),
                (&mut sum.client_aborts, member.client_aborts),
                (&mut sum.server_aborts, member.server_aborts),
                (&mut sum.balanced, member.balanced),
            ] {
                *to += from;
            }
            add(&mut sum.answers, member.answers);
            for (to, from) in [
                (&mut sum.connect, member.connect),
                (&mut sum.answer, member.answer),
                (&mut sum.total, member.total),
            ] {
                to.average = to.average.max(from.average);
                to.max = to.max.max(from.max);
            }
            if config.takes_new() {
                sum.up = true;
                sum.weight += member.weight;
                sum.active += u64::from(!config.backup);
                sum.backups += u64::from(config.backup);
            }
        }
        for counters in &metrics.workers {
            sum.without_member += counters.without_member.get();
        }
        if let Some(server_errors) = sum.answers.get_mut(4) {
            *server_errors += sum.without_member;
        }
        sum
    }

    pub(super) fn all<'a>(
        metrics: &HashMap<MemberId, Vec<Arc<MemberCounters>>>,
        members: &'a [MemberConfig],
    ) -> Vec<(&'a MemberConfig, Self)> {
        members
            .iter()
            .map(|member| {
                let workers = metrics.get(&member.id).map(Vec::as_slice);
                (member, Self::of(workers.unwrap_or_default(), member))
            })
            .collect()
    }
}

fn add(to: &mut [u64; 6], from: [u64; 6]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += from;
    }
}
