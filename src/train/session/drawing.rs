//! The page of a run under way: drawn from the first record on, but seldom.

use super::Session;
use crate::train::job::{Draw, Job};
use std::time::{Duration, Instant};

/// Least time from one drawing to the next.
const PAUSE: Duration = Duration::from_secs(10);
/// The next one waits so many times as long as the last one took, so that drawing takes at most this
/// part of the time.
const PARTS: u32 = 50;

/// When a run's page is drawn.
#[derive(Debug)]
pub(super) struct Page {
    /// None once it could not be drawn.
    draw: Option<Draw>,
    due: Instant,
    /// Whether there is one that says that the run goes on.
    begun: bool,
}

impl Page {
    pub(super) fn new(draw: Draw) -> Self {
        Page {
            draw: Some(draw),
            due: Instant::now(),
            begun: false,
        }
    }
}

impl<J: Job> Session<J> {
    /// Draws the page of what has been recorded, if that is due.
    pub(super) fn draw_if_due(&mut self) {
        let began = Instant::now();
        if began < self.page.due {
            return;
        }
        self.draw(true);
        self.page.due = Instant::now() + PAUSE.max(PARTS * began.elapsed());
    }

    /// Draws the page of a run that ends, so that it no longer says that it goes on: whoever draws the
    /// last one of a run that ends well, after a test of it, may not come to that.
    pub(super) fn draw_ended(&mut self) {
        if self.page.begun {
            self.draw(false);
        }
    }

    /// A page that cannot be drawn stops no training.
    fn draw(&mut self, live: bool) {
        let Some(draw) = self.page.draw.filter(|_| self.writes()) else {
            return;
        };
        match draw(self.folder.path(), live) {
            Ok(()) => self.page.begun = live,
            Err(e) => {
                self.page.draw = None;
                self.progress
                    .line(&format!("note: the report is no longer drawn: {e}"));
            }
        }
    }
}
