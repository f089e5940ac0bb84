//! What is measured.

/// How clients speak to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Http,
    Tls,
    Tcp,
}

/// What the generator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Requests on connections that stay.
    KeepAlive,
    /// As that, HTTP/2.
    Http2,
    /// A connection a request; `resume`: TLS sessions are taken up again.
    Handshakes { resume: bool },
    /// Connections that do nothing.
    Idle,
}

/// One scenario.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    pub name: &'static str,
    pub mode: Mode,
    pub kind: Kind,
    pub path: &'static str,
    /// L7 policies; the request matches none.
    pub rules: usize,
    /// Every request is logged.
    pub log: bool,
    pub goal: Option<f64>,
}

const BASE: Scenario = Scenario {
    name: "",
    mode: Mode::Http,
    kind: Kind::KeepAlive,
    path: "/small",
    rules: 0,
    log: false,
    goal: None,
};

const fn of(name: &'static str, mode: Mode, path: &'static str, goal: f64) -> Scenario {
    Scenario {
        name,
        mode,
        path,
        goal: Some(goal),
        ..BASE
    }
}

const fn with(scenario: Scenario, kind: Kind) -> Scenario {
    Scenario { kind, ..scenario }
}

const fn rules(name: &'static str, rules: usize, goal: Option<f64>) -> Scenario {
    Scenario {
        name,
        rules,
        goal,
        ..BASE
    }
}

pub const SCENARIOS: &[Scenario] = &[
    of("h1-small", Mode::Http, "/small", 1.10),
    of("h1-10k", Mode::Http, "/10k", 1.10),
    of("h1-1m", Mode::Http, "/1m", 1.05),
    of("tls-small", Mode::Tls, "/small", 0.90),
    of("tls-10k", Mode::Tls, "/10k", 0.92),
    of("tls-1m", Mode::Tls, "/1m", 1.00),
    with(
        of("hs-full", Mode::Tls, "/small", 0.45),
        Kind::Handshakes { resume: false },
    ),
    with(
        of("hs-resume", Mode::Tls, "/small", 0.52),
        Kind::Handshakes { resume: true },
    ),
    with(of("h2-small", Mode::Tls, "/small", 1.20), Kind::Http2),
    with(
        Scenario {
            goal: None,
            ..of("h2-10k", Mode::Tls, "/10k", 0.0)
        },
        Kind::Http2,
    ),
    rules("rules-1", 1, None),
    rules("rules-10", 10, None),
    rules("rules-100", 100, Some(0.50)),
    rules("rules-500", 500, Some(0.15)),
    of("tcp-small", Mode::Tcp, "/small", 0.90),
    of("tcp-1m", Mode::Tcp, "/1m", 0.95),
    Scenario {
        log: true,
        ..of("log-on", Mode::Http, "/small", 1.00)
    },
    with(of("idle-plain", Mode::Http, "/small", 4.0), Kind::Idle),
    with(of("idle-tls", Mode::Tls, "/small", 16.0), Kind::Idle),
];
