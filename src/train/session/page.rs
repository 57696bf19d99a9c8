//! The page of a run under way: drawn from the first record on, but seldom.

use crate::train::job::Draw;
use crate::train::progress::Progress;
use std::path::Path;
use std::time::{Duration, Instant};

/// Least time from one drawing to the next.
const PAUSE: Duration = Duration::from_secs(10);
/// The next one waits so many times as long as the last one took, so that drawing takes at most this
/// part of the time.
const PARTS: u32 = 50;

/// When a run's page is drawn.
#[derive(Debug)]
pub(super) struct Page {
    /// None where another rank draws it, and once it could not be drawn.
    draw: Option<Draw>,
    due: Instant,
    /// Whether there is one that says that the run goes on.
    begun: bool,
}

impl Page {
    pub(super) fn new(draw: Option<Draw>) -> Self {
        Page {
            draw,
            due: Instant::now(),
            begun: false,
        }
    }

    /// Draws what has been recorded of the run in `folder`, if that is due.
    pub(super) fn draw_if_due(&mut self, folder: &Path, progress: &Progress) {
        let began = Instant::now();
        if began < self.due {
            return;
        }
        self.draw(folder, true, progress);
        self.due = Instant::now() + PAUSE.max(PARTS * began.elapsed());
    }

    /// Draws the page of a run that ends, so that it no longer says that it goes on: whoever draws the
    /// last one of a run that ends well, after a test of it, may not come to that.
    pub(super) fn draw_ended(&mut self, folder: &Path, progress: &Progress) {
        if self.begun {
            self.draw(folder, false, progress);
        }
    }

    /// A page that cannot be drawn stops no training.
    fn draw(&mut self, folder: &Path, live: bool, progress: &Progress) {
        let Some(draw) = self.draw else {
            return;
        };
        match draw(folder, live) {
            Ok(()) => self.begun = live,
            Err(e) => {
                self.draw = None;
                progress.line(&format!("note: the report is no longer drawn: {e}"));
            }
        }
    }
}
