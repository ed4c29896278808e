//! How a node stops in the middle of something while the rest of the world goes on.
//!
//! A node that may stop does what it does in a thread of its own. Only one of all threads ever runs: the world
//! waits until the thread says that it stops or is done, and the thread waits until the world lets it go on. So a
//! seed means the same run every time.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// What a thread says when it gives way.
pub(crate) enum Signal<T> {
    /// It stops until then, in true time, or until the lock is free that it waits for.
    Stops {
        until_ms: u64,
        for_lock: bool,
    },
    Done(T),
}

/// A thread's end.
pub(crate) struct Gate {
    stops: Box<dyn Fn(u64, bool) + Send>,
    goes_on: Receiver<()>,
}

impl Gate {
    /// Stops until the world lets it go on. False: there is no world any more.
    pub fn stop(&self, until_ms: u64, for_lock: bool) -> bool {
        (self.stops)(until_ms, for_lock);
        self.goes_on.recv().is_ok()
    }
}

/// The world's end.
pub(crate) struct Thread<T> {
    signals: Receiver<Signal<T>>,
    go_on: Sender<()>,
}

impl<T: Send + 'static> Thread<T> {
    /// Starts something in a thread of its own.
    pub fn start(work: impl FnOnce(Gate) -> T + Send + 'static) -> Thread<T> {
        let (signal, signals) = channel();
        let (go_on, goes_on) = channel();
        let stopping = signal.clone();
        let stops = move |until_ms, for_lock| drop(stopping.send(Signal::Stops { until_ms, for_lock }));
        let gate = Gate { stops: Box::new(stops), goes_on };
        thread::spawn(move || drop(signal.send(Signal::Done(work(gate)))));
        Thread { signals, go_on }
    }

    /// Waits until it stops or is done; none: it panicked.
    pub fn hear(&self) -> Option<Signal<T>> {
        self.signals.recv().ok()
    }

    /// Lets it go on; [`Thread::hear`] has to be called next.
    pub fn go_on(&self) {
        // One that is gone is heard of by its silence.
        let _ = self.go_on.send(());
    }
}
