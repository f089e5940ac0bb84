//! The provisioning status machine (contract 4.1).
//!
//! ```text
//!                    Change (ACTIVE only)
//!                    Repair (ACTIVE, ERROR)
//!  PENDING_CREATE ┐  ┌──────────────┐
//!        Applied  │  │              ▼
//!                 ├─► ACTIVE ◄── PENDING_UPDATE
//!        Failed   │  │  ▲   Applied  │ Failed
//!                 ▼  │  │ Applied    │
//!                ERROR ◄─┼────────────┘
//!                 │  │  └──────────┐
//!          Delete │  │ Delete      │
//!                 ▼  ▼             │
//!             PENDING_DELETE ──► ERROR (Failed)
//!                    │ Applied
//!                    ▼
//!                 DELETED
//! ```
//!
//! The load balancer is the lock of its whole tree: [`Event::Change`] needs ACTIVE. What is below
//! it can also be changed while in ERROR, which is how tenants repair it, and so can the load
//! balancer itself be failed over: [`Event::Repair`]. [`Event::Applied`] leads out of ERROR too:
//! when a host reports that what was wrong is now served, nobody has to be asked.
//! [`Event::Failed`] on an ACTIVE object is something that worked and no longer does.

use crate::enums::ProvisioningStatus::{
    self, Active, Deleted, Error, PendingCreate, PendingDelete, PendingUpdate,
};

/// What happens to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The API changes a load balancer, or something below it.
    Change,
    /// The API changes an object that may be in ERROR, or fails a load balancer over.
    Repair,
    /// The API deletes it.
    Delete,
    /// What was asked for is in the data path.
    Applied,
    /// What was asked for could not be done, or not in time.
    Failed,
}

impl Event {
    /// Every event.
    pub const ALL: &'static [Self] = &[
        Self::Change,
        Self::Repair,
        Self::Delete,
        Self::Applied,
        Self::Failed,
    ];
}

/// An event that a state does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} is not possible in state {state}")]
pub struct IllegalTransition {
    /// Where the object stands.
    pub state: ProvisioningStatus,
    /// What was tried.
    pub event: Event,
}

impl ProvisioningStatus {
    /// The state after `event`.
    pub const fn next(self, event: Event) -> Result<Self, IllegalTransition> {
        let next = match (self, event) {
            (Active, Event::Change) | (Active | Error, Event::Repair) => PendingUpdate,
            (Active | Error, Event::Delete) => PendingDelete,
            (PendingCreate | PendingUpdate | Active | Error, Event::Applied) => Active,
            (PendingDelete, Event::Applied) => Deleted,
            (PendingCreate | PendingUpdate | PendingDelete | Active | Error, Event::Failed) => {
                Error
            }
            (
                PendingCreate | PendingUpdate | PendingDelete,
                Event::Change | Event::Repair | Event::Delete,
            )
            | (Error, Event::Change)
            | (
                Deleted,
                Event::Change | Event::Repair | Event::Delete | Event::Applied | Event::Failed,
            ) => return Err(IllegalTransition { state: self, event }),
        };
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole product, one row a state: after Change, Repair, Delete, Applied, Failed.
    const TABLE: &[(ProvisioningStatus, [Option<ProvisioningStatus>; 5])] = &[
        (PendingCreate, [None, None, None, Some(Active), Some(Error)]),
        (PendingUpdate, [None, None, None, Some(Active), Some(Error)]),
        (
            PendingDelete,
            [None, None, None, Some(Deleted), Some(Error)],
        ),
        (
            Active,
            [
                Some(PendingUpdate),
                Some(PendingUpdate),
                Some(PendingDelete),
                Some(Active),
                Some(Error),
            ],
        ),
        (
            Error,
            [
                None,
                Some(PendingUpdate),
                Some(PendingDelete),
                Some(Active),
                Some(Error),
            ],
        ),
        (Deleted, [None; 5]),
    ];

    #[test]
    fn every_state_answers_every_event_as_in_the_table() {
        assert_eq!(TABLE.len(), ProvisioningStatus::ALL.len());
        for (state, row) in TABLE {
            for (event, expected) in Event::ALL.iter().zip(row) {
                let got = state.next(*event);
                match expected {
                    Some(expected) => assert_eq!(got, Ok(*expected), "{state} {event:?}"),
                    None => assert_eq!(
                        got,
                        Err(IllegalTransition {
                            state: *state,
                            event: *event
                        })
                    ),
                }
            }
        }
    }

    #[test]
    fn every_pending_state_can_be_left_by_success_and_by_failure() {
        for state in ProvisioningStatus::ALL {
            if state.is_pending() {
                for event in [Event::Applied, Event::Failed] {
                    assert!(
                        !state.next(event).unwrap().is_pending(),
                        "{state} {event:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn mutable_and_deletable_agree_with_the_machine() {
        for state in ProvisioningStatus::ALL {
            assert_eq!(state.is_mutable(), state.next(Event::Change).is_ok());
            assert_eq!(state.is_deletable(), state.next(Event::Delete).is_ok());
        }
    }
}
