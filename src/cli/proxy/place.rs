//! How many connections there may be, WebSockets among them.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Room for so many.
#[derive(Debug)]
pub struct Room(Arc<Semaphore>);

/// A place in it: kept as long as the client's end is open, whatever the connection becomes.
#[derive(Clone, Debug)]
pub struct Place {
    _permit: Option<Arc<OwnedSemaphorePermit>>,
}

impl Room {
    /// Room for this many connections.
    pub fn new(places: usize) -> Self {
        Self(Arc::new(Semaphore::new(places)))
    }

    /// Waits for a free place.
    pub async fn place(&self) -> Place {
        // An error would mean that somebody closed the semaphore, and nobody does.
        Place { _permit: Arc::clone(&self.0).acquire_owned().await.ok().map(Arc::new) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_place_is_free_again_when_its_last_holder_has_gone() {
        let room = Room::new(1);
        let place = room.place().await;
        let kept = place.clone();
        drop(place);
        assert!(tokio::time::timeout(Duration::ZERO, room.place()).await.is_err());
        drop(kept);
        room.place().await;
    }
}
