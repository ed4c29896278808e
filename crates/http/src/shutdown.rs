//! Telling every listener to stop.

use tokio::sync::watch;

/// A wish to stop, shared by whom it concerns. Clones belong together.
#[derive(Debug, Clone)]
pub struct Shutdown {
    stop: watch::Sender<bool>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Shutdown { stop: watch::Sender::new(false) }
    }
}

impl Shutdown {
    /// A wish that nobody has expressed yet.
    #[must_use]
    pub fn new() -> Shutdown {
        Shutdown::default()
    }

    /// Asks everything that listens to stop.
    pub fn trigger(&self) {
        self.stop.send_replace(true);
    }

    /// Whether the wish was expressed.
    #[must_use]
    pub fn is_triggered(&self) -> bool {
        *self.stop.borrow()
    }

    /// Waits until it is.
    pub async fn triggered(&self) {
        // An error would mean that the sender is gone, but this very value holds it.
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }
}
