//! The families, each with its value.

use std::num::NonZeroUsize;

use rustix::system::sysinfo;

use super::{
    sums::{Listener, Member},
    write::Text,
};
use crate::view::View;

/// Classes of status codes.
const CODES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "other"];

/// A member that counts for a series.
struct Series<T> {
    labels: String,
    sums: T,
    /// HAProxy's word for its state.
    state: &'static str,
}

type Value<T> = (&'static str, fn(&T) -> f64);

/// Everything there is to tell.
pub(super) fn render(view: &View, connections: u64) -> String {
    let mut text = Text::default();
    let listeners = listeners(view);
    node(&mut text, &listeners, connections);
    let log = view.snapshot.log.as_ref();
    let dropped = "octavia_loadbalancer_dropped_logs_total";
    text.family(dropped);
    text.series(dropped, "", log.map_or(0, crate::log::Log::dropped));
    each(&mut text, "octavia_listener_", LISTENER, &listeners);
    states(
        &mut text,
        "octavia_listener_status",
        &["UP", "DOWN"],
        &listeners,
    );
    codes(
        &mut text,
        "octavia_listener_http_responses_total",
        &listeners,
        |sums| sums.answers,
    );
    let (pools, members) = pools_and_members(view);
    each(&mut text, "octavia_pool_", BOTH, &pools);
    each(&mut text, "octavia_pool_", POOL, &pools);
    states(&mut text, "octavia_pool_status", &["UP", "DOWN"], &pools);
    codes(
        &mut text,
        "octavia_pool_http_responses_total",
        &pools,
        |sums| sums.answers,
    );
    each(&mut text, "octavia_member_", BOTH, &members);
    each(&mut text, "octavia_member_", MEMBER, &members);
    let all = ["UP", "DOWN", "MAINT", "DRAIN"];
    states(&mut text, "octavia_member_status", &all, &members);
    codes(
        &mut text,
        "octavia_member_http_responses_total",
        &members,
        |sums| sums.answers,
    );
    text.finish()
}

fn listeners(view: &View) -> Vec<Series<Listener>> {
    let all = view.snapshot.listeners.iter();
    all.filter_map(|config| {
        let metrics = view.metrics.listeners.get(&config.id)?;
        Some(Series {
            labels: format!("listener=\"{}\"", config.id),
            sums: Listener::of(metrics, config.connection_limit),
            state: "UP",
        })
    })
    .collect()
}

fn pools_and_members(view: &View) -> (Vec<Series<Member>>, Vec<Series<Member>>) {
    let (mut pools, mut members) = (Vec::new(), Vec::new());
    for listener in &view.snapshot.listeners {
        let Some(metrics) = view.metrics.listeners.get(&listener.id) else {
            continue;
        };
        for pool in listener
            .pools()
            .filter_map(|id| view.snapshot.pools.get(&id))
        {
            let Some(metrics) = metrics.pools.get(&pool.id) else {
                continue;
            };
            let label = format!("pool=\"{}:{}\"", pool.id, listener.id);
            let each = Member::all(&metrics.members, &pool.members);
            let sums = Member::pool(metrics, &each);
            for (config, sums) in each {
                let state = match (config.health.is_usable(), config.weight) {
                    (false, _) => "DOWN",
                    (true, 0) => "DRAIN",
                    (true, _) => "UP",
                };
                members.push(Series {
                    labels: format!("{label},member=\"{}\"", config.id),
                    sums,
                    state,
                });
            }
            pools.push(Series {
                labels: label,
                sums,
                state: if sums.up { "UP" } else { "DOWN" },
            });
        }
    }
    (pools, members)
}

fn each<T>(text: &mut Text, prefix: &str, values: &[Value<T>], series: &[Series<T>]) {
    for (name, value) in values {
        let name = format!("{prefix}{name}");
        text.family(&name);
        for one in series {
            text.series(&name, &one.labels, value(&one.sums));
        }
    }
}

fn states<T>(text: &mut Text, name: &str, states: &[&str], series: &[Series<T>]) {
    text.family(name);
    for one in series {
        for state in states {
            let labels = format!("{},state=\"{state}\"", one.labels);
            text.series(name, &labels, u8::from(one.state == *state));
        }
    }
}

fn codes<T>(text: &mut Text, name: &str, series: &[Series<T>], answers: fn(&T) -> [u64; 6]) {
    text.family(name);
    for one in series {
        for (code, count) in CODES.iter().zip(answers(&one.sums)) {
            let labels = format!("{},code=\"{code}\"", one.labels);
            text.series(name, &labels, count);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "what the format can say")]
fn number(value: u64) -> f64 {
    value as f64
}

/// The machine and the process as a whole.
fn node(text: &mut Text, listeners: &[Series<Listener>], connections: u64) {
    let info = sysinfo();
    let cpus = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    // Fixed point, 16 bits.
    let load = number(info.loads.first().copied().unwrap_or(0)) / 65_536.0;
    let (total, free) = (number(info.totalram), number(info.freeram));
    let of = |pick: fn(&Listener) -> u64| -> f64 {
        number(listeners.iter().map(|one| pick(&one.sums)).sum())
    };
    #[expect(clippy::cast_precision_loss, reason = "few")]
    let (cpus, count) = (cpus as f64, listeners.len() as f64);
    let values = [
        ("octavia_loadbalancer_cpu", load / cpus * 100.0),
        (
            "octavia_loadbalancer_memory",
            (total - free) / total.max(1.0) * 100.0,
        ),
        (
            "octavia_loadbalancer_max_connections",
            of(|it| it.sessions_limit),
        ),
        (
            "octavia_loadbalancer_current_connections",
            number(connections),
        ),
        (
            "octavia_loadbalancer_connections_total",
            of(|it| it.sessions_total),
        ),
        ("octavia_loadbalancer_requests_total", of(|it| it.requests)),
        ("octavia_loadbalancer_listeners", count),
    ];
    for (name, value) in values {
        text.family(name);
        text.series(name, "", value);
    }
    for name in ZERO {
        let name = format!("octavia_{name}");
        text.family(&name);
        text.series(&name, "", 0);
    }
}

/// What this proxy has none of, or no limit for.
const ZERO: &[&str] = &[
    "memory_pool_allocated_bytes",
    "memory_pool_used_bytes",
    "memory_pool_failures_total",
    "loadbalancer_max_ssl_connections",
    "loadbalancer_current_ssl_connections",
    "loadbalancer_ssl_connections_total",
    "loadbalancer_current_connection_rate",
    "loadbalancer_limit_connection_rate",
    "loadbalancer_max_connection_rate",
    "loadbalancer_current_session_rate",
    "loadbalancer_limit_session_rate",
    "loadbalancer_max_session_rate",
    "loadbalancer_current_ssl_rate",
    "loadbalancer_limit_ssl_rate",
    "loadbalancer_max_ssl_rate",
    "loadbalancer_current_frontend_ssl_key_rate",
    "loadbalancer_max_frontend_ssl_key_rate",
    "loadbalancer_frontend_ssl_reuse",
    "loadbalancer_current_backend_ssl_key_rate",
    "loadbalancer_max_backend_ssl_key_rate",
    "loadbalancer_ssl_cache_lookups_total",
    "loadbalancer_ssl_cache_misses_total",
    "loadbalancer_http_comp_bytes_in_total",
    "loadbalancer_http_comp_bytes_out_total",
    "loadbalancer_limit_http_comp",
];

const LISTENER: &[Value<Listener>] = &[
    ("current_sessions", |it| number(it.sessions)),
    ("max_sessions", |it| number(it.sessions_max)),
    ("limit_sessions", |it| number(it.sessions_limit)),
    ("sessions_total", |it| number(it.sessions_total)),
    ("limit_session_rate", |_| 0.0),
    ("max_session_rate", |_| 0.0),
    ("connections_rate_max", |_| 0.0),
    ("connections_total", |it| number(it.sessions_total)),
    ("bytes_in_total", |it| number(it.bytes_in)),
    ("bytes_out_total", |it| number(it.bytes_out)),
    ("requests_denied_total", |it| number(it.denied)),
    ("responses_denied_total", |_| 0.0),
    ("request_errors_total", |it| number(it.errors)),
    ("denied_connections_total", |_| 0.0),
    ("denied_sessions_total", |_| 0.0),
    ("failed_header_rewriting_total", |_| 0.0),
    ("http_requests_rate_max", |_| 0.0),
    ("http_requests_total", |it| number(it.requests)),
    ("intercepted_requests_total", |it| number(it.intercepted)),
    ("http_cache_lookups_total", |_| 0.0),
    ("http_cache_hits_total", |_| 0.0),
    ("http_comp_bytes_in_total", |_| 0.0),
    ("http_comp_bytes_out_total", |_| 0.0),
    ("http_comp_bytes_bypassed_total", |_| 0.0),
    ("http_comp_responses_total", |_| 0.0),
];

/// Of pools and members alike.
const BOTH: &[Value<Member>] = &[
    ("current_sessions", |it| number(it.sessions)),
    ("max_sessions", |it| number(it.sessions_max)),
    ("limit_sessions", |_| 0.0),
    ("sessions_total", |it| number(it.sessions_total)),
    ("max_session_rate", |_| 0.0),
    ("last_session_seconds", |_| 0.0),
    ("current_queue", |_| 0.0),
    ("max_queue", |_| 0.0),
    ("bytes_in_total", |it| number(it.bytes_in)),
    ("bytes_out_total", |it| number(it.bytes_out)),
    ("queue_time_average_seconds", |_| 0.0),
    ("connect_time_average_seconds", |it| it.connect.average),
    ("response_time_average_seconds", |it| it.answer.average),
    ("total_time_average_seconds", |it| it.total.average),
    ("max_queue_time_seconds", |_| 0.0),
    ("max_connect_time_seconds", |it| it.connect.max),
    ("max_response_time_seconds", |it| it.answer.max),
    ("max_total_time_seconds", |it| it.total.max),
    ("connection_attempts_total", |it| number(it.connects)),
    ("connection_reuses_total", |it| number(it.reuses)),
    ("responses_denied_total", |_| 0.0),
    ("connection_errors_total", |it| number(it.connect_errors)),
    ("response_errors_total", |it| number(it.answer_errors)),
    ("retry_warnings_total", |it| number(it.retries)),
    ("redispatch_warnings_total", |it| number(it.redispatches)),
    ("failed_header_rewriting_total", |_| 0.0),
    ("client_aborts_total", |it| number(it.client_aborts)),
    ("check_up_down_total", |_| 0.0),
    ("check_last_change_seconds", |_| 0.0),
    ("downtime_seconds_total", |_| 0.0),
    ("loadbalanced_total", |it| number(it.balanced)),
];

const POOL: &[Value<Member>] = &[
    ("requests_denied_total", |_| 0.0),
    ("member_aborts_total", |it| number(it.server_aborts)),
    ("active_members", |it| number(it.active)),
    ("backup_members", |it| number(it.backups)),
    ("http_requests_total", |it| {
        number(it.sessions_total + it.without_member)
    }),
    ("http_cache_lookups_total", |_| 0.0),
    ("http_cache_hits_total", |_| 0.0),
    ("http_comp_bytes_in_total", |_| 0.0),
    ("http_comp_bytes_out_total", |_| 0.0),
    ("http_comp_bytes_bypassed_total", |_| 0.0),
    ("http_comp_responses_total", |_| 0.0),
];

const MEMBER: &[Value<Member>] = &[
    ("queue_limit", |_| 0.0),
    ("server_aborts_total", |it| number(it.server_aborts)),
    ("weight", |it| number(it.weight)),
    ("check_failures_total", |_| 0.0),
    ("current_throttle", |_| 100.0),
    ("idle_connections_current", |_| 0.0),
    ("idle_connections_limit", |_| 256.0),
];
