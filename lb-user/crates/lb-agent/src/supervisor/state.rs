//! The life of one amphora process, as a pure function.

/// Where an amphora stands.
///
/// ```text
/// Stopped ─Start─► Starting ─Applied─► Ready ◄─Undrain─ Draining
///    ▲                 │                 │ └──Drain──────▲  │
///    └──── Exited ── (any) ─── Kill ──► Dying ◄─── Kill ────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No process.
    Stopped,
    /// Started (or adopted), and has not yet said that it serves its configuration.
    Starting,
    /// Serves.
    Ready,
    /// Serves what it has and is being left.
    Draining,
    /// Told to end, and has not ended yet.
    Dying,
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It was started or adopted.
    Start,
    /// It said that it serves a configuration.
    Applied,
    /// A planned failover leaves it.
    Drain,
    /// The planned failover was given up.
    Undrain,
    /// It was told to end.
    Kill,
    /// The process has ended.
    Exited,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 5] = [
        Self::Stopped,
        Self::Starting,
        Self::Ready,
        Self::Draining,
        Self::Dying,
    ];

    /// Where it stands after `event`. What makes no sense changes nothing: events may come late.
    #[must_use]
    pub const fn next(self, event: Event) -> Self {
        match (self, event) {
            (_, Event::Exited) => Self::Stopped,
            (Self::Stopped, Event::Start) => Self::Starting,
            (Self::Starting, Event::Applied) | (Self::Draining, Event::Undrain) => Self::Ready,
            (Self::Ready, Event::Drain) => Self::Draining,
            (Self::Starting | Self::Ready | Self::Draining, Event::Kill) => Self::Dying,
            (state, _) => state,
        }
    }

    /// Whether packets may be sent to it.
    #[must_use]
    pub const fn serves(self) -> bool {
        matches!(self, Self::Ready | Self::Draining)
    }

    /// Whether there is a process.
    #[must_use]
    pub const fn runs(self) -> bool {
        !matches!(self, Self::Stopped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [Event; 6] = [
        Event::Start,
        Event::Applied,
        Event::Drain,
        Event::Undrain,
        Event::Kill,
        Event::Exited,
    ];

    /// Rows: states as in `ALL`; columns: events as in `EVENTS`.
    const TABLE: [[State; 6]; 5] = {
        use State::{Draining as D, Dying as X, Ready as R, Starting as S, Stopped as O};
        [
            [S, O, O, O, O, O],
            [S, R, S, S, X, O],
            [R, R, D, R, X, O],
            [D, D, D, R, X, O],
            [X, X, X, X, X, O],
        ]
    };

    #[test]
    fn every_pair_of_state_and_event_leads_where_it_should() {
        for (state, row) in State::ALL.into_iter().zip(TABLE) {
            for (event, expected) in EVENTS.into_iter().zip(row) {
                assert_eq!(state.next(event), expected, "{state:?} + {event:?}");
            }
        }
    }

    #[test]
    fn whatever_has_happened_a_process_that_ended_can_be_started_again() {
        for state in State::ALL {
            let stopped = state.next(Event::Exited);
            assert_eq!(
                stopped.next(Event::Start).next(Event::Applied),
                State::Ready
            );
        }
    }
}
