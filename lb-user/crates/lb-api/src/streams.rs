//! How many answers may stay open: event streams, counted as a whole and per project.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio_util::sync::CancellationToken;

/// Streams open at once on this server: an eighth of its connections.
const STREAMS_MAX: usize = 128;
/// Streams of one project.
const PROJECT_STREAMS_MAX: usize = 16;

/// The open streams.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    open: Arc<Mutex<HashMap<String, usize>>>,
    closing: CancellationToken,
}

/// A place among them, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    open: Arc<Mutex<HashMap<String, usize>>>,
    project: String,
}

impl Streams {
    /// `None`: there are too many.
    pub(crate) fn enter(&self, project: &str) -> Option<Place> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.values().sum::<usize>() >= STREAMS_MAX {
            return None;
        }
        let own = open.entry(project.to_owned()).or_default();
        if *own >= PROJECT_STREAMS_MAX {
            return None;
        }
        *own += 1;
        Some(Place {
            open: Arc::clone(&self.open),
            project: project.to_owned(),
        })
    }

    /// Ends every stream: the server stops.
    pub(crate) fn close(&self) {
        self.closing.cancel();
    }

    /// Told when they are to end.
    pub(crate) fn closing(&self) -> CancellationToken {
        self.closing.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = open.get_mut(&self.project) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                open.remove(&self.project);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_project_cannot_take_every_place_and_places_come_back() {
        let streams = Streams::default();
        let mut held: Vec<Place> = (0..PROJECT_STREAMS_MAX)
            .map(|_| streams.enter("a").unwrap())
            .collect();
        assert!(streams.enter("a").is_none());
        held.extend((0..STREAMS_MAX - PROJECT_STREAMS_MAX).map(|n| {
            streams
                .enter(&format!("p{}", n / PROJECT_STREAMS_MAX))
                .unwrap()
        }));
        assert!(streams.enter("z").is_none());
        drop(held);
        assert!(streams.enter("a").is_some());
    }
}
